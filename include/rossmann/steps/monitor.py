"""Step ``monitor``: what was predicted beside what came true, and whether that asks for a retrain.

Everything is computed from what is stored now: the predictions that the nights kept in MLflow, the actuals as the data
registry delivers them, and the alarms of the night before. A night that is judged again replaces itself.
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME

from include.lifecycle import tags as tag
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.text import one_line
from include.lifecycle.versions import in_production, pages
from include.retraining.monitor.alarms import AlarmState, Step, close_request, step
from include.retraining.monitor.config import DASHBOARD
from include.retraining.monitor.page import Dashboard, render_dashboard
from include.retraining.monitor.rollback import proposes_rollback
from include.retraining.monitor.rows import NAIVE, ORIGIN, PREDICTION, VERSION, Publication, join_actuals
from include.retraining.monitor.scores import METRIC, WINDOW, Scores, compute_scores
from include.retraining.monitor.signals import Signal
from include.retraining.monitor.watch import Known, watch
from include.rossmann.config import RossmannConfig
from include.rossmann.dataset import Dataset
from include.rossmann.forecaster import Panel
from include.rossmann.metrics import naive_forecast
from include.rossmann.model import HORIZON_DAYS, MODEL, described, next_rows
from include.rossmann.prediction_run import ARTIFACT
from include.rossmann.steps.pull import data_tags, pull_dataset
from include.rossmann.tracking import Origin, RetrainRun, connect, ensure_experiment, fetch, write_json

log = logging.getLogger(__name__)

DAY_TAG, ASKED_TAG, ALARMS_TAG = "monitor.day", "monitor.asked", "monitor.alarms"
STATE, FIGURES = "state.json", "figures.json"
FOLDER, _, PAGE = DASHBOARD.rpartition("/")
MORE_DAYS = 14
"""Forecast origins that are read beside the longest window."""
_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Night:
    """What a night found."""

    day: pd.Timestamp
    live: int | None
    signals: Sequence[Signal]
    taken: Step
    scores: Scores
    published: Sequence[Publication]
    validation: dict[int, float]
    proposal: str


def monitor(
    config: RossmannConfig,
    origin: Origin | None = None,
    *,
    revision: str | None = None,
    day: pd.Timestamp | None = None,
    moment: datetime | None = None,
) -> dict[str, Any]:
    """Judge one night.

    :param config: the configuration
    :param origin: who asked
    :param revision: data revision of the actuals; by default the configured one
    :param day: the night; by default the day of ``moment`` or, with ``monitor.clock: data``, the one after the newest
        actual
    :param moment: when the run was due, with a timezone; by default now
    :return: model, version, day, headline, alarms, what was asked for, and the rollback that is proposed
    """
    started, client = time.monotonic(), connect()
    registry, origin = ModelRegistry(client), origin or Origin()
    with TemporaryDirectory(prefix="rossmann-monitor-") as folder:
        dataset, pulled = pull_dataset(config, revision or config.data.revision, Path(folder) / "pulled")
        day = day or night_of(config, dataset, moment)
        run = open_run(client, config, origin, day)
        with run.step(FOLDER):
            predictions, published = read_predictions(client, config, day, Path(folder))
            night = judge(config, registry, client, dataset, predictions, published, day)
            keep(run, config, registry, night, Path(folder) / FOLDER)
            run.log(tags=data_tags(pulled))
        run.finish()
    note_alarms(registry, config.lifecycle.model, night)
    asked = night.taken.asked
    log.info("Judged %s in %.1f s: %s", night.day.date(), time.monotonic() - started, headline(night))
    return {
        "run_id": run.run_id,
        "model": config.lifecycle.model,
        "version": night.live,
        "day": f"{night.day:%Y-%m-%d}",
        "headline": headline(night),
        "monitor": {
            "model": config.lifecycle.model,
            "version": night.live or 0,
            "day": f"{night.day:%Y-%m-%d}",
            "raised": [[name, night.taken.state.alarms[name].kind, night.taken.state.alarms[name].sentence]
                       for name in night.taken.raised],
            "asked": asked.text if asked is not None else "",
            "rollback": night.proposal,
        },
    }  # fmt: skip


def night_of(config: RossmannConfig, dataset: Dataset, moment: datetime | None) -> pd.Timestamp:
    """Return the day of the night that is judged, without a timezone."""
    if config.monitor.clock == "data":
        return dataset.end + _ONE_DAY
    at = (moment or datetime.now(UTC)).astimezone(ZoneInfo(config.lifecycle.schedule.timezone))
    return pd.Timestamp(at.date())


def open_run(client: MlflowClient, config: RossmannConfig, origin: Origin, day: pd.Timestamp) -> RetrainRun:
    """Return the MLflow run of a night, the one of an earlier try of the same Airflow run where there is one."""
    experiment = ensure_experiment(client, config.lifecycle.monitoring_experiment)
    tags = {
        "retrain.key": origin.key,
        DAY_TAG: f"{day:%Y-%m-%d}",
        "model": config.lifecycle.model,
        MLFLOW_RUN_NAME: f"{day:%Y-%m-%d}",
        MLFLOW_SOURCE_NAME: "include.rossmann",
    } | origin.as_tags()
    same = f"tags.`retrain.key` = '{origin.key}' and tags.`{DAY_TAG}` = '{day:%Y-%m-%d}'"
    if origin.dag_run_id and (found := client.search_runs([experiment], same, max_results=1)):
        return RetrainRun(client, found[0].info.run_id)
    return RetrainRun(client, client.create_run(experiment, tags=tags).info.run_id)


def read_predictions(
    client: MlflowClient, config: RossmannConfig, day: pd.Timestamp, scratch: Path
) -> tuple[pd.DataFrame, list[Publication]]:
    """Return what the nights predicted, and which version was published from when on.

    A version is published by predicting as the one in Production: what consumers got counts, not what was meant.

    :return: keys, ``Prediction``, ``ModelVersion``, ``ForecastOrigin``; publications
    """
    experiment = ensure_experiment(client, config.lifecycle.predictions_experiment)
    oldest = day - (config.monitor.longest + MORE_DAYS) * _ONE_DAY
    runs = [(_origin(run), run) for run in finished(client, experiment, config.lifecycle.model)]
    frames, published = [], list[Publication]()
    for origin, run in sorted(runs, key=lambda found: (found[0], found[1].info.start_time)):
        if not origin:
            continue
        since, version = pd.Timestamp(origin) + _ONE_DAY, int(run.data.tags["model.version"])
        # what a person predicted aside, with rows or a version of their own, reached no consumer
        live = run.data.tags.get("model.stage") == "Production" and run.data.tags.get("latest") == "true"
        if live and since < oldest:
            # what was predicted before is not read, and its rows count as nobody's
            published = [Publication(version, oldest)]
        elif live and (not published or published[-1].version != version):
            published.append(Publication(version, since))
        if oldest <= since <= day:
            frames.append(_predicted(client, run, scratch))
    if not frames:
        empty = {"Store": "int64", "Date": "datetime64[ns]", PREDICTION: "float64", VERSION: "int64",
                 ORIGIN: "datetime64[ns]"}  # fmt: skip
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in empty.items()}), published
    return pd.concat(frames, ignore_index=True), published


def finished(client: MlflowClient, experiment_id: str, model: str) -> Iterator[Run]:
    """Yield the finished runs of an experiment that are about a model."""
    ours = f"attributes.status = 'FINISHED' and tags.`model` = '{model}'"
    return pages(partial(client.search_runs, [experiment_id], ours))


def _origin(run: Run) -> str:
    """Return the forecast origin of a prediction, empty where it has none."""
    return str(run.data.tags.get("forecast.origin", ""))


def _predicted(client: MlflowClient, run: Run, scratch: Path) -> pd.DataFrame:
    folder = scratch / run.info.run_id
    folder.mkdir()
    table = pd.read_parquet(fetch(client, run.info.run_id, ARTIFACT, folder), columns=["Store", "Date", "Sales"])
    table = table.rename(columns={"Sales": PREDICTION}).assign(Date=pd.to_datetime(table["Date"]))
    table[VERSION] = int(run.data.tags["model.version"])
    table[ORIGIN] = pd.Timestamp(_origin(run))
    return table


def judge(
    config: RossmannConfig,
    registry: ModelRegistry,
    client: MlflowClient,
    dataset: Dataset,
    predictions: pd.DataFrame,
    published: list[Publication],
    day: pd.Timestamp,
) -> Night:
    """Return what a night finds."""
    model, settings = config.lifecycle.model, config.monitor
    state = registry.ledger(model).read()
    actuals = described(dataset.train, dataset.stores)
    predictions = with_naive(predictions, dataset)
    validation = {
        version: float(said.what.value)
        for version, said in state.statements.validations.items()
        if said.what.metric == MODEL.metric.name
    }
    live = published[-1].version if published else max(in_production(registry.catalog.stages(model)), default=None)
    trained = trained_until(registry, model, live)
    signals = watch(
        predictions, actuals, Known(published, validation, trained), MODEL, settings, today=day,
        schedule=next_rows(dataset),
    )  # fmt: skip
    before = state_before(client, config, day)
    taken = step(before, signals, settings, today=day)
    scores = compute_scores(predictions, actuals, published, MODEL, windows=settings.windows, validation=validation)
    former = [publication.version for publication in published if publication.version != live]
    proposed = None
    if live is not None and former:
        joined = join_actuals(predictions, actuals, MODEL.columns)
        proposed = proposes_rollback(joined, MODEL, settings.rollback, live=live, former=former[-1])
    return Night(day, live, signals, taken, scores, published, validation, proposed.sentence if proposed else "")


def with_naive(predictions: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Return predictions with the naive forecast of each row from the same origin."""
    if predictions.empty:
        return predictions.assign(**{NAIVE: np.nan})
    rows = dataset.train if dataset.future is None else pd.concat([dataset.train, dataset.future], ignore_index=True)
    panel = Panel.from_frames(rows.drop_duplicates(["Store", "Date"]), dataset.stores)
    naive = np.full(len(predictions), np.nan)
    origins = predictions[ORIGIN].to_numpy().astype("datetime64[D]")
    ahead = (predictions["Date"].to_numpy().astype("datetime64[D]") - origins).astype(np.int64) - 1
    store = np.searchsorted(panel.stores.store, predictions["Store"].to_numpy())
    for origin in np.unique(origins):
        days = int(min(HORIZON_DAYS, (panel.last_day - origin).astype(np.int64)))
        if days > 0:
            table = naive_forecast(panel, origin, days)
            inside = np.flatnonzero((origins == origin) & (ahead >= 0) & (ahead < days))
            naive[inside] = table[store[inside], ahead[inside]]
    return predictions.assign(**{NAIVE: naive})


