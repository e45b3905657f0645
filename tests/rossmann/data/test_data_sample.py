"""The generated data: shape, calendar, revisions, and how hard it is to forecast."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from include.models.rossmann.boosters import train_member
from include.models.rossmann.config import BoosterConfig
from include.models.rossmann.data.sample import REFURBISHMENT, SampleData, generate, spoiled
from include.models.rossmann.data.schema import check_data
from include.models.rossmann.forecaster.panel import Panel
from include.models.rossmann.matrix import training_blocks
from include.models.rossmann.metrics import naive_rmspe, rmspe
from tests.rossmann.joined import join


@pytest.fixture(scope="module")
def full() -> SampleData:
    return generate()


def test_files_look_like_the_rossmann_files(tmp_path: Path, small: SampleData) -> None:
    small.write(tmp_path)
    lines = {name: (tmp_path / f"{name}.csv").read_text().splitlines() for name in ("train", "store", "future")}
    assert lines["train"][0] == (
        '"Store","DayOfWeek","Date","Sales","Customers","Open","Promo","StateHoliday","SchoolHoliday"'
    )
    store, weekday, day, *_, holiday, school = lines["train"][1].split(",")
    assert (store, weekday, day, holiday, school) == ("1", "6", "2013-08-31", '"0"', '"0"')
    assert lines["future"][0] == '"Id","Store","DayOfWeek","Date","Open","Promo","StateHoliday","SchoolHoliday"'
    assert lines["future"][1].startswith('1,1,6,2013-10-12,1,0,"0",')
    assert lines["store"][1].startswith('1,"a","')
    assert "." not in "".join(lines["store"])


def test_size_and_order(full: SampleData) -> None:
    assert len(full.store) == 120
    assert full.train["Date"].agg(["min", "max"]).tolist() == [pd.Timestamp("2013-01-01"), pd.Timestamp("2015-06-30")]
    assert len(full.train) == 120 * 911
    assert len(full.future) == 120 * 42
    assert full.train["Date"].is_monotonic_decreasing
    assert full.future["Date"].min() == pd.Timestamp("2015-07-01")
    assert check_data(full.train, full.store, full.future) == []


def test_same_seed_same_data_and_another_seed_other_data(small: SampleData) -> None:
    again, other = generate(stores=4, months=8), generate(stores=4, months=8, seed=1)
    pd.testing.assert_frame_equal(again.train, small.train)
    pd.testing.assert_frame_equal(again.store, small.store)
    assert not other.train["Sales"].equals(small.train["Sales"])


@pytest.mark.parametrize("extra_days", [1, 14])
def test_a_later_revision_is_the_same_past_with_more_days(small: SampleData, extra_days: int) -> None:
    later = generate(stores=4, months=8, extra_days=extra_days)
    past = later.train[later.train["Date"] <= small.train["Date"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(past, small.train)
    schedule = ["Store", "Date", "Open", "Promo", "StateHoliday", "SchoolHoliday"]
    new = later.train[later.train["Date"] > small.train["Date"].max()]
    announced = small.future[small.future["Date"] <= later.train["Date"].max()]
    pd.testing.assert_frame_equal(
        new[schedule].reset_index(drop=True), announced[schedule].reset_index(drop=True), check_dtype=False
    )


def test_stores_do_not_depend_on_how_many_there_are(small: SampleData) -> None:
    fewer = generate(stores=2, months=8)
    many = small.train[small.train["Store"] <= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer.train, many)


def test_end_and_start_can_be_named() -> None:
    data = generate(stores=1, start=date(2024, 1, 1), end=date(2024, 3, 1))
    assert data.train["Date"].agg(["min", "max"]).tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-03-01")]
    with pytest.raises(ValueError, match="nothing to generate"):
        generate(stores=0)


def test_calendar_of_the_sample(full: SampleData) -> None:
    train = full.train
    holidays = train[train["StateHoliday"] != "0"]
    assert set(holidays["StateHoliday"]) == {"a", "b", "c"}
    assert (holidays.loc[holidays["Date"] == "2014-04-18", "StateHoliday"] == "b").all()
    assert (holidays.loc[holidays["Date"] == "2014-12-25", "StateHoliday"] == "c").all()
    assert holidays.groupby("Date")["Store"].nunique().nunique() == 2  # some are kept in some regions only
    sundays = train[train["DayOfWeek"] == 7].groupby("Store")["Open"].mean()
    assert (sundays == 0).sum() > 100
    assert (sundays == 1).sum() == 4
    assert 0.1 < train["SchoolHoliday"].mean() < 0.3
    assert 0.3 < train["Promo"].mean() < 0.4


def test_one_refurbishment_long_before_the_holdout(full: SampleData) -> None:
    train = full.train.sort_values(["Store", "Date"])
    closed_days = train["Open"].eq(0).groupby([train["Store"], train["Open"].ne(0).cumsum()]).sum()
    long_closures = closed_days[closed_days > 10]
    assert len(long_closures) == 1
    assert long_closures.index[0][0] == 13
    assert REFURBISHMENT[1] <= long_closures.iloc[0] <= REFURBISHMENT[1] + 2  # a Sunday may touch it


def test_closed_days_sell_nothing_and_open_days_sell(full: SampleData) -> None:
    is_open = full.train["Open"] == 1
    assert (full.train.loc[~is_open, ["Sales", "Customers"]] == 0).all(axis=None)
    assert (full.train.loc[is_open, ["Sales", "Customers"]] > 0).all(axis=None)


@pytest.mark.parametrize("extra_days", [0, 7, 14, 28])
def test_a_naive_forecast_misses_the_gate(extra_days: int) -> None:
    data = generate(extra_days=extra_days)
    panel = Panel.from_frames(data.train, data.store)
    assert naive_rmspe(panel, panel.last_day, 42) > 0.125


def test_an_honest_forecast_passes_the_gate_and_spoilt_data_does_not(full: SampleData) -> None:
    matrix = join(training_blocks(Panel.from_frames(full.train, full.store), max_blocks=8))
    end = matrix.block_ends[-1]
    known = matrix.until(end - np.timedelta64(42, "D"))
    params = {"num_leaves": 15, "learning_rate": 0.15, "feature_fraction": 0.3}
    member = train_member("lightgbm", known, BoosterConfig(rounds=60, threads=1, params=params))
    spoilt = join(training_blocks(Panel.from_frames(spoiled(full.train), full.store), max_blocks=1))
    for block, low, high in ((matrix.block(end), 0.05, 0.085), (spoilt, 0.3, 9.0)):
        assert low < rmspe(block.sales, np.exp(block.base + member.predict(block.features))) < high


def test_spoilt_data_still_passes_the_checks(full: SampleData) -> None:
    spoilt = spoiled(full.train)
    assert check_data(spoilt, full.store, full.future) == []
    newest = full.train["Date"] > full.train["Date"].max() - pd.Timedelta(days=42)
    pd.testing.assert_frame_equal(spoilt[~newest], full.train[~newest])
    assert (spoilt.loc[newest, "Sales"] != full.train.loc[newest, "Sales"]).mean() > 0.7
    assert spoilt["Sales"].sum() == full.train["Sales"].sum()
