"""Rows that should be there and are not: late days, days and entities that are missing, rows nobody predicted.

Late actuals are no error of the version. They are told by name, and what has arrived is judged meanwhile.
"""

import numpy as np
import pandas as pd

from include.retraining.config.monitor import CoverageConfig
from include.retraining.monitor.rows import DAY, DELIVERED, PREDICTION, counting
from include.retraining.monitor.scores import in_window
from include.retraining.monitor.signals import Signal, percent
from include.retraining.protocol import RetrainedModel

REFERENCE_DAYS = 28
"""An entity is expected when it had rows in so many days before."""
WEEK = 7
LEAST_ROWS = 10
"""Rows without time from which on a share of them says something."""
SHOWN = 5

_ONE_DAY = pd.Timedelta(days=1)


def arrived_by_day(live: pd.DataFrame, model: RetrainedModel) -> pd.Series:
    """Return for each predicted day, in order, the share of its predicted rows whose actual is there."""
    predicted = live[live[PREDICTION].notna()]
    there: pd.Series = predicted[model.columns.actual].notna().groupby(predicted[DAY]).mean().sort_index()
    return there


def newest_delivered(live: pd.DataFrame, model: RetrainedModel, config: CoverageConfig) -> pd.Timestamp | None:
    """Return the newest day that counts as delivered, None where there is none."""
    there = arrived_by_day(live, model)
    delivered = there.index[there >= config.complete]
    return pd.Timestamp(delivered.max()) if len(delivered) else None


def judge_coverage(
    live: pd.DataFrame,
    actuals: pd.DataFrame,
    model: RetrainedModel,
    config: CoverageConfig,
    *,
    today: pd.Timestamp,
    end: pd.Timestamp | None,
) -> list[Signal]:
    """Return signals of late days, missing days, missing entities and rows that were not predicted.

    Without time: of rows whose actual is overdue, and, where it is known when rows came true, of those that were not
    predicted. No row is missed that came true before anything was predicted.

    :param live: rows of ``rows.live_rows``
    :param actuals: of ``rows.actuals_once``, at least the newest five weeks; without time with ``DeliveredAt``
    :param today: the night that judges
    :param end: of ``newest_delivered``; None where nothing was
    """
    if model.columns.time is None:
        return [*_overdue(live, model, config, today), *_unpredicted_since(live, actuals, model, config, today)]
    late = _late(live, config, today, end)
    if end is None:
        return [late]
    return [
        late,
        _missing_days(live, model, config, end),
        *_missing_entities(actuals, model, config, end),
        *_unpredicted(in_window(live, end, WEEK), model, config, end),
    ]


def missing_entities(
    actuals: pd.DataFrame, model: RetrainedModel, config: CoverageConfig, end: pd.Timestamp
) -> list[object]:
    """Return the entities that had rows before and have none on the newest delivered days, in order."""
    entity, time = model.columns.entity, model.columns.time
    if entity is None or time is None:
        return []
    days = pd.to_datetime(actuals[time])
    delivered = np.sort(days[days <= end].unique())
    if len(delivered) <= config.missing_days:
        return []
    first = pd.Timestamp(delivered[-config.missing_days])
    before = actuals[(days < first) & (days >= first - REFERENCE_DAYS * _ONE_DAY)][entity].unique()
    now = actuals[(days >= first) & (days <= end)][entity].unique()
    return list(np.setdiff1d(before, now))


def _late(live: pd.DataFrame, config: CoverageConfig, today: pd.Timestamp, end: pd.Timestamp | None) -> Signal:
    due = today - config.delay_days * _ONE_DAY
    predicted = live.loc[live[PREDICTION].notna() & (live[DAY] <= due), DAY].drop_duplicates()
    absent = predicted if end is None else predicted[predicted > end]
    behind = float((due - absent.min()).days + 1) if len(absent) else 0.0
    if end is None:
        sentence = f"No actuals have arrived by {today:%Y-%m-%d}."
    elif behind:
        sentence = f"Actuals have arrived up to {end:%Y-%m-%d}; {behind:.0f} days are overdue on {today:%Y-%m-%d}."
    else:
        sentence = f"Actuals have arrived up to {end:%Y-%m-%d}, as they are due."
    late = behind >= config.late_days
    return Signal("late", "", today, None, late, not late, behind, config.late_days, sentence)


