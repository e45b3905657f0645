"""Whether inputs or predictions are distributed otherwise than in the training window.

Rows of one day move together: 1,115 stores a day make every row-wise test significant and say nothing. So

1. each day of a recent window is compared with its like in the *nearest* of the equally long windows around the same
   weeks a year before (Easter and school holidays move); in the first year in the windows before it;
2. the distance is an effect size, a share of rows (see ``distances``);
3. it has to matter (a minimum), to be more than days differ by anyhow (Student's t-test of the days' differences, Holm
   over all variables and windows), and to be clearly larger than that of any window of the training time: an empirical
   reference, the idea of conformal anomaly detection with nearest neighbours (Laxhammar & Falkman, 2011, "Sequential
   conformal anomaly detection in trajectories", FUSION).

Known holidays are not compared: they fall on other days every year.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from include.retraining.config.monitor import DriftConfig
from include.retraining.monitor.distances import Watched, chance, day_shares
from include.retraining.monitor.profiles import NO_DAYS, Binning, Counts, Positions, Profile
from include.retraining.monitor.signals import Signal, holm, percent
from include.retraining.protocol import Columns

YEAR_DAYS = 364
"""A year of whole weeks: weekdays meet their like."""
STEP = 7
LEAST_REFERENCES = 4
"""Earlier windows from which on "larger than any of them" says something."""
LEAST_SEASONAL = 26
"""... of the same weeks of a year: half a year of them, else windows before count as well."""
PREDICTION_LABEL = "predictions"

_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Distance:
    """How far a window is from the nearest one that it may be compared with.

    :param effect: share of the rows that lie elsewhere, 0 to 1
    :param reference: last day of that window
    :param seasonal: whether it is of the same weeks of an earlier year
    :param p_value: that day-to-day variation explains it
    :param moved: bin that gained or lost most, and its shares then and now
    """

    effect: float
    reference: pd.Timestamp
    seasonal: bool
    p_value: float
    moved: tuple[int, float, float]


def watch_inputs(
    rows: pd.DataFrame, columns: Columns, config: DriftConfig, odd: pd.DatetimeIndex = NO_DAYS
) -> list[Watched]:
    """Return the inputs of a model with time as profiles.

    :param rows: delivered rows, the training window and what came after it
    :param odd: days that are not compared, of ``calendar.holidays``
    """
    if columns.time is None:
        return []
    found = []
    for column, label in columns.inputs.items():
        if column in rows:
            profile = Profile.of(label, rows[column], rows[columns.time], Binning.of(rows[column]), odd)
            found.append(Watched(profile, profile, config.effect))
    return found


def watch_predictions(
    predictions: pd.Series,
    days: pd.Series,
    actuals: pd.DataFrame,
    columns: Columns,
    config: DriftConfig,
    odd: pd.DatetimeIndex = NO_DAYS,
) -> Watched | None:
    """Return predictions as a profile beside the actuals', which are what they should be distributed like.

    :param predictions: (rows,) live predictions
    :param days: (rows,) their days
    :param actuals: of ``rows.actuals_once``
    :param odd: days that are not compared, of ``calendar.odd_days``
    """
    if columns.time is None:
        return None
    known = predictions.notna()
    if actuals.empty or not known.any():
        return None
    binning = Binning.of(actuals[columns.actual])
    now = Profile.of(PREDICTION_LABEL, predictions[known], days[known], binning, odd)
    then = Profile.of(PREDICTION_LABEL, actuals[columns.actual], actuals[columns.time], binning, odd)
    return Watched(now, then, config.prediction_effect)


def judge_drift(
    watched: Sequence[Watched], config: DriftConfig, *, end: pd.Timestamp, trained_until: pd.Timestamp | None
) -> list[Signal]:
    """Return a signal for each variable and window that can be compared.

    :param end: last day of the recent windows
    :param trained_until: newest day that the version in Production was trained on: what it knew is its reference
    """
    judged: list[tuple[Watched, int, Distance, float]] = []
    for one in watched:
        for window in config.windows:
            distance = compare(one, end, window, trained_until, config.slack_days)
            if distance is None:
                continue
            usual = usual_distances(one, end, window, trained_until, config.slack_days, seasonal=distance.seasonal)
            if len(usual) >= LEAST_REFERENCES:
                # a part of the year has not seen all that a year brings
                beyond = config.beyond * max(YEAR_DAYS / STEP / len(usual), 1.0)
                judged.append((one, window, distance, min(max(one.effect, beyond * float(np.max(usual))), 1.0)))
    sure = holm([distance.p_value for _, _, distance, _ in judged], config.alpha)
    found = []
    for (one, window, distance, limit), significant in zip(judged, sure, strict=True):
        effect, sentence = distance.effect, _sentence(one, end, window, distance, limit)
        bad = significant and effect > limit
        found.append(Signal("drift", one.now.label, end, window, bad, effect < limit, effect, limit, sentence))
    return found


def compare(
    watched: Watched, end: pd.Timestamp, window: int, trained_until: pd.Timestamp | None, slack: int
) -> Distance | None:
    """Return the distance of the window up to ``end`` from the nearest that it may be compared with.

    :return: None where there is nothing to compare with
    """
    now, then = watched.now, watched.then
    last = now.position(end)
    recent = now.window(last, window)
    if recent is None:
        return None
    lags, seasonal = _lags(then, end, window, trained_until, slack)
    effects = np.array([watched.distances(int(lag), window, np.array([last]))[0] for lag in lags])
    if not np.isfinite(effects).any():
        return None
    lag = int(lags[np.nanargmin(effects)])
    other = then.window(then.position(end) - lag, window)
    if other is None:
        return None
    share, past = day_shares(recent.sum(axis=0)), day_shares(other.sum(axis=0))
    moved = int(np.argmax(np.abs(share - past)))
    return Distance(
        effect=float(np.nanmin(effects)),
        reference=end - lag * _ONE_DAY,
        seasonal=seasonal,
        p_value=chance(recent, other, ordered=then.binning.ordered),
        moved=(moved, float(past[moved]), float(share[moved])),
    )


def usual_distances(
    watched: Watched, end: pd.Timestamp, window: int, trained_until: pd.Timestamp | None, slack: int, *, seasonal: bool
) -> Counts:
    """Return how far the windows of the year before were from theirs; none of them overlaps the recent one.

    :param seasonal: distances from the same weeks of an earlier year; where there are few of them, also from the
        windows before
    """
    then = watched.then
    newest = end - window * _ONE_DAY if trained_until is None else min(end - window * _ONE_DAY, trained_until)
    last = then.position(newest) - np.arange(0, YEAR_DAYS, STEP)
    last = last[(last >= 0) & (last < len(then.counts))]
    whole = last[last >= YEAR_DAYS + slack + window - 1]  # as much to choose from as the recent window has
    alike = _nearest([watched.distances(int(lag), window, whole, usual=True) for lag in YEAR_DAYS + _around(slack)])
    alike = alike[np.isfinite(alike)]
    if seasonal and len(alike) >= LEAST_SEASONAL:
        return alike
    before = _nearest([watched.distances(int(lag), window, last, usual=True) for lag in _before(window)])
    before = before[np.isfinite(before)]
    return np.concatenate([alike, before]) if seasonal else before


def _lags(
    then: Profile, end: pd.Timestamp, window: int, trained_until: pd.Timestamp | None, slack: int
) -> tuple[Positions, bool]:
    """Return how many days back the windows to compare with lie, and whether they are of the same weeks of a year."""
    known = max((end - trained_until).days, 0) if trained_until is not None else 0
    for years in (1, 2, 3):
        if years * YEAR_DAYS >= known and then.position(end) - years * YEAR_DAYS - slack >= window - 1:
            lags = years * YEAR_DAYS + _around(slack)
            return lags[lags >= known], True
    lags = _before(window)
    return lags[lags >= known], False


def _around(slack: int) -> Positions:
    weeks = slack // STEP
    return np.arange(-weeks, weeks + 1) * STEP


def _before(window: int) -> Positions:
    """Return how many days back the windows before end, whole weeks that do not overlap."""
    weeks = -(-window // STEP) * STEP
    return np.arange(1, YEAR_DAYS // weeks + 1) * weeks


def _nearest(effects: list[Counts]) -> Counts:
    """Return the smallest of several distances, element by element; NaN where none is known."""
    known = np.where(np.isfinite(effects), effects, np.inf).min(axis=0)
    return np.where(np.isfinite(known), known, np.nan)


def _sentence(one: Watched, end: pd.Timestamp, window: int, distance: Distance, limit: float) -> str:
    code, past, share = distance.moved
    against = "the same weeks a year before" if distance.seasonal else "the windows before"
    subject = one.now.label[:1].upper() + one.now.label[1:]
    return (
        f"{subject}: {percent(distance.effect, 1)} of the rows of the {window} days up to {end:%Y-%m-%d} lie elsewhere"
        f" than in {against} (up to {distance.reference:%Y-%m-%d}; limit {percent(limit, 1)}); most at"
        f" {one.now.binning.name(code)}: {percent(past, 1)} then, {percent(share, 1)} now."
    )
