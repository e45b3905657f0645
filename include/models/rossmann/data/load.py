"""Reading of train, store and future files, each column in its type."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from include.models.rossmann.forecaster.values import A_DAY, Column, Mask, days_of, holiday_codes, numbers_of
from include.retraining.tables import Convert, as_it_is, read_table, text

Kind = Literal["exact", "flag", "small", "store", "count", "measure", "number", "date", "code", "text"]
Columns = dict[str, Kind]

TRAIN: Columns = {
    "Store": "store",
    "DayOfWeek": "small",
    "Date": "date",
    "Sales": "count",
    "Customers": "count",
    "Open": "flag",
    "Promo": "flag",
    "StateHoliday": "code",
    "SchoolHoliday": "flag",
}
STORE: Columns = {
    "Store": "store",
    "StoreType": "text",
    "Assortment": "text",
    "CompetitionDistance": "number",
    "CompetitionOpenSinceMonth": "number",
    "CompetitionOpenSinceYear": "number",
    "Promo2": "flag",
    "Promo2SinceWeek": "number",
    "Promo2SinceYear": "number",
    "PromoInterval": "text",
}
FUTURE: Columns = {"Store": "store", "Date": "date", "Promo": "flag", "StateHoliday": "code", "SchoolHoliday": "flag"}
FUTURE_OPTIONAL: Columns = {
    "Id": "exact",
    "DayOfWeek": "small",
    "Open": "number",  # may be missing in some rows
    "Sales": "measure",  # rows with sales are newer history
    "Customers": "measure",
}

WHOLE: dict[Kind, str] = {"flag": "int8", "small": "int8", "store": "int32", "count": "int32"}
TEXTS = ("StateHoliday", "Date")
ID = "Id"
"""What the asker calls a row: comes back as it was given."""


def read_train(path: Path) -> pd.DataFrame:
    """Read the history.

    :param path: file with one row a store and day
    :return: the columns of ``TRAIN``: Store int32, Date datetime64, Sales and Customers int32 (float64 when
        not whole), DayOfWeek and flags int8, StateHoliday str
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _read(path, TRAIN, {})


def read_store(path: Path) -> pd.DataFrame:
    """Read the store table.

    :param path: file with one row a store
    :return: the columns of ``STORE``; numbers that may be missing are float64
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _read(path, STORE, {})


def read_future(path: Path) -> pd.DataFrame:
    """Read rows to forecast.

    :param path: file with one row a store and day; it may carry Id, DayOfWeek, Open, and Sales and Customers
        where rows are newer history
    :return: the columns of ``FUTURE`` and those of ``FUTURE_OPTIONAL`` that the file has; Open, Sales and
        Customers are float64, NaN where missing; Id is what it is in the file, whole numbers or text of Arrow
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _read(path, FUTURE, FUTURE_OPTIONAL)


def _read(path: Path, required: Columns, optional: Columns) -> pd.DataFrame:
    return read_table(path, _converters(required), _converters(optional), texts=TEXTS, exact=(ID,))


def _converters(columns: Columns) -> dict[str, Convert]:
    return {name: partial(_convert, kind) for name, kind in columns.items()}


def _convert(kind: Kind, column: Column) -> tuple[Column, Mask, str]:
    """Return the column in its type, which values did not fit, and what would have."""
    if kind == "exact":
        return as_it_is(column)
    if kind == "date":
        return *days_of(column), A_DAY
    if kind == "code":
        return holiday_codes(column), column.isna().to_numpy(), "0, a, b or c"
    if kind == "text":
        return text(column)
    found, unreadable = numbers_of(column)
    numbers = pd.Series(found, index=column.index)
    if kind in ("number", "measure"):
        return numbers, unreadable, "a number or nothing"
    wrong = np.isnan(found)
    limits = np.iinfo(WHOLE[kind])
    outside = ~wrong & ~((found >= limits.min) & (found <= limits.max))
    whole = wrong | (found == np.floor(found))
    if kind == "count":
        if whole.all() or wrong.any():
            return _as(numbers, wrong | outside, "int32"), wrong | outside, f"a number up to {limits.max}"
        return numbers, wrong, "a number"
    wrong = wrong | outside | ~whole
    return _as(numbers, wrong, WHOLE[kind]), wrong, "a whole number"


def _as(numbers: Column, wrong: Mask, dtype: str) -> Column:
    return numbers if wrong.any() else numbers.astype(dtype)  # type: ignore[call-overload]
