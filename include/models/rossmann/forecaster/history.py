"""Features of past sales and customers; nothing after the origin is in what these functions are given."""

import numpy as np
import numpy.typing as npt

from .calendar import Days, day_numbers, last_easter_counterpart
from .stores import Flags, FloatArray
from .tables import Cells, Values, cell_statistics, row_mean, row_statistics, row_sum, take, zeroed

YEAR = 364
"""A year in whole weeks: the same weekday."""
TABLE_WINDOWS = (56, 182, 364)
LEVEL_WINDOWS = (7, 14, 28, 56, 91, 182)
SLOPE_WINDOWS = (91, 182)
CUSTOMER_WINDOWS = (28, 182)
ODD, ODD_STORES, ODD_SHARE = 0.6, 3, 0.01
"""A store this far from usual is odd; so many stores, and such a share of those that were open, are so together."""
RECURS = 0.9
"""How much of it comes again."""
SMOOTH = 3
"""Days on each side in a smoothed day of an earlier year."""

TABLE_NAMES = (
    *(f"table_{kind}_{window}" for window in (*TABLE_WINDOWS, "all") for kind in ("mean", "median", "deviation")),
    "table_count_364",
    "base_cell",
)
LEVEL_NAMES = (
    "base_level",
    *(f"level_{window}" for window in LEVEL_WINDOWS),
    *(f"slope_{window}" for window in SLOPE_WINDOWS),
    "noise_182",
    "level_year_before_28",
    "level_year_before_91",
    "promo_uplift",
    "promo_uplift_change",
    "holiday_level",
)
LAG_NAMES = (
    "lag_364",
    "lag_364_smooth",
    "lag_728",
    "lag_728_smooth",
    "lag_easter",
    "season_364",
    "season_day_364",
)
CUSTOMER_NAMES = (
    "customers_year",
    *(f"customers_change_{window}" for window in CUSTOMER_WINDOWS),
    "basket_year",
    *(f"basket_change_{window}" for window in CUSTOMER_WINDOWS),
)


def table_features(
    sales: Values, cells: Cells, base: FloatArray, year: FloatArray, block_cells: Cells
) -> dict[str, FloatArray]:
    """Return the features ``TABLE_NAMES``: how the store's cells looked over several windows.

    :param sales: (stores, days up to the origin), log sales
    :param base: (stores, cells), the table that forecasts are relative to
    :param year: ``cell_statistics`` of the last year
    :param block_cells: (stores, days of the block)
    """
    features: dict[str, FloatArray] = {}
    for window in (*TABLE_WINDOWS, None):
        if window == YEAR:
            found = year
        else:
            part = slice(-window if window else None, None)
            found = cell_statistics(sales[:, part], cells[:, part])
        label = window or "all"
        _, mean, median, deviation = found
        features[f"table_mean_{label}"] = take(mean - base, block_cells)
        features[f"table_median_{label}"] = take(median - base, block_cells)
        features[f"table_deviation_{label}"] = take(deviation, block_cells)
    features["table_count_364"] = take(year[0], block_cells)
    features["base_cell"] = take(base - base.mean(axis=1, keepdims=True), block_cells)
    return features


def level_features(residual: Values, holiday: Flags, cells: Cells, base: FloatArray) -> dict[str, FloatArray]:
    """Return the features ``LEVEL_NAMES`` of each store: (stores, 1).

    :param residual: (stores, days up to the origin), log sales minus the table
    :param holiday: (stores, days), which of them are state holidays
    :param base: (stores, cells)
    """
    near = slice(-YEAR - 91, None)
    ordinary = np.where(holiday[:, near], np.nan, residual[:, near])
    recent, promo = ordinary[:, -91:], cells[:, -91:] % 2 == 1
    uplift = (base[:, 1:10:2] - base[:, 0:10:2]).mean(axis=1)  # Monday to Friday
    change = row_mean(np.where(promo, recent, np.nan)) - row_mean(np.where(promo, np.nan, recent))
    features = {
        "base_level": base.mean(axis=1),
        **{f"level_{window}": row_mean(ordinary[:, -window:]) for window in LEVEL_WINDOWS},
        **{f"slope_{window}": slope(ordinary[:, -window:]) for window in SLOPE_WINDOWS},
        "noise_182": row_statistics(ordinary[:, -182:])[3],
        "level_year_before_28": row_mean(ordinary[:, -YEAR - 28 : -YEAR]),
        "level_year_before_91": row_mean(ordinary[:, -YEAR - 91 : -YEAR]),
        "promo_uplift": uplift,
        "promo_uplift_change": change,
        # Few stores open on state holidays, each in a way of its own.
        "holiday_level": row_mean(np.where(holiday, residual, np.nan)),
    }
    return {name: values[:, None] for name, values in features.items()}


