"""Usual sales of a store by weekday and promo: the table that forecasts are relative to.

A *cell* is weekday (Monday 0) times two plus promo; all sales are logarithms, NaN where not known. What is known of
stores and days comes as float32, whose seven digits are enough for a logarithm, in half of the time and memory; what is
told of a store is float64.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .stores import Flags, FloatArray

Values = npt.NDArray[np.floating]
Kind = TypeVar("Kind", bound=np.floating)
Cells = npt.NDArray[np.int8]

CELLS = 14
SUNDAY = 6
PRIOR_WEIGHT = 1.0
"""How many days of a store's own cell the chain's view of that cell is worth."""


def cell_statistics(values: Values, cells: Cells) -> FloatArray:
    """Return what ``row_statistics`` tells of each store and cell: (4, stores, cells).

    :param values: (stores, days), days that follow each other
    :param cells: (stores, days), the cell of each day by weekday and promo alone
    """
    found = np.empty((4, len(values), CELLS))
    first = int(cells[0, 0]) // 2 if cells.size else 0
    for weekday in range(CELLS // 2):
        days = slice((weekday - first) % 7, None, 7)
        own, there = np.ascontiguousarray(cells[:, days]), np.ascontiguousarray(values[:, days])
        for cell in (2 * weekday, 2 * weekday + 1):
            found[:, :, cell] = row_statistics(np.where(own == cell, there, np.nan))
    return found


def row_statistics(values: Values) -> FloatArray:
    """Return count, mean, median and standard deviation of each row's known values: (4, rows).

    A row without any has 0 and NaN.
    """
    flags, there, count = zeroed(values)
    found = np.full((4, len(values)), np.nan)
    found[0] = count
    some = count > 0
    if not some.all():  # few stores open on Sundays
        flags, there, count, values = flags[some], there[some], count[some], values[some]
    mean = row_sum(there, flags) / count
    there -= mean[:, None].astype(values.dtype)
    there *= flags
    deviation = np.sqrt(row_sum(there, there) / count)
    ordered = np.sort(values, axis=1)  # NaN goes last
    rows, middle = np.arange(len(values)), count.astype(np.intp)
    median = (ordered[rows, (middle - 1) // 2] + ordered[rows, middle // 2]) / 2.0
    found[1:, some] = mean, median, deviation
    return found


def row_mean(values: Values) -> FloatArray:
    """Return the mean of each row's known values; NaN for a row without any."""
    flags, there, count = zeroed(values)
    return np.where(count > 0, row_sum(there, flags) / np.maximum(count, 1.0), np.nan)


def row_sum(values: Values, weights: Values) -> FloatArray:
    """Return the sum of each row's products.

    It takes half of the time of ``sum``, and unlike ``vecdot``, which asks BLAS, it is the same on every processor.
    """
    total: FloatArray = np.einsum("...j,...j->...", values, weights).astype(np.float64)
    return total


def zeroed(values: Values) -> tuple[Values, Values, FloatArray]:
    """Return 1 where a value is known, the values, both 0 where not and each row in one piece, and how many a row has.

    :return: (rows, columns) twice, and (rows,)
    """
    values = np.ascontiguousarray(values)
    known = np.isfinite(values)
    flags = known.astype(values.dtype)
    return flags, np.where(known, values, 0.0), row_sum(flags, flags)


def column_mean(values: Values) -> FloatArray:
    """Return the mean of each column's known values; NaN for a column without any."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def filled(values: Values, usual: Values, gaps: Flags) -> Values:
    """Return values with gaps as a two-way table has them: the day's mean of all stores, and how the store differs.

    :param values: (stores, days), NaN where not known
    :param usual: (stores, days) or (stores, 1), what both are relative to
    :param gaps: (stores, days)
    """
    different = values - usual
    day = column_mean(different).astype(values.dtype)
    some, whole = gaps.any(axis=1), values.copy()
    store = row_mean(different[some] - day).astype(values.dtype)
    whole[some] = np.where(gaps[some], usual[some] + (store[:, None] + day), values[some])
    return whole


def base_table(statistics: FloatArray) -> FloatArray:
    """Return the usual log sales of each store and cell, complete.

    A cell that the store hardly has leans on the store's level plus the chain's effect of the cell; a store
    without any sales is taken for an average one.

    :param statistics: ``cell_statistics``
    :return: (stores, cells)
    """
    count, mean = statistics[:2]
    total = np.where(count > 0, mean * count, 0.0)
    days = count.sum(axis=1)
    level = np.where(days > 0, total.sum(axis=1) / np.maximum(days, 1.0), np.nan)
    chain = np.nanmean(level) if np.isfinite(level).any() else 0.0
    level = np.where(np.isfinite(level), level, chain)
    effect = np.nan_to_num(column_mean(mean - level[:, None]))
    prior = level[:, None] + effect[None, :]
    table: FloatArray = (total + PRIOR_WEIGHT * prior) / (count + PRIOR_WEIGHT)
    return table


def take(table: npt.NDArray[Kind], cells: Cells) -> npt.NDArray[Kind]:
    """Look each day's cell up: (stores, cells) and (stores, days) give (stores, days)."""
    found: npt.NDArray[Kind] = table.ravel()[np.arange(0, table.size, CELLS)[:, None] + cells]
    return found
