"""Nothing after the forecast origin has a say: not sales, not customers, not the schedule after the block."""

import time

import numpy as np
import pandas as pd
import pytest

from include.models.rossmann.ensemble import fold_blends
from include.models.rossmann.folds import make_folds
from include.models.rossmann.forecaster import FEATURE_NAMES, Forecaster, Panel, block_features
from include.models.rossmann.kept_folds import fold_forecast
from include.models.rossmann.matrix import block_rows, training_blocks
from include.models.rossmann.metrics import naive_forecast
from tests.rossmann.joined import join
from tests.rossmann.synthetic import schedule_of

HORIZON = 42


def corrupted(history: pd.DataFrame, origin: np.datetime64) -> pd.DataFrame:
    """Random sales and customers after the origin; the schedule stays."""
    random = np.random.default_rng(99)
    after = history["Date"] > pd.Timestamp(origin)
    assert after.any()
    spoilt = history.copy()
    for name in ("Sales", "Customers"):
        spoilt.loc[after, name] = random.integers(1, 90_000, after.sum())
    return spoilt


@pytest.fixture(scope="module", params=[42, 63, 105])
def origin(request, panel):
    return panel.last_day - request.param


def test_features_do_not_see_sales_after_the_origin(history, stores, panel, origin):
    spoilt = Panel.from_frames(corrupted(history, origin), stores)
    honest, other = block_features(panel, origin, HORIZON), block_features(spoilt, origin, HORIZON)
    np.testing.assert_array_equal(honest.features, other.features)
    np.testing.assert_array_equal(honest.base, other.base)
    np.testing.assert_array_equal(naive_forecast(panel, origin, HORIZON), naive_forecast(spoilt, origin, HORIZON))


def test_features_do_see_sales_before_the_origin(history, stores, panel, origin):
    spoilt = Panel.from_frames(corrupted(history, origin - 1), stores)
    assert not np.array_equal(
        block_features(panel, origin, HORIZON).features,
        block_features(spoilt, origin, HORIZON).features,
        equal_nan=True,
    )


def test_features_do_not_see_the_schedule_after_the_block(history, stores, panel, origin):
    end = origin + HORIZON
    cut = Panel.from_frames(history[history["Date"] <= pd.Timestamp(end)], stores)
    honest, other = block_features(cut, origin, HORIZON), block_features(panel, origin, HORIZON)
    for position, name in enumerate(FEATURE_NAMES):
        np.testing.assert_array_equal(honest.features[position], other.features[position], err_msg=f"feature {name}")


