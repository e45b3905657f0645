"""Folds of a retrain: blocks of days, each forecast from the day before it.

The holdout is the newest block. The cross-validation folds before it are fixed in the calendar: one ends on the anchor,
the others whole blocks from it, so that they stay the same from night to night until a newer one fits in before the
holdout.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from include.lifecycle.errors import BadInputError
from include.models.rossmann.forecaster.panel import Day
from include.models.rossmann.matrix import Matrix

HOLDOUT = 0
"""Number of the holdout fold; folds 1, 2, ... lie before it, the newest first."""


@dataclass(frozen=True)
class Fold:
    """A block of days that is forecast by members trained up to the day before it."""

    number: int
    training_end: Day
    start: Day
    end: Day

    @classmethod
    def of(cls, number: int, end: Day, horizon: int) -> "Fold":
        """Return the fold of ``horizon`` days that ends on ``end``.

        :param number: 0 is the holdout
        """
        training_end = end - np.timedelta64(horizon, "D")
        return cls(number, training_end, training_end + np.timedelta64(1, "D"), end)


def make_folds(matrix: Matrix, cv_folds: int, horizon: int, anchor: date | None = None) -> list[Fold]:
    """Return the holdout and the cross-validation folds before it, the oldest first.

    :param matrix: the training matrix; its newest block is the holdout
    :param horizon: days of a fold
    :param anchor: a day on which a cross-validation fold ends, past or future; None: the newest day
    :raises BadInputError: when the history is too short for the oldest fold, or a fold has no sales
    """
    ends = matrix.block_ends
    block = np.timedelta64(horizon, "D")
    before = ends[-1] - block
    newest = before - (before - (ends[-1] if anchor is None else np.datetime64(anchor, "D"))) % block
    folds = [Fold.of(number, newest - (number - 1) * block, horizon) for number in range(cv_folds, 0, -1)]
    if ends[0] > folds[0].training_end:
        raise BadInputError(
            f"the history is too short for {cv_folds} cross-validation folds: the oldest trains on blocks that end up"
            f" to {folds[0].training_end}, the first block ends on {ends[0]}; add history, or lower"
            " forecast.cv_folds or the number of forecast origins"
        )
    for fold in folds:
        if fold.end not in ends:
            raise BadInputError(
                f"no store sold anything from {fold.start} to {fold.end}, the days of a cross-validation fold: set"
                " forecast.fold_end so that no fold lies there, or leave out the history before"
            )
    return [*folds, Fold.of(HOLDOUT, ends[-1], horizon)]
