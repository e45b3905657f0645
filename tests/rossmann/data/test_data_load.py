"""Reading files: right types, and one sentence when that is not possible."""

import gzip
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from include.lifecycle.errors import BadInputError
from include.models.rossmann.data.load import read_future, read_store, read_train
from include.models.rossmann.data.sample import SampleData
from include.retraining.tables import FILE

ROOT = Path(__file__).resolve().parents[3]
HEADER = "Store,DayOfWeek,Date,Sales,Customers,Open,Promo,StateHoliday,SchoolHoliday\n"


def write(folder: Path, *lines: str, header: str = HEADER, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["train.csv", "train.csv.xz", "train.csv.gz", "train.parquet"])
def test_reads_every_format_into_the_same_frame(tmp_path: Path, small: SampleData, name: str) -> None:
    small.write(tmp_path / "plain")
    content = (tmp_path / "plain" / "train.csv").read_bytes()
    path = tmp_path / name
    if name.endswith(".parquet"):
        small.train.to_parquet(path)
    else:
        path.write_bytes({"csv": bytes, "xz": lzma.compress, "gz": gzip.compress}[name.rsplit(".")[-1]](content))
    frame = read_train(path)
    pd.testing.assert_frame_equal(frame, small.train, check_dtype=True)
    assert frame.attrs[FILE] == name


def test_types_are_compact(tmp_path: Path) -> None:
    frame = read_train(write(tmp_path, "1,5,2015-06-19,4202,487,1,1,0,0", "2,5,2015-06-19,0,0,0,1,0,0"))
    assert frame["StateHoliday"].tolist() == ["0", "0"]  # a file without any holiday has a column of numbers
    assert frame["Date"].tolist() == [pd.Timestamp("2015-06-19")] * 2
    assert frame.dtypes.astype(str).to_dict() == {
        "Store": "int32",
        "DayOfWeek": "int8",
        "Date": "datetime64[ns]",
        "Sales": "int32",
        "Customers": "int32",
        "Open": "int8",
        "Promo": "int8",
        "StateHoliday": "str",
        "SchoolHoliday": "int8",
    }


def test_sales_may_have_cents(tmp_path: Path) -> None:
    assert read_train(write(tmp_path, "1,5,2015-06-19,42.5,4,1,1,a,0"))["Sales"].tolist() == [42.5]


def test_numeric_state_holiday_in_parquet(tmp_path: Path, small: SampleData) -> None:
    path = tmp_path / "future.parquet"
    small.future.assign(StateHoliday=0).to_parquet(path)
    assert set(read_future(path)["StateHoliday"]) == {"0"}


def test_blank_lines_byte_order_mark_and_extra_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    header = HEADER.replace("\n", ",Weather\n")
    path.write_bytes(b"\xef\xbb\xbf" + (header + "1,5,2015-06-19,4202,487,1,1,0,0,sun\r\n\r\n").encode())
    frame = read_train(path)
    assert len(frame) == 1
    assert "Weather" not in frame


def test_store_table_keeps_what_is_missing(tmp_path: Path, small: SampleData) -> None:
    small.write(tmp_path)
    frame = read_store(tmp_path / "store.csv")
    pd.testing.assert_frame_equal(frame, small.store)
    assert frame["PromoInterval"].isna().any()


def test_future_rows_may_lack_open_and_carry_history(tmp_path: Path) -> None:
    header = "Store,Date,Open,Promo,StateHoliday,SchoolHoliday,Sales,Customers\n"
    frame = read_future(write(tmp_path, "1,2015-06-19,1,1,0,0,4202,487", "1,2015-06-20,,1,0,0,,", header=header))
    assert np.isnan(frame["Open"][1])
    assert frame["Sales"].tolist()[0] == 4202
    assert np.isnan(frame["Sales"][1])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1,5,2015-06-19,many,487,1,1,0,0", "train.csv: Sales in line 3 is 'many', expected a number up to 2147483647"),
        ("1,5,2015-06-19,,487,1,1,0,0", "train.csv: Sales in line 3 is missing, expected a number up to 2147483647"),
        (
            "1,5,2015-06-31,1,487,1,1,0,0",
            "train.csv: Date in line 3 is '2015-06-31', expected a day such as 2015-06-19",
        ),
        (
            "1,5,19.06.2015,1,487,1,1,0,0",
            "train.csv: Date in line 3 is '19.06.2015', expected a day such as 2015-06-19",
        ),
        ("1.5,5,2015-06-19,1,1,1,1,0,0", "train.csv: Store in line 3 is 1.5, expected a whole number"),
        ("1,5,2015-06-19,1,1,300,1,0,0", "train.csv: Open in line 3 is 300, expected a whole number"),
        ("1,5,2015-06-19,1,1,1,1,,0", "train.csv: StateHoliday in line 3 is missing, expected 0, a, b or c"),
        ("1,5,2015-06-19,1,1,1,1,0,0,7", "train.csv: line 3 has 10 fields, expected 9"),
        ("1,5,2015-06-19", "Sales in line 3 is missing"),
        ('1,5,"2015-06-19,1,1,1,1,0,0', "train.csv: line 3 opens a quote that is never closed"),
    ],
)
def test_a_wrong_value_names_file_line_and_expectation(tmp_path: Path, line: str, sentence: str) -> None:
    path = write(tmp_path, "1,4,2015-06-18,4202,487,1,1,0,0", line)
    with pytest.raises(BadInputError) as caught:
        read_train(path)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_several_wrong_columns_are_one_error(tmp_path: Path) -> None:
    lines = [f"x,5,2015-06-{day},y,1,1,1,0,0" for day in range(10, 16)]
    with pytest.raises(BadInputError, match=r"Store .*line 2 .*'x', .* 3 more .*; Sales .*'y'"):
        read_train(write(tmp_path, *lines))