def test_features_do_not_see_what_the_stores_become_after_the_origin(history, stores, origin):
    """A competitor that opens, or a Promo2 that begins, after the origin stands in a store table that is newer."""

    def table(days_later: int, distance: float) -> pd.DataFrame:
        day = pd.Timestamp(origin) + pd.Timedelta(days=days_later)
        changed, some = stores.copy(), stores.index[::2]
        told = {"CompetitionDistance": distance, "CompetitionOpenSinceMonth": day.month}
        told |= {"CompetitionOpenSinceYear": day.year, "Promo2": 1, "Promo2SinceWeek": (day.dayofyear - 1) // 7 + 1}
        told |= {"Promo2SinceYear": day.year, "PromoInterval": "Jan,Apr,Jul,Oct"}
        for name, value in told.items():
            changed[name] = changed[name].astype("object")
            changed.loc[some, name] = value
        return changed

    def features(days_later: int, distance: float) -> np.ndarray:
        return block_features(Panel.from_frames(history, table(days_later, distance)), origin, HORIZON).features

    np.testing.assert_array_equal(features(31, 100.0), features(400, 9_000.0))
    assert not np.array_equal(features(-100, 100.0), features(-400, 100.0), equal_nan=True)


def test_training_rows_do_not_see_sales_after_their_block(history, stores, panel, matrix):
    cut_at = matrix.block_ends[-4]
    spoilt = join(training_blocks(Panel.from_frames(corrupted(history, cut_at), stores))).until(cut_at)
    honest = matrix.until(cut_at)
    for name in ("block_end", "store", "date", "sales", "base", "features"):
        np.testing.assert_array_equal(getattr(honest, name), getattr(spoilt, name), err_msg=name)


def test_a_block_alone_is_the_block_in_the_matrix(panel, matrix):
    for end in matrix.block_ends[[0, -1]]:
        alone, among = block_rows(panel, end, HORIZON), matrix.block(end)
        np.testing.assert_array_equal(alone.features, among.features)


def test_predictions_do_not_see_sales_after_the_origin(history, stores, panel, members, forecaster_folder):
    forecaster = Forecaster.load(forecaster_folder)
    origin = np.datetime64(forecaster.training_end, "D")
    spoilt = corrupted(history, origin)
    for name, member in members.items():
        rows = block_rows(panel, panel.last_day, HORIZON)
        other = block_features(Panel.from_frames(spoilt, stores), origin, HORIZON)
        store, ahead = np.searchsorted(panel.stores.store, rows.store), (rows.date - origin).astype(int) - 1
        features = other.rows(store, ahead)
        np.testing.assert_array_equal(member.predict(rows.features), member.predict(features), err_msg=name)


def test_the_order_of_the_rows_has_no_say(history, stores, panel, matrix, forecaster_folder):
    shuffled = Panel.from_frames(history.sample(frac=1.0, random_state=7), stores.sample(frac=1.0, random_state=8))
    for name in ("sales", "promo", "open", "state_holiday"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(panel, name), err_msg=name)
    assert join(training_blocks(shuffled)).block_digests() == matrix.block_digests()
    forecaster = Forecaster.load(forecaster_folder)
    asked = schedule_of(history[history["Date"] > pd.Timestamp(forecaster.training_end)])
    expected = forecaster.forecast(asked).set_index(["Store", "Date"])["Sales"]
    other = forecaster.forecast(asked.sample(frac=1.0, random_state=9)).set_index(["Store", "Date"])["Sales"]
    pd.testing.assert_series_equal(other.sort_index(), expected.sort_index(), check_exact=True)


def test_stores_that_are_not_asked_for_have_no_say(history, forecaster_folder):
    forecaster = Forecaster.load(forecaster_folder)
    asked = schedule_of(history[history["Date"] > pd.Timestamp(forecaster.training_end)])
    some = asked["Store"].isin(asked["Store"].unique()[::3])
    expected = forecaster.forecast(asked).set_index(["Store", "Date"])["Sales"]
    alone = forecaster.forecast(asked[some]).set_index(["Store", "Date"])["Sales"]
    pd.testing.assert_series_equal(alone, expected.loc[alone.index], check_exact=True)


def test_the_clock_has_no_say(history, stores, panel, origin, monkeypatch):
    honest = block_features(panel, origin, HORIZON).features
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    try:
        again = block_features(Panel.from_frames(history, stores), origin, HORIZON).features
    finally:
        monkeypatch.undo()
        time.tzset()
    np.testing.assert_array_equal(again, honest)


def test_a_day_later_the_origin_is_a_day_later(panel, origin):
    """Features belong to their origin: what is known on the next day is not what is known on this one."""
    today, tomorrow = block_features(panel, origin, HORIZON), block_features(panel, origin + 1, HORIZON)
    horizon = FEATURE_NAMES.index("horizon")
    np.testing.assert_array_equal(today.features[horizon, :, 1:], tomorrow.features[horizon, :, :-1] + 1)
    assert not np.array_equal(today.base[:, 1:], tomorrow.base[:, :-1])
    assert list(today.days[1:]) == list(tomorrow.days[:-1])


@pytest.fixture
def forecasts(matrix, members):
    """Forecasts of the holdout and the two folds before it, by the same members."""
    frames = []
    for fold in make_folds(matrix, 2, HORIZON):
        block = matrix.block(fold.end)
        frame = fold_forecast(block, np.zeros(len(block))).drop(columns="residual").assign(fold=fold.number)
        frames.append(frame.assign(**{name: member.predict(block.features) for name, member in members.items()}))
    return pd.concat(frames, ignore_index=True)


def test_a_fold_has_no_say_in_its_own_blend_nor_in_those_before(forecasts, members):
    names = sorted(members)
    honest = fold_blends(forecasts, names)
    for number in (0, 1, 2):
        spoilt = forecasts.copy()
        here = spoilt["fold"] == number
        spoilt.loc[here, "sales"] = np.random.default_rng(5).uniform(10, 90_000, here.sum())
        found = fold_blends(spoilt, names)
        assert {fold for fold in honest if found[fold] != honest[fold]} == set(range(number))
