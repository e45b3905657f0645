"""Replays of the monitoring, night by night: how often quiet data alarm, and how soon a fault is noticed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from include.retraining.config.monitor import MonitorConfig
from include.retraining.monitor.alarms import AlarmState, Request, close_request, step
from include.retraining.monitor.signals import Signal

Judge = Callable[[pd.Timestamp], Iterable[Signal]]
"""Returns the signals of a night."""


@dataclass(frozen=True)
class Replay:
    """What the monitoring did in a row of nights.

    :param nights: how many
    :param raised: night and name of each alarm that was raised, with its sentence
    :param requests: the retrains that were asked for
    """

    nights: int
    raised: tuple[tuple[pd.Timestamp, str, str], ...]
    requests: tuple[Request, ...]

    def after(self, day: pd.Timestamp) -> int | None:
        """Return how many days after ``day`` the first alarm was raised, None: never."""
        later = [(night - day).days for night, _, _ in self.raised if night >= day]
        return min(later) if later else None


def replay(
    nights: Iterable[pd.Timestamp], judge: Judge, config: MonitorConfig, *, retrain_days: int = 2, due_days: int = 1
) -> Replay:
    """Judge night after night with one alarm state.

    :param judge: returns a night's signals
    :param retrain_days: after so many nights a retrain that was asked for has ended, and its request is closed
    :param due_days: after how many days actuals are due
    """
    state, raised, requests, count = AlarmState(), [], [], 0
    for night in nights:
        count += 1
        request = state.request
        if request is not None and night >= pd.Timestamp(request.opened) + pd.Timedelta(days=retrain_days):
            state = close_request(state, today=night)
        taken = step(state, judge(night), config, today=night, due_days=due_days)
        state = taken.state
        raised += [(night, name, state.alarms[name].sentence) for name in taken.raised]
        requests += [taken.asked] if taken.asked else []
    return Replay(count, tuple(raised), tuple(requests))


def rate_per_year(events: int, nights: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return events in 12 months and the exact interval of a Poisson rate (Garwood, 1936, Biometrika 28:437-442).

    Replays of the same weeks are not independent: the interval tells the noise of the draws, not of the years.
    """
    years, tail = nights / 365.25, (1 - confidence) / 2
    low = float(stats.chi2.ppf(tail, 2 * events)) / 2 if events else 0.0
    high = float(stats.chi2.ppf(1 - tail, 2 * events + 2)) / 2
    return events / years, low / years, high / years