def trained_until(registry: ModelRegistry, model: str, version: int | None) -> pd.Timestamp:
    """Return the newest day that a version was trained on; NaT where nothing tells."""
    found = registry.version(model, version).tags.get(tag.TRAINING_END) if version is not None else None
    return pd.Timestamp(found or "NaT")


def state_before(client: MlflowClient, config: RossmannConfig, day: pd.Timestamp) -> AlarmState:
    """Return the alarms as the night before left them; a request is closed once a version was registered since."""
    experiment = ensure_experiment(client, config.lifecycle.monitoring_experiment)
    runs = [
        run
        for run in finished(client, experiment, config.lifecycle.model)
        if run.data.tags.get(DAY_TAG, "9") < f"{day:%Y-%m-%d}"
    ]
    if not runs:
        return AlarmState()
    newest = max(runs, key=lambda run: (run.data.tags[DAY_TAG], run.info.start_time))
    with TemporaryDirectory() as folder:
        path = client.download_artifacts(newest.info.run_id, f"{FOLDER}/{STATE}", folder)
        state = AlarmState.from_json(Path(path).read_text(encoding="utf-8"))
    asking = [run.info.start_time for run in runs if run.data.tags.get(ASKED_TAG)]
    if state.request is not None and state.request.closed is None and asking:
        name = config.lifecycle.model
        made = [version.creation_timestamp for version in client.search_model_versions(f"name = '{name}'")]
        if any(at > max(asking) for at in made):
            return close_request(state, today=day)
    return state


