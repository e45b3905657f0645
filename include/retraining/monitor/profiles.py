"""How a variable is distributed on each day: counts of rows in bins, so that any window is a sum of days."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

Counts = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]

NO_DAYS = pd.DatetimeIndex([])
BINS = 40
MISSING = "missing"
FEW_VALUES = 20
"""A column of numbers with no more than this many is compared value by value."""


@dataclass(frozen=True)
class Binning:
    """Which bin a value belongs to; the last bin is for missing values.

    :param edges: of a number, ascending; None for a category
    :param values: of a category, as text; another bin is for values that the reference did not have
    """

    edges: npt.NDArray[np.float64] | None
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, reference: pd.Series) -> Self:
        """Return bins of about equal size (a number), or one a value."""
        known = reference.dropna()
        if is_numeric_dtype(reference) and not is_bool_dtype(reference) and known.nunique() > FEW_VALUES:
            inner = np.linspace(0, 1, BINS + 1)[1:-1]
            return cls(np.unique(np.quantile(known.to_numpy(dtype=np.float64), inner)))
        return cls(None, tuple(sorted(as_text(known).unique())))

    @property
    def ordered(self) -> bool:
        """Whether the bins are in order (the last one, of missing values, apart)."""
        return self.edges is not None

    @property
    def size(self) -> int:
        """Number of bins."""
        return (len(self.edges) + 1 if self.edges is not None else len(self.values) + 1) + 1

    def codes(self, column: pd.Series) -> npt.NDArray[np.intp]:
        """Return the bin of each value."""
        missing = column.isna().to_numpy()
        if self.edges is not None:
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
            found = np.searchsorted(self.edges, numbers, side="right")
        else:
            found = pd.Index(self.values).get_indexer(pd.Index(as_text(column)))
            found = np.where(found < 0, len(self.values), found)
        return np.asarray(np.where(missing, self.size - 1, found), dtype=np.intp)

    def name(self, code: int) -> str:
        """Return a bin as people read it."""
        if code == self.size - 1:
            return MISSING
        if self.edges is None:
            return self.values[code] if code < len(self.values) else "values never seen before"
        if code == 0:
            return f"below {self.edges[0]:.6g}"
        if code == len(self.edges):
            return f"from {self.edges[-1]:.6g}"
        return f"{self.edges[code - 1]:.6g} to {self.edges[code]:.6g}"


@dataclass(frozen=True)
class Profile:
    """A variable's distribution by day.

    :param label: what people call the variable
    :param first: day of the first row of ``counts``
    :param counts: (days, bins) rows in each bin, days without rows are 0
    """

    label: str
    binning: Binning
    first: pd.Timestamp
    counts: Counts

    @classmethod
    def of(
        cls, label: str, column: pd.Series, days: pd.Series, binning: Binning, odd: pd.DatetimeIndex = NO_DAYS
    ) -> Self:
        """Return the profile of a column.

        :param days: (rows,) the day of each value
        :param odd: days that are not compared: they have no rows
        """
        day = pd.to_datetime(days).dt.normalize()
        first = day.min()
        position = (day - first).dt.days.to_numpy()
        size = int(position.max()) + 1
        codes = position * binning.size + binning.codes(column)
        counts = np.bincount(codes, minlength=size * binning.size).reshape(size, binning.size)
        counts[(odd[(odd >= first) & (odd <= day.max())] - first).days] = 0
        return cls(label, binning, first, counts.astype(np.float64))

    def position(self, day: pd.Timestamp) -> int:
        """Return the row of ``counts`` that a day has, or would have."""
        return int((day - self.first).days)

    def window(self, last: int, days: int) -> Counts | None:
        """Return (days, bins) counts of the days up to a position, None where they are not all there."""
        return self.counts[last + 1 - days : last + 1] if days - 1 <= last < len(self.counts) else None


def as_text(column: pd.Series) -> pd.Series:
    """Return values as text that does not depend on how they are stored: 1, 1.0 and True are all ``1``."""
    codes, values = pd.factorize(column)
    texts = np.array([*(_text(value) for value in values), MISSING], dtype=object)
    return pd.Series(texts[codes], index=column.index, dtype=object)


def _text(value: object) -> str:
    return f"{float(value):.10g}" if isinstance(value, int | float | np.number | np.bool_) else str(value)
