"""What a date alone tells: position in week, month and year, and movable feasts."""

import numpy as np
import numpy.typing as npt

from .stores import FloatArray

Days = npt.NDArray[np.datetime64]

FOURIER_TERMS = 3
YEAR_DAYS = 365.25
FAR = 60.0
"""Distances to feasts are cut at this many days."""


def weekdays(days: Days) -> npt.NDArray[np.intp]:
    """Return Monday 0 to Sunday 6."""
    return (day_numbers(days) + 3) % 7  # 1970-01-01 was a Thursday


def day_numbers(days: Days) -> npt.NDArray[np.intp]:
    """Return days since 1970-01-01."""
    return days.astype("datetime64[D]").astype(np.int64)


def years(days: Days) -> npt.NDArray[np.intp]:
    """Return calendar years."""
    return days.astype("datetime64[Y]").astype(np.int64) + 1970


def easter(year: int) -> int:
    """Return Easter Sunday (Gregorian computus) in days since 1970-01-01."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (a + 11 * h) // 319
    j = (2 * e + 2 * i - k - h + m + 32) % 7
    month = (h - m + j + 90) // 25
    day = (h - m + j + month + 19) % 32
    return int(np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "D").astype(np.int64))


def easters(days: Days) -> npt.NDArray[np.intp]:
    """Return the Easter Sunday of each day's year in days since 1970-01-01."""
    year = years(days)
    by_year = {int(y): easter(int(y)) for y in np.unique(year)}
    return np.array([by_year[int(y)] for y in year], dtype=np.int64)


def last_easter_counterpart(days: Days) -> npt.NDArray[np.intp]:
    """Return the day as far from last year's Easter as each day is from this year's (same weekday)."""
    year = years(days)
    before = {int(y): easter(int(y) - 1) for y in np.unique(year)}
    return day_numbers(days) - easters(days) + np.array([before[int(y)] for y in year], dtype=np.int64)


CALENDAR_NAMES = (
    "weekday",
    "month",
    "day_of_month",
    "days_to_month_end",
    "week_of_year",
    "easter_distance",
    "christmas_distance",
    *(f"year_{wave}_{term}" for term in range(1, FOURIER_TERMS + 1) for wave in ("sin", "cos")),
)


def calendar_features(days: Days) -> dict[str, FloatArray]:
    """Return the features named ``CALENDAR_NAMES``, each of the shape (days,)."""
    numbers = day_numbers(days)
    months = days.astype("datetime64[M]")
    next_month = (months + 1).astype("datetime64[D]").astype(np.int64)
    year_start = days.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    angle = year_angles(days)
    christmas = day_numbers(days.astype("datetime64[Y]").astype("datetime64[M]") + 11) + 24
    features = {
        "weekday": weekdays(days),
        "month": months.astype(np.int64) % 12 + 1,
        "day_of_month": numbers - months.astype("datetime64[D]").astype(np.int64) + 1,
        "days_to_month_end": next_month - 1 - numbers,
        "week_of_year": (numbers - year_start) // 7,
        "easter_distance": np.clip(numbers - easters(days), -FAR, FAR),
        "christmas_distance": np.clip(numbers - christmas, -FAR, FAR),
    }
    for term in range(1, FOURIER_TERMS + 1):
        features[f"year_sin_{term}"] = np.sin(term * angle)
        features[f"year_cos_{term}"] = np.cos(term * angle)
    return {name: np.asarray(values, dtype=np.float64) for name, values in features.items()}


def year_angles(days: Days) -> FloatArray:
    """Return the position in the year as an angle in radians."""
    start = days.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return np.asarray(2.0 * np.pi * (day_numbers(days) - start) / YEAR_DAYS, dtype=np.float64)
