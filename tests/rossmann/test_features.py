"""Single features against slow and obvious computations."""

import numpy as np
import pandas as pd
import pytest

from include.models.rossmann.forecaster import FEATURE_NAMES, Panel, StoreTable, block_features
from include.models.rossmann.forecaster.calendar import easter, last_easter_counterpart, weekdays
from include.models.rossmann.forecaster.errors import ForecastInputError
from include.models.rossmann.forecaster.features import gap_days
from include.models.rossmann.forecaster.history import lag_features, recurring_oddities
from include.models.rossmann.forecaster.panel import to_columns
from include.models.rossmann.forecaster.schedule import closures, count_after, count_before, days_since, days_until
from include.models.rossmann.forecaster.tables import cell_statistics, row_statistics

HORIZON = 42


@pytest.fixture(scope="module")
def block(panel):
    return block_features(panel, panel.last_day - HORIZON, HORIZON)


def column(block, name):
    return block.features[FEATURE_NAMES.index(name)]


def test_names_are_unique_and_features_are_float32(block):
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert block.features.shape == (len(FEATURE_NAMES), 8, HORIZON)
    assert block.features.dtype == np.float32
    assert not np.isinf(block.features).any()
    assert np.isfinite(block.base).all()


def test_no_feature_is_nowhere_known(block):
    unknown = [n for n in FEATURE_NAMES if np.isnan(column(block, n)).all()]
    # 560 days of history: there is no day two years before.
    assert set(unknown) <= {"lag_728", "lag_728_smooth"}


def test_table_features_agree_with_pandas(block, history, panel):
    origin = pd.Timestamp(panel.last_day - HORIZON)
    year = history[(history["Date"] <= origin) & (history["Date"] > origin - pd.Timedelta(days=182))]
    year = year[(year["Open"] == 1) & (year["Sales"] > 0) & (year["StateHoliday"] == "0") & (year["Store"] == 3)]
    tuesdays = year[(year["Date"].dt.dayofweek == 1) & (year["Promo"] == 1)]
    mean = np.log(tuesdays["Sales"]).mean()
    where = np.flatnonzero((weekdays(block.days) == 1) & (column(block, "promo")[2] == 1))
    got = column(block, "table_mean_182")[2, where] + block.base[2, where]
    np.testing.assert_allclose(got, mean, rtol=1e-5)


def test_lag_364_is_the_same_weekday_a_year_before(block, panel):
    sold = panel.sales[6, panel.index(block.days[0]) - 364 : panel.index(block.days[-1]) - 363]
    known = np.log(np.maximum(sold, 1.0))
    lag = column(block, "lag_364")[6]
    assert np.isfinite(lag).sum() > 20
    same = np.isfinite(lag) & (
        column(block, "promo")[6] == (panel.promo[6, panel.index(block.days[0]) - 364 :][:HORIZON])
    )
    np.testing.assert_allclose(lag[same] + block.base[6][same], known[same], rtol=1e-4)


def test_holiday_level_is_that_of_open_state_holidays(block, panel):
    level = column(block, "holiday_level")
    assert np.isfinite(level[1]).all()  # store 2 alone opens on state holidays
    assert np.isnan(level[[0, 2, 3]]).all()


def test_a_state_holiday_is_told_by_the_sundays_and_touches_no_other_store(history, stores):
    day = history["Date"].max() - pd.Timedelta(days=2)
    assert day.day_name() == "Saturday"
    at_origin = history[history["Date"] <= day - pd.Timedelta(days=6)]
    sundays = at_origin[(at_origin["Store"] == 1) & (at_origin["Date"].dt.dayofweek == 6) & (at_origin["Promo"] == 0)]
    blocks = []
    for holiday in ("0", "b"):
        own = (history["Store"] == 1) & (history["Date"] == day)
        panel = Panel.from_frames(history.assign(StateHoliday=history["StateHoliday"].mask(own, holiday)), stores)
        blocks.append(block_features(panel, np.datetime64(day, "D") - 6, 9))
    ordinary, changed = blocks
    where = int(np.flatnonzero(ordinary.days == np.datetime64(day, "D"))[0])
    year = sundays[sundays["Date"] > at_origin["Date"].max() - pd.Timedelta(days=364)]
    np.testing.assert_allclose(changed.base[0, where], np.log(year["Sales"]).mean(), atol=0.01)
    different = np.argwhere(ordinary.base != changed.base)
    assert different.tolist() == [[0, where]]


def test_what_stores_did_together_as_far_from_easter_comes_again():
    days = np.datetime64("2015-02-16") + np.arange(2)  # Rose Monday; the year before 2014-03-03
    first = int(np.datetime64("2014-01-01").astype(int))
    residual = np.zeros((50, 400))
    monday = int(np.datetime64("2014-03-03").astype(int)) - first
    residual[:4, monday] = -1.5
    residual[4, monday + 1] = -1.5  # alone
    residual[:, :10] = np.nan
    expected = recurring_oddities(lag_features(residual, first, days)["lag_easter"])
    np.testing.assert_allclose(expected[:4, 0], 0.9 * -1.5)
    assert np.count_nonzero(expected) == 4
    residual[:2, monday] = 0.0
    assert not recurring_oddities(lag_features(residual, first, days)["lag_easter"]).any()


