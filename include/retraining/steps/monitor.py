"""Step ``monitor``: what was predicted beside what came true, and whether that asks for a retrain.

Everything is computed from what is stored now: the predictions that the nights kept in MLflow, the actuals as the data
registry delivers them, and the alarms of the night before. A night that is judged again replaces itself.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import connect, ensure_experiment
from include.lifecycle.registry.versions import in_production
from include.lifecycle.untrusted_text import one_line
from include.retraining.config.model import ModelConfig
from include.retraining.config.monitor import DASHBOARD
from include.retraining.monitor.alarms import AlarmState, Step, close_request, step
from include.retraining.monitor.arrivals import arrivals_of, with_arrivals
from include.retraining.monitor.page import Dashboard, render_dashboard
from include.retraining.monitor.rollback import propose_rollback
from include.retraining.monitor.rows import DELIVERED, NAIVE, ORIGIN, PREDICTION, VERSION, Publication, join_actuals
from include.retraining.monitor.scores import METRIC, WINDOW, Scores, compute_scores
from include.retraining.monitor.signals import Signal
from include.retraining.monitor.watch import Known, watch
from include.retraining.pipeline import ConfigT, DataT, Pipeline
from include.retraining.protocol import Columns, RetrainedModel
from include.retraining.run import KEY_TAG, Origin, RetrainRun, write_json
from include.retraining.steps.published import finished, read_predictions
from include.retraining.steps.pull import data_tags, pull_data

log = logging.getLogger(__name__)

DAY_TAG, ASKED_TAG, ALARMS_TAG = "monitor.day", "monitor.asked", "monitor.alarms"
STATE, FIGURES, SEEN = "state.json", "figures.json", "seen.parquet"
FOLDER, _, PAGE = DASHBOARD.rpartition("/")
_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Night:
    """What a night found.

    :param seen: without time: which rows had come true, and when
    """

    day: pd.Timestamp
    live: int | None
    signals: Sequence[Signal]
    taken: Step
    scores: Scores
    published: Sequence[Publication]
    validation: dict[int, float]
    proposal: str
    seen: pd.DataFrame | None = None


def monitor(
    model: Pipeline[ConfigT, Any],
    config: ConfigT,
    origin: Origin | None = None,
    *,
    revision: str | None = None,
    day: pd.Timestamp | None = None,
    moment: datetime | None = None,
) -> dict[str, Any]:
    """Judge one night.

    :param revision: data revision of the actuals; by default the configured one
    :param day: the night; by default the day of ``moment`` or, with ``monitor.clock: data``, the one after the newest
        actual
    :param moment: when the run was due, with a timezone; by default now
    :return: model, version, day, headline, alarms, what was asked for, and the rollback that is proposed
    """
    started, client = time.monotonic(), connect()
    registry, origin = ModelRegistry(client), origin or Origin()
    with TemporaryDirectory(prefix="retrain-monitor-") as folder:
        data, pulled = pull_data(model, config, revision or config.data.revision, Path(folder) / "pulled")
        day = day or night_of(config, model.newest(data), moment)
        run = open_run(client, config, origin, day)
        with run.step(FOLDER):
            predictions, published = read_predictions(client, config, model.columns, day, Path(folder))
            night = judge(model, config, registry, data, predictions, published, day)
            keep(run, model, config, registry, night, Path(folder) / FOLDER)
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


def night_of(config: ModelConfig, newest: pd.Timestamp | None, moment: datetime | None) -> pd.Timestamp:
    """Return the day of the night that is judged, without a timezone."""
    if config.monitor.clock == "data" and newest is not None:
        return newest + _ONE_DAY
    at = (moment or datetime.now(UTC)).astimezone(ZoneInfo(config.lifecycle.schedule.timezone))
    return pd.Timestamp(at.date())


def open_run(client: MlflowClient, config: ModelConfig, origin: Origin, day: pd.Timestamp) -> RetrainRun:
    """Return the MLflow run of a night, the one of an earlier try of the same Airflow run where there is one."""
    name, experiment = f"{day:%Y-%m-%d}", config.lifecycle.monitoring_experiment
    same, more = {KEY_TAG: origin.key, DAY_TAG: name}, {"model": config.lifecycle.model, **origin.as_tags()}
    return RetrainRun.with_tags(client, experiment, same, name, more)


def judge(
    model: Pipeline[ConfigT, DataT],
    config: ConfigT,
    registry: ModelRegistry,
    data: DataT,
    predictions: pd.DataFrame,
    published: list[Publication],
    day: pd.Timestamp,
) -> Night:
    """Return what a night finds."""
    name, settings, columns = config.lifecycle.model, config.monitor, model.columns
    state = registry.ledger(name).read()
    earlier = nights_before(registry.client, config, day)
    actuals = delivered(model.rows(data), columns, registry.client, earlier, day)
    if predictions.empty:
        predictions = no_predictions(actuals, columns)
    predictions = predictions.assign(**{NAIVE: model.naive(predictions, data)})
    validation = {
        version: float(said.what.value)
        for version, said in state.statements.validations.items()
        if said.what.metric == model.metric.name
    }
    live = published[-1].version if published else max(in_production(registry.catalog.stages(name)), default=None)
    trained = trained_until(registry, name, live)
    signals = watch(
        predictions, actuals, Known(published, validation, trained), model, settings, today=day,
        schedule=model.next_rows(data),
    )  # fmt: skip
    before = state_before(registry.client, config, earlier, day)
    due = settings.coverage.due_days(timed=columns.time is not None)
    taken = step(before, signals, settings, today=day, due_days=due)
    scores = compute_scores(predictions, actuals, published, model, windows=settings.windows, validation=validation)
    former = [publication.version for publication in published if publication.version != live]
    proposal = ""
    if live is not None and former:
        joined = join_actuals(predictions, actuals, columns)
        proposal = propose_rollback(joined, model, settings.rollback, live=live, former=former[-1])
    seen = arrivals_of(actuals, columns) if columns.time is None else None
    return Night(day, live, signals, taken, scores, published, validation, proposal, seen)


def no_predictions(rows: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the table of no predictions at all, with the types of the rows' keys."""
    none = rows[list(columns.keys)].iloc[:0].reset_index(drop=True)
    kinds = {PREDICTION: "float64", VERSION: "int64", ORIGIN: "datetime64[ns]"}
    return none.assign(**{name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def trained_until(registry: ModelRegistry, model: str, version: int | None) -> pd.Timestamp:
    """Return the newest day that a version was trained on; NaT where nothing tells."""
    found = registry.version(model, version).tags.get(tag.TRAINING_END) if version is not None else None
    return pd.Timestamp(found or "NaT")


def nights_before(client: MlflowClient, config: ModelConfig, day: pd.Timestamp) -> list[Run]:
    """Return the runs of the nights before one, the newest last."""
    experiment = ensure_experiment(client, config.lifecycle.monitoring_experiment)
    runs = [
        run
        for run in finished(client, experiment, config.lifecycle.model)
        if run.data.tags.get(DAY_TAG, "9") < f"{day:%Y-%m-%d}"
    ]
    return sorted(runs, key=lambda run: (run.data.tags[DAY_TAG], run.info.start_time))


def delivered(
    rows: pd.DataFrame, columns: Columns, client: MlflowClient, earlier: list[Run], day: pd.Timestamp
) -> pd.DataFrame:
    """Return rows that came true, without time with the night that saw them first unless they say themselves.

    :param earlier: of ``nights_before``
    """
    if columns.time is not None or DELIVERED in rows:
        return rows
    before = None
    with TemporaryDirectory() as folder:
        for run_id in [run.info.run_id for run in earlier[-1:]]:
            if any(item.path == f"{FOLDER}/{SEEN}" for item in client.list_artifacts(run_id, FOLDER)):
                before = pd.read_parquet(client.download_artifacts(run_id, f"{FOLDER}/{SEEN}", folder))
    return with_arrivals(rows, before, columns, day)


def state_before(client: MlflowClient, config: ModelConfig, earlier: list[Run], day: pd.Timestamp) -> AlarmState:
    """Return the alarms as the night before left them; a request is closed once a version was registered since.

    :param earlier: of ``nights_before``
    """
    if not earlier:
        return AlarmState()
    with TemporaryDirectory() as folder:
        path = client.download_artifacts(earlier[-1].info.run_id, f"{FOLDER}/{STATE}", folder)
        state = AlarmState.from_json(Path(path).read_text(encoding="utf-8"))
    asking = [run.info.start_time for run in earlier if run.data.tags.get(ASKED_TAG)]
    if state.request is not None and state.request.closed is None and asking:
        name = config.lifecycle.model
        made = [version.creation_timestamp for version in client.search_model_versions(f"name = '{name}'")]
        if any(at > max(asking) for at in made):
            return close_request(state, today=day)
    return state


def keep(
    run: RetrainRun,
    model: RetrainedModel,
    config: ModelConfig,
    registry: ModelRegistry,
    night: Night,
    folder: Path,
) -> None:
    """Log a night: alarms, figures, dashboard."""
    folder.mkdir()
    state, scores = night.taken.state, night.scores
    dashboard = Dashboard(
        model=config.lifecycle.model,
        made=datetime.now(UTC),
        metric=model.metric,
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
    if night.seen is not None:
        night.seen.to_parquet(folder / SEEN, compression="zstd", index=False)
    newest = scores.rolling[scores.rolling["Day"] == scores.rolling["Day"].max()]
    metrics = {
        f"live_{name}_{int(row[WINDOW])}": float(row[column])
        for _, row in newest.iterrows()
        for name, column in ((model.metric.name, METRIC), ("bias", "bias"), ("coverage", "coverage"))
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
