"""Step ``review``: what a person reads before deciding, made from the registered version and logged to its run."""

import hashlib
import json
import logging
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_SOURCE_NAME

from include.lifecycle.errors import BadInputError, GateFailedError
from include.lifecycle.ledger.reviewed import Reviewed, ReviewedItem
from include.lifecycle.ledger.statements import IN_AIRFLOW_ENV
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import connect
from include.lifecycle.registry.versions import VersionInfo
from include.lifecycle.stages import STAGING
from include.lifecycle.tags import ARTIFACTS_DIGEST
from include.lifecycle.views.review import QUICK_WORDS
from include.retraining.monitor.rows import PREDICTION
from include.retraining.pages.charts import render_chart
from include.retraining.pipeline import ConfigT, DataT, Pipeline
from include.retraining.protocol import Columns
from include.retraining.review.build import Reviewer, ReviewInput, VersionFolder
from include.retraining.review.page import render_page
from include.retraining.review.report import Review, Verdict
from include.retraining.review.scored import Scored
from include.retraining.run import RetrainRun, write_json
from include.retraining.steps.pull import DATA, SOURCE_FILE
from include.retraining.steps.validate import wanted_version

log = logging.getLogger(__name__)

PAGE, FIGURES = "review.html", "review.json"
DATASET = "unseen-rows"
SHOWN = ("gate", "better", "bias", "speed")
"""Items whose figures are metrics of the version as well."""
FACTS = {
    "Data version": "data.version",
    "Training ends": "training.end",
    "Code commit": "code.commit",
    "Airflow run": "airflow.run_id",
    "Note": "note",
}
"""Tags of every version that a reader of its review wants to know."""


def review(
    model: Pipeline[ConfigT, Any], config: ConfigT, *, run_id: str | None = None, version: int | None = None
) -> dict[str, Any]:
    """Review a version against the one in Production.

    :param run_id: MLflow run of the retrain: its version is reviewed
    :param version: model version; without either the newest in Staging
    :return: model, version, verdict, headline, and what the promotion ledger should know of it
    :raises GateFailedError: when the review holds the version back
    """
    started = time.monotonic()
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    info = wanted_version(registry, config.lifecycle.model, run_id, version, STAGING)
    live = registry.production(config.lifecycle.model)
    live = live if live is not None and live.version != info.version else None
    run = RetrainRun(client, info.run_id)
    with run.step("review") as scratch:
        kept = run.fetch(DATA, scratch)
        tags = {**run.tags, **info.tags}
        given = replace(
            input_of(model, config, registry, info, live, model.restore(kept), scratch),
            warnings=read_warnings(kept / SOURCE_FILE),
            known_warnings=warnings_of(client, live, scratch) if live is not None else (),
            facts={label: tags[key] for label, key in {**FACTS, **model.facts}.items() if tags.get(key)},
        )
        reviewer = Reviewer(given, config.review, scratch)
        made = reviewer.review()
        # people read the page, where that it is a try comes first; the ledger keeps what the review said
        shown = replace(made, headline=f"{QUICK_WORDS} {made.headline}") if info.quick else made
        page, place = log_page(run, shown, scratch / "review")
        log_figures(client, info, made, reviewer.scored, model.columns)
        statement = Reviewed(
            model=info.model,
            version=info.version,
            verdict=made.verdict.value,
            headline=made.headline,
            rows=made.rows,
            items=tuple(ReviewedItem(item.title, item.verdict.value, item.sentence) for item in made.items),
            page=page,
            artifact=(run.run_id, place),
            live=made.live,
            digest=info.tags.get(ARTIFACTS_DIGEST, ""),
        )
        if not os.environ.get(IN_AIRFLOW_ENV):
            registry.reviewed(statement)
        seconds = time.monotonic() - started
        log.info("Reviewed version %d in %.1f s: %s. %s", info.version, seconds, made.verdict, made.headline)
        printed = {
            "run_id": info.run_id,
            "model": info.model,
            "version": info.version,
            "verdict": str(made.verdict),
            "headline": made.headline,
            "page": f"runs:/{run.run_id}/{place}",
            "seconds": round(seconds, 1),
            "review": statement.to_dict(),
        }
        if made.verdict is Verdict.FAIL:
            held = "; ".join(f"{item.title}: {item.sentence}" for item in made.with_verdict(Verdict.FAIL))
            raise GateFailedError(
                f"version {info.version} of {info.model!r} is held back by its review, retrain required: {held}",
                printed,
            )
    run.finish()
    return printed


