"""Batch prediction: load the model by stage, forecast, record which version made the predictions."""

import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd

from include.lifecycle.errors import BadInputError
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.tags import ARTIFACTS_DIGEST
from include.lifecycle.versions import VersionInfo
from include.rossmann.config import RossmannConfig
from include.rossmann.data.load import read_future
from include.rossmann.dataset import Dataset, with_types
from include.rossmann.steps.pull import data_tags, pull_dataset
from include.rossmann.tracking import connect, ensure_experiment, log_values

log = logging.getLogger(__name__)

STAGES = ("Production", "Staging")


def predict(
    config: RossmannConfig,
    *,
    output: Path,
    stage: str = "Production",
    input_file: Path | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Forecast future rows with the model version in a stage.

    The newest history of the data registry goes into the model together with the rows, so that a version
    forecasts from today however long ago it was trained.

    :param config: the configuration
    :param output: CSV file, written to a temporary name and moved into place: Store, Date, Sales and
        ModelVersion, and Id first when the input has it
    :param stage: Production or Staging (several candidates there: the newest)
    :param input_file: rows to forecast; by default the data registry's file of future rows
    :param revision: data revision of the newest history; by default the configured one
    :return: model, version, stage, rows, output and the id of the MLflow run that records the prediction
    :raises BadInputError: when the stage is empty or unknown, or a row cannot be forecast
    """
    if stage not in STAGES:
        raise BadInputError(f"unknown stage {stage!r}: predict with {' or '.join(STAGES)}")
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    version = registry.resolve(config.lifecycle.model, stage)
    with tempfile.TemporaryDirectory(prefix="rossmann-predict-") as folder:
        dataset, pulled = pull_dataset(config, revision or config.data.revision, Path(folder) / "pulled")
    rows = future_rows(dataset, input_file)
    started = time.monotonic()
    forecast = forecast_with(registry, version, rows, dataset)
    log.info("Forecast %d rows with version %d in %.1f s", len(forecast), version.version, time.monotonic() - started)
    table = prediction_table(rows, forecast, version.version)
    write_csv(table, output)
    experiment_id = ensure_experiment(client, config.lifecycle.predictions_experiment)
    tags = {
        "mlflow.runName": f"{stage} version {version.version}",
        "model": version.model,
        "model.version": str(version.version),
        "model.stage": stage,
        "forecast.origin": str(dataset.end.date()),
        "prediction.sha256": sha256(output),
        ARTIFACTS_DIGEST: version.tags.get(ARTIFACTS_DIGEST, "none"),
        "input": str(input_file) if input_file else "data registry",
    }
    run = client.create_run(experiment_id, tags=tags | data_tags(pulled))
    log_values(
        client,
        run.info.run_id,
        params={"model": version.model, "version": version.version, "stage": stage},
        metrics={"rows": len(table), "sales_total": float(table["Sales"].sum())},
    )
    client.set_terminated(run.info.run_id)
    return {
        "model": version.model,
        "version": version.version,
        "stage": stage,
        "rows": len(table),
        "output": str(output),
        "prediction_run_id": run.info.run_id,
    }


def future_rows(dataset: Dataset, input_file: Path | None) -> pd.DataFrame:
    """Return the rows to forecast: those of the file, else the data registry's.

    :raises BadInputError: when there is neither
    """
    if input_file is not None:
        return read_future(input_file)
    if dataset.future is None:
        raise BadInputError("the data registry has no file of future rows: name one with --input FILE")
    return dataset.future


def forecast_with(registry: ModelRegistry, version: VersionInfo, rows: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Forecast rows with a registered version, the newest history given along.

    :param registry: the registry
    :param version: the model version
    :param rows: future rows; they may carry newer history of their own
    :param dataset: newest history of the data registry
    :return: Store, Date, Sales of the rows to forecast, in their order
    :raises ArtifactsChangedError: when the artifact store does not hold what was registered
    """
    with tempfile.TemporaryDirectory(prefix="rossmann-model-") as folder:
        # the files that were checked are the files that predict
        model = mlflow.pyfunc.load_model(str(registry.download(version, Path(folder))))
        return forecast_loaded(model, version, rows, dataset)


def forecast_loaded(model: Any, version: VersionInfo, rows: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Forecast rows with a loaded version (see ``forecast_with``)."""
    trained_until = pd.Timestamp(model.unwrap_python_model().served.training_end)
    newer = dataset.after(trained_until)
    if len(newer):
        log.info("Giving %d rows of history after %s to the model", len(newer), trained_until.date())
    try:
        result = model.predict(pd.concat([with_types(newer), with_types(rows)], ignore_index=True))
    except ValueError as error:
        # the model's own input errors name store, date or column; MLflow's name the column
        raise BadInputError(f"{version.model} version {version.version} cannot forecast this input: {error}") from error
    return pd.DataFrame(result)


def prediction_table(rows: pd.DataFrame, forecast: pd.DataFrame, version: int) -> pd.DataFrame:
    """Return the table that is written: one row for each row to forecast, in their order.

    :raises RuntimeError: when the model returned another number of rows than it was asked for
    """
    asked = rows[rows["Sales"].isna()] if "Sales" in rows else rows
    if len(asked) != len(forecast):
        raise RuntimeError(f"asked for {len(asked)} predictions, the model returned {len(forecast)}")
    table = forecast[["Store", "Date", "Sales"]].reset_index(drop=True)
    table["Date"] = pd.to_datetime(table["Date"]).dt.date
    table["ModelVersion"] = version
    if "Id" in asked:
        table.insert(0, "Id", asked["Id"].to_numpy())
    return table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV file under a temporary name and move it into place.

    :raises BadInputError: when the folder cannot be written
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(temporary, index=False)
        temporary.replace(path)
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
