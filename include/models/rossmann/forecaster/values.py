"""Values of a column as numbers, days and codes.

Files, and what a client of the served model sends, are read by the same rules: no door takes what another refuses.
"""

from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from .stores import FloatArray

Column: TypeAlias = "pd.Series[Any]"
Mask = npt.NDArray[np.bool_]

FIRST_YEAR, LAST_YEAR = 1990, 2099
HIGHEST_SALES = 10_000_000
HIGHEST_CUSTOMERS = 1_000_000
A_DAY = f"a day such as 2015-06-19, from {FIRST_YEAR} to {LAST_YEAR}, without a time"
_DAY = r"\d{4}-?\d{2}-?\d{2}"
"""How a text of a day begins: a month alone is none."""
_OFFSET = r"(:\d{2}(?:\.\d+)?)\s?(?:Z|[+-]\d{2}(?::?\d{2})?)$"


def numbers_of(column: Column) -> tuple[FloatArray, Mask]:
    """Return numbers, and which values are none.

    :param column: numbers, truth values or text
    :return: (rows,) float64, NaN where nothing stands or what stands there is no finite number; and where that is
    """
    given = column.notna().to_numpy(dtype=bool)
    if pd.api.types.is_object_dtype(column):
        plain = pd.Series([value if isinstance(value, str) else _number(value) for value in column], dtype="object")
        numbers = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    elif pd.api.types.is_string_dtype(column) or column.dtype.kind in "biuf":
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    else:  # days, lists ...
        numbers = np.full(len(column), np.nan)
    wrong = given & ~np.isfinite(numbers)
    return np.where(wrong, np.nan, numbers), wrong


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | Decimal | np.number | np.bool_) else np.nan
    except (OverflowError, ValueError):
        return np.nan


def days_of(column: Column) -> tuple[Column, Mask]:
    """Return days, and which values are none: a time of day other than midnight makes a value none.

    A year across daylight saving has two offsets; its days are those of the clock on the wall.

    :param column: days or text such as 2015-06-19 or 2015-06-19T00:00:00+02:00
    :return: datetime64[ns]; and where they are wrong or missing, in which case the days are not to be used
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        dates = column.dt.tz_localize(None)
    elif pd.api.types.is_string_dtype(column) or pd.api.types.is_object_dtype(column):
        dates = _parsed(column)
    else:
        return column, np.ones(len(column), dtype=bool)
    wrong = dates.isna() | (dates != dates.dt.normalize()) | ~dates.dt.year.between(FIRST_YEAR, LAST_YEAR)
    return (dates if wrong.any() else dates.astype("datetime64[ns]")), wrong.to_numpy(dtype=bool)


def _parsed(column: Column) -> Column:
    if pd.api.types.is_object_dtype(column):
        texts = [str(value) if isinstance(value, str | date | np.datetime64) else "" for value in column]
        column = pd.Series(texts, index=column.index, dtype="str")
    codes, found = pd.factorize(column)
    distinct = pd.Series(found, dtype="object").astype("str").str.strip()
    whole = distinct.where(distinct.str.match(_DAY)).str.replace(_OFFSET, r"\1", regex=True)
    parsed = pd.to_datetime(whole, errors="coerce", format="ISO8601")
    return pd.Series(parsed.reindex(codes).to_numpy(), index=column.index)


def holiday_codes(column: Column) -> Column:
    """Return StateHoliday as text: a file may hold 0 as a number, and then its reader makes it 0 or 0.0."""
    if pd.api.types.is_object_dtype(column):
        return column.map(_holiday_code).astype("str")
    if column.dtype.kind == "f":
        column = column.astype("float64")  # pandas has no index of halves
    return column.map({value: _holiday_code(value) for value in column.dropna().unique()}).astype("str")


def _holiday_code(value: object) -> str:
    if isinstance(value, int | float | np.number) and value == 0:
        return "0"
    text = str(value).strip()
    return "0" if text == "0.0" else text
