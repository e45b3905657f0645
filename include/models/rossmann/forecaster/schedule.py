"""Features of the published schedule: open days, promos, holidays and closures around each day.

The arrays end with the block that is forecast: in use nothing after it is known. What is not known counts
as "farther than the cap", in training and in use alike. What runs from day to day is computed with a row for each day,
all stores at once, and returned as a view with a row for each store.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .panel import Panel
from .stores import Flags

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


def schedule_features(panel: Panel, block: slice) -> dict[str, npt.NDArray[np.generic]]:
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
    recent = slice(max(block.start - CLOSURE_CAP_AFTER, 0), None)
    features: dict[str, npt.NDArray[np.generic]] = {
        "promo": np.maximum(promo, 0),
        "state_holiday": np.maximum(holiday, 0),
        "school_holiday": np.maximum(school, 0),
        "closure_since": days_since(closure[:, recent], CLOSURE_CAP_AFTER)[:, near.start - recent.start :],
        "closure_until": days_until(closure[:, near], CLOSURE_CAP_BEFORE),
        "closure_length": np.where(length[:, near] > 0, length[:, near], np.nan),
    }
    flags = {"open": opened == 1, "closed": opened == 0, "promo": promo == 1, "promo_run": promo != 1}
    flags |= {"state_holiday": holiday > 0, "school": school == 1, "school_run": school != 1}
    for name, cap in AROUND:
        before, after = _sides(name, cap)
        features[before] = days_since(flags[name], cap) if cap else count_before(flags[name])
        features[after] = days_until(flags[name], cap) if cap else count_after(flags[name])
    return {name: values[:, there] for name, values in features.items()}


def days_since(flags: Flags, cap: int) -> npt.NDArray[np.int16]:
    """Return the days since each row's last flagged day (0 on it), at most ``cap``."""
    position = np.arange(flags.shape[1], dtype=np.int16)[:, None]
    last = so_far(np.maximum, np.where(by_day(flags), position, np.int16(-cap)))
    since: npt.NDArray[np.int16] = np.minimum(position - last, cap).T
    return since


def days_until(flags: Flags, cap: int) -> npt.NDArray[np.int16]:
    """Return the days until each row's next flagged day (0 on it), at most ``cap``."""
    return days_since(flags[:, ::-1], cap)[:, ::-1]


def count_before(flags: Flags, days: int = WEEK) -> npt.NDArray[np.int16]:
    """Return how many of the ``days`` days before each day are flagged."""
    total = np.cumsum(by_day(flags), axis=0, dtype=np.int16)
    total = np.concatenate([np.zeros((days + 1, len(flags)), np.int16), total])
    counts: npt.NDArray[np.int16] = (total[days:-1] - total[: -days - 1]).T
    return counts


def count_after(flags: Flags, days: int = WEEK) -> npt.NDArray[np.int16]:
    """Return how many of the ``days`` days after each day are flagged, as far as they are known."""
    return count_before(flags[:, ::-1], days)[:, ::-1]


def closures(closed: Flags) -> tuple[Flags, npt.NDArray[np.int16]]:
    """Find long closed runs.

    :param closed: (stores, days)
    :return: which days lie in a closure; for every day the length of the last closure that ended before it
        or holds it, as far as it has gone by then (0: there was none)
    """
    closed = by_day(closed)
    days = len(closed)
    position = np.arange(days, dtype=np.int16)[:, None]
    start = so_far(np.maximum, np.where(closed, np.int16(-1), position))  # last day that was not closed
    next_open = so_far(np.minimum, np.where(closed, np.int16(days), position)[::-1])[::-1]
    inside = closed & (next_open - start - 1 >= CLOSURE_DAYS)
    last = so_far(np.maximum, np.where(inside, position, np.int16(-1)))
    # A closure's first day is the last one whose day before was not in it: from there to its last day it has gone.
    begun = inside & ~np.concatenate([np.zeros((1, closed.shape[1]), bool), inside[:-1]])
    first = so_far(np.maximum, np.where(begun, position, np.int16(-1)))
    return inside.T, (last - first + (last >= 0)).T


def so_far(best: np.ufunc, values: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Replace each day's values by the best up to it, all stores at once, and return them.

    ``best.accumulate`` takes three times as long: it goes through the days of one store after the other.

    :param best: ``numpy.maximum`` or ``numpy.minimum``
    :param values: (days, stores)
    """
    for before, day in pairwise(values):
        best(before, day, out=day)
    return values


def by_day(flags: Flags) -> Flags:
    """Return a copy with a row for each day."""
    return np.ascontiguousarray(flags.T)
