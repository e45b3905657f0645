"""Features of the published schedule: open days, promos, holidays and closures around each day.

The arrays end with the block that is forecast: in use nothing after it is known. What is not known counts
as "farther than the cap", in training and in use alike.
"""

import numpy as np
import numpy.typing as npt

from .panel import Panel
from .stores import Flags, FloatArray

WEEK = 7
NEAR = 14
HOLIDAY_CAP = 21
CLOSURE_DAYS = 5
"""Closed runs of this length and more are closures (refurbishment), not weekends and holidays."""
CLOSURE_CAP_AFTER = 150
CLOSURE_CAP_BEFORE = 21

AROUND = (
    ("open", 0),
    ("closed", NEAR),
    ("promo_run", NEAR),
    ("promo", NEAR),
    ("promo", 0),
    ("state_holiday", HOLIDAY_CAP),
    ("state_holiday", 0),
    ("school", HOLIDAY_CAP),
    ("school_run", HOLIDAY_CAP),
    ("school", 0),
)
"""What is told of the days around: how far the nearest such day is, at most so far; 0: how many are within a week."""
REACH = max(WEEK, *(cap for _, cap in AROUND))
"""Days before a block of which ``AROUND`` tells anything."""


def _sides(name: str, cap: int) -> tuple[str, str]:
    return (f"{name}_since", f"{name}_until") if cap else (f"{name}_before", f"{name}_after")


SCHEDULE_NAMES = (
    *("promo", "state_holiday", "school_holiday"),
    *(name for told in AROUND for name in _sides(*told)),
    *("closure_since", "closure_until", "closure_length"),
)


def schedule_features(panel: Panel, block: slice) -> dict[str, FloatArray]:
    """Return the features named ``SCHEDULE_NAMES``.

    :param panel: up to the last day of the block, not further
    :param block: the columns to return
    :return: each of the shape (stores, days of the block)
    """
    near = slice(max(block.start - REACH, 0), None)
    there = slice(block.start - near.start, block.stop - near.start)
    opened, promo, holiday, school = (
        days[:, near] for days in (panel.open, panel.promo, panel.state_holiday, panel.school_holiday)
    )
    closure, length = closures(panel.open == 0)  # of which the last may be years ago
    features: dict[str, npt.NDArray[np.generic]] = {
        "promo": np.maximum(promo, 0),
        "state_holiday": np.maximum(holiday, 0),
        "school_holiday": np.maximum(school, 0),
        "closure_since": days_since(closure, CLOSURE_CAP_AFTER)[:, near],
        "closure_until": days_until(closure, CLOSURE_CAP_BEFORE)[:, near],
        "closure_length": length[:, near],
    }
    flags = {"open": opened == 1, "closed": opened == 0, "promo": promo == 1, "promo_run": promo != 1}
    flags |= {"state_holiday": holiday > 0, "school": school == 1, "school_run": school != 1}
    for name, cap in AROUND:
        before, after = _sides(name, cap)
        features[before] = days_since(flags[name], cap) if cap else count_before(flags[name])
        features[after] = days_until(flags[name], cap) if cap else count_after(flags[name])
    return {name: np.asarray(values[:, there], dtype=np.float64) for name, values in features.items()}


def days_since(flags: Flags, cap: int) -> npt.NDArray[np.int32]:
    """Return the days since each row's last flagged day (0 on it), at most ``cap``."""
    position = np.arange(flags.shape[1], dtype=np.int32)
    last = np.maximum.accumulate(np.where(flags, position, np.int32(-cap)), axis=1)
    return np.minimum(position - last, cap)


def days_until(flags: Flags, cap: int) -> npt.NDArray[np.int32]:
    """Return the days until each row's next flagged day (0 on it), at most ``cap``."""
    return days_since(flags[:, ::-1], cap)[:, ::-1]


def count_before(flags: Flags, days: int = WEEK) -> npt.NDArray[np.intp]:
    """Return how many of the ``days`` days before each day are flagged."""
    total = np.cumsum(flags, axis=1)
    total = np.concatenate([np.zeros((len(flags), days + 1), dtype=total.dtype), total], axis=1)
    counts: npt.NDArray[np.intp] = (total[:, days:-1] - total[:, : -days - 1]).astype(np.intp)
    return counts


def count_after(flags: Flags, days: int = WEEK) -> npt.NDArray[np.intp]:
    """Return how many of the ``days`` days after each day are flagged, as far as they are known."""
    return count_before(flags[:, ::-1], days)[:, ::-1]


def closures(closed: Flags) -> tuple[Flags, FloatArray]:
    """Find long closed runs.

    :param closed: (stores, days)
    :return: which days lie in a closure; for every day the length of the last closure that ended before it
        or holds it, as far as it has gone by then (NaN: there was none)
    """
    days = closed.shape[1]
    position = np.arange(days, dtype=np.int32)
    start = np.maximum.accumulate(np.where(closed, np.int32(-1), position), axis=1)  # last day that was not closed
    so_far = np.where(closed, position - start, np.int32(0))
    last_open = np.maximum.accumulate(np.where(closed[:, ::-1], np.int32(-1), position), axis=1)[:, ::-1]
    next_open = days - 1 - last_open  # behind the last day where there is none
    inside = closed & (next_open - start - 1 >= CLOSURE_DAYS)
    last = np.maximum.accumulate(np.where(inside, position, np.int32(-1)), axis=1)
    length = np.take_along_axis(so_far, np.maximum(last, 0), axis=1).astype(np.float64)
    return inside, np.where(last >= 0, length, np.nan)