def keep(run: RetrainRun, config: RossmannConfig, registry: ModelRegistry, night: Night, folder: Path) -> None:
    """Log a night: alarms, figures, dashboard."""
    folder.mkdir()
    state, scores = night.taken.state, night.scores
    dashboard = Dashboard(
        model=config.lifecycle.model,
        made=datetime.now(UTC),
        metric=MODEL.metric,
        live=night.live,
        gate=config.lifecycle.gate.threshold,
        scores=scores,
        published=night.published,
        validation=night.validation,
        signals=night.signals,
        state=state,
        proposal=night.proposal,
    )
    url = registry.version_url(config.lifecycle.model, night.live) if night.live else None
    links = {f"Version {night.live} in MLflow": url} if url else {}
    (folder / PAGE).write_text(render_dashboard(dashboard, links=links), encoding="utf-8")
    (folder / STATE).write_text(state.to_json() + "\n", encoding="utf-8")
    figures = {name: json.loads(getattr(scores, name).to_json(orient="records", date_format="iso"))
               for name in ("days", "rolling", "horizon", "slices")}  # fmt: skip
    write_json(folder / FIGURES, figures)
    newest = scores.rolling[scores.rolling["Day"] == scores.rolling["Day"].max()]
    metrics = {
        f"live_{name}_{int(row[WINDOW])}": float(row[column])
        for _, row in newest.iterrows()
        for name, column in ((MODEL.metric.name, METRIC), ("bias", "bias"), ("coverage", "coverage"))
        if np.isfinite(row[column])
    }
    asked = night.taken.asked
    run.log(
        metrics={**metrics, "alarms": len(state.raised)},
        tags={ALARMS_TAG: ", ".join(state.raised), ASKED_TAG: one_line(asked.text, 1000) if asked is not None else ""},
    )
    run.upload(folder, FOLDER)


def note_alarms(registry: ModelRegistry, model: str, night: Night) -> None:
    """Keep on the version in Production which alarms are raised about it."""
    if night.live is None:
        return
    text = one_line(night.taken.state.text, 1000)
    try:
        known = registry.version(model, night.live).tags.get(tag.MONITOR_ALARMS)
        if text and text != known:
            registry.client.set_model_version_tag(model, str(night.live), tag.MONITOR_ALARMS, text)
        elif not text and known is not None:
            registry.client.delete_model_version_tag(model, str(night.live), tag.MONITOR_ALARMS)
    except MlflowException as error:
        log.warning("The alarms are not on version %d: %s", night.live, error)


def headline(night: Night) -> str:
    """Return what a night found, one sentence."""
    raised, asked = night.taken.state.raised, night.taken.asked
    found = f"{len(raised)} alarm{'s' if len(raised) != 1 else ''}: {', '.join(raised)}" if raised else "No alarm"
    return f"{found}. A retrain is asked for: {asked.text}" if asked is not None else f"{found}."
