"""The training matrix: features of many blocks of days, each as known at its own origin.

Blocks end every ``step`` days on a grid that is fixed in the calendar, so that a later night has the same blocks, and
on the newest day and the last one before the holdout. A fold's training rows are the blocks that end before the fold
begins, so all folds, the holdout and the final fit share one matrix.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from include.models.rossmann.forecaster.features import FEATURE_NAMES, block_features
from include.models.rossmann.forecaster.history import LAG_NAMES, TABLE_NAMES
from include.models.rossmann.forecaster.members import pick_features
from include.models.rossmann.forecaster.panel import Day, Panel

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Rows = slice | npt.NDArray[np.intp]
"""Some of a matrix, in their order."""
Progress = Callable[[int, int], None]

MINIMUM_HISTORY_DAYS = 182
"""Days of history before the earliest origin: with less there is no table worth the name."""

KEYS = ("block_end", "Store", "Date", "sales", "base")
ARRAYS = ("block_end", "store", "date", "sales", "base", "features")
ROW_GROUP = 1 << 17
AT_A_TIME = 2
"""Blocks computed at a time, a thread each: the features step runs alone, and a block takes memory."""
VARIED = frozenset({"sales", "base", "ridge", "competition_months", *TABLE_NAMES, *LAG_NAMES})
"""Columns of which nearly every row has a value of its own."""


@dataclass(frozen=True)
class TrainingMatrix:
    """A matrix in memory: one row for each block, store and open day with sales, sorted by block, store and day.

    ``base`` is the store's usual log sales, ``residual`` log sales minus it, ``features`` float32 with the
    columns of ``FEATURE_NAMES``, or those that were asked for.
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
    def residual(self) -> FloatArray:
        """Log sales minus the store's usual log sales."""
        residual: FloatArray = np.log(self.sales) - self.base
        return residual

    @property
    def block_ends(self) -> npt.NDArray[np.datetime64]:
        """Last day of each block, oldest first."""
        return np.unique(self.block_end)

    def until(self, day: Day) -> "TrainingMatrix":
        """Return the rows of the blocks that end on or before ``day`` (a view, not a copy)."""
        return self.rows(slice(0, int(np.searchsorted(self.block_end, day, side="right"))))

    def block(self, end: Day) -> "TrainingMatrix":
        """Return the rows of the block that ends on ``end`` (a view).

        :raises ValueError: when no block ends there
        """
        return self.rows(self.rows_of(end))

    def sample(self, share: float, seed: int | Sequence[int], names: Sequence[str] = FEATURE_NAMES) -> "TrainingMatrix":
        """Return a share of the rows, drawn at random without replacement; the same seed draws the same.

        A day of a store is in two blocks, forecast from two origins: a third of the rows says nearly as much as all.

        :param share: above 0, at most 1 (all rows, a view)
        :param names: the features to return, in this order
        """
        rows = self.rows(self.drawn(share, seed))
        return replace(rows, features=pick_features(rows.features, names))

    def block_digests(self) -> dict[Day, str]:
        """Return a SHA-256 of everything that each block holds, by its last day."""
        digests = {}
        for end in self.block_ends:
            found = hashlib.sha256()
            block = self.block(end)
            for name in ARRAYS:
                part = np.ascontiguousarray(getattr(block, name))
                found.update(f"{name} {part.dtype} {part.shape}".encode())
                found.update(part.view(np.uint8).data)
            digests[end] = found.hexdigest()
        return digests

    def rows(self, rows: Rows) -> "TrainingMatrix":
        """Return some of the rows."""
        return TrainingMatrix(*(getattr(self, name)[rows] for name in ARRAYS))

    def rows_of(self, end: Day) -> slice:
        """Return where the block that ends on ``end`` lies.

        :raises ValueError: when no block ends there
        """
        start, stop = (int(np.searchsorted(self.block_end, end, side=side)) for side in ("left", "right"))
        if start == stop:
            raise ValueError(f"no block ends on {end}; blocks end on {', '.join(str(day) for day in self.block_ends)}")
        return slice(start, stop)

    def drawn(self, share: float, seed: int | Sequence[int]) -> Rows:
        """Return which rows a share of them is."""
        if share == 1.0:
            return slice(0, len(self))
        count = max(1, round(len(self) * share))
        return np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False, shuffle=False))


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix in its file, of which the features are read as far as they are asked for.

    :param path: what ``save_matrix`` wrote
    :param keys: all but the features, in memory
    :param groups: the file's row groups: first row of each, and the number of rows
    """

    path: Path
    keys: TrainingMatrix
    groups: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> "StoredMatrix":
        """Read the keys.

        :raises ValueError: when the file was written for other features than this code computes
        """
        with pq.ParquetFile(path) as file:
            if tuple(file.schema_arrow.names) != (*KEYS, *FEATURE_NAMES):
                raise ValueError(f"{path.name}: written for other features than this code computes")
            table = file.read(columns=list(KEYS))
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        keys = TrainingMatrix(
            block_end=table["block_end"].to_numpy().astype("datetime64[D]"),
            store=table["Store"].to_numpy(),
            date=table["Date"].to_numpy().astype("datetime64[D]"),
            sales=table["sales"].to_numpy(),
            base=table["base"].to_numpy(),
            features=np.empty((len(table), 0), np.float32),
        )
        return cls(path, keys, (0, *np.cumsum(sizes).tolist()))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def block_ends(self) -> npt.NDArray[np.datetime64]:
        """Last day of each block, oldest first."""
        return self.keys.block_ends

    def until(self, day: Day) -> "StoredMatrix":
        """Return the rows of the blocks that end on or before ``day``; nothing is read."""
        return replace(self, keys=self.keys.until(day))

    def block(self, end: Day) -> TrainingMatrix:
        """Read the rows of the block that ends on ``end``.

        :raises ValueError: when no block ends there
        """
        return self._read(self.keys.rows_of(end))

    def sample(self, share: float, seed: int | Sequence[int], names: Sequence[str] = FEATURE_NAMES) -> TrainingMatrix:
        """Read a share of the rows, and of their features, the same that ``TrainingMatrix.sample`` returns."""
        return self._read(self.keys.drawn(share, seed), names)

    def block_digests(self) -> dict[Day, str]:
        """Return a SHA-256 of everything that each block holds, by its last day."""
        return {end: self.block(end).block_digests()[end] for end in self.block_ends}

    def _read(self, rows: Rows, names: Sequence[str] = FEATURE_NAMES) -> TrainingMatrix:
        wanted = np.arange(len(self))[rows]
        features = np.empty((len(wanted), len(names)), np.float32)
        with pq.ParquetFile(self.path) as file:
            for group, (first, last) in enumerate(pairwise(self.groups)):  # never more than one in memory
                start, stop = np.searchsorted(wanted, (first, last))
                if start < stop:
                    part = file.read_row_group(group, columns=list(names))
                    for column, name in enumerate(names):
                        features[start:stop, column] = part[name].to_numpy()[wanted[start:stop] - first]
        return replace(self.keys.rows(rows), features=features)


Matrix = TrainingMatrix | StoredMatrix
"""What a training may draw from."""


def block_end_days(
    first_day: Day, last_day: Day, *, horizon: int, step: int, anchor: date | None = None, max_blocks: int | None = None
) -> npt.NDArray[np.datetime64]:
    """Return the last day of each training block, oldest first.

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


