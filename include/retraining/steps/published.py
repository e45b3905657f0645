"""What was predicted, as MLflow keeps it, and which version was published from when on.

Moments are UTC, days are those of the schedule's timezone; the two are never compared with each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from include.lifecycle.registry.client import ensure_experiment
from include.lifecycle.registry.versions import pages
from include.retraining.config.model import ModelConfig
from include.retraining.monitor.rows import MADE, ORIGIN, PREDICTION, PUBLISHED, PUBLISHED_ON, VERSION, Publication
from include.retraining.predict.live import use_of, used_since
from include.retraining.predict.run import ARTIFACT, KNOWN, KNOWN_METRIC
from include.retraining.protocol import Columns
from include.retraining.run import RetrainRun

ORIGIN_TAG = "forecast.origin"
MORE_DAYS = 14
"""Days of predictions that are read beside the longest window."""

_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Recorded:
    """A prediction that the monitoring looks at.

    :param published: whether consumers got it
    :param made: when they did, else when it was made, UTC without a timezone
    :param day: the day of ``made`` in the schedule's timezone; NaT where the clock tells nothing of the rows' days
    :param since: first day that it answers for
    """

    run: Run
    version: int
    published: bool
    made: pd.Timestamp
    day: pd.Timestamp
    since: pd.Timestamp


def read_predictions(
    client: MlflowClient, config: ModelConfig, columns: Columns, day: pd.Timestamp, scratch: Path
) -> tuple[pd.DataFrame, list[Publication]]:
    """Return what was predicted up to a night, and which version was published from when on.

    A version is published when consumers get its predictions: what they got counts, not what was meant.

    :return: what ``rows.forecasts_once`` takes, empty where there is nothing; publications in their order
    """
    due = config.monitor.coverage.due_days(timed=columns.time is not None)
    oldest = day - (config.monitor.longest + due + MORE_DAYS) * _ONE_DAY
    found = [one for one in recorded(client, config, columns) if one.since <= day]
    frames = [_predicted(client, one, columns, scratch) for one in found if one.since >= oldest]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(), publications(found, oldest)


def recorded(client: MlflowClient, config: ModelConfig, columns: Columns) -> list[Recorded]:
    """Return the predictions that the monitoring looks at, in the order in which they were made."""
    experiment = ensure_experiment(client, config.lifecycle.predictions_experiment)
    found = [_recorded(run, config, columns) for run in finished(client, experiment, config.lifecycle.model)]
    return sorted((one for one in found if one is not None), key=lambda one: (one.made, one.run.info.run_id))


def publications(found: Sequence[Recorded], oldest: pd.Timestamp) -> list[Publication]:
    """Return which version was published from when on.

    :param found: in their order
    :param oldest: what was predicted before is not read, and its rows count as nobody's
    """
    order: list[Publication] = []
    for one in found:
        if not one.published:
            continue
        if one.since < oldest:
            order = [Publication(one.version, oldest)]
        elif not order or order[-1].version != one.version:
            order.append(Publication(one.version, max([one.since, *(last.since for last in order[-1:])])))
    return order


def finished(client: MlflowClient, experiment_id: str, model: str) -> Iterator[Run]:
    """Yield the finished runs of an experiment that are about a model."""
    ours = f"attributes.status = 'FINISHED' and tags.`model` = '{model}'"
    return pages(partial(client.search_runs, [experiment_id], ours))


def _recorded(run: Run, config: ModelConfig, columns: Columns) -> Recorded | None:
    """Return what a run recorded; None where it was made aside, or with time has no origin."""
    use, origin = use_of(run), run.data.tags.get(ORIGIN_TAG, "")
    if use == "aside" or (columns.time is not None and not origin):
        return None
    moment = used_since(run)
    made = pd.Timestamp(moment).tz_localize(None)
    day = since = pd.Timestamp(moment.astimezone(ZoneInfo(config.lifecycle.schedule.timezone)).date())
    if columns.time is not None:
        first = pd.Timestamp(origin) + _ONE_DAY
        day, since = (day, max(first, day)) if config.monitor.clock == "run" else (pd.Timestamp("NaT"), first)
    return Recorded(run, int(run.data.tags["model.version"]), use == "published", made, day, since)


def _predicted(client: MlflowClient, one: Recorded, columns: Columns, scratch: Path) -> pd.DataFrame:
    folder = scratch / one.run.info.run_id
    folder.mkdir()
    wanted = [*columns.keys, columns.actual]
    table = pd.read_parquet(RetrainRun(client, one.run).fetch(ARTIFACT, folder), columns=wanted)
    table = table.rename(columns={columns.actual: PREDICTION})
    table[VERSION], table[PUBLISHED], table[MADE], table[PUBLISHED_ON] = one.version, one.published, one.made, one.day
    table[ORIGIN] = pd.Timestamp(one.run.data.tags.get(ORIGIN_TAG) or "NaT")
    if columns.time is None:
        return _unknown(client, one, table, columns, folder)
    table[columns.time] = pd.to_datetime(table[columns.time])
    return table


def _unknown(client: MlflowClient, one: Recorded, table: pd.DataFrame, columns: Columns, folder: Path) -> pd.DataFrame:
    """Return the predictions of rows that had not come true by then."""
    if not one.run.data.metrics.get(KNOWN_METRIC):
        return table
    keys = list(columns.keys)
    known = pd.read_parquet(RetrainRun(client, one.run).fetch(KNOWN, folder))
    return table[~pd.MultiIndex.from_frame(table[keys]).isin(pd.MultiIndex.from_frame(known[keys]))]
