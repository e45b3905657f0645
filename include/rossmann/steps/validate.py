"""Step ``validate``: score the registered version's backtest member on the holdout and apply the gate."""

import logging
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.pyfunc
import pandas as pd

from include.lifecycle.errors import BadInputError, GateFailedError
from include.lifecycle.gates import evaluate_gate, record_gate
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.stages import NONE
from include.lifecycle.statements import IN_AIRFLOW_ENV
from include.lifecycle.versions import VersionInfo
from include.rossmann.config import RossmannConfig
from include.rossmann.dataset import Dataset, load_dataset, with_types
from include.rossmann.metrics import rmspe
from include.rossmann.model import SCHEDULE
from include.rossmann.tracking import RetrainRun, connect

log = logging.getLogger(__name__)


def validate(config: RossmannConfig, *, run_id: str | None = None, version: int | None = None) -> dict[str, Any]:
    """Load a version from the registry, score its backtest member on the holdout, apply the gate, record both.

    :param config: the configuration
    :param run_id: MLflow run of the retrain: its version is validated
    :param version: model version; without either the newest in stage None
    :return: model, version, holdout RMSPE, threshold, outcome, and what the promotion ledger should know of it
    :raises GateFailedError: when the version does not pass: it is tagged and stays where it is
    """
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    info = wanted_version(registry, config.lifecycle.model, run_id, version, NONE)
    run = RetrainRun(client, info.run_id)
    gate = config.lifecycle.gate
    with run.step("validate"), TemporaryDirectory(prefix="rossmann-validate-") as folder:
        dataset = load_dataset(run.fetch("data", Path(folder)))
        holdout_start = dataset.end - pd.Timedelta(days=config.forecast.horizon_days - 1)
        version_folder = registry.download(info, Path(folder) / "version")
        scored, training_end = score(version_folder, dataset, holdout_start)
        answered = scored["Forecast"].notna()
        result = evaluate_gate(
            metric=gate.metric,
            value=rmspe(scored["Sales"].to_numpy(), scored["Forecast"].to_numpy()) if answered.all() else math.nan,
            threshold=gate.threshold,
            rows=int(answered.sum()),
            expected_rows=len(scored),
            training_end=training_end.date(),
            holdout_start=holdout_start.date(),
        )
        data_version = run.tags.get("data.version", "unknown")
        validation = record_gate(registry, info, result, data_version=data_version, rows=len(scored))
        if not os.environ.get(IN_AIRFLOW_ENV):
            registry.validated(validation)
        printed = {
            "run_id": info.run_id,
            "model": info.model,
            "version": info.version,
            "rmspe": result.value if math.isfinite(result.value) else None,
            "threshold": gate.threshold,
            "passed": result.passed,
            "validation": validation.to_dict(),
        }
        if not result.passed:
            raise GateFailedError(
                f"{info.model} version {info.version} failed its gate, retrain required:"
                f" {'; '.join(result.failed_checks)}",
                printed,
            )
        log.info("%s version %d: holdout RMSPE %.4f < %.4f", info.model, info.version, result.value, gate.threshold)
    run.finish()
    return printed


def wanted_version(
    registry: ModelRegistry, model: str, run_id: str | None, version: int | None, stage: str
) -> VersionInfo:
    """Return the version that a number or a retrain's run names, else the newest in a stage.

    :raises BadInputError: when there is none
    """
    if version is not None:
        return registry.version(model, version)
    versions = registry.versions(model)
    found = [info for info in versions if (info.run_id == run_id if run_id is not None else info.stage == stage)]
    if not found:
        raise BadInputError(
            f"model {model!r} has no version"
            + (f" registered by the run {run_id}: run `register` first" if run_id else f" in {stage}: give --version")
        )
    return found[0]


def score(version_folder: Path, dataset: Dataset, holdout_start: pd.Timestamp) -> tuple[pd.DataFrame, pd.Timestamp]:
    """Forecast the holdout with the backtest member of a registered version.

    :param version_folder: folder of the version's artifacts as the registry keeps them, never taken from memory
    :param dataset: the retrain's data
    :param holdout_start: first day of the holdout
    :return: Store, Date, Sales (euros) and Forecast (euros; NaN where the model gave none) of the scored rows,
        which are those with sales; and the last day that the member was trained on
    """
    model = mlflow.pyfunc.load_model(str(version_folder))
    member = model.unwrap_python_model().backtest()
    holdout = dataset.after(holdout_start - pd.Timedelta(days=1))
    forecast = member.forecast(with_types(holdout[SCHEDULE])).rename(columns={"Sales": "Forecast"})
    joined = holdout[["Store", "Date", "Sales"]].merge(forecast, on=["Store", "Date"], how="left")
    return joined[joined["Sales"] > 0], pd.Timestamp(member.training_end)
