"""One night of monitoring: from stored predictions and delivered actuals to signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from include.retraining.config.monitor import MonitorConfig
from include.retraining.monitor.calendar import holidays, odd_days
from include.retraining.monitor.coverage import judge_coverage, newest_delivered
from include.retraining.monitor.distances import Watched
from include.retraining.monitor.drift import YEAR_DAYS, judge_drift, watch_inputs, watch_predictions
from include.retraining.monitor.live_error import judge_bias, judge_errors
from include.retraining.monitor.population import judge_population
from include.retraining.monitor.profiles import NO_DAYS
from include.retraining.monitor.rows import DAY, PREDICTION, Publication, actuals_once, join_actuals, live_rows
from include.retraining.monitor.signals import Signal
from include.retraining.protocol import RetrainedModel

COMMON_SHARE = 0.8
"""Share of the days that an entity has to be there, then and now, to tell of a change."""

_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Known:
    """What the monitoring knows of the version in Production.

    :param published: which version was in Production from when on
    :param validation: each version's figure on rows that it was not trained on
    :param trained_until: newest day that the version in Production was trained on, None where that is not known
    """

    published: Sequence[Publication]
    validation: Mapping[int, float]
    trained_until: pd.Timestamp | None


def watch(
    predictions: pd.DataFrame,
    actuals: pd.DataFrame,
    known: Known,
    model: RetrainedModel,
    config: MonitorConfig,
    *,
    today: pd.Timestamp,
    schedule: pd.DataFrame | None = None,
) -> list[Signal]:
    """Return the signals of a night, from everything that is stored now.

    :param predictions: stored predictions of at least the longest window
    :param actuals: delivered rows: the training window and what came after it
    :param today: day of the night, at 0:00
    :param schedule: rows to come, with the holidays; without it days before a holiday are known as such after it, and
        without time nothing is said of drift
    """
    columns = model.columns
    joined = join_actuals(predictions, actuals, columns)
    truth = actuals_once(actuals, columns)
    live = live_rows(joined, truth, columns, known.published)
    watched, odd = [], NO_DAYS
    if columns.time is not None:
        calendar = truth if schedule is None else pd.concat([truth, schedule], ignore_index=True)
        odd = odd_days(calendar, columns, config.holidays)
        if (end := newest_delivered(live, model, config.coverage)) is not None:
            common, forecasts = truth, live
            if columns.entity is not None:
                kept = _common(truth, model, config, end)
                common, forecasts = (rows[rows[columns.entity].isin(kept)] for rows in (truth, live))
            watched = watch_inputs(common, columns, config.drift, holidays(calendar, columns, config.holidays))
            ours = watch_predictions(forecasts[PREDICTION], forecasts[DAY], common, columns, config.drift, odd)
            watched += [ours] if ours else []
    found = judge_night(live, truth, watched, known, model, config, today=today, odd=odd)
    if columns.time is None and schedule is not None:
        found += judge_population(schedule, truth, columns, config, today=today)
    return found


def judge_night(
    live: pd.DataFrame,
    actuals: pd.DataFrame,
    watched: Sequence[Watched],
    known: Known,
    model: RetrainedModel,
    config: MonitorConfig,
    *,
    today: pd.Timestamp,
    odd: pd.DatetimeIndex,
) -> list[Signal]:
    """Return the signals of a night whose rows are joined and whose variables are counted.

    :param live: of ``rows.live_rows``
    :param actuals: of ``rows.actuals_once``
    :param watched: variables whose distribution is compared
    :param odd: of ``calendar.odd_days``
    """
    end = newest_delivered(live, model, config.coverage)
    found = judge_coverage(live, actuals, model, config.coverage, today=today, end=end)
    if end is None:
        return found
    found += judge_errors(live, model, known.validation, config, end=end, odd=odd)
    found += judge_bias(live, model, config, end=end, odd=odd)
    return found + judge_drift(watched, config.drift, end=end, trained_until=known.trained_until)


def _common(truth: pd.DataFrame, model: RetrainedModel, config: MonitorConfig, end: pd.Timestamp) -> list[object]:
    """Return the entities that were there all the while: those that had no data then say nothing of a change.

    Two years matter: the recent window's and the usual ones' are each compared with the year before.
    """
    columns = model.columns
    if columns.entity is None or columns.time is None:
        return []
    days, more = pd.to_datetime(truth[columns.time]), config.drift.slack_days + max(config.drift.windows)
    kept = set(truth[columns.entity].unique())
    for years in (1, 2):
        first, last = (end - shift * _ONE_DAY for shift in (years * YEAR_DAYS + more, (years - 1) * YEAR_DAYS))
        part = truth[(days > first) & (days <= last)]
        count = part.groupby(columns.entity)[columns.time].nunique()
        kept &= set(count.index[count >= COMMON_SHARE * count.max()]) if len(count) else kept
    return list(kept)
