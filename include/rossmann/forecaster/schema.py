"""Checks of what a forecaster is given: errors name the column, store or date."""

import logging

import numpy as np
import numpy.typing as npt
import pandas as pd

from .errors import ForecastInputError
from .panel import STATE_HOLIDAYS

log = logging.getLogger(__name__)

REQUIRED = ("Store", "Date", "Promo", "StateHoliday", "SchoolHoliday")
OPTIONAL = ("Open", "Sales", "Customers")
SHOWN = 3
"""How many offending rows an error names."""


def checked_rows(rows: pd.DataFrame, known_stores: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Check the input and bring it into one form.

    :param rows: as given by the user
    :param known_stores: stores that can be forecast
    :return: Store int64, Date datetime64, Open, Promo and SchoolHoliday 0 or 1, StateHoliday 0, a, b or c,
        Sales and Customers float64 (NaN where not known), in the order of the input
    :raises ForecastInputError: at the first check that fails
    """
    missing = [name for name in REQUIRED if name not in rows.columns]
    if missing:
        raise ForecastInputError(
            f"missing column {', '.join(missing)}: expected {', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
        )
    if len(rows) == 0:
        raise ForecastInputError("no rows: give at least one row without Sales to forecast")
    frame = pd.DataFrame({"Store": _store_numbers(rows["Store"]), "Date": _dates(rows["Date"])})
    _refuse(
        frame, ~np.isin(frame["Store"], known_stores), "unknown store", "the model knows {} stores", len(known_stores)
    )
    _refuse(frame, frame.duplicated(["Store", "Date"]), "more than one row for the same store and day", "expected one")
    frame["StateHoliday"] = rows["StateHoliday"].map(_holiday_code).to_numpy()
    _refuse(
        frame,
        ~frame["StateHoliday"].isin(STATE_HOLIDAYS),
        "wrong StateHoliday",
        "expected {}",
        ", ".join(STATE_HOLIDAYS),
    )
    for name in ("Promo", "SchoolHoliday"):
        frame[name] = _numbers(rows, name)
        _refuse(frame, ~frame[name].isin([0, 1]), f"wrong {name}", "expected 0 or 1")
    frame["Open"] = _numbers(rows, "Open")
    _refuse(frame, ~(frame["Open"].isin([0, 1]) | frame["Open"].isna()), "wrong Open", "expected 0, 1 or nothing")
    for name in ("Sales", "Customers"):
        frame[name] = _numbers(rows, name)
        _refuse(frame, (frame[name] < 0) | np.isinf(frame[name]), f"wrong {name}", "expected a number of at least 0")
    half = frame["Sales"].notna() & frame["Customers"].isna()
    _refuse(frame, half, "Sales without Customers", "newer history needs both")
    unknown_open = frame["Open"].isna()
    if unknown_open.any():
        log.warning(
            "%d of %d rows do not say whether the store is open: taken for open", unknown_open.sum(), len(frame)
        )
        frame["Open"] = frame["Open"].fillna(1.0)
    return frame


def _refuse(
    frame: pd.DataFrame, wrong: "pd.Series[bool] | npt.NDArray[np.bool_]", what: str, remedy: str, *args: object
) -> None:
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
    raise ForecastInputError(f"{what}: {', '.join(names)}{more}; {remedy.format(*args)}")


def _store_numbers(column: "pd.Series[int]") -> npt.NDArray[np.int64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~(np.isfinite(numbers) & (numbers == np.floor(numbers)))
    if wrong.any():
        raise ForecastInputError(f"wrong Store {column.iloc[int(wrong.argmax())]!r}: expected a store number")
    return numbers.astype(np.int64)


def _dates(column: "pd.Series[pd.Timestamp]") -> npt.NDArray[np.datetime64]:
    if pd.api.types.is_numeric_dtype(column):
        raise ForecastInputError(f"wrong Date {column.iloc[0]!r}: expected a day such as 2015-06-20, found numbers")
    dates = pd.to_datetime(column, format="ISO8601", errors="coerce")
    wrong = dates.isna().to_numpy()
    if wrong.any():
        raise ForecastInputError(f"wrong Date {column.iloc[int(wrong.argmax())]!r}: expected a day such as 2015-06-20")
    if dates.dt.tz is not None:
        dates = dates.dt.tz_localize(None)
    return dates.to_numpy().astype("datetime64[D]").astype("datetime64[ns]")


def _numbers(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    if name not in rows.columns:
        return np.full(len(rows), np.nan)
    column = rows[name]
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = (numbers.isna() & column.notna()).to_numpy()
    if wrong.any():
        raise ForecastInputError(f"wrong {name} {column.iloc[int(wrong.argmax())]!r}: expected a number")
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _holiday_code(value: object) -> str:
    # A CSV reader makes the code 0 a number when a file holds no other.
    if isinstance(value, float | np.floating) and value == 0:
        return "0"
    return str(value).strip()
