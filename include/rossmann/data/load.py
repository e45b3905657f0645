"""Reading of train, store and future files: .csv, .csv.xz, .csv.gz or .parquet, into one form.

What cannot be read ends as one sentence that names file, line, what was found and what was expected.
"""

import logging
import lzma
import re
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.errors import BadInputError
from include.lifecycle.text import one_line
from include.rossmann.forecaster.values import A_DAY, Column, Mask, days_of, holiday_codes, numbers_of

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".csv.xz", ".csv.gz", ".parquet")
SHOWN = 3
"""How many offending lines an error names."""

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
ID = "Id"
"""What the asker calls a row: comes back as it was given."""
FILE = "file"
"""Name of the frame attribute that keeps the file's name, for the checks that come later."""


def read_train(path: Path) -> pd.DataFrame:
    """Read the history.

    :param path: file with one row a store and day
    :return: the columns of ``TRAIN``: Store int32, Date datetime64, Sales and Customers int32 (float64 when
        not whole), DayOfWeek and flags int8, StateHoliday str
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _typed(_read(path), path, TRAIN, {})


def read_store(path: Path) -> pd.DataFrame:
    """Read the store table.

    :param path: file with one row a store
    :return: the columns of ``STORE``; numbers that may be missing are float64
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _typed(_read(path), path, STORE, {})


