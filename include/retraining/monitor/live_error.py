"""Whether live predictions are clearly worse than the version's validation, or clearly too high or too low.

Rows of a day go wrong together, so the day is the unit: intervals draw days, tests compare days. A single odd day makes
an interval wide instead of an alarm, and days around known holidays are left out. A difference that is sure but small
does not matter: limits are minimum effects (Murphy & Myors, 1999, "Testing the hypothesis that treatments have
negligible effects", Journal of Applied Psychology 84:234-248).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import pandas as pd
from scipy import stats

from include.retraining.monitor.config import MonitorConfig
from include.retraining.monitor.profiles import as_text
from include.retraining.monitor.rows import DAY, PREDICTION, scored
from include.retraining.monitor.scores import bias_of, expected_figure, in_window
from include.retraining.monitor.signals import Signal, holm, percent
from include.retraining.protocol import RetrainedModel, Values
from include.retraining.review.bootstrap import bootstrap

LEAST_UNITS = 4
"""Days (or rows, without time) from which on something is judged."""


@dataclass(frozen=True)
class _Tested:
    """One bias: of what, over which window, with its one-sided p-value against the limit."""

    subject: str
    window: int
    bias: float
    limit: float
    p_value: float
    days: int


def judge_errors(
    live: pd.DataFrame,
    model: RetrainedModel,
    validation: Mapping[int, float],
    config: MonitorConfig,
    *,
    end: pd.Timestamp | None,
    today: pd.Timestamp,
    odd: pd.DatetimeIndex,
) -> list[Signal]:
    """Return signals of the metric over each window.

    :param live: rows of ``rows.live_rows``
    :param validation: each version's figure on rows that it was not trained on
    :param end: newest delivered day; None without time, then all rows are one window
    :param today: night that judges
    :param odd: days that are no evidence
    """
    rows = _evidence(live, model, odd)
    limits, metric, found = config.error, model.metric, []
    for window in limits.windows if end is not None else limits.windows[:1]:
        part = _window(rows, end, window)
        units = _units(part)
        expected = expected_figure(part, model, validation)
        if not _enough(units, end, window, config) or not np.isfinite(expected) or not expected:
            continue
        actual, prediction = _values(part, model)
        value = float(metric.score(actual, prediction))
        if not np.isfinite(value):
            continue
        limit = expected + limits.worse_by * abs(expected) * (1 if metric.lower_is_better else -1)
        best, bad = value, False
        if metric.gain(value, limit) < 0:  # no draws are needed where even the figure itself is not worse
            interval = bootstrap(
                partial(_weighted, model, actual, prediction),
                [units],
                replicates=limits.replicates,
                seed=limits.seed,
                confidence=2 * limits.confidence - 1,
            )
            best = interval.low if metric.lower_is_better else interval.high
            bad = bool(metric.gain(best, limit) < 0)
        worse = abs(value - expected) / abs(expected)
        direction = "worse" if metric.gain(value, expected) < 0 else "better"
        sentence = (
            f"{metric.title} over {_span(end, window)} is {metric.text(value)}, {percent(worse)} {direction} than the"
            f" version's own validation ({metric.text(expected)})"
        )
        sentence += f"; by days it is surely beyond {metric.text(limit)}." if bad else "."
        found.append(
            Signal(
                "error",
                "",
                end or today,
                _shown(end, window),
                bad,
                metric.gain(value, limit) > 0,
                value,
                limit,
                sentence,
            )
        )
    return found


def judge_bias(
    live: pd.DataFrame,
    model: RetrainedModel,
    config: MonitorConfig,
    *,
    end: pd.Timestamp | None,
    today: pd.Timestamp,
    odd: pd.DatetimeIndex,
) -> list[Signal]:
    """Return signals of the bias over each window, overall and by slice; each family shares an error level.

    :param live: rows of ``rows.live_rows``
    :param end: newest delivered day; None without time
    :param today: night that judges
    :param odd: days that are no evidence
    """
    rows, limits = _evidence(live, model, odd), config.bias
    tested: list[_Tested] = []
    for window in limits.windows if end is not None else limits.windows[:1]:
        part = _window(rows, end, window)
        if not _enough(_units(part), end, window, config):
            continue
        tested.append(_test(part, model, "", window, limits.limit))
        for column, label in model.columns.slices.items():
            if column not in part:
                continue
            for value, group in part.groupby(as_text(part[column])):
                units = _units(group)
                if (
                    len(group) >= limits.slice_rows * len(part)
                    and len(group) < len(part)
                    and units.max() + 1 >= LEAST_UNITS
                ):
                    tested.append(_test(group, model, f"{label} {value}", window, limits.slice_limit))
    overall, parts = [one for one in tested if not one.subject], [one for one in tested if one.subject]
    sure = [
        *zip(overall, holm([one.p_value for one in overall], limits.alpha), strict=True),
        *zip(parts, holm([one.p_value for one in parts], limits.slice_alpha), strict=True),
    ]
    return [
        Signal(
            "bias",
            one.subject,
            end or today,
            _shown(end, one.window),
            bad,
            abs(one.bias) < one.limit,
            one.bias,
            one.limit,
            _bias_sentence(one, end),
        )
        for one, bad in sure
    ]


def _test(rows: pd.DataFrame, model: RetrainedModel, subject: str, window: int, limit: float) -> _Tested:
    """Test whether predictions are too high or too low by more than ``limit``.

    A ratio estimator's t-test: under a bias of exactly the limit the days' prediction - (1 + limit) actual has mean 0.
    """
    actual, prediction = _values(rows, model)
    units = _units(rows)
    count = int(units.max()) + 1
    true = np.bincount(units, weights=actual, minlength=count)
    predicted = np.bincount(units, weights=prediction, minlength=count)
    bias = bias_of(actual, prediction)
    sign = 1.0 if bias > 0 else -1.0
    beyond = sign * (predicted - (1 + sign * limit) * true)
    if beyond.mean() <= 0 or not np.isfinite(bias):
        p_value = 1.0
    elif np.ptp(beyond) == 0:
        p_value = 0.0
    else:
        p_value = float(stats.ttest_1samp(beyond, 0.0, alternative="greater").pvalue)
    return _Tested(subject, window, bias, limit, p_value, count)


def _weighted(model: RetrainedModel, actual: Values, prediction: Values, weight: Values) -> float:
    return float(model.metric.score(actual, prediction, weight))


def _bias_sentence(one: _Tested, end: pd.Timestamp | None) -> str:
    what = f"Predictions for {one.subject}" if one.subject else "Predictions"
    direction = "high" if one.bias > 0 else "low"
    return (
        f"{what} over {_span(end, one.window)} are too {direction} by {percent(one.bias, 1)}"
        f" ({one.days} {'days' if end is not None else 'rows'}; limit {percent(one.limit)})."
    )


def _evidence(live: pd.DataFrame, model: RetrainedModel, odd: pd.DatetimeIndex) -> pd.DataFrame:
    return live[scored(live, model) & ~live[DAY].isin(odd).to_numpy()]


def _window(rows: pd.DataFrame, end: pd.Timestamp | None, window: int) -> pd.DataFrame:
    return rows if end is None else in_window(rows, end, window)


def _units(rows: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the day of each row as a code; without time each row is its own."""
    if rows[DAY].isna().all():
        return np.arange(len(rows))
    return np.asarray(pd.factorize(rows[DAY], sort=True)[0])


def _enough(
    units: np.ndarray[tuple[int], np.dtype[np.intp]], end: pd.Timestamp | None, window: int, config: MonitorConfig
) -> bool:
    least = LEAST_UNITS if end is None else max(LEAST_UNITS, ceil(config.least_days * window))
    return bool(len(units)) and int(units.max()) + 1 >= least


def _values(rows: pd.DataFrame, model: RetrainedModel) -> tuple[Values, Values]:
    return rows[model.columns.actual].to_numpy(dtype=np.float64), rows[PREDICTION].to_numpy(dtype=np.float64)


def _span(end: pd.Timestamp | None, window: int) -> str:
    return "all rows" if end is None else f"{window} days up to {end:%Y-%m-%d}"


def _shown(end: pd.Timestamp | None, window: int) -> int | None:
    return None if end is None else window