def slope(values: Values) -> FloatArray:
    """Return each row's least-squares slope per 100 days; NaN with fewer than ten known days."""
    flags, there, count = zeroed(values)
    time = np.arange(values.shape[1], dtype=values.dtype) / 100
    centre = row_sum(flags, time) / np.maximum(count, 1.0)
    distance = flags * (time - centre[:, None].astype(values.dtype))
    return np.where(count >= 10, row_sum(distance, there) / np.maximum(row_sum(distance, distance), 1e-9), np.nan)


def lag_features(residual: Values, first: int, block_days: Days) -> dict[str, FloatArray]:
    """Return the features ``LAG_NAMES``: what the same days were like in earlier years.

    Only the store's own: the chain's mean of the same days knows two or three values a date, and boosters
    learn them by heart.

    :param residual: (stores, days up to the origin)
    :param first: day number of the first of these days
    """
    numbers = day_numbers(block_days)
    origin = int(numbers[0]) - 1 - first
    smooth_year_before = smoothed(residual, numbers - YEAR - first)

    def year_before(start: int, stop: int) -> FloatArray:
        """Mean over the days from ``start`` to before ``stop``, counted from the origin, a year before."""
        return row_mean(pick(residual, np.arange(origin + start, origin + stop) - YEAR))[:, None]

    return {
        "lag_364": pick(residual, numbers - YEAR - first),
        "lag_364_smooth": smooth_year_before,
        "lag_728": pick(residual, numbers - 2 * YEAR - first),
        "lag_728_smooth": smoothed(residual, numbers - 2 * YEAR - first),
        "lag_easter": pick(residual, last_easter_counterpart(block_days) - first),
        # How last year's block differed from the weeks before it, as a whole and day by day.
        "season_364": year_before(1, len(numbers) + 1) - year_before(-27, 1),
        "season_day_364": smooth_year_before - year_before(-90, 1),
    }


def recurring_oddities(before: FloatArray) -> FloatArray:
    """Return by how much stores will be far from usual because they were a year before, as far from Easter.

    Stores of the Rhineland close at noon on carnival days. What some stores did together comes again; what one
    did alone (a burst pipe) does not.

    :param before: (stores, days of the block), log sales minus the table on that day a year before: ``lag_easter``
    :return: (stores, days of the block), 0 where nothing is to be expected
    """
    odd = np.abs(before) > ODD
    known = np.maximum(np.isfinite(before).sum(axis=0), 1)
    together = odd.sum(axis=0) >= np.maximum(ODD_STORES, ODD_SHARE * known)
    expected: FloatArray = np.where(odd & together[None, :], before, 0.0) * RECURS
    return expected


def smoothed(values: Values, columns: npt.NDArray[np.intp]) -> FloatArray:
    """Return the mean of the known values over ``SMOOTH`` days on each side of the named columns, which are in a row.

    NaN for those before the first and after the last, as ``pick`` has it.
    """
    inside = (columns >= 0) & (columns < values.shape[1])
    near = pick(values, np.arange(columns[0] - SMOOTH, columns[-1] + SMOOTH + 1))
    known = np.isfinite(near)
    count = _moving_sum(known.astype(np.float64))
    mean = _moving_sum(np.where(known, near, 0.0)) / np.maximum(count, 1.0)
    return np.where(inside & (count > 0), mean, np.nan)


def _moving_sum(values: FloatArray) -> FloatArray:
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * SMOOTH + 1, axis=1)
    total: FloatArray = windows.sum(axis=2)
    return total


def pick(values: Values, columns: npt.NDArray[np.intp]) -> FloatArray:
    """Return the named columns; NaN for those before the first and after the last."""
    inside = (columns >= 0) & (columns < values.shape[1])
    return np.where(inside[None, :], values[:, np.where(inside, columns, 0)], np.nan)


def customer_features(sales: Values, customers: Values) -> dict[str, FloatArray]:
    """Return the features ``CUSTOMER_NAMES``: customers and sales per customer, (stores, 1).

    :param sales: (stores, days of the year up to the origin), log sales
    :param customers: log customers of the same days
    """
    features: dict[str, FloatArray] = {}
    for label, values in (("customers", customers), ("basket", sales - customers)):
        year = row_mean(values)
        features[f"{label}_year"] = year[:, None]
        for window in CUSTOMER_WINDOWS:
            features[f"{label}_change_{window}"] = (row_mean(values[:, -window:]) - year)[:, None]
    return features
