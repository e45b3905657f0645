"""Batch prediction: load one model version, forecast, record which version predicted what, write files.

The version is found once, by its stage or number; everything in the files is of it, whatever becomes of the stage
meanwhile. The prediction is recorded in MLflow first and written then, the pointer to the newest last: a run that fails
leaves the former output.
"""

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import BadInputError, RetrainError
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.tags import ARTIFACTS_DIGEST
from include.lifecycle.text import text_digest
from include.lifecycle.versions import VersionInfo
from include.retraining.predict import destination
from include.retraining.predict.formats import Facts, render, sha256, stamped
from include.retraining.predict.names import Format, format_of, shown
from include.retraining.predict.places import copy_input, fetch_input, open_place
from include.retraining.predict.publish import Output, Publication, pointer_name, publish, publish_named
from include.retraining.predict.retention import Kept, remove_old
from include.rossmann.config import RossmannConfig
from include.rossmann.data.load import read_future
from include.rossmann.data.schema import check_future
from include.rossmann.dataset import Dataset
from include.rossmann.model import with_newer_history
from include.rossmann.prediction_request import PredictionRequest
from include.rossmann.prediction_run import InputFacts, keep, open_run, record
from include.rossmann.steps.pull import data_tags, pull_dataset
from include.rossmann.tracking import Origin, connect

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Rows to forecast, the newest history, and what is recorded of both."""

    asked: pd.DataFrame
    dataset: Dataset
    given: InputFacts


def predict(config: RossmannConfig, request: PredictionRequest, origin: Origin | None = None) -> dict[str, Any]:
    """Forecast future rows with one model version.

    The newest history of the data registry goes into the model together with the rows, so that a version
    forecasts from today however long ago it was trained.

    :param config: the configuration
    :param request: what and where
    :param origin: who asked; a retry of the same Airflow run goes on with its MLflow run and makes the same bytes
    :return: model, version, stage, rows, days, outputs with their digests, the id of the MLflow run
    :raises BadInputError: when there is no such version, a row cannot be forecast, or an output cannot be written
    """
    request.check()
    origin = origin or Origin()
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    version, stage = find_version(registry, config, request)
    rows = read_rows(config, request)
    started = time.monotonic()
    forecast = forecast_with(registry, version, rows.asked, rows.dataset)
    log.info("Forecast %d rows with version %d in %.1f s", len(forecast), version.version, time.monotonic() - started)
    facts = Facts(version.model, version.version, stage, forecast_origin(version, rows), run_name(origin, rows.given))
    table = stamped(prediction_table(rows.asked, forecast, version.version), facts)
    files = {kind: render(table, kind, facts) for kind in wanted(config, request)}
    digests: dict[str, str] = {kind: sha256(data) for kind, data in files.items()}
    run = open_run(client, config, origin, facts, rows.given)
    with run.step("predict"):
        record(run, facts, rows.given, table, digests)
        run.log(tags={ARTIFACTS_DIGEST: version.tags.get(ARTIFACTS_DIGEST, "none")})
        keep(run, files["parquet"])
        result = described(facts, rows.given, table)
        written, latest = write_outputs(config, request, facts, files, result)
        run.log(tags={"outputs": ", ".join(item.name for item in written), "latest": str(latest).lower()})
    run.finish()
    outputs = [{"name": item.name, "sha256": item.sha256, "bytes": item.size} for item in written]
    if request.publish:
        result["place"] = shown(config.prediction.where)
    more = {"output": written[0].name, "outputs": outputs, "latest": latest, "prediction_run_id": run.run_id}
    return {**result, **more}


def described(facts: Facts, given: InputFacts, table: pd.DataFrame) -> dict[str, Any]:
    """Return what a reader of the predictions is told of them, as JSON takes it."""
    return {
        "model": facts.model,
        "version": facts.version,
        "stage": facts.stage,
        "forecast_origin": str(facts.origin),
        "run": facts.run,
        "rows": len(table),
        "first_day": str(table["Date"].min()),
        "last_day": str(table["Date"].max()),
        "data_version": given.data["data.version"],
        "input": given.name,
        "input_sha256": given.sha256,
    }


def find_version(
    registry: ModelRegistry, config: RossmannConfig, request: PredictionRequest
) -> tuple[VersionInfo, str]:
    """Return the version that predicts and the stage in which it is now: asked for once, it holds for the whole run.

    :raises VersionNotFoundError: names the versions that exist, or those in other stages
    """
    model = config.lifecycle.model
    if request.version is not None:
        version = registry.version(model, request.version)
        return version, version.stage
    stage = request.stage or config.prediction.stage
    return registry.resolve(model, stage), stage


def read_rows(config: RossmannConfig, request: PredictionRequest) -> Rows:
    """Return the rows to forecast, those of the input, else the data registry's, and the newest history.

    :raises BadInputError: when there are none, or one of the files cannot be read
    """
    with tempfile.TemporaryDirectory(prefix="rossmann-predict-") as folder:
        own, path, name = Path(folder) / "input", None, None
        own.mkdir()
        if request.input_file is not None:
            path, name = copy_input(request.input_file, own), str(request.input_file)
        elif request.input_name:
            path, name = fetch_input(config.prediction.inputs_place, request.input_name, own), request.input_name
        revision = request.revision or config.data.revision
        dataset, pulled = pull_dataset(config, revision, Path(folder) / "pulled")
        if path is not None:
            asked = read_future(path)
            check_future(asked)
        elif dataset.future is not None:
            asked, path, name = dataset.future, pulled.files["future"].path, pulled.files["future"].repo_path
        else:
            raise BadInputError("the data registry has no file of future rows: name one with --input FILE")
        given = InputFacts(str(name), sha256(path.read_bytes()), len(asked), data_tags(pulled))
        return Rows(asked, dataset, given)


def forecast_origin(version: VersionInfo, rows: Rows) -> date:
    """Return the newest day that is known to the model: its own, the data registry's, or that of the rows."""
    days = [rows.dataset.end]
    if trained := version.tags.get("training.end"):
        days.append(pd.Timestamp(trained))
    if "Sales" in rows.asked and rows.asked["Sales"].notna().any():
        days.append(pd.Timestamp(rows.asked.loc[rows.asked["Sales"].notna(), "Date"].max()))
    return max(days).date()


