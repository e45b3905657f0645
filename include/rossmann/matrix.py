"""The training matrix: features of many blocks of days, each as known at its own origin.

Blocks end every ``step`` days on a grid that is fixed in the calendar, so that a later night has the same blocks, and
on the newest day and the last one before the holdout. A fold's training rows are the blocks that end before the fold
begins, so all folds, the holdout and the final fit share one matrix.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from include.rossmann.forecaster.features import FEATURE_NAMES, block_features
from include.rossmann.forecaster.panel import Day, Panel

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

MINIMUM_HISTORY_DAYS = 182
"""Days of history before the earliest origin: with less there is no table worth the name."""

KEYS = ("block_end", "Store", "Date", "sales", "base")
ARRAYS = ("block_end", "store", "date", "sales", "base", "features")
ROW_GROUP = 1 << 17


@dataclass(frozen=True)
class TrainingMatrix:
    """One row for each block, store and open day with sales, sorted by block, store and day.

    ``base`` is the store's usual log sales, ``target`` log sales minus it, ``features`` float32 with the
    columns of ``FEATURE_NAMES``.
    """

    block_end: npt.NDArray[np.datetime64]
    store: npt.NDArray[np.int32]
    date: npt.NDArray[np.datetime64]
    sales: FloatArray
    base: FloatArray
    features: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.sales)

    @property
    def target(self) -> FloatArray:
        """Log sales minus the store's usual log sales: what the boosters learn."""
        residual: FloatArray = np.log(self.sales) - self.base
        return residual

    @property
    def block_ends(self) -> npt.NDArray[np.datetime64]:
        """Last day of each block, oldest first."""
        return np.unique(self.block_end)

    def until(self, day: Day) -> "TrainingMatrix":
        """Return the rows of the blocks that end on or before ``day`` (a view, not a copy)."""
        return self._rows(slice(0, int(np.searchsorted(self.block_end, day, side="right"))))

    def block(self, end: Day) -> "TrainingMatrix":
        """Return the rows of the block that ends on ``end``.

        :raises ValueError: when no block ends there
        """
        start, stop = (int(np.searchsorted(self.block_end, end, side=side)) for side in ("left", "right"))
        if start == stop:
            raise ValueError(f"no block ends on {end}; blocks end on {', '.join(str(day) for day in self.block_ends)}")
        return self._rows(slice(start, stop))

    def sample(self, share: float, seed: int | Sequence[int]) -> "TrainingMatrix":
        """Return a share of the rows, drawn at random without replacement; the same seed draws the same.

        A day of a store is in two blocks, forecast from two origins: half of the rows say nearly as much as all.

        :param share: above 0, at most 1 (all rows, a view)
        :param seed: of the draw, a number or some
        """
        if share == 1.0:
            return self
        random = np.random.default_rng(seed)
        count = max(1, round(len(self) * share))
        return self._rows(np.sort(random.choice(len(self), count, replace=False, shuffle=False)))

    def block_digests(self) -> dict[Day, str]:
        """Return a SHA-256 of everything that each block holds, by its last day."""
        ends, starts = np.unique(self.block_end, return_index=True)
        digests = {}
        for end, start, stop in zip(ends, starts, [*starts[1:], len(self)], strict=True):
            found = hashlib.sha256()
            for name in ARRAYS:
                part = np.ascontiguousarray(getattr(self, name)[start:stop])
                found.update(f"{name} {part.dtype} {part.shape}".encode())
                found.update(part.view(np.uint8).data)
            digests[end] = found.hexdigest()
        return digests

    def _rows(self, rows: slice | npt.NDArray[np.intp]) -> "TrainingMatrix":
        return TrainingMatrix(
            self.block_end[rows],
            self.store[rows],
            self.date[rows],
            self.sales[rows],
            self.base[rows],
            self.features[rows],
        )


def block_end_days(
    first_day: Day, last_day: Day, *, horizon: int, step: int, anchor: date | None = None, max_blocks: int | None = None
) -> npt.NDArray[np.datetime64]:
    """Return the last day of each training block, oldest first.

    :param first_day: first day of the history
    :param last_day: newest day of the history, where the newest block, the holdout, ends
    :param horizon: days of a block
    :param step: days between the ends of two blocks
    :param anchor: a day on which blocks end, the others lie whole steps from it; None: ``last_day``
    :param max_blocks: keep only the newest so many
    """
    fixed = last_day if anchor is None else np.datetime64(anchor, "D")
    first_end = first_day + np.timedelta64(MINIMUM_HISTORY_DAYS + horizon - 1, "D")
    days = np.timedelta64(step, "D")
    grid = np.arange(first_end + (fixed - first_end) % days, last_day + np.timedelta64(1, "D"), days)
    ends = np.union1d(grid, [last_day - np.timedelta64(horizon, "D"), last_day])
    ends = ends[ends >= first_end]
    return ends if max_blocks is None else ends[-max_blocks:]


