"""Batch prediction: load one model version, predict, record which version predicted what, write files.

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
from typing import Any, Generic
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import connect
from include.lifecycle.registry.versions import VersionInfo
from include.lifecycle.tags import ARTIFACTS_DIGEST, TRAINING_END
from include.lifecycle.untrusted_text import text_digest
from include.retraining.config.model import ModelConfig
from include.retraining.files import destination
from include.retraining.output_names import Format, format_of, shown
from include.retraining.pipeline import ConfigT, DataT, Pipeline
from include.retraining.predict.formats import Facts, render, sha256, stamped
from include.retraining.predict.live import use_tags
from include.retraining.predict.places import copy_input, fetch_input, open_place
from include.retraining.predict.publish import Output, Publication, pointer_name, publish, publish_named
from include.retraining.predict.request import PredictionRequest
from include.retraining.predict.retention import remove_old
from include.retraining.predict.run import InputFacts, keep, known_already, open_run, record
from include.retraining.protocol import Columns, Values
from include.retraining.run import Origin
from include.retraining.steps.pull import data_tags, pull_data

log = logging.getLogger(__name__)

TOLD = ("rows", "first_day", "last_day", "data_version", "input_sha256")
"""What is beside published files of what a run found."""


@dataclass(frozen=True)
class Rows(Generic[DataT]):
    """Rows to predict, what is known by now, and what is recorded of both.

    :param asked: rows without the actual are predicted; those with it are newer than what the data registry knows
    """

    asked: pd.DataFrame
    data: DataT
    given: InputFacts


def predict(
    model: Pipeline[ConfigT, Any], config: ConfigT, request: PredictionRequest, origin: Origin | None = None
) -> dict[str, Any]:
    """Predict rows with one model version.

    What the data registry knows by now goes into the model together with the rows, so that a version predicts from
    today however long ago it was trained.

    :param origin: who asked; a retry of the same Airflow run goes on with its MLflow run and makes the same bytes
    :return: model, version, stage, rows, days, outputs with their digests, the id of the MLflow run
    :raises BadInputError: when there is no such version, a row cannot be predicted, or an output cannot be written
    """
    request.check()
    origin = origin or Origin()
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    version, stage = find_version(registry, config, request)
    rows = read_rows(model, config, request)
    asked, known = parted(rows.asked, model.rows(rows.data), model.columns.actual)
    started = time.monotonic()
    values = predict_with(registry, version, model, asked, known)
    log.info("Predicted %d rows with version %d in %.1f s", len(asked), version.version, time.monotonic() - started)
    known_until = forecast_origin(version, known, model.columns)
    facts = Facts(version.model, version.version, stage, known_until, run_name(origin, rows.given))
    table = stamped(prediction_table(asked, values, model, version.version), facts)
    files = {kind: render(table, kind, facts) for kind in wanted(config, request)}
    digests: dict[str, str] = {kind: sha256(data) for kind, data in files.items()}
    repeated = known_already(asked, known, model.columns)
    if len(repeated):
        log.warning("Of %d of these rows it is known what became of them: they do not count as live", len(repeated))
    run = open_run(client, config, origin, facts, rows.given)
    with run.step("predict"):
        record(run, facts, rows.given, table, digests, model.columns)
        run.log(tags={ARTIFACTS_DIGEST: version.tags.get(ARTIFACTS_DIGEST, "none")})
        keep(run, files["parquet"], repeated)
        result = described(facts, rows.given, table, model.columns)
        written, pointer = write_outputs(config, request, facts, files, result)
        latest = pointer is not None
        use = use_tags(run.tags, request, config, pointer=pointer, now=datetime.now(UTC))
        run.log(tags={"outputs": ", ".join(item.name for item in written), "latest": str(latest).lower(), **use})
    run.finish()
    outputs = [{"name": item.name, "sha256": item.sha256, "bytes": item.size} for item in written]
    if request.publish:
        result["place"] = shown(config.prediction.where)
    more = {"output": written[0].name, "outputs": outputs, "latest": latest, "prediction_run_id": run.run_id}
    return {**result, **more}


def described(facts: Facts, given: InputFacts, table: pd.DataFrame, columns: Columns) -> dict[str, Any]:
    """Return what a reader of the predictions is told of them, as JSON takes it."""
    time = columns.time
    days = {"first_day": str(table[time].min()), "last_day": str(table[time].max())} if time is not None else {}
    return {
        "model": facts.model,
        "version": facts.version,
        "stage": facts.stage,
        "forecast_origin": str(facts.origin) if facts.origin is not None else None,
        "run": facts.run,
        "rows": len(table),
        **days,
        "data_version": given.data["data.version"],
        "input": given.name,
        "input_sha256": given.sha256,
    }


def find_version(registry: ModelRegistry, config: ModelConfig, request: PredictionRequest) -> tuple[VersionInfo, str]:
    """Return the version that predicts and the stage in which it is now: asked for once, it holds for the whole run.

    :raises VersionNotFoundError: names the versions that exist, or those in other stages
    """
    model = config.lifecycle.model
    if request.version is not None:
        version = registry.version(model, request.version)
        return version, version.stage
    stage = request.stage or config.prediction.stage
    return registry.resolve(model, stage), stage


def read_rows(model: Pipeline[ConfigT, DataT], config: ConfigT, request: PredictionRequest) -> Rows[DataT]:
    """Return the rows to predict, those of the input, else the data registry's, and its newest data.

    :raises BadInputError: when there are none, or one of the files cannot be read
    """
    with tempfile.TemporaryDirectory(prefix="retrain-predict-") as folder:
        own, path, name = Path(folder) / "input", None, None
        own.mkdir()
        if request.input_file is not None:
            path, name = copy_input(request.input_file, own), str(request.input_file)
        elif request.input_name:
            path, name = fetch_input(config.prediction.inputs_place, request.input_name, own), request.input_name
        revision = request.revision or config.data.revision
        data, pulled = pull_data(model, config, revision, Path(folder) / "pulled")
        if path is not None:
            asked = model.read_asked(path)
        elif (found := model.asked(data)) is not None:
            asked, path, name = found, pulled.files["future"].path, pulled.files["future"].repo_path
        else:
            raise BadInputError("the data registry has no file of rows to predict: name one with --input FILE")
        given = InputFacts(str(name), sha256(path.read_bytes()), len(asked), data_tags(pulled))
        return Rows(asked, data, given)


def parted(asked: pd.DataFrame, known: pd.DataFrame, actual: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to predict, and all that are known: an input may bring some of its own."""
    if actual not in asked:
        return asked, known
    there = asked[actual].notna()
    if not there.any():
        return asked.drop(columns=actual), known
    return asked[~there].drop(columns=actual), pd.concat([known, asked[there]], ignore_index=True)


