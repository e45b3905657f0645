"""Any file as train, store or future data ends as a table that the next step takes, or as one sentence."""

import gzip
import io
import lzma
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.errors import BadInputError
from include.models.rossmann.data.load import FUTURE, FUTURE_OPTIONAL, STORE, TRAIN, read_future, read_store, read_train
from include.models.rossmann.data.sample import generate
from include.models.rossmann.data.schema import check_data, check_future
from include.models.rossmann.forecaster import ForecastInputError
from include.models.rossmann.forecaster.schema import checked_rows
from include.models.rossmann.model import MODEL, with_newer_history
from include.retraining.predict.formats import Facts, render, stamped
from include.retraining.steps.predict import parted, prediction_table
from tests.fuzz.corpus import assert_one_sentence, files, keep

READ = {"train": read_train, "store": read_store, "future": read_future}
SMALL = generate(stores=2, months=3)
TABLES = {"train": SMALL.train, "store": SMALL.store, "future": SMALL.future}
HEAD = {"train": SMALL.train.head(6), "store": SMALL.store, "future": SMALL.future.head(6).assign(DayOfWeek=1)}
KINDS = st.sampled_from(sorted(READ))
FACTS = Facts("m", 1, "Production", None, "r")
ODD = [
    "", " ", "NA", "nan", "inf", "-inf", "1e400", "-1", "0.5", "1_000", "0x1F", "1,5", "9" * 25, "-0", "True",
    "None", "a", "d", "\u0661",
    "2015-06-19", "2015-06", "20150619", "19.06.2015", "2015-02-30", "9999-12-31", "0000-00-00", "-2015-06-19",
    "2015-06-19T24:00",
    "2015-06-19T00:00:00+02:00", "2015-06-19 00:00:00Z", "2015-06-19T00:00:00+99:99", "2015-06-19T12", "2015-W25-5",
    "2015-06-19x",
    "Jan,Apr", "Jan,,", ",", '"', "'", "\n", "\r", "\x00", "\ufeff", "\ud7ff", "\u202e", "☃" * 50, "=1+1", "{{ 7 }}",
    "%s", "x" * 300,
]  # fmt: skip
CELLS = st.one_of(
    st.sampled_from(ODD), st.integers().map(str), st.floats().map(str), st.dates().map(str), st.text(max_size=12)
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def use(kind: str, table: pd.DataFrame) -> None:
    """Do with a table what the steps do with it first."""
    tables = TABLES | {kind: table}
    try:
        check_data(tables["train"], tables["store"], tables["future"])
    except BadInputError as error:
        assert_one_sentence(error)
    if kind == "future":
        check_future(table)
        asked, known = parted(table, SMALL.train, "Sales")
        checked_rows(with_newer_history(asked, known, pd.Timestamp(SMALL.train["Date"].min())), np.array([1, 2]))
        written = stamped(prediction_table(asked, np.ones(len(asked)), MODEL, 1), FACTS)
        for name in ("csv", "parquet"):
            assert render(written, name, FACTS)  # type: ignore[arg-type]


def holds(folder: Path, kind: str, suffix: str, content: bytes) -> None:
    """Check that a file is read, or refused with one sentence that names it; what does neither is kept."""
    path = folder / f"{kind}{suffix}"
    path.write_bytes(content)
    try:
        try:
            use(kind, READ[kind](path))
        except BadInputError as error:
            assert_one_sentence(error, path.name)
        except ForecastInputError as error:
            assert_one_sentence(error)
    except Exception:
        keep(kind, suffix, content)
        raise


def packed(suffix: str, text: bytes) -> bytes:
    if suffix == ".csv.gz":
        return gzip.compress(text, mtime=0)
    return lzma.compress(text, preset=0) if suffix == ".csv.xz" else text


def whole(kind: str, suffix: str) -> bytes:
    """Return a file that is right."""
    frame = HEAD[kind]
    if suffix == ".parquet":
        sink = io.BytesIO()
        frame.to_parquet(sink)
        return sink.getvalue()
    return packed(suffix, frame.to_csv(index=False).encode())


@st.composite
def spoilt_csv(draw: st.DrawFn) -> tuple[str, bytes]:
    """A table of which a few cells, columns, rows or characters are odd."""
    kind = draw(KINDS)
    lines = [
        list(map(str, HEAD[kind].columns)),
        *HEAD[kind].astype("object").fillna("").astype(str).to_numpy().tolist(),
    ]
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.integers(0, len(lines) - 1))
        column = draw(st.integers(0, 14))
        what = draw(st.sampled_from(["cell", "cell", "cell", "column", "drop", "double", "longer", "row", "swap"]))
        if what == "cell" and lines[row]:
            lines[row][column % len(lines[row])] = draw(CELLS)
        elif what == "column":
            value = draw(CELLS)
            lines = [lines[0], *([value if i == column else text for i, text in enumerate(line)] for line in lines[1:])]
        elif what == "drop":
            lines = [[text for i, text in enumerate(line) if i != column] for line in lines]
        elif what == "double":
            lines = [line + line[column : column + 1] for line in lines]
        elif what == "longer":
            lines[row] = lines[row] + draw(st.lists(CELLS, max_size=2))
        elif what == "row":
            lines.insert(row, draw(st.sampled_from([[], lines[row], ["", ""], lines[0]])))
        elif what == "swap":
            lines[row] = lines[row][::-1]
    ends, separator = draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    quote = draw(st.booleans())
    fields = [[f'"{text.replace(chr(34), chr(34) * 2)}"' if quote else text for text in line] for line in lines]
    text = ends.join(separator.join(line) for line in fields) + draw(
        st.sampled_from([ends, "", ends * 2, "\x00", "\x1a"])
    )
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"]))
    return kind, text.encode(encoding, errors="replace")


