"""Predictions as files: the same in every format, the same bytes each time, each row with what made it."""

import gzip
import io
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.errors import BadInputError
from include.retraining.output_names import FORMATS, checked_name, folder_name, format_of, shown
from include.retraining.predict.formats import STAMPED, Facts, render, stamped

FACTS = Facts("demand-ü", 7, "Production", date(2015, 6, 19), "scheduled__2015-06-20T03:00:00+00:00")


def predictions() -> pd.DataFrame:
    days = [date(2015, 6, 20), date(2015, 6, 21), date(2015, 6, 20)]
    table = pd.DataFrame({"Id": [1, 2, 3], "Store": [1, 1, 2], "Date": days, "Sales": [5263.1, 0.0, 6064.25]})
    return table.astype({"Id": "int32", "Store": "int16"})


READERS: dict[str, Callable[[bytes], pd.DataFrame]] = {
    "parquet": lambda data: pd.read_parquet(io.BytesIO(data)),
    "csv": lambda data: with_days(pd.read_csv(io.BytesIO(data))),
    "csv.gz": lambda data: with_days(pd.read_csv(io.BytesIO(gzip.decompress(data)))),
}


def with_days(table: pd.DataFrame) -> pd.DataFrame:
    """Give a table that was read from text the days that it has none of."""
    return table.assign(**{name: pd.to_datetime(table[name]).dt.date for name in ("Date", "ForecastOrigin")})


def test_every_row_says_what_made_it() -> None:
    table = stamped(predictions().assign(ModelVersion=3), FACTS)
    assert list(table) == ["Id", "Store", "Date", "Sales", *STAMPED]
    assert set(map(tuple, table[list(STAMPED)].to_numpy())) == {(7, "Production", FACTS.origin, FACTS.run)}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_has_the_same_columns_types_and_values(kind: str) -> None:
    table = stamped(predictions(), FACTS)
    pd.testing.assert_frame_equal(READERS[kind](render(table, kind, FACTS)), table)


def test_numbers_stand_in_the_text_as_they_are() -> None:
    lines = render(stamped(predictions(), FACTS), "csv", FACTS).decode().split("\n")
    assert lines[0] == "Id,Store,Date,Sales,ModelVersion,ModelStage,ForecastOrigin,RunId"
    assert lines[3] == f"3,2,2015-06-20,6064.25,7,Production,2015-06-19,{FACTS.run}"
    assert lines[4:] == [""]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_predictions_are_the_same_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = render(stamped(predictions(), FACTS), kind, FACTS)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert render(stamped(predictions(), FACTS), kind, FACTS) == first
    other = replace(FACTS, version=8)
    assert render(stamped(predictions(), other), kind, other) != first


def test_parquet_has_it_in_its_metadata_too() -> None:
    schema = pq.read_schema(io.BytesIO(render(stamped(predictions(), FACTS), "parquet", FACTS)))
    assert schema.metadata == {
        b"model": "demand-ü".encode(),
        b"model.version": b"7",
        b"model.stage": b"Production",
        b"forecast.origin": b"2015-06-19",
        b"run": FACTS.run.encode(),
    }
    assert schema.field("Date").type == schema.field("ForecastOrigin").type == pa.date32()
    assert schema.field("Sales").type == pa.float64()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_model_without_time_has_no_origin(kind: str) -> None:
    facts = replace(FACTS, origin=None)
    table = READERS[kind](render(stamped(predictions(), facts), kind, facts))
    assert table["ForecastOrigin"].isna().all()
    if kind == "parquet":
        schema = pq.read_schema(io.BytesIO(render(stamped(predictions(), facts), "parquet", facts)))
        assert schema.field("ForecastOrigin").type == pa.date32()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.csv", "csv"),
        ("x.csv.gz", "csv.gz"),
        ("a/b.c/x.parquet", "parquet"),
        ("s3://bucket/x.parquet", "parquet"),
        ("parquet.csv", "csv"),
    ],
)
def test_the_name_decides(name: str, kind: str) -> None:
    assert format_of(name) == kind


@pytest.mark.parametrize(
    "name", ["x", "x.txt", "x.CSV", "x.csv.xz", "x.gz", "x.parquet.tmp", "a.csv/", ".csv", "a/.csv.gz", "-", "", "xcsv"]
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match=r"\.csv, \.csv\.gz, \.parquet"):
        format_of(name)


@pytest.mark.parametrize("name", ["x.csv", "a/b/x.csv", "2026-11-26.parquet", "ü/Größe_1+2=3.csv"])
def test_a_name_below_a_place(name: str) -> None:
    assert checked_name(name, "output") == name


@pytest.mark.parametrize(
    "name",
    ["", "/x.csv", "../x.csv", "a/../../x.csv", "a//x.csv", "./x.csv", ".x.csv", "a/.git/x.csv", "~/x.csv", "a\\x.csv",
     "s3://b/x.csv", "file:///x.csv", "x.csv\n", "x.csv\0", "a b.csv", "-x.csv", "$(id).csv", "*.csv", "x" * 201],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="output must be"):
        checked_name(name, "output")


def test_every_model_has_a_folder_of_its_own() -> None:
    assert folder_name("rossmann-ensemble") == "rossmann-ensemble"
    names = ["..", ".", ".hidden", "a b", "a-b", "a/b", "ü", "ö", "../x"]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert [name for name in folders if name.startswith(".") or "/" in name or not name] == []


def test_a_log_shows_no_password() -> None:
    assert shown("ftp://ana:secret@host/x.csv") == "ftp://***@host/x.csv"
    assert shown("/a/b@c.csv") == "/a/b@c.csv"
