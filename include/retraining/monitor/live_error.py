"""Whether live predictions are clearly worse than the version's validation, or clearly too high or too low.

Rows of a day go wrong together, so the day is the unit: intervals draw days, tests compare days. A single odd day makes
an interval wide instead of an alarm, and days around known holidays are left out. Of a model without time each row is
its own unit, and windows are of the days on which rows were predicted.

A difference that is sure but small does not matter: limits are minimum effects (Murphy & Myors, 1999, "Testing the
hypothesis that treatments have negligible effects", Journal of Applied Psychology 84:234-248).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import pandas as pd
from scipy import stats

from include.retraining.bootstrap import bootstrap
from include.retraining.config.monitor import MonitorConfig
from include.retraining.monitor.profiles import Positions, as_text
from include.retraining.monitor.rows import DAY, PREDICTION, scored
from include.retraining.monitor.scores import bias_of, expected_figure, in_window
from include.retraining.monitor.signals import Signal, holm, percent
from include.retraining.protocol import RetrainedModel, Values

LEAST_UNITS = 4
"""Days from which on something is judged."""


@dataclass(frozen=True)
class _Tested:
    """One bias: of what, over which window, with its one-sided p-value against the limit."""

    subject: str
    window: int
    bias: float
    limit: float
    p_value: float
    sentence: str

    def signal(self, end: pd.Timestamp, *, bad: bool) -> Signal:
        """Return what is told of it."""
        calm = abs(self.bias) < self.limit
        return Signal("bias", self.subject, end, self.window, bad, calm, self.bias, self.limit, self.sentence)


def judge_errors(
    live: pd.DataFrame,
    model: RetrainedModel,
    validation: Mapping[int, float],
    config: MonitorConfig,
    *,
    end: pd.Timestamp,
    odd: pd.DatetimeIndex,
) -> list[Signal]:
    """Return signals of the metric over each window.

    :param live: rows of ``rows.live_rows``
    :param validation: each version's figure on rows that it was not trained on
    :param end: newest delivered day
    :param odd: days that are no evidence
    """
    rows = _evidence(live, model, odd)
    limits, metric, found = config.error, model.metric, []
    for window in limits.windows:
        part = in_window(rows, end, window)
        units = _units(part, model)
        expected = expected_figure(part, model, validation)
        if _count(units) < _least(window, model, config) or not np.isfinite(expected) or not expected:
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
        by = "days" if model.columns.time is not None else "rows"
        sentence += f"; by {by} it is surely beyond {metric.text(limit)}." if bad else "."
        found.append(Signal("error", "", end, window, bad, metric.gain(value, limit) > 0, value, limit, sentence))
    return found


def judge_bias(
    live: pd.DataFrame, model: RetrainedModel, config: MonitorConfig, *, end: pd.Timestamp, odd: pd.DatetimeIndex
) -> list[Signal]:
    """Return signals of the bias over each window, overall and by slice; each family shares an error level.

    :param live: rows of ``rows.live_rows``
    :param end: newest delivered day
    :param odd: days that are no evidence
    """
    rows, limits = _evidence(live, model, odd), config.bias
    tested: list[_Tested] = []
    least = LEAST_UNITS if model.columns.time is not None else config.least_rows
    for window in limits.windows:
        part = in_window(rows, end, window)
        if _count(_units(part, model)) < _least(window, model, config):
            continue
        tested.append(_test(part, model, "", end, window, limits.limit))
        for column, label in model.columns.slices.items():
            if column not in part:
                continue
            for value, group in part.groupby(as_text(part[column])):
                enough = _count(_units(group, model)) >= least and len(group) >= limits.slice_rows * len(part)
                if enough and len(group) < len(part):
                    tested.append(_test(group, model, f"{label} {value}", end, window, limits.slice_limit))
    overall, parts = [one for one in tested if not one.subject], [one for one in tested if one.subject]
    sure = [
        *zip(overall, holm([one.p_value for one in overall], limits.alpha), strict=True),
        *zip(parts, holm([one.p_value for one in parts], limits.slice_alpha), strict=True),
    ]
    return [one.signal(end, bad=bad) for one, bad in sure]


def _test(
    rows: pd.DataFrame, model: RetrainedModel, subject: str, end: pd.Timestamp, window: int, limit: float
) -> _Tested:
    """Test whether predictions are too high or too low by more than ``limit``.

    A ratio estimator's t-test: under a bias of exactly the limit the days' prediction - (1 + limit) actual has mean 0.
    """
    actual, prediction = _values(rows, model)
    units = _units(rows, model)
    count = _count(units)
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
    what = f"Predictions for {subject}" if subject else "Predictions"
    sentence = (
        f"{what} over {_span(end, window)} are too {'high' if bias > 0 else 'low'} by {percent(bias, 1)}"
        f" ({count} {'days' if model.columns.time is not None else 'rows'}; limit {percent(limit)})."
    )
    return _Tested(subject, window, bias, limit, p_value, sentence)


def _weighted(model: RetrainedModel, actual: Values, prediction: Values, weight: Values) -> float:
    return float(model.metric.score(actual, prediction, weight))


def _evidence(live: pd.DataFrame, model: RetrainedModel, odd: pd.DatetimeIndex) -> pd.DataFrame:
    return live[scored(live, model) & ~live[DAY].isin(odd).to_numpy()]


def _units(rows: pd.DataFrame, model: RetrainedModel) -> Positions:
    """Return the day of each row as a code; without time each row is its own."""
    if model.columns.time is None:
        return np.arange(len(rows))
    return np.asarray(pd.factorize(rows[DAY], sort=True)[0])


def _count(units: Positions) -> int:
    return int(units.max()) + 1 if len(units) else 0


def _least(window: int, model: RetrainedModel, config: MonitorConfig) -> int:
    """Return how many units a window has to have."""
    if model.columns.time is None:
        return config.least_rows
    return max(LEAST_UNITS, ceil(config.least_days * window))


def _values(rows: pd.DataFrame, model: RetrainedModel) -> tuple[Values, Values]:
    return rows[model.columns.actual].to_numpy(dtype=np.float64), rows[PREDICTION].to_numpy(dtype=np.float64)


def _span(end: pd.Timestamp, window: int) -> str:
    return f"{window} days up to {end:%Y-%m-%d}"