def _missing_days(live: pd.DataFrame, model: RetrainedModel, config: CoverageConfig, end: pd.Timestamp) -> Signal:
    there = arrived_by_day(live, model)
    there = there[(there.index <= end) & (there.index > end - REFERENCE_DAYS * _ONE_DAY)]
    absent = there.index[there < config.complete]
    names = _names([f"{day:%Y-%m-%d}" for day in absent])
    sentence = f"Days without actuals, though later ones have arrived: {names}."
    return _gone("days", end, REFERENCE_DAYS, len(absent), sentence if len(absent) else "No day is missing.")


def _missing_entities(
    actuals: pd.DataFrame, model: RetrainedModel, config: CoverageConfig, end: pd.Timestamp
) -> list[Signal]:
    entity = model.columns.entity
    if entity is None:
        return []
    gone = missing_entities(actuals, model, config, end)
    sentence = f"Missing for {config.missing_days} delivered days up to {end:%Y-%m-%d}: {entity} {_names(gone)}."
    told = sentence if gone else f"Every {entity} has rows."
    return [_gone(entity, end, config.missing_days, len(gone), told)]


def _unpredicted(rows: pd.DataFrame, model: RetrainedModel, config: CoverageConfig, end: pd.Timestamp) -> list[Signal]:
    predicted = rows.loc[counting(rows, model), PREDICTION].notna()
    return [_predicted(float(predicted.mean()), config, end)] if len(predicted) else []


def _predicted(share: float, config: CoverageConfig, end: pd.Timestamp) -> Signal:
    sentence = f"{percent(share)} of the rows that came true in the week up to {end:%Y-%m-%d} had been predicted."
    return _missing("predictions", end, share, config.predicted, sentence)


def _overdue(live: pd.DataFrame, model: RetrainedModel, config: CoverageConfig, today: pd.Timestamp) -> list[Signal]:
    """Judge the rows without time that were predicted in the newest week whose actuals are due."""
    due = today - config.wait_days * _ONE_DAY
    rows = in_window(live, due, WEEK)
    if len(rows) < LEAST_ROWS:
        return []
    share = float(rows[model.columns.actual].notna().mean())
    sentence = (
        f"{percent(share)} of the {len(rows)} rows that were last predicted in the week up to {due:%Y-%m-%d} have come"
        f" true, which all of them should after {config.wait_days} days."
    )
    return [_missing("actuals", due, share, config.complete, sentence)]


def _unpredicted_since(
    live: pd.DataFrame, actuals: pd.DataFrame, model: RetrainedModel, config: CoverageConfig, today: pd.Timestamp
) -> list[Signal]:
    """Judge the rows without time that came true in the last week, where it is known which these are.

    What was to be predicted before the first prediction is not missed: it came true within ``wait_days`` of that.
    """
    if DELIVERED not in actuals or live.empty:
        return []
    delivered = pd.to_datetime(actuals[DELIVERED]).dt.normalize()
    first = max(today - WEEK * _ONE_DAY, live[DAY].min() + config.wait_days * _ONE_DAY)
    rows = actuals[(delivered > first) & (delivered <= today)]
    rows = rows[counting(rows, model)]
    if len(rows) < LEAST_ROWS:
        return []
    keys = list(model.columns.keys)
    predicted = pd.MultiIndex.from_frame(rows[keys]).isin(pd.MultiIndex.from_frame(live[keys]))
    return [_predicted(float(predicted.mean()), config, today)]


def _gone(subject: str, end: pd.Timestamp, window: int, count: int, sentence: str) -> Signal:
    """Return the signal of things none of which should be missing."""
    return Signal("missing", subject, end, window, count > 0, count == 0, float(count), 1.0, sentence)


def _missing(subject: str, end: pd.Timestamp, share: float, least: float, sentence: str) -> Signal:
    """Return the signal of a share of rows that should be there."""
    return Signal("missing", subject, end, WEEK, share < least, share >= least, 1 - share, 1 - least, sentence)


def _names(values: list[object] | list[str]) -> str:
    shown = ", ".join(str(value) for value in values[:SHOWN])
    return f"{shown} and {len(values) - SHOWN} more" if len(values) > SHOWN else shown