def test_missing_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "1,2", header="Store,Umsatz\n")
    with pytest.raises(BadInputError, match=r"no column DayOfWeek, .*Umsatz"):
        read_train(path)


@pytest.mark.parametrize("name", ["train.csv.xz", "train.csv.gz", "train.parquet"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_files(tmp_path: Path, small: SampleData, name: str, damage: str) -> None:
    path = tmp_path / name
    small.train.to_parquet(path) if name.endswith("parquet") else small.train.to_csv(path)
    path.write_bytes(path.read_bytes()[:-500] if damage == "cut" else b"this is no compressed file at all")
    with pytest.raises(BadInputError, match=f"{name}: damaged or cut"):
        read_train(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "csv: .*file is empty"),
        (HEADER.encode() + b"1,5,2015-06-19,1,1,1,1,\xff\xfe,0\n", "csv: not UTF-8 text"),
        (b"\x00\x01\x02\x03" * 100, "train.csv: "),
    ],
)
def test_unreadable_content(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=sentence):
        read_train(path)


def test_blank_lines_are_no_rows_with_ids_either(tmp_path: Path) -> None:
    header = "Id,Store,Date,Promo,StateHoliday,SchoolHoliday\n"
    frame = read_future(write(tmp_path, "", "7,1,2015-06-20,1,0,0", "", header=header))
    assert frame["Id"].tolist() == [7]


def test_reading_files_imports_no_booster() -> None:
    code = "import include.models.rossmann.data.load, include.models.rossmann.data.schema, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"lightgbm", "xgboost", "catboost"} & set(done.stdout.split()) == set()


def test_no_such_file_and_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no file .*train\.csv"):
        read_train(tmp_path / "train.csv")
    with pytest.raises(BadInputError, match=r"train\.xls: .* \.csv"):
        read_train(tmp_path / "train.xls")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInputError, match="cannot read"):
        read_train(tmp_path / "folder.csv")


ROW = "1,5,2015-06-19,4202,487,1,1,0,0"


@pytest.mark.parametrize(
    ("lines", "header", "expected"),
    [
        ([f"{ROW},,,"] * 2, HEADER, "line 2 has 12 fields, .* 9"),
        ([f"{ROW},"] * 2, HEADER, "line 2 has 10 fields, .* 9"),
        ([f"{ROW},x,y", ROW], HEADER, "line 2 has 11 fields, .* 9"),
        ([ROW, f"{ROW},x"], HEADER, "line 3 has 10 fields, expected 9"),
        ([f"{ROW},2015-06-20"], f"{HEADER.strip()},Date\n", "column Date stands twice"),
        ([f"{ROW},1"], f"{HEADER.strip()},Open\n", "column Open stands twice"),
    ],
)
def test_surplus_fields_and_columns_are_named(tmp_path: Path, lines: list[str], header: str, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        read_train(write(tmp_path, *lines, header=header))


@pytest.mark.parametrize(
    "day",
    ["9999-12-31", "1677-01-01", "0001-01-01", "2015-06", "2015", "201506", "2015-06-19T07:30:00", "19/06/2015",
     "2015-06-19T01:00:00+02:00", "2015-W25-5", "now", "nan", "1434672000"],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_train, read_future])
def test_what_is_no_day_is_named_with_its_line(tmp_path: Path, read: Callable[[Path], pd.DataFrame], day: str) -> None:
    with pytest.raises(BadInputError, match=r"Date in line 3 .* as 2015-06-19"):
        read(write(tmp_path, ROW, ROW.replace("2015-06-19", day)))


def test_a_year_across_daylight_saving_has_the_days_of_the_clock_on_the_wall(tmp_path: Path) -> None:
    days = [
        "2015-03-28T00:00:00+01:00",
        "2015-03-30 00:00:00+0200",
        "2015-03-31T00:00:00.000Z",
        " 2015-04-01",
        "20150402",
    ]
    frame = read_train(write(tmp_path, *(ROW.replace("2015-06-19", day) for day in days)))
    assert frame["Date"].dt.strftime("%m-%d").tolist() == ["03-28", "03-30", "03-31", "04-01", "04-02"]
    assert frame["Date"].dtype == "datetime64[ns]"


def test_parquet_with_names_of_rows(tmp_path: Path, small: SampleData) -> None:
    path = tmp_path / "train.parquet"
    named = small.train.set_axis([f"row {number}" for number in range(len(small.train))])
    named.to_parquet(path)
    pd.testing.assert_frame_equal(read_train(path), small.train)
    small.train.set_index(["Store", "Date"]).to_parquet(path)
    pd.testing.assert_frame_equal(read_train(path)[list(small.train)], small.train)
    named.assign(Open=np.where(np.arange(len(named)) == 1, 7.5, 1)).to_parquet(path)
    with pytest.raises(BadInputError, match=r"Open in line 2 is 7\.5"):
        read_train(path)


@pytest.mark.parametrize("values", [[20150619, 20150620], [1.5, 2.5], [True, False]])
def test_parquet_with_days_that_are_numbers(tmp_path: Path, small: SampleData, values: list[object]) -> None:
    small.train.head(2).assign(Date=values).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(BadInputError, match=r"Date in line 1 .* as 2015-06-19"):
        read_train(tmp_path / "train.parquet")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_parquet_with_a_timezone_has_the_days_of_that_clock(tmp_path: Path, small: SampleData, zone: str) -> None:
    small.train.assign(Date=small.train["Date"].dt.tz_localize(zone)).to_parquet(tmp_path / "train.parquet")
    pd.testing.assert_frame_equal(read_train(tmp_path / "train.parquet"), small.train)
