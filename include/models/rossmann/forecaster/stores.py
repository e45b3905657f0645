"""What is fixed about each store, as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .errors import ForecastInputError

FloatArray = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

STORE_COLUMNS = (
    "Store",
    "StoreType",
    "Assortment",
    "CompetitionDistance",
    "CompetitionOpenSinceMonth",
    "CompetitionOpenSinceYear",
    "Promo2",
    "Promo2SinceWeek",
    "Promo2SinceYear",
    "PromoInterval",
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class StoreTable:
    """One entry a store, sorted by store number.

    Days are day numbers since 1970-01-01; what a store does not have is NaN.
    """

    frame: pd.DataFrame
    store: npt.NDArray[np.int64]
    store_type: FloatArray
    assortment: FloatArray
    competition_distance: FloatArray
    competition_since: FloatArray
    promo2_since: FloatArray
    promo2_months: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.store)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "StoreTable":
        """Read the store table.

        :param frame: one row a store with the columns of ``STORE_COLUMNS``, in any order
        :raises ForecastInputError: names a missing column or a repeated store
        """
        missing = [name for name in STORE_COLUMNS if name not in frame.columns]
        if missing:
            raise ForecastInputError(f"store table: missing column {', '.join(missing)}")
        table = frame.loc[:, list(STORE_COLUMNS)].sort_values("Store", kind="stable").reset_index(drop=True)
        store = table["Store"].to_numpy(np.int64)
        if len(np.unique(store)) != len(store):
            repeated = store[1:][store[1:] == store[:-1]][0]
            raise ForecastInputError(f"store table: store {repeated} appears more than once")
        interval = table["PromoInterval"].astype("object").where(table["PromoInterval"].notna(), "")
        return cls(
            frame=table,
            store=store,
            store_type=_letter_codes(table["StoreType"]),
            assortment=_letter_codes(table["Assortment"]),
            competition_distance=_numbers(table["CompetitionDistance"]),
            competition_since=_month_starts(
                _numbers(table["CompetitionOpenSinceYear"]), _numbers(table["CompetitionOpenSinceMonth"])
            ),
            promo2_since=_week_starts(
                _numbers(table["Promo2SinceYear"]), _numbers(table["Promo2SinceWeek"]), _numbers(table["Promo2"])
            ),
            promo2_months=np.array([_interval_months(text) for text in interval], dtype=bool).reshape(-1, 12),
        )

    def save(self, path: Path) -> None:
        """Write the store table as Parquet."""
        self.frame.to_parquet(path, compression="zstd", index=False)

    @classmethod
    def load(cls, path: Path) -> "StoreTable":
        """Read what ``save`` wrote."""
        return cls.from_frame(pd.read_parquet(path))


def _numbers(column: "pd.Series[Any]") -> FloatArray:
    return pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)


def _letter_codes(column: "pd.Series[Any]") -> FloatArray:
    """a, b, c ... as 0, 1, 2 ...: the same code in every data set, which a category's rank would not be."""
    return np.array([float(ord(str(v)[0]) - ord("a")) if pd.notna(v) and str(v) else np.nan for v in column])


def _interval_months(text: object) -> list[bool]:
    names = {part.strip()[:3] for part in str(text).split(",")}  # "Sept" is spelt with four letters
    return [month in names for month in MONTHS]


def _month_starts(years: Iterable[float], months: Iterable[float]) -> FloatArray:
    return np.array(
        [
            float(np.datetime64(f"{int(y):04d}-{int(m):02d}-01", "D").astype(np.int64))
            if np.isfinite(y) and np.isfinite(m) and 1 <= m <= 12
            else np.nan
            for y, m in zip(years, months, strict=True)
        ]
    )


def _week_starts(years: Iterable[float], weeks: Iterable[float], active: Iterable[float]) -> FloatArray:
    return np.array(
        [
            float(np.datetime64(f"{int(y):04d}-01-01", "D").astype(np.int64)) + 7.0 * (w - 1.0)
            if on == 1 and np.isfinite(y) and np.isfinite(w)
            else np.nan
            for y, w, on in zip(years, weeks, active, strict=True)
        ]
    )
