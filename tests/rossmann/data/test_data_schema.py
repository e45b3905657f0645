"""Checks: what stops a retrain, and in which words; what only warns."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pytest

from include.models.rossmann.data.sample import SampleData, generate
from include.models.rossmann.data.schema import DataCheckError, check_data
from include.retraining.tables import FILE

Change = Callable[[pd.DataFrame], pd.DataFrame]


def changed(frame: pd.DataFrame, column: str, value: object, rows: int | slice = 0) -> pd.DataFrame:
    result = frame.copy()
    values = result[column].astype("object")
    values.iloc[rows] = value
    result[column] = values.infer_objects()
    return result


def error_of(small: SampleData, **tables: pd.DataFrame) -> str:
    given = {"train": small.train, "store": small.store, "future": small.future} | tables
    with pytest.raises(DataCheckError) as caught:
        check_data(given["train"], given["store"], given["future"])
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_good_data_has_no_warnings(small: SampleData) -> None:
    assert check_data(small.train, small.store, small.future) == []
    assert check_data(small.train, small.store, None) == []


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("Sales", -5, "Sales is -5 in store 1 on 2013-08-31, expected 0 to 10000000"),
        ("Customers", -1, "Customers is -1 in store 1 on 2013-08-31, expected 0 to 1000000"),
        ("Open", 2, "Open is 2 in store 1 on 2013-08-31, expected 0 or 1"),
        ("Promo", 3, "Promo is 3 in store 1"),
        ("SchoolHoliday", -1, "SchoolHoliday is -1 in store 1"),
        ("StateHoliday", "d", "StateHoliday is d in store 1 on 2013-08-31, expected 0, a, b or c"),
        ("StateHoliday", 0, "StateHoliday is 0 in store 1"),
        ("DayOfWeek", 8, "DayOfWeek is 8 in store 1 on 2013-08-31, expected 1 to 7"),
        ("Date", pd.Timestamp("1913-08-31"), "Date is 1913-08-31"),
        ("Store", 0, "Store is 0 in store 0 on 2013-08-31, expected 1 to 2147483647"),
        ("Sales", None, "Sales is missing in store 1 on 2013-08-31"),
        ("Sales", "many", "Sales holds object, expected 0 to 10000000"),
    ],
)
def test_ranges_and_types_of_the_history(small: SampleData, column: str, value: object, sentence: str) -> None:
    message = error_of(small, train=changed(small.train, column, value))
    assert message.startswith("train: ")
    assert sentence in message


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("StoreType", "x", "store: StoreType is x in store 1, expected a, b, c or d"),
        ("Assortment", "d", "store: Assortment is d in store 1, expected a, b or c"),
        ("CompetitionDistance", -1.0, "CompetitionDistance is -1 in store 1, expected 0 to 1000000"),
        ("CompetitionOpenSinceMonth", 13.0, "CompetitionOpenSinceMonth is 13 in store 1, expected 1 to 12"),
        ("Promo2", 2, "Promo2 is 2 in store 1, expected 0 or 1"),
        ("Promo2SinceWeek", 54.0, "Promo2SinceWeek is 54 in store 1, expected 1 to 53"),
        ("PromoInterval", "Jan,Foo", "PromoInterval is Jan,Foo in store 1, expected months such as Jan,Apr,Jul,Oct"),
        ("Store", 2, "store: a second row in store 2, expected one row a store"),
    ],
)
def test_store_table(small: SampleData, column: str, value: object, sentence: str) -> None:
    assert sentence in error_of(small, store=changed(small.store, column, value))


def test_duplicates_of_store_and_day(small: SampleData) -> None:
    train = pd.concat([small.train, small.train.iloc[:5]])
    assert (
        "train: a second row in store 1 on 2013-08-31, store 2 on 2013-08-31, store 3 on 2013-08-31 and 2 more rows,"
        " expected one row a store and day" in error_of(small, train=train)
    )


def test_sales_on_a_closed_day(small: SampleData) -> None:
    closed = int(np.flatnonzero(small.train["Open"] == 0)[0])
    message = error_of(small, train=changed(small.train, "Sales", 17, closed))
    assert "Sales although Open is 0 in store 1 on 2013-08-25 (Sales 17, Open 0), expected no sales" in message


def test_weekday_that_is_not_the_dates(small: SampleData) -> None:
    message = error_of(small, train=changed(small.train, "DayOfWeek", 1), future=changed(small.future, "DayOfWeek", 2))
    assert "wrong DayOfWeek in store 1 on 2013-08-31 (DayOfWeek 1), expected the weekday of the date" in message
    assert "future: wrong DayOfWeek in store 1 on 2013-10-12 (DayOfWeek 2)" in message


def test_unknown_stores(small: SampleData) -> None:
    message = error_of(small, store=small.store.iloc[:2])
    rows = len(small.train) // 2
    assert f"train: unknown store 3, 4 ({rows:,} rows), expected one of the 2 of the store table" in message
    assert "future: unknown store 3, 4 (84 rows)" in message


def test_missing_columns_and_no_rows(small: SampleData) -> None:
    assert "train: no column Promo" in error_of(small, train=small.train.drop(columns="Promo"))
    assert "train: no rows" in error_of(small, train=small.train.iloc[:0])


def test_several_problems_in_several_files_are_one_short_error(small: SampleData) -> None:
    train = changed(changed(small.train, "Promo", 9, slice(None)), "StateHoliday", "x", slice(5))
    train.attrs[FILE] = "train.csv.xz"
    message = error_of(small, train=train, store=changed(small.store, "Promo2", 7))
    assert message.startswith("train.csv.xz: Promo is 9 in store 1 on 2013-08-31, 9 in store 2 on 2013-08-31,")
    assert f"and {len(train) - 3:,} more rows, expected 0 or 1; StateHoliday is x" in message
    assert ". store: Promo2 is 7 in store 1" in message
    assert len(message) < 600


def test_a_gap_is_a_warning_with_count_and_example(small: SampleData) -> None:
    gap = (small.train["Store"] == 3) & small.train["Date"].between("2013-03-01", "2013-03-10")
    warnings = check_data(small.train[~gap], small.store, small.future)
    assert warnings == [
        "train: 1 stores have a gap in their history, 10 days in all, such as store 3 from 2013-03-01 to 2013-03-10;"
        " those days count as unknown, not as closed"
    ]


def test_a_store_that_ended_is_a_warning(small: SampleData) -> None:
    ended = (small.train["Store"] == 2) & (small.train["Date"] > "2013-07-01")
    assert check_data(small.train[~ended], small.store, small.future) == [
        "train: 1 stores have no row on the newest day 2013-08-31, such as store 2 (last on 2013-07-01)"
    ]


@pytest.mark.parametrize(
    ("days", "columns", "sentence"),
    [
        (None, {"Open": 0, "Sales": 0, "Customers": 0}, "no store sold anything"),
        (None, {"Sales": 0}, "no store sold anything"),
        (42, {"Sales": 0, "Customers": 0}, "no sales in the newest 42 days, 2013"),
        (42, {"Open": 0, "Sales": 0, "Customers": 0}, "on which candidates are validated"),
        (60, {"Sales": 0}, "leave out the days after it"),
    ],
)
def test_what_leaves_nothing_to_learn_from_or_to_validate_on(
    small: SampleData, days: int | None, columns: dict[str, int], sentence: str
) -> None:
    train = small.train.copy()
    first = train["Date"].min() if days is None else train["Date"].max() - pd.Timedelta(days=days - 1)
    for column, value in columns.items():
        train.loc[train["Date"] >= first, column] = value
    assert sentence in error_of(small, train=train)


def test_a_month_without_sales_can_still_be_validated(small: SampleData) -> None:
    train = small.train.copy()
    newest = train["Date"] > train["Date"].max() - pd.Timedelta(days=30)
    train.loc[newest, ["Open", "Sales", "Customers"]] = 0
    assert check_data(train, small.store, None) == []


def test_freshness_is_off_by_default(small: SampleData) -> None:
    assert check_data(small.train, small.store, None, today=date(2030, 1, 1)) == []
    assert check_data(small.train, small.store, None, freshness_days=3, today=date(2013, 9, 3)) == []
    with pytest.raises(DataCheckError, match=r"2013-08-31, 4 days before 2013-09-04, .* 3"):
        check_data(small.train, small.store, None, freshness_days=3, today=date(2013, 9, 4))


def test_sales_of_days_to_come_are_refused(small: SampleData) -> None:
    assert check_data(small.train, small.store, None, today=date(2013, 8, 30)) == []
    with pytest.raises(DataCheckError, match=r"2013-08-31, expected none after 2013-08-30"):
        check_data(small.train, small.store, None, today=date(2013, 8, 29))


def test_missing_open_counts_as_open_with_a_warning(small: SampleData) -> None:
    rows = changed(small.future, "Open", np.nan, slice(5))
    assert check_data(small.train, small.store, rows) == [
        "future: Open is missing in store 1 on 2013-10-12, store 2 on 2013-10-12, store 3 on 2013-10-12"
        " and 2 more rows; taken for open"
    ]
    (warning,) = check_data(small.train, small.store, small.future.drop(columns="Open"))
    assert "and 165 more rows; taken for open" in warning


@pytest.mark.parametrize("day", ["2013-08-31", "2013-10-13"])
def test_future_rows_follow_the_history_within_the_horizon(small: SampleData, day: str) -> None:
    rows = changed(small.future.drop(columns="DayOfWeek"), "Date", pd.Timestamp(day))
    assert (
        f"future: a day outside of the horizon in store 1 on {day}, expected 2013-09-01 to 2013-10-12,"
        " the 42 days after the history" in error_of(small, future=rows)
    )


def test_a_store_without_history_is_a_warning(small: SampleData) -> None:
    (warning,) = check_data(small.train[small.train["Store"] != 4], small.store, small.future)
    assert warning.startswith("future: 1 stores have no history at all, such as store 4")


def test_a_million_rows_take_seconds(small: SampleData) -> None:
    import time

    data = generate(stores=1000, months=30, horizon_days=2)
    started = time.monotonic()
    check_data(data.train, data.store, data.future)
    assert len(data.train) > 900_000
    assert time.monotonic() - started < 20
