"""Nothing after the forecast origin has a say: not sales, not customers, not the schedule after the block."""

import numpy as np
import pandas as pd
import pytest

from include.rossmann.forecaster import FEATURE_NAMES, Forecaster, Panel, block_features
from include.rossmann.matrix import block_rows, build_matrix
from include.rossmann.metrics import naive_forecast
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
        np.testing.assert_array_equal(
            honest.features[:, :, position], other.features[:, :, position], err_msg=f"feature {name}"
        )


def test_training_rows_do_not_see_sales_after_their_block(history, stores, panel, matrix):
    cut_at = matrix.block_ends[-4]
    spoilt = build_matrix(Panel.from_frames(corrupted(history, cut_at), stores)).until(cut_at)
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
        features = other.features[np.searchsorted(panel.stores.store, rows.store), (rows.date - origin).astype(int) - 1]
        np.testing.assert_array_equal(member.predict(rows.features), member.predict(features), err_msg=name)
    truth = history[history["Date"] > pd.Timestamp(origin)]
    expected = forecaster.forecast(schedule_of(truth))
    # The same forecaster, with a panel that knows wrong sales after the origin it is asked from.
    other = Forecaster(
        Panel.from_frames(spoilt[spoilt["Date"] <= pd.Timestamp(origin)], stores),
        forecaster.members, forecaster.blend, forecaster.horizon_days, forecaster.training_end,
    )  # fmt: skip
    pd.testing.assert_frame_equal(other.forecast(schedule_of(truth)), expected)
