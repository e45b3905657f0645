"""Stores x days: history and schedule as dense arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .stores import FloatArray, StoreTable

Codes = npt.NDArray[np.int8]
Day = np.datetime64

STATE_HOLIDAYS = ("0", "a", "b", "c")
UNKNOWN = -1
"""Code of a schedule entry (open, promo, holidays) that no row gave."""

SCHEDULE = ("open", "promo", "state_holiday", "school_holiday")
MEASURES = ("sales", "customers")


@dataclass(frozen=True)
class Panel:
    """Dense history and schedule; every array has the shape (stores, days).

    ``sales`` and ``customers`` are float64 and NaN where not known; the schedule is int8 and ``UNKNOWN``
    where no row gave it (a store whose history has a gap was not closed).
    """

    stores: StoreTable
    first_day: Day
    sales: FloatArray
    customers: FloatArray
    open: Codes
    promo: Codes
    state_holiday: Codes
    school_holiday: Codes

    @property
    def days(self) -> npt.NDArray[np.datetime64]:
        """Every day of the panel."""
        return self.first_day + np.arange(self.sales.shape[1])

    @property
    def last_day(self) -> Day:
        """Newest day of the panel."""
        return self.first_day + np.timedelta64(self.sales.shape[1] - 1, "D")

    @property
    def newest_sales_day(self) -> Day:
        """Newest day on which any store's sales are known.

        :raises ValueError: when no sales are known at all
        """
        known = np.flatnonzero(np.isfinite(self.sales).any(axis=0))
        if len(known) == 0:
            raise ValueError(f"no sales in the history from {self.first_day} to {self.last_day}")
        return self.first_day + np.timedelta64(int(known[-1]), "D")

    def index(self, day: Day) -> int:
        """Return the position of a day; it may lie outside of the panel."""
        return int((day - self.first_day).astype(np.int64))

    @classmethod
    def from_frames(cls, history: pd.DataFrame, stores: pd.DataFrame | StoreTable) -> "Panel":
        """Make a panel of a history with one row a store and day.

        :param history: what ``to_columns`` takes, with Sales and Customers; the stores are all in ``stores``
        """
        table = stores if isinstance(stores, StoreTable) else StoreTable.from_frame(stores)
        columns = to_columns(history)
        first, last = columns["day"].min(), columns["day"].max()
        return cls.empty(table, first, last).with_rows(columns)

    @classmethod
    def empty(cls, stores: StoreTable, first: Day, last: Day) -> "Panel":
        """Return a panel of the days ``first`` to ``last`` in which nothing is known."""
        shape = (len(stores), int((last - first).astype(np.int64)) + 1)
        arrays: dict[str, Any] = {name: np.full(shape, np.nan) for name in MEASURES}
        arrays |= {name: np.full(shape, UNKNOWN, dtype=np.int8) for name in SCHEDULE}
        return cls(stores=stores, first_day=first, **arrays)

    def with_rows(self, columns: dict[str, npt.NDArray[Any]]) -> "Panel":
        """Return a panel with rows added; where both know a day of a store, the new rows win.

        :param columns: arrays of one length: ``store`` (all known), ``day`` and the panel's own names
        """
        last = max(self.last_day, columns["day"].max())
        first = min(self.first_day, columns["day"].min())
        merged = self.window(first, last)
        row = np.searchsorted(self.stores.store, columns["store"])
        column = (columns["day"] - first).astype(np.int64)
        for name in MEASURES + SCHEDULE:
            getattr(merged, name)[row, column] = columns[name]
        return merged

    def window(self, first: Day, last: Day, *, known_until: Day | None = None) -> "Panel":
        """Copy the days ``first`` to ``last``; days that the panel lacks are unknown.

        The copy is contiguous, so sums over it do not depend on what else the panel held.

        :param known_until: sales and customers after this day are dropped from the copy
        """
        copy = Panel.empty(self.stores, first, last)
        source_first, source_last = max(first, self.first_day), min(last, self.last_day)
        if source_first <= source_last:
            source = slice(self.index(source_first), self.index(source_last) + 1)
            target = slice(copy.index(source_first), copy.index(source_last) + 1)
            for name in MEASURES + SCHEDULE:
                getattr(copy, name)[:, target] = getattr(self, name)[:, source]
        if known_until is not None:
            hidden = max(copy.index(known_until) + 1, 0)
            for name in MEASURES:
                getattr(copy, name)[:, hidden:] = np.nan
        return copy

    def save_history(self, path: Path, *, until: Day, days: int) -> None:
        """Write the days with sales up to ``until`` as a compact Parquet file.

        :param days: how many days back the file reaches at most
        """
        first = max(self.first_day, until - np.timedelta64(days - 1, "D"))
        part = self.window(first, until)
        row, column = np.nonzero(np.isfinite(part.sales))
        # Sorted by store and day: long runs, so the file stays small.
        table = pa.table(
            {
                "Store": pa.array(part.stores.store[row].astype(np.int32)),
                "Date": pa.array(first + column, type=pa.date32()),
                "Sales": pa.array(_compact(part.sales[row, column])),
                "Customers": pa.array(_compact(part.customers[row, column])),
                **{name: pa.array(getattr(part, name)[row, column]) for name in SCHEDULE},
            }
        )
        pq.write_table(table, path, compression="zstd", compression_level=19)

    @classmethod
    def load_history(cls, path: Path, stores: StoreTable) -> "Panel":
        """Read what ``save_history`` wrote."""
        table = pq.read_table(path)
        columns = {name: table[name].to_numpy() for name in SCHEDULE}
        columns |= {
            "store": table["Store"].to_numpy(),
            "day": table["Date"].to_numpy().astype("datetime64[D]"),
            "sales": table["Sales"].to_numpy().astype(np.float64),
            "customers": table["Customers"].to_numpy().astype(np.float64),
        }
        return cls.empty(stores, columns["day"].min(), columns["day"].max()).with_rows(columns)


def to_columns(frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that ``Panel.with_rows`` takes from a checked frame.

    :param frame: Store, Date, Open, Promo, StateHoliday, SchoolHoliday, and Sales and Customers if known
    """
    codes, found = pd.factorize(frame["StateHoliday"])
    holiday = np.array([STATE_HOLIDAYS.index(code) for code in found], dtype=np.int8)
    nothing = np.full(len(frame), np.nan)
    columns: dict[str, npt.NDArray[Any]] = {
        "store": frame["Store"].to_numpy(np.int64),
        "day": frame["Date"].to_numpy().astype("datetime64[D]"),
        "state_holiday": holiday[codes],
    }
    for name, column in (("sales", "Sales"), ("customers", "Customers")):
        columns[name] = frame[column].to_numpy(np.float64, na_value=np.nan) if column in frame.columns else nothing
    for name, column in (("open", "Open"), ("promo", "Promo"), ("school_holiday", "SchoolHoliday")):
        columns[name] = frame[column].to_numpy(np.float64).astype(np.int8)
    return columns


def _compact(values: FloatArray) -> npt.NDArray[Any]:
    """The smallest type that holds the values exactly: whole euros and heads need no float64."""
    whole = bool(np.isfinite(values).all()) and bool((values == np.floor(values)).all())
    if not whole or values.size == 0 or values.min() < 0 or values.max() >= 2**32:
        return values
    return values.astype(np.uint16 if values.max() < 2**16 else np.uint32)
