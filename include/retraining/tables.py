"""Reading of tables that people made: .csv, .csv.xz, .csv.gz or .parquet, into one form.

What cannot be read ends as one sentence that names file, line, what was found and what was expected.
"""

import lzma
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line

SUFFIXES = (".csv", ".csv.xz", ".csv.gz", ".parquet")
"""A table may be compressed, or Parquet; all but the last hold the same text."""
SHOWN = 3
"""How many offending lines an error names."""
FILE = "file"
"""Name of the frame attribute that keeps the file's name, for the checks that come later."""

Column: TypeAlias = "pd.Series[Any]"
Mask = npt.NDArray[np.bool_]
Convert = Callable[[Column], tuple[Column, Mask, str]]
"""Returns a column in its type, which values did not fit, and what would have."""


def read_table(
    path: Path,
    required: Mapping[str, Convert],
    optional: Mapping[str, Convert] | None = None,
    *,
    texts: Collection[str] = (),
    exact: Collection[str] = (),
) -> pd.DataFrame:
    """Read a table and bring its columns into their types; all that is wrong with them ends in one error.

    :param required: columns that it must have
    :param optional: columns that it may have; others are left out
    :param texts: columns whose fields stay text, whatever a CSV reader would make of them; a converter is then given
        the values that stand there, each once, and what is missing
    :param exact: columns whose fields come back as they stand there
    :return: the columns in the order of the file, rows numbered from 0; the attribute ``FILE`` names the file
    :raises BadInputError: names file, lines, what was found and expected
    """
    return _typed(read_file(path, texts=texts, exact=exact), path, dict(required), dict(optional or {}))


def text(column: Column) -> tuple[Column, Mask, str]:
    """Convert to text; what is missing stays missing."""
    found = column.map(str, na_action="ignore").astype("str").where(column.notna(), None)
    return found, np.zeros(len(column), dtype=bool), "text"


def as_it_is(column: Column) -> tuple[Column, Mask, str]:
    """Convert nothing."""
    return column, np.zeros(len(column), dtype=bool), "anything"


def number(column: Column) -> tuple[Column, Mask, str]:
    """Convert to float64; a field that is missing or no number is wrong."""
    found = pd.to_numeric(column, errors="coerce").astype("float64")
    return found, ~np.isfinite(found.to_numpy()), "a number"


def whole(column: Column) -> tuple[Column, Mask, str]:
    """Convert to int64; what is no whole number is wrong."""
    found, wrong, _ = number(column)
    values = found.to_numpy()
    wrong = wrong | (values != np.floor(values)) | (np.abs(values) >= 2**53)
    return found if wrong.any() else found.astype("int64"), wrong, "a whole number"


def flag(column: Column) -> tuple[Column, Mask, str]:
    """Convert to int64; what is neither 0 nor 1 is wrong."""
    found, wrong, _ = number(column)
    wrong = wrong | ~found.isin([0, 1]).to_numpy()
    return found if wrong.any() else found.astype("int64"), wrong, "0 or 1"


def one_of(values: Sequence[str]) -> Convert:
    """Return a converter to text among some."""

    def convert(column: Column) -> tuple[Column, Mask, str]:
        found, _, _ = text(column)
        return found, ~found.isin(values).to_numpy(), f"one of {', '.join(values)}"

    return convert


def read_file(path: Path, *, texts: Collection[str] = (), exact: Collection[str] = ()) -> pd.DataFrame:
    """Read a file as it is, with texts and exact columns as ``read_table``.

    :raises BadInputError: names file, line, what was found and expected
    """
    if not path.name.endswith(SUFFIXES):
        raise BadInputError(f"{path.name}: expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            return _from_arrow(pq.read_table(path), exact)
        compression: Literal["xz", "gzip"] | None = {".xz": "xz", ".gz": "gzip"}.get(path.suffix)  # type: ignore[assignment]
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(texts, "category"),
            # what a converter returns may still be taken for NA; nothing is behind a mark
            converters=dict.fromkeys(exact, "'{}".format),
            compression=compression,
            encoding="utf-8-sig",  # Excel writes a byte order mark
            skip_blank_lines=False,  # else line numbers in messages would not be those of the file
            low_memory=False,
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas took what a line has beyond the header as row names
            fields = len(table.columns)
            raise BadInputError(f"{path.name}: line 2 has {fields + table.index.nlevels} fields, the header {fields}")
        for name in exact:
            if name in table:
                table[name] = _exact_texts(table[name])
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


def _from_arrow(content: pa.Table, exact: Collection[str]) -> pd.DataFrame:
    """Return a table of a Parquet file that counts its rows; names of rows that pandas kept there are columns.

    Exact columns stay in Arrow's type where pandas would change them: it makes floats of whole numbers with gaps.
    """
    content.validate(full=True)  # text that is no UTF-8 breaks whatever looks at it later
    table = content.replace_schema_metadata(None).to_pandas()
    for name in exact:
        if content.column_names.count(name) == 1:
            column = content.column(name)
            views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
            if column.null_count or not pa.types.is_signed_integer(column.type):
                # pandas cannot choose rows of views
                table[name] = pd.arrays.ArrowExtensionArray(column.cast(views.get(column.type, column.type)))
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


def _typed(raw: pd.DataFrame, path: Path, required: dict[str, Convert], optional: dict[str, Convert]) -> pd.DataFrame:
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
    for name, convert in (required | optional).items():
        if name not in raw.columns:
            continue
        column, wrong, expected = _converted(raw[name], convert)
        if wrong.any():
            problems.append(f"{name} {_lines(raw[name], wrong, header_lines)}, expected {expected}")
        else:
            frame[name] = column
    if problems:
        raise BadInputError(f"{path.name}: {'; '.join(problems)}")
    frame = frame[[name for name in raw.columns if name in frame.columns]].reset_index(drop=True)
    frame.attrs[FILE] = path.name
    return frame


def _converted(column: Column, convert: Convert) -> tuple[Column, Mask, str]:
    """Convert a column; of a category each value once, of which there are few where rows are many."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return convert(column)
    codes = column.cat.codes.to_numpy()
    missing = [None] if (codes < 0).any() else []  # its code is -1, the last
    found, wrong, expected = convert(pd.Series([*column.cat.categories, *missing], dtype="str"))
    return pd.Series(found.array.take(codes), index=column.index), wrong[codes], expected


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
