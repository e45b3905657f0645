import numpy as np
import pyarrow.parquet as pq
import pytest

from include.models.rossmann.forecaster import FEATURE_NAMES, Panel
from include.models.rossmann.matrix import (
    MINIMUM_HISTORY_DAYS,
    StoredMatrix,
    block_end_days,
    save_matrix,
    training_blocks,
)
from tests.rossmann.joined import join


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
    with pytest.raises(ValueError, match="ends on 2001-01-01; "):
        matrix.block(np.datetime64("2001-01-01"))


ARRAYS = ("block_end", "store", "date", "sales", "base", "features")


@pytest.fixture
def stored(matrix, tmp_path, monkeypatch):
    """The matrix in a file of many row groups, which the blocks do not fit."""
    monkeypatch.setattr("include.models.rossmann.matrix.ROW_GROUP", 97)
    save_matrix(map(matrix.block, matrix.block_ends), tmp_path / "matrix.parquet")
    return StoredMatrix.open(tmp_path / "matrix.parquet")


def assert_same(got, expected):
    for name in ARRAYS:
        assert getattr(got, name).dtype == getattr(expected, name).dtype, name
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    assert got.features.flags.c_contiguous


def test_a_matrix_survives_saving_bit_for_bit(matrix, stored):
    assert len(stored) == len(matrix)
    assert len(stored.groups) > len(matrix.block_ends) + 1
    assert list(stored.block_ends) == list(matrix.block_ends)
    assert stored.block_digests() == matrix.block_digests()
    assert_same(stored.sample(1.0, 0), matrix)


def test_what_is_read_of_a_file_is_what_a_matrix_in_memory_has(matrix, stored):
    day = matrix.block_ends[-2]
    before, read = matrix.until(day), stored.until(day)
    assert len(read) == len(before) < len(matrix)
    assert list(read.block_ends) == list(before.block_ends)
    assert_same(read.block(day), before.block(day))
    for share, seed in ((0.5, [1, 2]), (0.01, [1, 2]), (1.0, 3)):
        assert_same(read.sample(share, seed), before.sample(share, seed))
    some = [FEATURE_NAMES[5], FEATURE_NAMES[2], FEATURE_NAMES[-1]]
    few = read.sample(0.1, 4, some)
    assert_same(few, before.sample(0.1, 4, some))
    np.testing.assert_array_equal(few.features, before.sample(0.1, 4).features[:, [5, 2, -1]])
    with pytest.raises(ValueError, match=str(matrix.block_ends[-1])):
        read.block(matrix.block_ends[-1])


def test_what_was_written_block_by_block_is_read_group_by_group(stored, monkeypatch):
    groups = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, group, **how: groups.append(group) or read(self, group, **how)
    )
    stored.block(stored.block_ends[0])
    assert 0 < len(groups) < len(stored.groups) / 2
    assert groups == sorted(set(groups))


def test_a_matrix_of_other_features_is_refused(stored, monkeypatch):
    monkeypatch.setattr("include.models.rossmann.matrix.FEATURE_NAMES", FEATURE_NAMES[:-1])
    with pytest.raises(ValueError, match="other features"):
        StoredMatrix.open(stored.path)


def test_the_newest_blocks_can_be_kept_alone(panel):
    seen = []
    matrix = join(training_blocks(panel, max_blocks=2, progress=lambda *done: seen.append(done)))
    assert list(matrix.block_ends) == [panel.last_day - 21, panel.last_day]
    assert seen == [(1, 2), (2, 2)]


def test_future_schedule_in_the_panel_is_not_history(history, stores):
    unsold = history.copy()
    unsold[["Sales", "Customers"]] = unsold[["Sales", "Customers"]].astype(float)
    last = unsold["Date"].max()
    unsold.loc[unsold["Date"] == last, ["Sales", "Customers"]] = np.nan
    ends = join(training_blocks(Panel.from_frames(unsold, stores), max_blocks=1)).block_ends
    assert ends[0] == np.datetime64(last, "D") - 1


def test_a_short_history_is_refused(history, stores):
    short = history[history["Date"] < history["Date"].min() + np.timedelta64(200, "D")]
    with pytest.raises(ValueError, match=r"42 days .*182 days"):
        join(training_blocks(Panel.from_frames(short, stores)))


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
    assert matrix.sample(1.0, 3).features.base is matrix.features  # a view


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