def run_name(origin: Origin, given: InputFacts) -> str:
    """Return what the files call this run: Airflow's run, else data and input. A repetition has the same name."""
    if origin.dag_run_id:
        return origin.dag_run_id
    return f"by-hand-{text_digest(given.data['data.version'] + given.sha256)[:12]}"


def wanted(config: RossmannConfig, request: PredictionRequest) -> list[Format]:
    """Return the formats to render. Parquet is always among them: the MLflow run keeps it."""
    kinds: list[Format] = ["parquet"]
    if request.output is not None:
        kinds.append(format_of(str(request.output)))
    if request.output_name:
        kinds.append(format_of(request.output_name))
    elif request.publish:
        kinds += config.prediction.formats
    return list(dict.fromkeys(kinds))


def write_outputs(
    config: RossmannConfig,
    request: PredictionRequest,
    facts: Facts,
    files: Mapping[Format, bytes],
    details: Mapping[str, Any],
) -> tuple[list[Output], bool]:
    """Write what was asked for and return the files, and whether a pointer names them.

    :raises RetrainError: when one cannot be written
    """
    written: list[Output] = []
    if request.output is not None:
        data = files[format_of(str(request.output))]
        destination.write(request.output, data)
        written.append(Output.of(shown(request.output), data))
    if not request.publish:
        return written, False
    place = open_place(config.prediction.where)
    if request.output_name:
        named = publish_named(place, facts.model, request.output_name, files[format_of(request.output_name)])
        return [*written, named], False
    moment = request.moment or datetime.now(UTC)
    publication = Publication(
        facts=facts,
        night=str(moment.astimezone(ZoneInfo(config.prediction.schedule.timezone)).date()),
        moment=moment,
        files={kind: files[kind] for kind in config.prediction.formats},
        details={name: details[name] for name in ("rows", "first_day", "last_day", "data_version", "input_sha256")},
    )
    pointer = pointer_name(facts.stage, config.prediction.stage) if request.is_usual(config) else None
    outputs, latest = publish(place, publication, pointer=pointer)
    if pointer is None:
        log.info("The pointer to the newest stays: this run has a version, an input or a revision of its own")
    try:
        remove_old(place, facts.model, Kept(config.prediction.keep_days, config.prediction.keep_runs))
    except RetrainError as error:
        log.warning("Old predictions were not deleted, the next run goes on: %s", error)
    return [*written, *outputs.values()], latest


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
    given = with_newer_history(rows, dataset.train, trained_until)
    if newer := len(given) - len(rows):
        log.info("Giving %d rows of history after %s to the model", newer, trained_until.date())
    try:
        result = model.predict(given)
    except (ValueError, MlflowException) as error:
        # the model's own sentence names store, date or column; MLflow's, of an older version with types, the column
        raise BadInputError(f"{version.model} version {version.version} cannot forecast this input: {error}") from error
    return pd.DataFrame(result)


def prediction_table(rows: pd.DataFrame, forecast: pd.DataFrame, version: int) -> pd.DataFrame:
    """Return the table that is written: one row for each row to forecast, in their order, Sales in whole cents.

    :raises RuntimeError: when the model returned another number of rows than it was asked for
    :raises BadInputError: when the model returned something that is no number
    """
    asked = rows[rows["Sales"].isna()] if "Sales" in rows else rows
    if len(asked) != len(forecast):
        raise RuntimeError(f"asked for {len(asked)} predictions, the model returned {len(forecast)}")
    table = forecast[["Store", "Date", "Sales"]].reset_index(drop=True)
    if nothing := int((~np.isfinite(table["Sales"].to_numpy())).sum()):
        raise BadInputError(f"version {version} returned no number for {nothing} of {len(table)} rows")
    table["Date"] = pd.to_datetime(table["Date"]).dt.date
    table["Sales"] = table["Sales"].round(2)
    table["ModelVersion"] = version
    if "Id" in asked:
        table.insert(0, "Id", asked["Id"].array)
    return table
