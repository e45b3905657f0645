"""Folds of a retrain: 42-day blocks counted back from the newest day, each forecast from the day before it."""

from dataclasses import dataclass

import numpy as np

from include.lifecycle.errors import BadInputError
from include.rossmann.forecaster.panel import Day
from include.rossmann.matrix import TrainingMatrix

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
    def of(cls, number: int, newest: Day, horizon: int) -> "Fold":
        """Return the fold ``number`` blocks of ``horizon`` days before the holdout.

        :param number: 0 is the holdout
        :param newest: newest day of the data
        :param horizon: days of a fold
        """
        end = newest - np.timedelta64(number * horizon, "D")
        training_end = end - np.timedelta64(horizon, "D")
        return cls(number, training_end, training_end + np.timedelta64(1, "D"), end)


def make_folds(matrix: TrainingMatrix, cv_folds: int, horizon: int) -> list[Fold]:
    """Return the holdout and the cross-validation folds before it, the oldest first.

    :param matrix: the training matrix; its newest block is the holdout
    :param cv_folds: how many folds before the holdout
    :param horizon: days of a fold
    :raises BadInputError: when the history is too short for the oldest fold
    """
    ends = matrix.block_ends
    folds = [Fold.of(number, ends[-1], horizon) for number in range(cv_folds, -1, -1)]
    if ends[0] > folds[0].training_end:
        raise BadInputError(
            f"the history is too short for {cv_folds} cross-validation folds: the oldest trains on blocks that end up"
            f" to {folds[0].training_end}, the first block ends on {ends[0]}; lower forecast.cv_folds or add history"
        )
    return folds
