"""Step ``check``: before a rollback, show that the version still is what it was and still predicts."""

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
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import connect
from include.lifecycle.registry.versions import VersionInfo
from include.retraining.pipeline import ConfigT, Pipeline

log = logging.getLogger(__name__)


def check(model: Pipeline[ConfigT, Any], config: ConfigT, *, version: int | None = None) -> dict[str, Any]:
    """Check that a version can be rolled back to: it was in Production, its files are as registered, it predicts.

    It predicts the rows that were registered with it as its input example, so that the check needs neither
    the data registry nor more than seconds.

    :param version: the version; None is for the champion before the current one
    :return: model, version, the version in Production now, sample rows, seconds
    :raises BadInputError: when the version cannot come back, with the reason
    """
    started = time.monotonic()
    name = config.lifecycle.model
    registry = ModelRegistry(connect(), integrity=config.lifecycle.integrity)
    live = registry.production(name)
    if version is None:
        version = previous_champion(registry, name)
    if live is not None and live.version == version:
        raise BadInputError(f"version {version} of {name!r} is in Production already: there is nothing to roll back")
    with tempfile.TemporaryDirectory(prefix="retrain-check-") as folder:
        info = registry.prepare_rollback(name, version, Path(folder) / "version")
        rows = predict_example(info, Path(folder) / "version", model.columns.actual)
    seconds = time.monotonic() - started
    log.info("Version %d of %s predicts: %d sample rows, checked in %.1f s", version, name, rows, seconds)
    return {
        "model": name,
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


def predict_example(info: VersionInfo, folder: Path, column: str) -> int:
    """Predict the input example of a downloaded version and return how many rows that were.

    :raises BadInputError: when it does not load or does not predict
    """
    try:
        example = Model.load(str(folder)).load_input_example(str(folder))
        predicted = pd.DataFrame(mlflow.pyfunc.load_model(str(folder)).predict(example))
    except Exception as error:  # whatever a model's own code raises: it must not come into Production
        raise BadInputError(
            f"version {info.version} of {info.model!r} does not load or predict, so it cannot come back:"
            f" {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        ) from error
    values = predicted[column].to_numpy() if column in predicted else np.array([np.nan])
    if not len(values) or not np.isfinite(values).all():
        raise BadInputError(f"version {info.version} of {info.model!r} predicts no {column} for its sample input")
    return len(values)