def input_of(
    model: Pipeline[ConfigT, DataT],
    config: ConfigT,
    registry: ModelRegistry,
    candidate: VersionInfo,
    live: VersionInfo | None,
    data: DataT,
    scratch: Path,
) -> ReviewInput:
    """Return what two versions are compared with: their artifacts as registered, and the rows of a retrain's data.

    :param live: the version that the candidate is compared with, None where there is none
    """

    def downloaded(info: VersionInfo, name: str) -> VersionFolder:
        return VersionFolder(info.version, registry.download(info, scratch / name))

    return ReviewInput(
        model=model,
        name=candidate.model,
        candidate=downloaded(candidate, "candidate"),
        live=downloaded(live, "live") if live is not None else None,
        frame=model.rows(data),
        asked=model.next_rows(data),
        threshold=config.lifecycle.gate.threshold,
    )


def read_warnings(source: Path) -> tuple[str, ...]:
    """Return what the checks of a retrain's data found odd; nothing where it was not kept."""
    content = json.loads(source.read_text(encoding="utf-8")) if source.exists() else {}
    return tuple(str(text) for text in content.get("warnings", ()))


def warnings_of(client: MlflowClient, info: VersionInfo, scratch: Path) -> tuple[str, ...]:
    """Return what the checks of a version's own data found odd; nothing where that is not kept any more."""
    target = scratch / "live-source"
    target.mkdir()
    try:
        return read_warnings(RetrainRun(client, info.run_id).fetch(f"{DATA}/{SOURCE_FILE}", target))
    except (BadInputError, MlflowException) as error:
        log.warning("The data checks of version %d are not kept: %s", info.version, error)
        return ()


def log_page(run: RetrainRun, made: Review, folder: Path) -> tuple[str, str]:
    """Log the page, its figures and its pictures to the run.

    :return: SHA-256 of the page, and its path among the run's artifacts
    """
    folder.mkdir()
    page = render_page(made).encode()
    (folder / PAGE).write_bytes(page)
    write_json(folder / FIGURES, made.to_dict())
    for item in made.items:
        for chart in item.charts:
            (folder / f"{item.key}-{chart.name}.png").write_bytes(render_chart(chart))
    digest = hashlib.sha256(page).hexdigest()
    # a name of its own for each: what was shown once is never overwritten by a later try
    place = f"review/version-{made.version}-{digest[:12]}"
    run.upload(folder, place)
    return digest, f"{place}/{PAGE}"


def log_figures(client: MlflowClient, info: VersionInfo, made: Review, scored: Scored | None, columns: Columns) -> None:
    """Log the review's figures on the logged model and its run with the rows they are of, where MLflow's users look."""
    figures = {
        f"review_{item.key}_{name}": value
        for item in made.items
        if item.key in SHOWN
        for name, value in item.figures.items()
        if math.isfinite(value)
    }
    name_of_rows = digest = None
    if scored is not None:
        shown = scored.rows.assign(**{PREDICTION: scored.ours})
        shown = shown.astype(dict.fromkeys(shown.select_dtypes("integer"), "float64"))
        source = CodeDatasetSource({MLFLOW_SOURCE_NAME: f"runs:/{info.run_id}/{DATA}"})
        dataset = from_pandas(shown, source=source, name=DATASET, targets=columns.actual, predictions=PREDICTION)
        context = [InputTag(MLFLOW_DATASET_CONTEXT, "review")]
        client.log_inputs(info.run_id, [DatasetInput(dataset._to_mlflow_entity(), context)])
        name_of_rows, digest = dataset.name, dataset.digest
    model_id = info.source.removeprefix("models:/") if info.source.startswith("models:/m-") else None
    for name, value in figures.items():
        client.log_metric(info.run_id, name, value, dataset_name=name_of_rows, dataset_digest=digest, model_id=model_id)
