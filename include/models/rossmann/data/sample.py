"""Sample data in the exact shape of the Rossmann files, generated: nothing to download, nothing confidential.

A day of a store is the same whatever else is generated with it, so a later revision is the same past with
more days. Sales are a product of effects that a booster can learn (level and trend of the store, weekday,
promotion, season, holidays, position in the month) and of noise that nobody can: an honest forecast passes
the gate of 0.10, and one that knows only store, weekday and promotion misses it, because season and trend
have moved on.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from include.models.rossmann.config import HORIZON_DAYS
from include.models.rossmann.data.calendar import REGIONS, SampleCalendar, make_calendar

FloatArray = npt.NDArray[np.float64]

START = date(2013, 1, 1)
NOISE = 0.05
"""Standard deviation of log sales that nothing explains."""
DRIFT = 0.012
"""Innovation of each store's slow drift (with DRIFT_MEMORY: about 0.03 of log sales)."""
DRIFT_MEMORY = 0.92
REFURBISHMENT = (430, 47)
"""First day and length of the one store's closure, counted from the first day of the data."""
INTERVALS = ("Jan,Apr,Jul,Oct", "Feb,May,Aug,Nov", "Mar,Jun,Sept,Dec")


@dataclass(frozen=True)
class SampleData:
    """The three tables, as they are read from files by ``include.models.rossmann.data.load``."""

    train: pd.DataFrame
    store: pd.DataFrame
    future: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write train.csv, store.csv and future.csv, quoted as the Rossmann files are.

        :param folder: created when missing
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("train", "store", "future"):
            table: pd.DataFrame = getattr(self, name)
            columns = [_csv_values(table[column]) for column in table.columns]
            rows = [",".join(row) for row in zip(*columns, strict=True)]
            header = ",".join(f'"{column}"' for column in table.columns)
            (folder / f"{name}.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8", newline="\n")


def _csv_values(column: "pd.Series[Any]") -> list[str]:
    """Return a column as it stands in the Rossmann files: quotes around text and SchoolHoliday, not around dates."""
    if column.dtype.kind == "M":
        return [f"{day:%Y-%m-%d}" for day in column]
    if column.dtype.kind == "f":
        return ["" if missing else f"{value:.0f}" for value, missing in zip(column, column.isna(), strict=True)]
    if column.dtype == "str" or column.name == "SchoolHoliday":
        return [f'"{value}"' for value in column.astype("object").where(column.notna(), "")]
    return [str(value) for value in column]


def generate(
    *,
    seed: int = 2015,
    stores: int = 120,
    months: int = 30,
    start: date = START,
    end: date | None = None,
    extra_days: int = 0,
    horizon_days: int = HORIZON_DAYS,
    spoil: bool = False,
) -> SampleData:
    """Generate sample data.

    :param seed: another seed, other stores
    :param start: first day; the same start and seed give the same past
    :param end: newest day of the history, instead of ``months``
    :param extra_days: days more: what a later revision of the same data holds
    :param spoil: shuffle the newest sales, so that a model trained on them fails its gate
    :raises ValueError: when a size is not positive
    """
    if end is None:
        end = (pd.Timestamp(start) + pd.DateOffset(months=months)).date() - timedelta(1)
    end += timedelta(extra_days)
    if stores < 1 or end < start or horizon_days < 2:
        raise ValueError(f"nothing to generate: {stores} stores from {start} to {end}, {horizon_days} days ahead")
    chain = _Chain.draw(seed, stores)
    calendar = make_calendar(start, end + timedelta(horizon_days))
    table = _rows(chain, calendar, _opening(chain, calendar), seed)
    newest_first = table.sort_values(["Date", "Store"], ascending=[False, True], kind="stable")
    history = newest_first["Date"] <= np.datetime64(end)
    train = newest_first[history].reset_index(drop=True)
    future = newest_first[~history].drop(columns=["Sales", "Customers"]).reset_index(drop=True)
    future.insert(0, "Id", np.arange(1, len(future) + 1, dtype=np.int32))
    future["Open"] = future["Open"].astype("float64")
    return SampleData(spoiled(train) if spoil else train, chain.table(), future)