def build_matrix(
    panel: Panel,
    *,
    horizon: int = 42,
    step: int = 21,
    anchor: date | None = None,
    max_blocks: int | None = None,
    progress: Progress | None = None,
) -> TrainingMatrix:
    """Compute the features of all training blocks.

    :param panel: history; its newest day with sales is where the newest block ends
    :param horizon: days of a block
    :param step: days between the ends of two blocks
    :param anchor: a day on which blocks end (see ``block_end_days``)
    :param max_blocks: keep only the newest so many blocks
    :param progress: called with blocks done and blocks in all
    :raises ValueError: when the history is too short for a single block
    """
    last_day = panel.newest_sales_day
    ends = block_end_days(panel.first_day, last_day, horizon=horizon, step=step, anchor=anchor, max_blocks=max_blocks)
    if len(ends) == 0:
        raise ValueError(
            f"history from {panel.first_day} to {last_day} is too short: one block of {horizon} days needs "
            f"{MINIMUM_HISTORY_DAYS} days before it"
        )
    matrix = _empty_matrix(sum(_scored(panel, end, horizon)[0].size for end in ends))
    start = 0
    for done, end in enumerate(ends, start=1):  # into place: the matrix is never in memory twice
        rows = block_rows(panel, end, horizon)
        for name in ARRAYS:
            getattr(matrix, name)[start : start + len(rows)] = getattr(rows, name)
        start += len(rows)
        if progress:
            progress(done, len(ends))
    return matrix


def block_rows(panel: Panel, end: Day, horizon: int) -> TrainingMatrix:
    """Return the rows of one block: its open days with sales, with features known at its origin.

    :param panel: history and schedule up to ``end``
    :param end: last day of the block
    :param horizon: days of the block
    """
    block = block_features(panel, end - np.timedelta64(horizon, "D"), horizon)
    store, ahead, sales = _scored(panel, end, horizon)
    return TrainingMatrix(
        block_end=np.full(len(store), end),
        store=panel.stores.store[store].astype(np.int32),
        date=block.days[ahead],
        sales=sales,
        base=block.base[store, ahead],
        features=block.features[store, ahead],
    )


def _scored(panel: Panel, end: Day, horizon: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """Return position of store, days into the block and sales of a block's open days with sales."""
    truth = panel.window(end - np.timedelta64(horizon - 1, "D"), end)
    store, ahead = np.nonzero((truth.open == 1) & (truth.sales > 0))
    return store, ahead, truth.sales[store, ahead]


def _empty_matrix(rows: int) -> TrainingMatrix:
    return TrainingMatrix(
        block_end=np.empty(rows, "datetime64[D]"),
        store=np.empty(rows, np.int32),
        date=np.empty(rows, "datetime64[D]"),
        sales=np.empty(rows),
        base=np.empty(rows),
        features=np.empty((rows, len(FEATURE_NAMES)), np.float32),
    )


def save_matrix(matrix: TrainingMatrix, path: Path) -> None:
    """Write a matrix as one Parquet file.

    Columns that are the same for many rows in a row (a store's level, a date's holiday) become dictionary
    codes in runs; the file is a fraction of the matrix in memory.

    :param path: the file
    """
    names = [*KEYS, *FEATURE_NAMES]
    types = [pa.date32(), pa.int32(), pa.date32(), pa.float64(), pa.float64(), *[pa.float32()] * len(FEATURE_NAMES)]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
        for start in range(0, len(matrix), ROW_GROUP):
            part = matrix._rows(slice(start, start + ROW_GROUP))
            keys = (part.block_end, part.store, part.date, part.sales, part.base)
            writer.write_table(pa.table([*keys, *part.features.T], schema=schema))


def load_matrix(path: Path) -> TrainingMatrix:
    """Read what ``save_matrix`` wrote.

    :raises ValueError: when the file was written for other features than this code computes
    """
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if tuple(schema.names) != (*KEYS, *FEATURE_NAMES):
            raise ValueError(f"{path.name}: written for other features than this code computes")
        keys = file.read(columns=list(KEYS))
        features = np.empty((file.metadata.num_rows, len(FEATURE_NAMES)), dtype=np.float32)
        start = 0
        for group in range(file.num_row_groups):  # by groups: the table is never in memory twice
            part = file.read_row_group(group, columns=list(FEATURE_NAMES))
            for column in range(len(FEATURE_NAMES)):
                features[start : start + len(part), column] = part.column(column).to_numpy()
            start += len(part)
    return TrainingMatrix(
        block_end=keys["block_end"].to_numpy().astype("datetime64[D]"),
        store=keys["Store"].to_numpy(),
        date=keys["Date"].to_numpy().astype("datetime64[D]"),
        sales=keys["sales"].to_numpy(),
        base=keys["base"].to_numpy(),
        features=features,
    )
