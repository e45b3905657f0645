"""Drift: what changes for good is told, what a year brings every year is not."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from include.retraining.config.monitor import DriftConfig
from include.retraining.monitor.distances import Watched, day_differences
from include.retraining.monitor.drift import (
    PREDICTION_LABEL,
    judge_drift,
    usual_distances,
    watch_inputs,
    watch_predictions,
)
from include.retraining.monitor.profiles import Binning, Profile
from include.retraining.monitor.signals import Signal, holm
from tests.retraining.monitored import CHURN, SHOPS, day, delivered, shop_rows

CONFIG = DriftConfig()
SINCE, DAYS = 800, 850
"""From when on faults begin, and how many days there are."""


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return delivered(shop_rows(DAYS, shops=20))


def judged(rows: pd.DataFrame, end: int, trained_until: int = 700, config: DriftConfig = CONFIG) -> list[Signal]:
    watched = watch_inputs(rows, SHOPS.columns, config)
    return judge_drift(watched, config, end=day(end), trained_until=day(trained_until))


def bad(signals: list[Signal]) -> set[str]:
    return {signal.subject for signal in signals if signal.bad}


@pytest.mark.long
def test_a_quiet_year_with_school_holidays_and_deals_has_no_drift(rows):
    watched = watch_inputs(rows, SHOPS.columns, CONFIG)
    found = [
        bad(judge_drift(watched, CONFIG, end=day(end), trained_until=day(end - 20))) for end in range(460, DAYS, 3)
    ]
    assert len(found) > 100
    assert sum(map(bool, found)) == 0


def test_school_holidays_would_be_drift_if_compared_with_the_weeks_before(rows):
    # day 560 is in the second year's holidays (544 to 590), the four weeks before 540 have none
    column = rows["Holidays"]
    profile = Profile.of("school holidays", column, rows["Date"], Binning.of(column))
    assert abs(day_differences(profile, profile, 28)[560, 0]) > 0.9
    assert abs(day_differences(profile, profile, 364)[560, 0]) < 0.1


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_shops_that_close_are_noticed_within_a_fortnight(rows, share):
    gone = (rows["Shop"] < 20 * share) & (rows["Date"] >= day(SINCE))
    closed = rows.assign(Open=rows["Open"].where(~gone, 0))
    watched = watch_inputs(closed, SHOPS.columns, CONFIG)
    found = {
        end: bad(judge_drift(watched, CONFIG, end=day(end), trained_until=day(700)))
        for end in range(SINCE - 30, SINCE + 21)
    }
    nights = [end for end, subjects in found.items() if "open" in subjects]
    assert nights[0] - SINCE in range(4, 10)
    assert set(range(nights[0], SINCE + 21)) == set(nights)
    told = next(one for one in judged(closed, SINCE + 20) if one.subject == "open" and one.bad)
    assert "of the rows" in told.sentence
    assert "the same weeks a year before" in told.sentence
    assert "; most at " in told.sentence


def test_a_number_that_moves_is_noticed_and_others_are_not(rows):
    dearer = rows.assign(Price=rows["Price"] * np.where(rows["Date"] >= day(SINCE), 1.1, 1.0))
    assert bad(judged(dearer, SINCE + 20)) == {"price"}


def test_values_that_go_missing_and_values_never_seen_are_noticed(rows):
    late = rows["Date"] >= day(SINCE)
    missing = rows.assign(Price=rows["Price"].where(~(late & (rows["Shop"] < 4))))
    signal = next(one for one in judged(missing, SINCE + 20) if one.subject == "price" and one.bad)
    assert "most at missing: 0.0 % then" in signal.sentence
    new = rows.assign(Deal=rows["Deal"].astype(object).where(~(late & (rows["Shop"] < 4)), "2 for 1"))
    watched = Profile.of("deal", new["Deal"], new["Date"], Binning.of(rows["Deal"]))
    signals = judge_drift([Watched(watched, watched, 0.03)], CONFIG, end=day(SINCE + 20), trained_until=day(700))
    assert any("values never seen before: 0.0 % then, 20.0 % now" in one.sentence for one in signals if one.bad)


def test_one_odd_day_is_no_drift(rows):
    storm = rows.assign(Open=rows["Open"].where(rows["Date"] != day(SINCE), 0))
    assert not bad(judged(storm, SINCE)) | bad(judged(storm, SINCE + 1)) | bad(judged(storm, SINCE + 10))


def test_what_the_version_was_trained_on_is_no_drift(rows):
    change = day(600)
    closed = rows.assign(Open=rows["Open"].where((rows["Date"] < change) | (rows["Shop"] >= 4), 0))
    assert "open" in bad(judged(closed, 700, trained_until=590))
    assert "open" not in bad(judged(closed, 700, trained_until=670))


def test_in_the_first_year_windows_are_compared_with_those_before_them(rows):
    young = rows[rows["Date"] < day(300)]
    signals = judged(young, 299, trained_until=250)
    assert not bad(signals)
    assert all("than in the windows before" in one.sentence for one in signals)
    dearer = young.assign(Price=young["Price"] * np.where(young["Date"] >= day(275), 1.2, 1.0))
    assert bad(judged(dearer, 299, trained_until=250)) == {"price"}


def test_without_enough_windows_nothing_is_said(rows):
    assert judged(rows[rows["Date"] < day(40)], 39, trained_until=30) == []
    assert watch_inputs(pd.DataFrame({"Plan": ["a"]}), CHURN.columns, CONFIG) == []


def test_usual_distances_do_not_look_at_the_window_that_is_judged(rows):
    [price] = [one for one in watch_inputs(rows, SHOPS.columns, CONFIG) if one.now.label == "price"]
    later = rows.assign(Price=rows["Price"] * np.where(rows["Date"] > day(SINCE - 14), 9.0, 1.0))
    [changed] = [one for one in watch_inputs(later, SHOPS.columns, CONFIG) if one.now.label == "price"]
    same = Watched(changed.now, Profile.of("price", later["Price"], later["Date"], price.then.binning), 0.03)
    given = day(SINCE), 14, day(SINCE + 40), 21
    expected = usual_distances(price, *given, seasonal=True)
    assert len(expected) > 50
    np.testing.assert_allclose(usual_distances(same, *given, seasonal=True), expected)


def test_predictions_are_compared_with_what_came_true_a_year_before(rows):
    recent = rows[rows["Date"] >= day(SINCE - 50)]
    for factor, expected in ((1.0, set()), (1.6, {PREDICTION_LABEL})):
        changed = recent["Sold"] * np.where(recent["Date"] >= day(SINCE), factor, 1.0)
        ours = watch_predictions(changed, recent["Date"], rows, SHOPS.columns, CONFIG)
        assert ours is not None
        assert bad(judge_drift([ours], CONFIG, end=day(SINCE + 25), trained_until=day(790))) == expected
    assert watch_predictions(recent["Sold"] * np.nan, recent["Date"], rows, SHOPS.columns, CONFIG) is None


def test_a_day_without_rows_is_not_compared():
    rows = delivered(shop_rows(60))
    gap = rows[rows["Date"] != day(40)]
    profile = Profile.of("price", gap["Price"], gap["Date"], Binning.of(gap["Price"]))
    found = day_differences(profile, profile, 7)[:, 0]
    assert np.isnan(found[[0, 6, 40, 47]]).all()
    assert np.isfinite(found[[7, 39, 41, 46]]).all()


def test_the_distance_is_that_of_trimmed_mean_differences():
    rows = delivered(shop_rows(100))
    for column, ordered in (("Price", True), ("Holidays", False)):
        profile = Profile.of("", rows[column], rows["Date"], Binning.of(rows[column]))
        assert profile.binning.ordered is ordered
        last = np.array([45, 77])
        found = Watched(profile, profile, 0.03).distances(28, 14, last)
        shares = profile.counts / profile.counts.sum(axis=1, keepdims=True)
        values = np.cumsum(shares, axis=1) if ordered else shares
        for end, distance in zip(last, found, strict=True):
            days = np.arange(end - 13, end + 1)
            mean = stats.trim_mean(values[days] - values[days - 28], 0.2, axis=0)[:-1]
            assert distance == pytest.approx(np.abs(mean).max() if ordered else np.abs(mean).sum() / 2)
    empty = Watched(profile, profile, 0.03).distances(28, 14, np.array([5, 20]))
    assert np.isnan(empty).all()


@pytest.mark.parametrize(
    ("values", "same"), [([1, 0, 1], [1.0, 0.0, 1.0]), ([True, False], [1, 0]), (["a", None], ["a", None])]
)
def test_a_value_is_the_same_however_it_is_stored(values, same):
    binning = Binning.of(pd.Series(values))
    assert list(binning.codes(pd.Series(same))) == list(binning.codes(pd.Series(values)))


def test_holm_rejects_in_order_until_one_is_not_significant():
    assert holm([0.04, 0.001, 0.02, 0.8], 0.05) == [False, True, False, False]
    assert holm([0.01, 0.001, 0.012, 0.8], 0.05) == [True, True, True, False]
    assert holm([float("nan"), 0.001], 0.05) == [False, True]
    assert holm([], 0.05) == []