def forecast_origin(version: VersionInfo, known: pd.DataFrame, columns: Columns) -> date | None:
    """Return the newest day that is known to the model: its own, or of the rows; None for a model without time."""
    if columns.time is None:
        return None
    days = [pd.Timestamp(known[columns.time].max())]
    if trained := version.tags.get(TRAINING_END):
        days.append(pd.Timestamp(trained))
    return max(days).date()


def run_name(origin: Origin, given: InputFacts) -> str:
    """Return what the files call this run: Airflow's run, else data and input. A repetition has the same name."""
    if origin.dag_run_id:
        return origin.dag_run_id
    return f"by-hand-{text_digest(given.data['data.version'] + given.sha256)[:12]}"


def wanted(config: ModelConfig, request: PredictionRequest) -> list[Format]:
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
    config: ModelConfig,
    request: PredictionRequest,
    facts: Facts,
    files: Mapping[Format, bytes],
    details: Mapping[str, Any],
) -> tuple[list[Output], str | None]:
    """Write what was asked for and return the files, and the pointer that names them, None where none does.

    :raises ReportedError: when one cannot be written
    """
    written: list[Output] = []
    if request.output is not None:
        data = files[format_of(str(request.output))]
        destination.write(request.output, data)
        written.append(Output.of(shown(request.output), data))
    if not request.publish:
        return written, None
    place = open_place(config.prediction.where)
    if request.output_name:
        named = publish_named(place, facts.model, request.output_name, files[format_of(request.output_name)])
        return [*written, named], None
    moment = request.moment or datetime.now(UTC)
    publication = Publication(
        facts=facts,
        night=str(moment.astimezone(ZoneInfo(config.prediction.schedule.timezone)).date()),
        moment=moment,
        files={kind: files[kind] for kind in config.prediction.formats},
        details={name: details[name] for name in TOLD if name in details},
    )
    pointer = pointer_name(facts.stage, config.prediction.stage) if request.is_usual(config) else None
    outputs, latest = publish(place, publication, pointer=pointer)
    if pointer is None:
        log.info("The pointer to the newest stays: this run has a version, an input or a revision of its own")
    try:
        remove_old(place, facts.model, days=config.prediction.keep_days, runs=config.prediction.keep_runs)
    except ReportedError as error:
        log.warning("Old predictions were not deleted, the next run goes on: %s", error)
    return [*written, *outputs.values()], pointer if latest else None


def predict_with(
    registry: ModelRegistry,
    version: VersionInfo,
    model: Pipeline[Any, Any],
    asked: pd.DataFrame,
    known: pd.DataFrame,
) -> Values:
    """Predict rows with a registered version.

    :param asked: rows without the actual
    :return: (rows,) in the order of ``asked``
    :raises ArtifactsChangedError: when the artifact store does not hold what was registered
    :raises BadInputError: when a row cannot be predicted, with the model's own sentence
    """
    with tempfile.TemporaryDirectory(prefix="retrain-model-") as folder:
        # the files that were checked are the files that predict
        loaded = model.load(registry.download(version, Path(folder)))
        try:
            return np.asarray(loaded.served.predict(asked, known), dtype=np.float64)
        except (ValueError, MlflowException) as error:
            # the model's own sentence names row and column; MLflow's, of a version with types, the column
            raise BadInputError(
                f"{version.model} version {version.version} cannot predict these rows: {error}"
            ) from error


def prediction_table(asked: pd.DataFrame, values: Values, model: Pipeline[Any, Any], version: int) -> pd.DataFrame:
    """Return the table that is written: one row for each row to predict, in their order.

    :raises RuntimeError: when the model returned another number of rows than it was asked for
    :raises BadInputError: when the model returned something that is no number
    """
    if len(asked) != len(values):
        raise RuntimeError(f"asked for {len(asked)} predictions, the model returned {len(values)}")
    if nothing := int((~np.isfinite(values)).sum()):
        raise BadInputError(f"version {version} returned no number for {nothing} of {len(values)} rows")
    columns = model.columns
    names = [*(name for name in columns.kept if name in asked), *columns.keys]
    table = asked[names].reset_index(drop=True)
    if columns.time is not None:
        table[columns.time] = pd.to_datetime(table[columns.time]).dt.date
    table[columns.actual] = values if model.decimals is None else values.round(model.decimals)
    table["ModelVersion"] = version
    return table
