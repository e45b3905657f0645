"""Usual sales of a store by weekday and promo: the table that forecasts are relative to.

A *cell* is weekday (Monday 0) times two plus promo; all sales are logarithms, NaN where not known.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .stores import Flags, FloatArray

Cells = npt.NDArray[np.intp]

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


def cell_statistics(values: FloatArray, cells: Cells) -> CellStatistics:
    """Return count, mean, median and standard deviation for each store and cell.

    :param values: (stores, days)
    :param cells: (stores, days), the cell of each day
    """
    shape = (values.shape[0], CELLS)
    count, mean, median, deviation = (np.full(shape, np.nan) for _ in range(4))
    weekday = cells[0] // 2 if cells.shape[1] else np.zeros(0, dtype=np.intp)
    for cell in range(CELLS):
        columns = weekday == cell // 2
        part = np.where(cells[:, columns] == cell, values[:, columns], np.nan)
        count[:, cell], mean[:, cell], median[:, cell], deviation[:, cell] = row_statistics(part)
    return CellStatistics(count, mean, median, deviation)


def row_statistics(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return count, mean, median and standard deviation of each row's known values."""
    known = np.isfinite(values)
    count = known.sum(axis=1).astype(np.float64)
    some = np.maximum(count, 1.0)
    empty = count == 0
    mean = np.where(known, values, 0.0).sum(axis=1) / some
    deviation = np.sqrt(np.where(known, (values - mean[:, None]) ** 2, 0.0).sum(axis=1) / some)
    median = np.zeros(len(values))
    if values.shape[1]:
        ordered = np.sort(values, axis=1)  # NaN goes last
        rows = np.arange(len(values))
        low = np.maximum(count.astype(np.intp) - 1, 0) // 2
        high = np.maximum(count.astype(np.intp), 1) // 2
        high = np.minimum(high, np.maximum(count.astype(np.intp) - 1, 0))
        median = (ordered[rows, low] + ordered[rows, high]) / 2.0
    return count, *(np.where(empty, np.nan, part) for part in (mean, median, deviation))


def row_mean(values: FloatArray) -> FloatArray:
    """Return the mean of each row's known values; NaN for a row without any."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def column_mean(values: FloatArray) -> FloatArray:
    """Return the mean of each column's known values; NaN for a column without any."""
    return row_mean(np.ascontiguousarray(values.T))


def filled(values: FloatArray, usual: FloatArray, gaps: Flags) -> FloatArray:
    """Return values with gaps as a two-way table has them: the day's mean of all stores, and how the store differs.

    :param values: (stores, days), NaN where not known
    :param usual: (stores, days) or (stores, 1), what both are relative to
    :param gaps: (stores, days)
    """
    different = values - usual
    day = column_mean(different)
    return np.where(gaps, usual + (row_mean(different - day)[:, None] + day), values)


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


def take(table: FloatArray, cells: Cells) -> FloatArray:
    """Look each day's cell up: (stores, cells) and (stores, days) give (stores, days)."""
    return np.take_along_axis(table, cells, axis=1)
