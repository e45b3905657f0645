"""Where folds lie: the holdout at the newest day, the others fixed in the calendar, never over the holdout."""

from itertools import pairwise

import numpy as np
import pytest

from include.lifecycle.errors import BadInputError
from include.models.rossmann.folds import make_folds
from include.models.rossmann.matrix import block_end_days

ANCHOR = np.datetime64("2014-06-13")


class Ends:
    """A matrix of which only the ends of the blocks are known."""

    def __init__(self, newest: np.datetime64) -> None:
        first = np.datetime64("2013-01-01")
        self.block_ends = block_end_days(first, newest, horizon=42, step=21, anchor=ANCHOR.item())


@pytest.mark.parametrize("later", [0, 1, 20, 21, 41, 42, 43])
def test_folds_before_the_holdout_stay_where_they_are(later):
    newest = ANCHOR + later
    folds = make_folds(Ends(newest), 3, 42, ANCHOR.item())
    assert [fold.number for fold in folds] == [3, 2, 1, 0]
    assert folds[-1].end == newest
    assert folds[-1].training_end == newest - 42
    expected = ANCHOR - 42 if later < 42 else ANCHOR
    assert [fold.end for fold in folds[:-1]] == [expected - 84, expected - 42, expected]
    for before, after in pairwise(folds):
        assert before.end < after.start
        assert after.end - after.training_end == np.timedelta64(42, "D")
    ends = set(Ends(newest).block_ends)
    assert all(fold.end in ends and fold.training_end in ends for fold in folds)


def test_without_an_anchor_folds_are_counted_from_the_newest_day():
    folds = make_folds(Ends(ANCHOR), 2, 42)
    assert [fold.end for fold in folds] == [ANCHOR - 84, ANCHOR - 42, ANCHOR]


def test_a_fold_without_sales_is_named():
    ends = Ends(ANCHOR)
    ends.block_ends = ends.block_ends[ends.block_ends != ANCHOR - 84]
    with pytest.raises(BadInputError, match=f"{ANCHOR - 125} to {ANCHOR - 84}.*fold_end"):
        make_folds(ends, 3, 42, ANCHOR.item())


def test_a_history_that_is_too_short_names_the_day():
    with pytest.raises(BadInputError, match="2012-12-14"):
        make_folds(Ends(ANCHOR), 12, 42, ANCHOR.item())
