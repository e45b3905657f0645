import numpy as np
import pytest

from include.rossmann.forecaster import FEATURE_NAMES, Panel
from include.rossmann.matrix import MINIMUM_HISTORY_DAYS, block_end_days, build_matrix, load_matrix, save_matrix


def test_blocks_end_at_the_newest_day_and_every_step_before(panel, matrix):
    ends = matrix.block_ends
    assert ends[-1] == panel.last_day
    assert set(np.diff(ends).astype(int)) == {21}
    assert (ends[0] - panel.first_day).astype(int) + 1 - 42 >= MINIMUM_HISTORY_DAYS


def test_only_open_days_with_sales_are_rows(panel, matrix):
    store = np.searchsorted(panel.stores.store, matrix.store)
    day = (matrix.date - panel.first_day).astype(int)
    assert (panel.open[store, day] == 1).all()
    np.testing.assert_array_equal(panel.sales[store, day], matrix.sales)
    assert (matrix.sales > 0).all()
    assert ((matrix.date <= matrix.block_end) & (matrix.date > matrix.block_end - 42)).all()


def test_a_fold_trains_on_blocks_that_end_before_it(matrix):
    end = matrix.block_ends[-1] - 42
    before = matrix.until(end)
    assert before.date.max() == end
    assert len(before) + len(matrix.block(end + 21)) + len(matrix.block(end + 42)) == len(matrix)
    assert before.features.base is not None  # a view: no second copy of the matrix


def test_a_block_that_is_none_is_refused(matrix):
    with pytest.raises(ValueError, match="no block ends on 2001-01-01; blocks end on"):
        matrix.block(np.datetime64("2001-01-01"))


def test_a_matrix_survives_saving_bit_for_bit(matrix, tmp_path):
    save_matrix(matrix, tmp_path / "matrix.parquet")
    again = load_matrix(tmp_path / "matrix.parquet")
    for name in ("block_end", "store", "date", "sales", "base", "features"):
        expected, got = getattr(matrix, name), getattr(again, name)
        assert got.dtype == expected.dtype, name
        np.testing.assert_array_equal(got, expected, err_msg=name)
    assert again.features.flags.c_contiguous


def test_a_matrix_of_other_features_is_refused(matrix, tmp_path, monkeypatch):
    save_matrix(matrix, tmp_path / "matrix.parquet")
    monkeypatch.setattr("include.rossmann.matrix.FEATURE_NAMES", FEATURE_NAMES[:-1])
    with pytest.raises(ValueError, match="other features"):
        load_matrix(tmp_path / "matrix.parquet")


def test_the_newest_blocks_can_be_kept_alone(panel):
    seen = []
    matrix = build_matrix(panel, max_blocks=2, progress=lambda *done: seen.append(done))
    assert list(matrix.block_ends) == [panel.last_day - 21, panel.last_day]
    assert seen == [(1, 2), (2, 2)]


def test_future_schedule_in_the_panel_is_not_history(history, stores):
    unsold = history.copy()
    unsold[["Sales", "Customers"]] = unsold[["Sales", "Customers"]].astype(float)
    last = unsold["Date"].max()
    unsold.loc[unsold["Date"] == last, ["Sales", "Customers"]] = np.nan
    ends = build_matrix(Panel.from_frames(unsold, stores), max_blocks=1).block_ends
    assert ends[0] == np.datetime64(last, "D") - 1


def test_a_short_history_is_refused(history, stores):
    short = history[history["Date"] < history["Date"].min() + np.timedelta64(200, "D")]
    with pytest.raises(ValueError, match="too short: one block of 42 days needs 182 days before it"):
        build_matrix(Panel.from_frames(short, stores))


def test_block_ends():
    first, last = np.datetime64("2013-01-01"), np.datetime64("2013-01-01") + 182 + 42 - 1
    assert list(block_end_days(first, last, horizon=42, step=21)) == [last]
    assert len(block_end_days(first, last - 1, horizon=42, step=21)) == 0
    assert len(block_end_days(first, last + 21, horizon=42, step=21)) == 2


def test_a_share_of_the_rows_is_drawn_and_stays_in_order(matrix):
    half = matrix.sample(0.5, [3, 0])
    assert len(half) == round(len(matrix) / 2)
    assert (np.diff(half.block_end.astype(np.int64)) >= 0).all()
    assert half.block_digests() == matrix.sample(0.5, [3, 0]).block_digests()
    assert half.block_digests() != matrix.sample(0.5, [3, 1]).block_digests()
    drawn = {tuple(row) for row in zip(half.block_end, half.store, half.date, strict=True)}
    assert len(drawn) == len(half)
    assert drawn <= set(zip(matrix.block_end, matrix.store, matrix.date, strict=True))
    assert matrix.sample(1.0, 3) is matrix


def test_blocks_lie_on_a_grid_that_is_fixed_in_the_calendar():
    first, anchor = np.datetime64("2013-01-01"), np.datetime64("2014-06-13")
    nights = [
        set(block_end_days(first, anchor + later, horizon=42, step=21, anchor=anchor.item())) for later in range(21)
    ]
    grid = set(block_end_days(first, anchor, horizon=42, step=21))
    for later, ends in enumerate(nights):
        newest = anchor + later
        assert ends - grid == ({newest, newest - 42} - grid)
        assert {newest, newest - 42} | grid == ends
    assert set(block_end_days(first, anchor, horizon=42, step=21, anchor=(anchor + 42 * 9).item())) == grid
