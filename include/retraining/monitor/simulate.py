"""Replays of the monitoring, night by night: how often quiet data alarm, and how soon a fault is noticed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from include.retraining.monitor.alarms import AlarmState, Request, close_request, step
from include.retraining.monitor.config import MonitorConfig
from include.retraining.monitor.rows import DELIVERED
from include.retraining.monitor.signals import Signal
from include.retraining.protocol import Columns, Mask

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


def replay(nights: Iterable[pd.Timestamp], judge: Judge, config: MonitorConfig, *, retrain_days: int = 2) -> Replay:
    """Judge night after night with one alarm state.

    :param judge: returns a night's signals
    :param retrain_days: after so many nights a retrain that was asked for has ended, and its request is closed
    """
    state, raised, requests, count = AlarmState(), [], [], 0
    for night in nights:
        count += 1
        request = state.request
        if request is not None and night >= pd.Timestamp(request.opened) + pd.Timedelta(days=retrain_days):
            state = close_request(state, today=night)
        taken = step(state, judge(night), config, today=night)
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


def scaled(rows: pd.DataFrame, mask: Mask, columns: Sequence[str], factor: float) -> pd.DataFrame:
    """Return rows whose columns are multiplied where the mask says so, e.g. actuals after a rise of prices."""
    changed = rows.copy()
    changed.loc[mask, list(columns)] = changed.loc[mask, list(columns)].to_numpy(dtype=np.float64) * factor
    return changed


def assigned(rows: pd.DataFrame, mask: Mask, **values: Any) -> pd.DataFrame:
    """Return rows whose columns have other values where the mask says so, e.g. the stores of a region closed."""
    changed = rows.copy()
    for column, value in values.items():
        changed.loc[mask, column] = value
    return changed


def without(
    rows: pd.DataFrame, entity: str, names: Iterable[object], days: pd.Series, since: pd.Timestamp
) -> pd.DataFrame:
    """Return rows without some entities from a day on."""
    return rows[~(rows[entity].isin(list(names)) & (days >= since))]


def delivered_late(
    rows: pd.DataFrame, columns: Columns, since: pd.Timestamp, days: int, usual: int = 1
) -> pd.DataFrame:
    """Return rows with ``DeliveredAt``: those from ``since`` on come ``days`` later than usual.

    :param usual: days after which a row is delivered
    """
    if columns.time is None:
        raise ValueError("rows without time are not delivered by days")
    day = pd.to_datetime(rows[columns.time])
    late = np.where(day >= since, usual + days, usual)
    return rows.assign(**{DELIVERED: day + pd.to_timedelta(late, unit="D")})