def test_row_statistics_agree_with_numpy():
    values = np.array(
        [[1.0, np.nan, 3.0, 5.0], [np.nan] * 4, [2.0, 4.0, np.nan, np.nan], [7.0, np.nan, np.nan, np.nan]]
    )
    count, mean, median, deviation = row_statistics(values)
    np.testing.assert_array_equal(count, [3, 0, 2, 1])
    np.testing.assert_allclose(mean, [3, np.nan, 3, 7])
    np.testing.assert_allclose(median, [3, np.nan, 3, 7])
    np.testing.assert_allclose(deviation, [np.std([1, 3, 5]), np.nan, 1, 0])


def test_cells_without_days_are_unknown():
    count, mean, *_ = cell_statistics(np.zeros((2, 3)), np.array([[0, 2, 4], [1, 2, 4]]))
    np.testing.assert_array_equal(count[:, :4], [[1, 0, 1, 0], [0, 1, 1, 0]])
    assert np.isnan(mean[0, 1])


def test_days_since_and_until():
    flags = np.array([[0, 1, 0, 0, 1, 0]], dtype=bool)
    np.testing.assert_array_equal(days_since(flags, 3), [[3, 0, 1, 2, 0, 1]])
    np.testing.assert_array_equal(days_until(flags, 3), [[1, 0, 2, 1, 0, 3]])


def test_counts_before_and_after_leave_the_day_itself_out():
    flags = np.array([[1, 1, 0, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(count_before(flags, 2), [[0, 1, 2, 1, 1]])
    np.testing.assert_array_equal(count_after(flags, 2), [[1, 1, 2, 1, 0]])


def test_only_long_runs_are_closures():
    closed = np.array([[0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]], dtype=bool)
    inside, length = closures(closed)
    np.testing.assert_array_equal(inside[0], [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(length[0], [0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 6])
    np.testing.assert_array_equal(inside[1], [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1])


def test_a_gap_in_the_history_is_no_closure(panel):
    origin = panel.first_day + 265  # five days after the end of the gap of store 5
    block = block_features(panel, origin, HORIZON)
    assert (column(block, "closure_since")[4] == 150).all()


def test_a_store_that_comes_back_is_as_far_from_the_chain_as_it_was(history, stores, panel):
    origin = panel.last_day - HORIZON
    lacking = (history["Store"] == 3) & history["Date"].between(origin - 150, origin - 1)
    whole = block_features(panel, origin, HORIZON)
    gap = block_features(Panel.from_frames(history[~lacking], stores), origin, HORIZON)
    # One day of spring is left of the newest five months, and the year lacks them
    for name, within in (("base_level", 0.02), ("level_91", 0.03), ("level_28", 0.04), ("customers_year", 0.02)):
        np.testing.assert_allclose(column(gap, name)[2], column(whole, name)[2], atol=within, err_msg=name)


def test_a_gap_is_a_day_without_a_row_on_which_most_stores_opened():
    opened = np.array([[-1, 1, -1, 0, -1, 1], [1, 1, 1, 1, 0, 1], [1, 0, 1, 1, 0, 1]], dtype=np.int8)
    expected = np.zeros_like(opened, dtype=bool)
    expected[0, 2] = True  # not before the first row, not when the others were closed, not when it said it was
    np.testing.assert_array_equal(gap_days(opened), expected)


def test_easter():
    days = [np.datetime64("1970-01-01") + easter(year) for year in (2013, 2014, 2015, 2016, 2038)]
    assert [str(day) for day in days] == ["2013-03-31", "2014-04-20", "2015-04-05", "2016-03-27", "2038-04-25"]


def test_counterpart_by_easter_of_last_year():
    whit_monday = np.array(["2015-05-25"], dtype="datetime64[D]")
    assert np.datetime64("1970-01-01") + last_easter_counterpart(whit_monday)[0] == np.datetime64("2014-06-09")


def test_store_table_reads_dates_and_intervals(stores):
    table = StoreTable.from_frame(stores.sample(frac=1, random_state=2))
    np.testing.assert_array_equal(table.store, stores["Store"])
    assert np.isnan(table.promo2_since[1])
    assert np.datetime64(int(table.promo2_since[0]), "D") == np.datetime64("2013-04-02")
    np.testing.assert_array_equal(table.promo2_months[2].nonzero()[0], [2, 5, 8, 11])  # Sept has four letters
    assert np.isnan(table.competition_distance[2])


def test_store_table_refuses_what_is_missing_or_repeated(stores):
    with pytest.raises(ForecastInputError, match="missing column StoreType"):
        StoreTable.from_frame(stores.drop(columns="StoreType"))
    with pytest.raises(ForecastInputError, match="store 2 appears"):
        StoreTable.from_frame(pd.concat([stores, stores[stores["Store"] == 2]]))


def test_later_rows_of_a_panel_win(panel, history, stores):
    day = history[history["Date"] == history["Date"].max()]
    changed = Panel.from_frames(history, stores).with_rows(to_columns(day.assign(Promo=1)))
    assert (changed.promo[:, -1] == 1).all()
    assert (changed.promo[:, :-1] == panel.promo[:, :-1]).all()