def spoiled(train: pd.DataFrame, *, days: int = HORIZON_DAYS, seed: int = 1) -> pd.DataFrame:
    """Return a history whose newest days make no sense: their sales are shuffled between stores and days.

    It passes every check of the schema and fails the gate.

    :param days: how many of the newest days are spoilt
    """
    result = train.copy()
    newest = result["Date"] > result["Date"].max() - pd.Timedelta(days=days)
    rows = np.flatnonzero(newest & (result["Open"] == 1) & (result["Sales"] > 0))
    shuffled = np.random.default_rng(seed).permutation(rows)
    for name in ("Sales", "Customers"):
        values = result[name].to_numpy(copy=True)
        values[rows] = values[shuffled]
        result[name] = values
    return result


@dataclass(frozen=True)
class _Chain:
    """What is fixed about each store; every array has one entry a store."""

    kind: npt.NDArray[np.str_]
    assortment: npt.NDArray[np.str_]
    region: npt.NDArray[np.int64]
    level: FloatArray
    trend: FloatArray
    season: FloatArray
    promo: FloatArray
    weekday: FloatArray
    school: FloatArray
    payday: FloatArray
    basket: FloatArray
    competition: FloatArray
    promo2: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, seed: int, stores: int) -> "_Chain":
        """Draw the stores; store n is the same in a chain of any size."""
        drawn = [np.random.default_rng([seed, number]) for number in range(1, stores + 1)]
        uniform = np.array([rng.random(9) for rng in drawn])
        normal = np.array([rng.standard_normal(16) for rng in drawn])
        number = np.arange(stores)
        kind = np.array(["a", "a", "c", "d", "a", "d"])[number % 6]
        kind[5::30] = "b"  # railway stations: open every day
        week = np.array([0.12, 0.02, -0.03, -0.01, 0.04, -0.10, 0.10])
        return cls(
            kind=kind,
            assortment=np.where(uniform[:, 0] < 0.53, "a", np.where(uniform[:, 0] < 0.97, "c", "b")),
            region=number % REGIONS,
            level=8.75 + 0.30 * normal[:, 0] + 0.30 * (kind == "b"),
            trend=0.06 + 0.04 * normal[:, 1],
            season=1.0 + 0.25 * normal[:, 2],
            promo=np.clip(0.28 + 0.07 * normal[:, 3], 0.05, 0.5),
            weekday=week + 0.03 * normal[:, 4:11],
            school=0.02 + 0.02 * normal[:, 11],
            payday=np.clip(0.05 + 0.015 * normal[:, 12], 0.0, None),
            basket=2.2 + 0.12 * normal[:, 13],
            competition=np.round(10 ** (2.0 + 2.3 * uniform[:, 1]), -1),
            promo2=np.where(uniform[:, 2] < 0.5, 1 + (uniform[:, 3] * 3).astype(np.int64), 0),
        )

    def table(self) -> pd.DataFrame:
        """Return the store table."""
        number = np.arange(len(self.kind))
        on = self.promo2 > 0
        known = number % 3 != 1  # a third of the real stores do not say since when there is competition
        return pd.DataFrame(
            {
                "Store": (number + 1).astype(np.int32),
                "StoreType": pd.Series(self.kind, dtype="str"),
                "Assortment": pd.Series(self.assortment, dtype="str"),
                "CompetitionDistance": np.where(number == 40, np.nan, self.competition),
                "CompetitionOpenSinceMonth": np.where(known, 1.0 + number % 12, np.nan),
                "CompetitionOpenSinceYear": np.where(known, 2000.0 + number * 7 % 13, np.nan),
                "Promo2": on.astype(np.int8),
                "Promo2SinceWeek": np.where(on, 1.0 + number * 5 % 50, np.nan),
                "Promo2SinceYear": np.where(on, 2009.0 + number % 4, np.nan),
                "PromoInterval": pd.Series([INTERVALS[i - 1] if i else None for i in self.promo2], dtype="str"),
            }
        )