def read_future(path: Path) -> pd.DataFrame:
    """Read rows to forecast.

    :param path: file with one row a store and day; it may carry Id, DayOfWeek, Open, and Sales and Customers
        where rows are newer history
    :return: the columns of ``FUTURE`` and those of ``FUTURE_OPTIONAL`` that the file has; Open, Sales and
        Customers are float64, NaN where missing; Id is what it is in the file, whole numbers or text of Arrow
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _typed(_read(path), path, FUTURE, FUTURE_OPTIONAL)


def _read(path: Path) -> pd.DataFrame:
    """Read a file as it is; columns that a CSV reader would guess wrongly stay text."""
    if not path.name.endswith(SUFFIXES):
        raise BadInputError(f"{path.name}: expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            return _from_arrow(pq.read_table(path))
        compression: Literal["xz", "gzip"] | None = {".xz": "xz", ".gz": "gzip"}.get(path.suffix)  # type: ignore[assignment]
        table = pd.read_csv(
            path,
            dtype={"StateHoliday": "str", "Date": "str"},
            converters={
                ID: "'{}".format
            },  # what a converter returns may still be taken for NA; nothing is behind a mark
            compression=compression,
            encoding="utf-8-sig",  # Excel writes a byte order mark
            skip_blank_lines=False,  # else line numbers in messages would not be those of the file
            low_memory=False,
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas took what a line has beyond the header as row names
            fields = len(table.columns)
            raise BadInputError(f"{path.name}: line 2 has {fields + table.index.nlevels} fields, the header {fields}")
        if ID in table:
            table[ID] = _exact_texts(table[ID])
        return table.dropna(how="all")  # blank lines; the index still counts them
    except FileNotFoundError:
        raise BadInputError(f"there is no file {path}") from None
    except OSError as error:
        if error.errno is None or isinstance(error, pa.ArrowException):  # not the system's: what is in the file
            raise _damaged(path, error) from error
        raise BadInputError(f"cannot read {path}: {error.strerror or error}") from error
    except pd.errors.EmptyDataError:
        raise BadInputError(f"{path.name}: the file is empty, expected a header line and rows") from None
    except pd.errors.ParserError as error:
        raise BadInputError(f"{path.name}: {_parser_message(str(error))}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path.name}: not UTF-8 text (byte {error.object[error.start]:#04x}); save it as UTF-8"
        ) from error
    except (EOFError, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    except ValueError as error:
        raise BadInputError(f"{path.name}: cannot be read as a table: {one_line(str(error), 200)}") from error


def _exact_texts(texts: Column) -> Column:
    """Return marked fields of a CSV file as they stand there: whole numbers where that changes none, else text."""
    texts = texts.str[1:]
    missing = texts == ""
    if (missing | texts.str.fullmatch(r"0|-?[1-9]\d{0,17}")).all():
        return texts.astype("int64") if not missing.any() else texts.mask(missing).astype(pd.ArrowDtype(pa.int64()))
    return texts.mask(missing).astype(pd.ArrowDtype(pa.string()))


def _from_arrow(content: pa.Table) -> pd.DataFrame:
    """Return a table of a Parquet file that counts its rows; names of rows that pandas kept there are columns.

    Ids stay in Arrow's type where pandas would change them: it makes floats of whole numbers with gaps.
    """
    table = content.replace_schema_metadata(None).to_pandas()
    if content.column_names.count(ID) == 1:
        ids = content.column(ID)
        views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
        if ids.null_count or not pa.types.is_signed_integer(ids.type):
            # pandas cannot choose rows of views
            table[ID] = pd.arrays.ArrowExtensionArray(ids.cast(views.get(ids.type, ids.type)))
    return pd.DataFrame(table)


def _damaged(path: Path, error: BaseException) -> BadInputError:
    kind = {".xz": "xz", ".gz": "gzip", ".parquet": "Parquet"}.get(path.suffix, "CSV")
    return BadInputError(
        f"{path.name}: damaged or cut short, expected a complete {kind} file ({one_line(str(error), 200)})"
    )


def _parser_message(text: str) -> str:
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text)
    if found:
        return f"line {found[2]} has {found[3]} fields, expected {found[1]}"
    found = re.search(r"EOF inside string starting at row (\d+)", text)
    if found:
        return f"line {int(found[1]) + 1} opens a quote that is never closed: the file is damaged or cut short"
    return f"cannot be read as a table: {one_line(text, 200)}"


def _typed(raw: pd.DataFrame, path: Path, required: Columns, optional: Columns) -> pd.DataFrame:
    """Bring the columns into their types; all that is wrong with them ends in one error."""
    missing = [name for name in required if name not in raw.columns]
    if missing:
        raise BadInputError(
            f"{path.name}: no column {', '.join(missing)}; expected {', '.join(required)},"
            f" found {one_line(', '.join(map(str, raw.columns)), 1000)}"
        )
    twice = [name for name in required | optional if f"{name}.1" in raw.columns or list(raw.columns).count(name) > 1]
    if twice:
        raise BadInputError(f"{path.name}: the column {', '.join(twice)} stands twice in the header: keep one")
    problems: list[str] = []
    frame = pd.DataFrame(index=raw.index)
    header_lines = 2 if path.suffix != ".parquet" else 1
    for name, kind in (required | optional).items():
        if name not in raw.columns:
            continue
        column, wrong, expected = _convert(raw[name], kind)
        if wrong.any():
            problems.append(f"{name} {_lines(raw[name], wrong, header_lines)}, expected {expected}")
        else:
            frame[name] = column
    if problems:
        raise BadInputError(f"{path.name}: {'; '.join(problems)}")
    frame = frame[[name for name in raw.columns if name in frame.columns]].reset_index(drop=True)
    frame.attrs[FILE] = path.name
    return frame


def _lines(column: Column, wrong: Mask, header_lines: int) -> str:
    """Name the first lines that are wrong, with what they hold."""
    positions = np.flatnonzero(wrong)
    shown = ", ".join(
        f"in line {column.index[position] + header_lines} is {_shown(column.iloc[position])}"
        for position in positions[:SHOWN]
    )
    more = f" and {len(positions) - SHOWN} more lines" if len(positions) > SHOWN else ""
    return shown + more


def _shown(value: object) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):  # type: ignore[call-overload]
        return "missing"
    return one_line(repr(value.item() if isinstance(value, np.generic) else value), 40)


def _convert(column: Column, kind: Kind) -> tuple[Column, Mask, str]:
    """Return the column in its type, which values did not fit, and what would have."""
    if kind == "exact":
        return column, np.zeros(len(column), dtype=bool), "anything"
    if kind == "date":
        return *days_of(column), A_DAY
    if kind == "code":
        return holiday_codes(column), column.isna().to_numpy(), "0, a, b or c"
    if kind == "text":
        return (
            column.map(str, na_action="ignore").astype("str").where(column.notna(), None),
            np.zeros(len(column), dtype=bool),
            "text",
        )
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