def training_blocks(
    panel: Panel,
    *,
    horizon: int = 42,
    step: int = 21,
    anchor: date | None = None,
    max_blocks: int | None = None,
    progress: Progress | None = None,
) -> Iterator[TrainingMatrix]:
    """Compute the features of all training blocks (see ``block_end_days``), one block after the other.

    :param panel: history; its newest day with sales is where the newest block ends
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

    def computed() -> Iterator[TrainingMatrix]:
        left, ahead = iter(ends), deque[Future[TrainingMatrix]]()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for done in range(1, len(ends) + 1):
                for end in islice(left, AT_A_TIME - len(ahead)):
                    ahead.append(pool.submit(block_rows, panel, end, horizon))
                yield ahead.popleft().result()
                if progress:
                    progress(done, len(ends))

    return computed()


def block_rows(panel: Panel, end: Day, horizon: int) -> TrainingMatrix:
    """Return the rows of one block: its open days with sales, with features known at its origin.

    :param panel: history and schedule up to ``end``
    :param end: last day of the block
    :param horizon: days of the block
    """
    block = block_features(panel, end - np.timedelta64(horizon, "D"), horizon)
    truth = panel.window(end - np.timedelta64(horizon - 1, "D"), end)
    store, ahead = np.nonzero((truth.open == 1) & (truth.sales > 0))
    return TrainingMatrix(
        block_end=np.full(len(store), end),
        store=panel.stores.store[store].astype(np.int32),
        date=block.days[ahead],
        sales=truth.sales[store, ahead],
        base=block.base[store, ahead],
        features=block.rows(store, ahead),
    )


def save_matrix(blocks: Iterable[TrainingMatrix], path: Path) -> None:
    """Write a matrix as one Parquet file, block by block.

    Columns that are the same for many rows in a row (a store's level, a date's holiday) become dictionary
    codes in runs; the file is a sixth of the matrix in memory.
    """
    names = [*KEYS, *FEATURE_NAMES]
    types = [pa.date32(), pa.int32(), pa.date32(), pa.float64(), pa.float64(), *[pa.float32()] * len(FEATURE_NAMES)]
    schema = pa.schema(list(zip(names, types, strict=True)))
    coded = [name for name in names if name not in VARIED]
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=coded) as writer:
        for block in blocks:
            keys = (block.block_end, block.store, block.date, block.sales, block.base)
            writer.write_table(pa.table([*keys, *block.features.T], schema=schema), row_group_size=ROW_GROUP)
