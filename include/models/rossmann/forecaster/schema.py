"""Checks of what a forecaster is given: errors name the column, store or date."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .errors import ForecastInputError
from .panel import STATE_HOLIDAYS
from .values import A_DAY, HIGHEST_CUSTOMERS, HIGHEST_SALES, Column, Mask, days_of, holiday_codes, numbers_of

log = logging.getLogger(__name__)

REQUIRED = ("Store", "Date", "Promo", "StateHoliday", "SchoolHoliday")
OPTIONAL = ("Open", "DayOfWeek", "Sales", "Customers")
HIGHEST = {"Sales": HIGHEST_SALES, "Customers": HIGHEST_CUSTOMERS}
SHOWN = 3
"""How many offending rows an error names."""


def as_table(given: Any) -> pd.DataFrame:
    """Return what a client sent as a table: MLflow's server makes some of its forms arrays or a mapping.

    :raises ForecastInputError: when it has no columns with names
    """
    if isinstance(given, pd.DataFrame):
        return given
    try:
        if isinstance(given, dict):
            return pd.DataFrame(
                {name: [_plain(value) for value in np.atleast_1d(values)] for name, values in given.items()}
            )
        rows = [{name: _plain(value) for name, value in row.items()} if isinstance(row, dict) else row for row in given]
        return pd.DataFrame(rows)
    except (TypeError, ValueError) as error:
        raise ForecastInputError(f"expected rows with named columns, found {type(given).__name__}") from error


def _plain(value: object) -> object:
    """Return what an array without a dimension holds."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def checked_rows(rows: pd.DataFrame, known_stores: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Check the input and bring it into one form.

    :param rows: as given by the user; columns that are not named here are ignored
    :return: Store int64, Date datetime64, Open, Promo and SchoolHoliday 0 or 1, StateHoliday 0, a, b or c,
        Sales and Customers float64 (NaN where not known), in the order of the input
    :raises ForecastInputError: at the first check that fails
    """
    if len(rows) == 0:
        raise ForecastInputError("no rows: give at least one row without Sales to forecast")
    columns = list(rows.columns)
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ForecastInputError(
            f"missing column {', '.join(missing)}: expected {', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
        )
    if twice := [name for name in REQUIRED + OPTIONAL if columns.count(name) > 1]:
        raise ForecastInputError(f"the column {', '.join(twice)} is given twice: keep one")
    frame = pd.DataFrame({"Store": _store_numbers(rows["Store"]), "Date": _dates(rows["Date"])})
    known = np.isin(frame["Store"], known_stores)
    _refuse(frame, ~known, "unknown store", f"the model knows {len(known_stores)} stores")
    _refuse(frame, frame.duplicated(["Store", "Date"]), "more than one row for the same store and day", "expected one")
    if "DayOfWeek" in columns:
        weekday = _numbers(rows, "DayOfWeek") == frame["Date"].dt.dayofweek + 1
        _refuse(frame, ~weekday, "DayOfWeek does not fit the date", "expected its weekday, 1 is Monday")
    frame["StateHoliday"] = holiday_codes(rows["StateHoliday"]).to_numpy()
    coded = frame["StateHoliday"].isin(STATE_HOLIDAYS)
    _refuse(frame, ~coded, "wrong StateHoliday", f"expected {', '.join(STATE_HOLIDAYS)}")
    for name in ("Promo", "SchoolHoliday"):
        frame[name] = _numbers(rows, name)
        _refuse(frame, ~frame[name].isin([0, 1]), f"wrong {name}", "expected 0 or 1")
    frame["Open"] = _numbers(rows, "Open")
    _refuse(frame, ~(frame["Open"].isin([0, 1]) | frame["Open"].isna()), "wrong Open", "expected 0, 1 or nothing")
    for name in ("Sales", "Customers"):
        frame[name] = _numbers(rows, name)
        outside = (frame[name] < 0) | (frame[name] > HIGHEST[name])
        _refuse(frame, outside, f"wrong {name}", f"expected a number from 0 to {HIGHEST[name]}")
    half = frame["Sales"].notna() & frame["Customers"].isna()
    _refuse(frame, half, "Sales without Customers", "newer history needs both")
    unknown_open = frame["Open"].isna()
    if unknown_open.any():
        log.warning(
            "%d of %d rows do not say whether the store is open: taken for open", unknown_open.sum(), len(frame)
        )
        frame["Open"] = frame["Open"].fillna(1.0)
    return frame


def _refuse(frame: pd.DataFrame, wrong: "pd.Series[bool] | npt.NDArray[np.bool_]", what: str, remedy: str) -> None:
    """Raise when any row is wrong, and name the first few."""
    offending = frame[np.asarray(wrong, dtype=bool)]
    if offending.empty:
        return
    names = []
    for row in offending.head(SHOWN).itertuples():
        value = getattr(row, what.removeprefix("wrong "), None) if what.startswith("wrong ") else None
        shown = "" if value is None else f" ({what.removeprefix('wrong ')} {value!r})"
        names.append(f"store {row.Store} on {row.Date:%Y-%m-%d}{shown}")
    more = f" and {len(offending) - SHOWN} more rows" if len(offending) > SHOWN else ""
    raise ForecastInputError(f"{what}: {', '.join(names)}{more}; {remedy}")


def _store_numbers(column: Column) -> npt.NDArray[np.int64]:
    numbers, wrong = numbers_of(column)
    _refuse_values(column, wrong | ~(np.abs(numbers) < 2**31) | (numbers != np.floor(numbers)), "a store number")
    return numbers.astype(np.int64)


def _dates(column: Column) -> npt.NDArray[np.datetime64]:
    dates, wrong = days_of(column)
    _refuse_values(column, wrong, A_DAY)
    return dates.to_numpy()


def _numbers(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    if name not in rows.columns:
        return np.full(len(rows), np.nan)
    numbers, wrong = numbers_of(rows[name])
    _refuse_values(rows[name], wrong, "a number")
    return numbers


def _refuse_values(column: Column, wrong: Mask, expected: str) -> None:
    """Raise when any value is wrong, and name the first."""
    if wrong.any():
        position = int(wrong.argmax())
        value = column.iloc[position]
        shown = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
        more = f" and {wrong.sum() - 1} more rows" if wrong.sum() > 1 else ""
        raise ForecastInputError(f"wrong {column.name} {shown[:40]} in row {position + 1}{more}: expected {expected}")
