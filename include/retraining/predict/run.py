"""The MLflow run that records a prediction: which version predicted which rows of which data."""

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME

from include.lifecycle.registry.client import ensure_experiment
from include.lifecycle.untrusted_text import shorten, storable
from include.retraining.config.model import ModelConfig
from include.retraining.predict.formats import Facts
from include.retraining.protocol import Columns
from include.retraining.run import MAX_TAG, SOURCE, Origin, RetrainRun

log = logging.getLogger(__name__)

KEY_TAG = "prediction.key"
ARTIFACT = "predictions/predictions.parquet"
"""Where a prediction's run keeps the predictions: keys, predictions and what ``formats.STAMPED`` names."""
KNOWN = "predictions/known.parquet"
"""Where it keeps which of them had come true by then, only if there are any."""
KNOWN_METRIC = "rows_known"


@dataclass(frozen=True)
class InputFacts:
    """The rows that were predicted, and the history they were predicted from.

    :param name: file in the data registry, or the one that somebody named
    :param sha256: digest of that file
    :param rows: how many rows it has
    :param data: tags that name the data registry's revision
    """

    name: str
    sha256: str
    rows: int
    data: Mapping[str, str]


def open_run(client: MlflowClient, config: ModelConfig, origin: Origin, facts: Facts, given: InputFacts) -> RetrainRun:
    """Return the run of a prediction, newly created unless an earlier try of this Airflow run predicted the same.

    One run never says two things: a retry that finds another version or other data opens another run, and what the
    earlier try had left unfinished is ended.

    :param origin: who asked; outside of Airflow each prediction has a run of its own
    :param facts: what predicts
    :param given: what is predicted
    """
    experiment_id = ensure_experiment(client, config.lifecycle.predictions_experiment)
    same = {
        "model": facts.model,
        "model.version": str(facts.version),
        "model.stage": facts.stage,
        "input.sha256": given.sha256,
        "data.version": given.data["data.version"],
    }
    found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{origin.key}'") if origin.dag_run_id else []
    for earlier in found:
        if same.items() <= earlier.data.tags.items():
            log.info("Going on with the MLflow run %s of an earlier try", earlier.info.run_id)
            return RetrainRun(client, earlier)
        if earlier.info.status == "RUNNING":
            client.set_terminated(earlier.info.run_id, "KILLED")
    tags = {
        KEY_TAG: origin.key,
        MLFLOW_RUN_NAME: shorten(f"{facts.stage} version {facts.version}, {facts.run}", 250),
        MLFLOW_SOURCE_NAME: SOURCE,
    }
    return RetrainRun(client, client.create_run(experiment_id, tags=tags | same | origin.as_tags() | dict(given.data)))


def record(
    run: RetrainRun,
    facts: Facts,
    given: InputFacts,
    table: pd.DataFrame,
    digests: Mapping[str, str],
    columns: Columns,
) -> None:
    """Record a prediction before it is written anywhere else.

    :param digests: SHA-256 of the predictions by format
    """
    days = sorted(table[columns.time].astype(str).unique()) if columns.time is not None else []
    entities = {"entities": table[columns.entity].nunique()} if columns.entity is not None else {}
    run.log(
        params={
            "model": facts.model,
            "version": facts.version,
            "stage": facts.stage,
            "first_day": days[0] if days else "",
            "last_day": days[-1] if days else "",
        },
        metrics={
            "rows": len(table),
            "days": len(days),
            **entities,
            "prediction_total": round(float(table[columns.actual].sum()), 2),
        },
        tags={
            "forecast.origin": str(facts.origin or ""),
            "prediction.run": facts.run,
            "input": shorten(storable(given.name), MAX_TAG),
        }
        | {f"prediction.sha256.{kind}": digest for kind, digest in digests.items()},
    )
    run.client.log_inputs(run.run_id, [_dataset(given)])


def keep(run: RetrainRun, parquet: bytes, known: pd.DataFrame | None = None) -> None:
    """Keep the predictions with their run.

    :param parquet: the file
    :param known: of ``known_already``
    """
    folder, _, name = ARTIFACT.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="retrain-predicted-") as scratch:
        (Path(scratch) / name).write_bytes(parquet)
        if known is not None and len(known):
            known.to_parquet(Path(scratch) / KNOWN.rpartition("/")[2], index=False)
        run.upload(Path(scratch), folder)
    run.log(metrics={KNOWN_METRIC: len(known) if known is not None else 0})


def known_already(asked: pd.DataFrame, known: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the keys of rows without time whose actual is known when they are predicted: that is no prediction.

    With time a row's day tells as much.

    :param asked: rows to predict
    :param known: rows with their actual
    """
    keys = list(columns.keys)
    if columns.time is not None:
        return asked[keys].iloc[:0]
    there = pd.MultiIndex.from_frame(asked[keys]).isin(pd.MultiIndex.from_frame(known[keys]))
    return asked.loc[there, keys].reset_index(drop=True)


def _dataset(given: InputFacts) -> DatasetInput:
    """Return the input as MLflow lists it, by the digest of its file: nothing is read again."""
    source = {"tags": {"file": storable(given.name), "sha256": given.sha256, **given.data}}
    dataset = Dataset(
        name="rows to predict",
        digest=given.sha256[:36],
        source_type="code",
        source=json.dumps(source, sort_keys=True),
        profile=json.dumps({"num_rows": given.rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "prediction")])