def _opening(chain: _Chain, calendar: SampleCalendar) -> npt.NDArray[np.bool_]:
    """Return (days, stores) whether a store is open."""
    always = chain.kind == "b"
    closed_day = (calendar.weekday == 7)[:, None] | (calendar.holiday != "0")[:, chain.region]
    is_open: npt.NDArray[np.bool_] = ~closed_day | always[None, :]
    first, length = REFURBISHMENT
    is_open[first : first + length, min(12, len(chain.kind) - 1)] = False
    return is_open


def _rows(chain: _Chain, calendar: SampleCalendar, is_open: npt.NDArray[np.bool_], seed: int) -> pd.DataFrame:
    """Return one row a store and day, the stores of a day together."""
    shape = is_open.shape
    streams = [np.random.default_rng([seed, number, 1]) for number in range(1, shape[1] + 1)]
    noise = np.stack([stream.standard_normal((shape[0], 3)) for stream in streams], axis=2)
    log_sales = _expected(chain, calendar, is_open) + NOISE * noise[:, 0] + _drift(noise[:, 1])
    sales = np.where(is_open, np.exp(log_sales), 0.0)
    customers = sales / np.exp(chain.basket + 0.02 * noise[:, 2])
    each_day = {"Date": calendar.days.astype("datetime64[ns]"), "DayOfWeek": calendar.weekday, "Promo": calendar.promo}
    spread = {name: np.repeat(values, shape[1]) for name, values in each_day.items()}
    return pd.DataFrame(
        {
            "Store": np.tile(np.arange(1, shape[1] + 1, dtype=np.int32), shape[0]),
            "DayOfWeek": spread["DayOfWeek"].astype(np.int8),
            "Date": spread["Date"],
            "Sales": np.round(sales).astype(np.int32).ravel(),
            "Customers": np.round(customers).astype(np.int32).ravel(),
            "Open": is_open.astype(np.int8).ravel(),
            "Promo": spread["Promo"].astype(np.int8),
            "StateHoliday": pd.Series(calendar.holiday[:, chain.region].ravel(), dtype="str"),
            "SchoolHoliday": calendar.school[:, chain.region].astype(np.int8).ravel(),
        }
    )


def _expected(chain: _Chain, calendar: SampleCalendar, is_open: npt.NDArray[np.bool_]) -> FloatArray:
    """Return (days, stores) the log sales that could be known."""
    years = np.arange(len(calendar.days))[:, None] / 365.25
    share = 2 * np.pi * calendar.day_of_year / 365.25
    season = 0.13 * np.sin(share - 1.35) + 0.04 * np.sin(2 * share + 0.5)
    to_christmas = np.clip((calendar.day_of_year - 318) / 40, 0, 1) * (calendar.day_of_year < 358)
    payday = (calendar.day_of_month <= 4) * 1.0 + (calendar.day_of_month >= 28) * 0.7
    closed = ~is_open
    eve = np.zeros(is_open.shape)
    for ahead, uplift in ((1, 0.10), (2, 0.05)):
        holiday_ahead = np.roll((calendar.holiday != "0")[:, chain.region], -ahead, axis=0)
        holiday_ahead[-ahead:] = False
        eve = np.maximum(eve, uplift * holiday_ahead)
    after = np.zeros(is_open.shape)
    after[1:] = 0.04 * closed[:-1]
    result: FloatArray = (
        chain.level
        + chain.trend * years
        + chain.season * (season + 0.30 * to_christmas)[:, None]
        + chain.weekday.T[calendar.weekday - 1]
        + chain.promo * calendar.promo[:, None]
        + chain.school * calendar.school[:, chain.region]
        + chain.payday * payday[:, None]
        + eve
        + after
    )
    return result


def _drift(noise: FloatArray) -> FloatArray:
    """Return (days, stores) a slow drift of each store's level."""
    drift = np.empty_like(noise)
    level = np.zeros(noise.shape[1])
    for day, innovation in enumerate(noise):
        level = DRIFT_MEMORY * level + DRIFT * innovation
        drift[day] = level
    return drift
