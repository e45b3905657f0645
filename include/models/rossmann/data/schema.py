"""Checks of the data before anything is trained on it.

Pandera schemas hold what a file must look like by itself; the rest compares files, and days with each other.
Everything that is wrong ends in one error, briefly; what is only odd comes back as warnings.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.errors
import pandera.pandas as pa

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line
from include.models.rossmann.config import HORIZON_DAYS
from include.models.rossmann.data.problems import SHOWN, listed, row_names, table_problems
from include.models.rossmann.forecaster.values import FIRST_YEAR, HIGHEST_CUSTOMERS, HIGHEST_SALES, LAST_YEAR
from include.retraining.tables import FILE

LONGEST = 3000
"""Characters of an error: what stands in a table may be long, and of several lines."""
STATE_HOLIDAYS = ["0", "a", "b", "c"]
STORE_TYPES = ["a", "b", "c", "d"]
ASSORTMENTS = ["a", "b", "c"]
MONTHS = frozenset(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec"))
DAYS = (pd.Timestamp(FIRST_YEAR, 1, 1), pd.Timestamp(LAST_YEAR, 12, 31))


class DataCheckError(BadInputError):
    """The data is not what a forecast can be trained on; names file, rows, what was found and expected."""


def _between(low: float, high: float) -> pa.Check:
    return pa.Check.in_range(low, high, error=f"{low:.0f} to {high:.0f}", n_failure_cases=SHOWN)


def _one_of(values: list[Any]) -> pa.Check:
    expected = f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
    return pa.Check.isin(values, error=expected, n_failure_cases=SHOWN)


def _rows(name: str, right: Callable[[pd.DataFrame], "pd.Series[bool]"], expected: str) -> pa.Check:
    """Return a check of whole rows.

    :param name: what is wrong with a row that fails, in the words of the error
    :param expected: in the words of the error
    """
    return pa.Check(right, name=name, error=expected, n_failure_cases=SHOWN, ignore_na=False)


def _weekday_fits(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["DayOfWeek"].eq(rows["Date"].dt.dayofweek + 1)


def _closed_sells_nothing(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["Open"].ne(0) | rows["Sales"].eq(0)


def _once_a_day(rows: pd.DataFrame) -> "pd.Series[bool]":
    return ~rows.duplicated(["Store", "Date"])


def _months(values: "pd.Series[str]") -> "pd.Series[bool]":
    return pd.Series([set(str(text).split(",")) <= MONTHS for text in values], index=values.index, dtype=bool)


_ID = pa.Column(checks=_between(1, 2**31 - 1))
_DATE = pa.Column("datetime64[ns]", coerce=True, checks=pa.Check.in_range(*DAYS, error=f"{FIRST_YEAR} to {LAST_YEAR}"))
_SCHEDULE = {"Promo": pa.Column(checks=_one_of([0, 1])), "SchoolHoliday": pa.Column(checks=_one_of([0, 1]))}
_SCHEDULE["StateHoliday"] = pa.Column(checks=_one_of(STATE_HOLIDAYS))
_DUPLICATES = _rows("a second row", _once_a_day, "one row a store and day")
_WEEKDAYS = _rows("wrong DayOfWeek", _weekday_fits, "the weekday of the date, 1 is Monday")

TRAIN_SCHEMA = pa.DataFrameSchema(
    {
        "Store": _ID,
        "DayOfWeek": pa.Column(checks=_between(1, 7)),
        "Date": _DATE,
        "Sales": pa.Column(checks=_between(0, HIGHEST_SALES)),
        "Customers": pa.Column(checks=_between(0, HIGHEST_CUSTOMERS)),
        "Open": pa.Column(checks=_one_of([0, 1])),
        **_SCHEDULE,
    },
    checks=[
        _DUPLICATES,
        _WEEKDAYS,
        _rows("Sales although Open is 0", _closed_sells_nothing, "no sales on a closed day"),
    ],
)

STORE_SCHEMA = pa.DataFrameSchema(
    {
        "Store": _ID,
        "StoreType": pa.Column(checks=_one_of(STORE_TYPES)),
        "Assortment": pa.Column(checks=_one_of(ASSORTMENTS)),
        "CompetitionDistance": pa.Column(nullable=True, checks=_between(0, 1_000_000)),
        "CompetitionOpenSinceMonth": pa.Column(nullable=True, checks=_between(1, 12)),
        "CompetitionOpenSinceYear": pa.Column(nullable=True, checks=_between(1800, 2100)),
        "Promo2": pa.Column(checks=_one_of([0, 1])),
        "Promo2SinceWeek": pa.Column(nullable=True, checks=_between(1, 53)),
        "Promo2SinceYear": pa.Column(nullable=True, checks=_between(1980, 2100)),
        "PromoInterval": pa.Column(
            nullable=True, checks=pa.Check(_months, error="months such as Jan,Apr,Jul,Oct", n_failure_cases=SHOWN)
        ),
    },
    checks=[_rows("a second row", lambda rows: ~rows.duplicated("Store"), "one row a store")],
)

FUTURE_SCHEMA = pa.DataFrameSchema(
    {
        "Store": _ID,
        "DayOfWeek": pa.Column(required=False, checks=_between(1, 7)),
        "Date": _DATE,
        "Open": pa.Column(required=False, nullable=True, checks=_one_of([0, 1])),
        **_SCHEDULE,
    },
    checks=[_DUPLICATES],
)


def check_data(
    train: pd.DataFrame,
    stores: pd.DataFrame,
    future: pd.DataFrame | None,
    *,
    freshness_days: int | None = None,
    today: date | None = None,
    horizon_days: int = HORIZON_DAYS,
) -> list[str]:
    """Check the data of a retrain.

    :param train: history, one row a store and day
    :param future: rows to forecast, if there are any
    :param freshness_days: oldest accepted age of the newest day; None accepts any
    :param today: what the age is counted from; by default today (UTC)
    :param horizon_days: how far after the history a future row may lie
    :return: warnings, one sentence each
    :raises DataCheckError: names every file with problems, and for each problem a few rows, what was found
        and what was expected
    """
    tables = {"train": train, "store": stores} | ({} if future is None else {"future": future})
    problems = {name: _schema_problems(name, table) for name, table in tables.items()}
    _raise_any(tables, problems)  # what follows needs tables that are whole
    warnings: list[str] = []
    known = stores["Store"].to_numpy()
    for name in tables.keys() - {"store"}:
        problems[name] += _unknown_stores(tables[name], known)
    newest = pd.Timestamp(train["Date"].max())
    problems["train"] += _without_sales(train, newest, horizon_days)
    today = today or datetime.now(UTC).date()
    problems["train"] += _too_new(newest, today)
    if freshness_days is not None:
        problems["train"] += _too_old(newest, freshness_days, today)
    if future is not None:
        problems["future"] += _outside_horizon(future, newest, horizon_days)
        warnings += _missing_open(future, _file(future, "future"))
        warnings += _without_history(future, train, _file(future, "future"))
    _raise_any(tables, problems)
    return [*_gaps(train, _file(train, "train")), *_ended(train, newest, _file(train, "train")), *warnings]


def check_future(rows: pd.DataFrame) -> None:
    """Check rows to forecast by themselves.

    :param rows: as ``read_future`` returns them
    :raises DataCheckError: names the file, a few rows, what was found and what was expected
    """
    _raise_any({"future": rows}, {"future": _schema_problems("future", rows)})


def _file(table: pd.DataFrame, name: str) -> str:
    return str(table.attrs.get(FILE, name))


def _raise_any(tables: dict[str, pd.DataFrame], problems: dict[str, list[str]]) -> None:
    found = [f"{_file(tables[name], name)}: {listed(problems[name])}" for name in tables if problems[name]]
    if found:
        raise DataCheckError(one_line(". ".join(found), LONGEST))


def _schema_problems(name: str, table: pd.DataFrame) -> list[str]:
    if len(table) == 0:
        return ["no rows"]
    schema = {"train": TRAIN_SCHEMA, "store": STORE_SCHEMA, "future": FUTURE_SCHEMA}[name]
    plain = table.reset_index(drop=True)
    try:
        schema.validate(plain, lazy=True)
    except pandera.errors.SchemaErrors as error:
        return table_problems(error, plain)
    if name == "future" and "DayOfWeek" in plain and not _weekday_fits(plain).all():
        wrong = plain.index[~_weekday_fits(plain)]
        return [f"{_WEEKDAYS.name} in {row_names(plain, wrong, ('DayOfWeek',))}, expected {_WEEKDAYS.error}"]
    return []


def _unknown_stores(table: pd.DataFrame, known: npt.NDArray[np.int64]) -> Iterator[str]:
    rows = table[~table["Store"].isin(known)]
    if len(rows):
        names = rows["Store"].unique()
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        shown = ", ".join(map(str, names[:SHOWN])) + more
        yield f"unknown store {shown} ({len(rows):,} rows), expected one of the {len(known):,} of the store table"


def _too_new(newest: pd.Timestamp, today: date) -> Iterator[str]:
    tomorrow = pd.Timestamp(today) + pd.Timedelta(days=1)  # where the day begins before UTC's
    if newest > tomorrow:
        yield f"the newest day is {newest:%Y-%m-%d}, expected none after {tomorrow:%Y-%m-%d}: sales are of the past"


def _too_old(newest: pd.Timestamp, freshness_days: int, today: date) -> Iterator[str]:
    age = (pd.Timestamp(today) - newest).days
    if age > freshness_days:
        yield (
            f"the newest day is {newest:%Y-%m-%d}, {age} days before {today}, expected at most {freshness_days}"
            " (data.freshness_days)"
        )


def _outside_horizon(future: pd.DataFrame, newest: pd.Timestamp, horizon_days: int) -> Iterator[str]:
    last = newest + pd.Timedelta(days=horizon_days)
    wrong = future.index[(future["Date"] <= newest) | (future["Date"] > last)]
    first = newest + pd.Timedelta(days=1)
    if len(wrong):
        yield (
            f"a day outside of the horizon in {row_names(future, wrong)}, expected {first:%Y-%m-%d} to {last:%Y-%m-%d},"
            f" the {horizon_days} days after the history"
        )


def _missing_open(future: pd.DataFrame, file: str) -> Iterator[str]:
    missing = future.index[future["Open"].isna()] if "Open" in future else future.index
    if len(missing):
        yield f"{file}: Open is missing in {row_names(future, missing)}; taken for open"


def _without_history(future: pd.DataFrame, train: pd.DataFrame, file: str) -> Iterator[str]:
    without = np.setdiff1d(future["Store"].unique(), train["Store"].unique())
    if len(without):
        yield (
            f"{file}: {len(without):,} stores have no history at all, such as store {without[0]};"
            " the forecast knows only their kind"
        )


def _gaps(train: pd.DataFrame, file: str) -> Iterator[str]:
    """Days that are missing between a store's first and last one: not closed, unknown."""
    sorted_days = train[["Store", "Date"]].sort_values(["Store", "Date"], kind="stable")
    store, day = sorted_days["Store"].to_numpy(), sorted_days["Date"].to_numpy().astype("datetime64[D]")
    step = np.diff(day).astype(np.int64)
    after = np.flatnonzero((np.diff(store) == 0) & (step > 1))
    if len(after) == 0:
        return
    longest = after[step[after].argmax()]
    first, last = day[longest] + np.timedelta64(1, "D"), day[longest + 1] - np.timedelta64(1, "D")
    yield (
        f"{file}: {len(np.unique(store[after])):,} stores have a gap in their history,"
        f" {int((step[after] - 1).sum()):,} days in all, such as store {store[longest]} from {first} to {last};"
        " those days count as unknown, not as closed"
    )


def _without_sales(train: pd.DataFrame, newest: pd.Timestamp, horizon_days: int) -> Iterator[str]:
    sold = train.loc[(train["Open"] == 1) & (train["Sales"] > 0), "Date"]
    first = newest - pd.Timedelta(days=horizon_days - 1)
    if sold.empty:
        yield "no store sold anything on a day on which it was open, expected Sales above 0"
    elif sold.max() < first:
        yield (
            f"no sales in the newest {horizon_days} days, {first:%Y-%m-%d} to {newest:%Y-%m-%d}, on which candidates"
            f" are validated; the newest day with sales is {sold.max():%Y-%m-%d}: leave out the days after it"
        )


def _ended(train: pd.DataFrame, newest: pd.Timestamp, file: str) -> Iterator[str]:
    last = train.groupby("Store")["Date"].max()
    ended = last[last < newest]
    if len(ended):
        yield (
            f"{file}: {len(ended):,} stores have no row on the newest day {newest:%Y-%m-%d}, such as store"
            f" {ended.index[0]} (last on {ended.iloc[0]:%Y-%m-%d})"
        )
