"""Step ``check``: before a rollback, show that the version still is what it was and still forecasts."""

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import Model

from include.lifecycle.errors import BadInputError
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.versions import VersionInfo
from include.rossmann.config import RossmannConfig
from include.rossmann.tracking import connect

log = logging.getLogger(__name__)


def check(config: RossmannConfig, *, version: int | None = None) -> dict[str, Any]:
    """Check that a version can be rolled back to: it was in Production, its files are as registered, it forecasts.

    It forecasts the rows that were registered with it as its input example, so that the check needs neither
    the data registry nor more than seconds.

    :param config: the configuration
    :param version: the version; None is for the champion before the current one
    :return: model, version, the version in Production now, forecast rows, seconds
    :raises BadInputError: when the version cannot come back, with the reason
    """
    started = time.monotonic()
    model = config.lifecycle.model
    registry = ModelRegistry(connect(), integrity=config.lifecycle.integrity)
    live = registry.production(model)
    if version is None:
        version = previous_champion(registry, model)
    if live is not None and live.version == version:
        raise BadInputError(f"version {version} of {model!r} is in Production already: there is nothing to roll back")
    with tempfile.TemporaryDirectory(prefix="rossmann-check-") as folder:
        info = registry.prepare_rollback(model, version, Path(folder) / "version")
        rows = forecast_example(info, Path(folder) / "version")
    seconds = time.monotonic() - started
    log.info("Version %d of %s forecasts: %d sample rows, checked in %.1f s", version, model, rows, seconds)
    return {
        "model": model,
        "version": version,
        "live": live.version if live is not None else None,
        "rows": rows,
        "seconds": round(seconds, 1),
    }


def previous_champion(registry: ModelRegistry, model: str) -> int:
    """Return the version that was in Production before the current one.

    :raises BadInputError: when there is none, or the last rollback came from every one that there is
    """
    term = registry.previous_champion(model)
    if term is None:
        raise BadInputError(
            f"no former Production version of {model!r} is recorded, or the last rollback came from it: there is"
            " nothing to go back to unless a version is named"
        )
    return term.version


def forecast_example(info: VersionInfo, folder: Path) -> int:
    """Forecast the input example of a downloaded version and return how many rows that were.

    :raises BadInputError: when it does not load or does not forecast
    """
    try:
        example = Model.load(str(folder)).load_input_example(str(folder))
        forecast = pd.DataFrame(mlflow.pyfunc.load_model(str(folder)).predict(example))
    except Exception as error:  # whatever a model's own code raises: it must not come into Production
        raise BadInputError(
            f"version {info.version} of {info.model!r} does not load or forecast, so it cannot come back:"
            f" {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        ) from error
    sales = forecast["Sales"].to_numpy() if "Sales" in forecast else np.array([np.nan])
    if not len(sales) or not np.isfinite(sales).all():
        raise BadInputError(f"version {info.version} of {info.model!r} forecasts no sales for its sample input")
    return len(sales)