def _values(draw: st.DrawFn, size: int) -> pa.Array | pa.ChunkedArray:
    """A column of some type of Arrow, with gaps."""
    kinds: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
        "int8": (st.integers(-128, 127), pa.int8()),
        "int64": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
        "uint64": (st.integers(0, 2**64 - 1), pa.uint64()),
        "float16": (st.floats(width=16), pa.float16()),
        "float": (st.floats(), pa.float64()),
        "bool": (st.booleans(), pa.bool_()),
        "text": (CELLS, pa.string()),
        "large": (CELLS, pa.large_string()),
        "view": (CELLS, pa.string_view()),
        "binary": (st.binary(max_size=8), pa.binary()),
        "date": (st.dates(), pa.date32()),
        "date64": (st.dates(), pa.date64()),
        "time": (st.times(), pa.time64("us")),
        "moment": (st.datetimes(), pa.timestamp("us")),
        "zone": (st.datetimes(), pa.timestamp("us", "Europe/Berlin")),
        "seconds": (st.datetimes(), pa.timestamp("s")),
        "nanoseconds": (st.integers(-(2**62), 2**62), pa.timestamp("ns", "UTC")),
        "duration": (st.timedeltas(timedelta(-40_000), timedelta(40_000)), pa.duration("us")),
        "decimal": (st.integers(-(10**30), 10**30).map(lambda n: Decimal(n).scaleb(-3)), pa.decimal128(38, 3)),
        "list": (st.lists(st.integers(0, 3), max_size=2), pa.list_(pa.int64())),
        "struct": (st.just({"a": 1}), pa.struct([("a", pa.int64())])),
        "map": (st.just([("a", 1)]), pa.map_(pa.string(), pa.int64())),
        "null": (st.none(), pa.null()),
    }
    strategy, arrow = kinds[draw(st.sampled_from(sorted(kinds)))]
    values = draw(st.lists(st.one_of(strategy, strategy, st.none()), min_size=size, max_size=size))
    array = pa.array(values, arrow)
    encodes = pa.types.is_string(arrow) or pa.types.is_integer(arrow)
    return array.dictionary_encode() if encodes and draw(st.booleans()) else array


@st.composite
def spoilt_parquet(draw: st.DrawFn) -> tuple[str, bytes]:
    """A table of which a few columns are of other types, other names, double or gone."""
    kind = draw(KINDS)
    size = draw(st.sampled_from([0, 1, len(HEAD[kind])]))
    frame = HEAD[kind].head(size)
    if draw(st.booleans()):
        frame = frame.set_index(draw(st.sampled_from(list(frame.columns))))
    table = pa.Table.from_pandas(frame, preserve_index=draw(st.sampled_from([None, True, False])))
    names, columns = list(table.column_names), list(table.columns)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(names) - 1))
        what = draw(st.sampled_from(["type", "type", "type", "drop", "double", "name"]))
        if what == "type":
            columns[place] = _values(draw, size)
        elif what == "drop" and len(names) > 1:
            del names[place], columns[place]
        elif what == "double":
            names.append(names[place])
            columns.append(columns[place])
        else:
            names[place] = draw(st.sampled_from(["", "Store", "Date", "Store.1", "index", "__index_level_0__", "☃"]))
    metadata = table.schema.metadata if draw(st.booleans()) else None
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, names=names).replace_schema_metadata(metadata), sink)
    return kind, sink.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A right file of any format, in which bytes are changed, put in, left out or cut off."""
    kind, suffix = draw(KINDS), draw(st.sampled_from([".csv", ".csv.gz", ".csv.xz", ".parquet"]))
    content = bytearray(whole(kind, suffix))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 20, len(content))))
        content[start:end] = draw(st.binary(max_size=20))
    return kind, suffix, bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@given(kind=KINDS, suffix=st.sampled_from([".csv", ".csv.gz", ".csv.xz", ".parquet"]), content=st.binary(max_size=200))
def test_any_bytes(folder: Path, kind: str, suffix: str, content: bytes) -> None:
    holds(folder, kind, suffix, content)
    holds(folder, kind, suffix, packed(suffix, content))


@given(case=damaged())
def test_a_damaged_file(folder: Path, case: tuple[str, str, bytes]) -> None:
    holds(folder, *case)


@given(case=spoilt_csv())
def test_an_odd_table_as_csv(folder: Path, case: tuple[str, bytes]) -> None:
    holds(folder, case[0], ".csv", case[1])


@given(case=spoilt_parquet())
def test_an_odd_table_as_parquet(folder: Path, case: tuple[str, bytes]) -> None:
    holds(folder, case[0], ".parquet", case[1])


@pytest.mark.parametrize("kind", sorted(READ))
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.xz", ".parquet"])
def test_what_is_spoilt_was_right(folder: Path, kind: str, suffix: str) -> None:
    path = folder / f"{kind}{suffix}"
    path.write_bytes(whole(kind, suffix))
    assert len(READ[kind](path)) == len(HEAD[kind])
    columns = {"train": TRAIN, "store": STORE, "future": FUTURE | FUTURE_OPTIONAL}[kind]
    assert set(HEAD[kind].columns) <= set(columns)


@pytest.mark.parametrize("path", files(*READ), ids=lambda path: path.name)
def test_what_was_once_found(folder: Path, path: Path) -> None:
    kind = path.name.partition("-")[0]
    holds(folder, kind, path.name[path.name.index(".") :], path.read_bytes())
