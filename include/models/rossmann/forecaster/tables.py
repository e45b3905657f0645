"""Usual sales of a store by weekday and promo: the table that forecasts are relative to.

A *cell* is weekday (Monday 0) times two plus promo; all sales are logarithms, NaN where not known. What is known of
stores and days comes as float32, whose seven digits are enough for a logarithm, in half of the time and memory; what is
told of a store is float64.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class CellStatistics:
    """Per store and cell, each of the shape (stores, cells): NaN where the store has no such day."""

    count: FloatArray
    mean: FloatArray
    median: FloatArray
    deviation: FloatArray


def cell_statistics(values: Values, cells: Cells) -> CellStatistics:
    """Return count, mean, median and standard deviation for each store and cell.

    :param values: (stores, days), days that follow each other
    :param cells: (stores, days), the cell of each day by weekday and promo alone
    """
    shape = (values.shape[0], CELLS)
    count, mean, median, deviation = (np.full(shape, np.nan) for _ in range(4))
    first = int(cells[0, 0]) // 2 if cells.size else 0
    for weekday in range(CELLS // 2):
        days = slice((weekday - first) % 7, None, 7)
        own, there = np.ascontiguousarray(cells[:, days]), np.ascontiguousarray(values[:, days])
        for cell in (2 * weekday, 2 * weekday + 1):
            part = np.where(own == cell, there, np.nan)
            count[:, cell], mean[:, cell], median[:, cell], deviation[:, cell] = row_statistics(part)
    return CellStatistics(count, mean, median, deviation)


def row_statistics(values: Values) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return count, mean, median and standard deviation of each row's known values."""
    known = np.isfinite(values)
    count = known.sum(axis=1).astype(np.float64)
    some = np.maximum(count, 1.0)
    empty = count == 0
    distance = np.where(known, values, 0.0)
    mean = distance.sum(axis=1) / some
    distance -= mean[:, None].astype(values.dtype)
    distance *= known
    distance *= distance
    deviation = np.sqrt(distance.sum(axis=1) / some)
    median = np.zeros(len(values))
    if values.shape[1]:
        ordered = np.sort(values, axis=1)  # NaN goes last
        rows = np.arange(len(values))
        low = np.maximum(count.astype(np.intp) - 1, 0) // 2
        high = np.maximum(count.astype(np.intp), 1) // 2
        high = np.minimum(high, np.maximum(count.astype(np.intp) - 1, 0))
        median = (ordered[rows, low] + ordered[rows, high]) / 2.0
    return count, *(np.where(empty, np.nan, part) for part in (mean, median, deviation))


def row_mean(values: Values) -> FloatArray:
    """Return the mean of each row's known values; NaN for a row without any."""
    return _known_mean(values, axis=1)


def column_mean(values: Values) -> FloatArray:
    """Return the mean of each column's known values; NaN for a column without any."""
    return _known_mean(values, axis=0, dtype=np.float64)  # numpy adds columns one after the other, rows in pairs


def _known_mean(values: Values, axis: int, dtype: type[np.float64] | None = None) -> FloatArray:
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis, dtype=dtype)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def filled(values: Values, usual: Values, gaps: Flags) -> Values:
    """Return values with gaps as a two-way table has them: the day's mean of all stores, and how the store differs.

    :param values: (stores, days), NaN where not known
    :param usual: (stores, days) or (stores, 1), what both are relative to
    :param gaps: (stores, days)
    """
    different = values - usual
    day = column_mean(different).astype(values.dtype)
    store = row_mean(different - day).astype(values.dtype)
    return np.where(gaps, usual + (store[:, None] + day), values)


def base_table(statistics: CellStatistics) -> FloatArray:
    """Return the usual log sales of each store and cell, complete.

    A cell that the store hardly has leans on the store's level plus the chain's effect of the cell; a store
    without any sales is taken for an average one.

    :return: (stores, cells)
    """
    count = np.nan_to_num(statistics.count)
    total = np.where(count > 0, statistics.mean * count, 0.0)
    days = count.sum(axis=1)
    level = np.where(days > 0, total.sum(axis=1) / np.maximum(days, 1.0), np.nan)
    chain = np.nanmean(level) if np.isfinite(level).any() else 0.0
    level = np.where(np.isfinite(level), level, chain)
    effect = np.nan_to_num(column_mean(statistics.mean - level[:, None]))
    prior = level[:, None] + effect[None, :]
    table: FloatArray = (total + PRIOR_WEIGHT * prior) / (count + PRIOR_WEIGHT)
    return table


def take(table: npt.NDArray[Kind], cells: Cells) -> npt.NDArray[Kind]:
    """Look each day's cell up: (stores, cells) and (stores, days) give (stores, days)."""
    found: npt.NDArray[Kind] = table.ravel()[np.arange(0, table.size, CELLS)[:, None] + cells]
    return found
