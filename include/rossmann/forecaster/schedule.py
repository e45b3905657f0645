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

SCHEDULE_NAMES = (
    "promo",
    "state_holiday",
    "school_holiday",
    "open_before",
    "open_after",
    "closed_since",
    "closed_until",
    "promo_run_since",
    "promo_run_until",
    "promo_since",
    "promo_until",
    "promo_before",
    "promo_after",
    "state_holiday_since",
    "state_holiday_until",
    "state_holiday_before",
    "state_holiday_after",
    "school_since",
    "school_until",
    "school_run_since",
    "school_run_until",
    "school_before",
    "school_after",
    "closure_since",
    "closure_until",
    "closure_length",
)


def schedule_features(panel: Panel, block: slice) -> dict[str, FloatArray]:
    """Return the features named ``SCHEDULE_NAMES``.

    :param panel: up to the last day of the block, not further
    :param block: the columns to return
    :return: each of the shape (stores, days of the block)
    """
    opened, closed = panel.open == 1, panel.open == 0
    promo, school = panel.promo == 1, panel.school_holiday == 1
    holiday = panel.state_holiday > 0
    closure, length = closures(closed)
    features: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.intp] | npt.NDArray[np.int8]] = {
        "promo": np.maximum(panel.promo, 0),
        "state_holiday": np.maximum(panel.state_holiday, 0),
        "school_holiday": np.maximum(panel.school_holiday, 0),
        "open_before": count_before(opened),
        "open_after": count_after(opened),
        "closed_since": days_since(closed, NEAR),
        "closed_until": days_until(closed, NEAR),
        "promo_run_since": days_since(~promo, NEAR),
        "promo_run_until": days_until(~promo, NEAR),
        "promo_since": days_since(promo, NEAR),
        "promo_until": days_until(promo, NEAR),
        "promo_before": count_before(promo),
        "promo_after": count_after(promo),
        "state_holiday_since": days_since(holiday, HOLIDAY_CAP),
        "state_holiday_until": days_until(holiday, HOLIDAY_CAP),
        "state_holiday_before": count_before(holiday),
        "state_holiday_after": count_after(holiday),
        "school_since": days_since(school, HOLIDAY_CAP),
        "school_until": days_until(school, HOLIDAY_CAP),
        "school_run_since": days_since(~school, HOLIDAY_CAP),
        "school_run_until": days_until(~school, HOLIDAY_CAP),
        "school_before": count_before(school),
        "school_after": count_after(school),
        "closure_since": days_since(closure, CLOSURE_CAP_AFTER),
        "closure_until": days_until(closure, CLOSURE_CAP_BEFORE),
        "closure_length": length,
    }
    return {name: np.asarray(values[:, block], dtype=np.float64) for name, values in features.items()}


def days_since(flags: Flags, cap: int) -> npt.NDArray[np.intp]:
    """Return the days since each row's last flagged day (0 on it), at most ``cap``."""
    position = np.arange(flags.shape[1])
    last = np.maximum.accumulate(np.where(flags, position, -cap), axis=1)
    return np.minimum(position - last, cap)


def days_until(flags: Flags, cap: int) -> npt.NDArray[np.intp]:
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
    position = np.arange(closed.shape[1])
    start = np.maximum.accumulate(np.where(closed, -1, position), axis=1)  # last day that was not closed
    so_far = np.where(closed, position - start, 0)
    end = np.where(closed[:, ::-1], -1, position)
    next_open = closed.shape[1] - 1 - np.maximum.accumulate(end, axis=1)[:, ::-1]
    next_open = np.where(np.maximum.accumulate(end, axis=1)[:, ::-1] < 0, closed.shape[1], next_open)
    inside = closed & (next_open - start - 1 >= CLOSURE_DAYS)
    last = np.maximum.accumulate(np.where(inside, position, -1), axis=1)
    length = np.take_along_axis(so_far, np.maximum(last, 0), axis=1).astype(np.float64)
    return inside, np.where(last >= 0, length, np.nan)
