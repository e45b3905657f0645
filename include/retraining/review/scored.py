"""The rows of a comparison with what each version predicted for them, and what is computed from those."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from include.retraining.bootstrap import Codes, Interval, bootstrap
from include.retraining.config.review import ReviewConfig
from include.retraining.protocol import Mask, RetrainedModel, Values


@dataclass(frozen=True)
class Scored:
    """Rows that count, with both versions' predictions.

    :param rows: (rows,) with keys, time and slices
    :param actual: (rows,)
    :param ours: (rows,) the candidate's predictions
    :param theirs: (rows,) Production's, None where there is nothing to compare with
    """

    model: RetrainedModel
    config: ReviewConfig
    rows: pd.DataFrame
    actual: Values
    ours: Values
    theirs: Values | None

    @cached_property
    def days(self) -> Codes:
        """(rows,) the day of each row, as codes; without time each row is its own group."""
        return self._codes(self.model.columns.time)

    @cached_property
    def entities(self) -> Codes | None:
        """(rows,) the entity of each row, as codes."""
        entity = self.model.columns.entity
        return self._codes(entity) if entity is not None else None

    def part(self, mask: Mask) -> Self:
        """Return some of the rows."""
        theirs = self.theirs[mask] if self.theirs is not None else None
        return type(self)(self.model, self.config, self.rows[mask], self.actual[mask], self.ours[mask], theirs)

    def score(self, prediction: Values, weight: Values | None = None) -> float:
        """Return the metric of predictions."""
        return self.model.metric.score(self.actual, prediction, weight)

    def gain(self, *, entities: bool = False) -> Interval | None:
        """Return by how much the candidate is better (above 0) than Production, None where that is not there.

        :param entities: draw entities as well as days
        """
        theirs = self.theirs
        if theirs is None:
            return None

        def difference(weight: Values) -> float:
            return self.model.metric.gain(self.score(self.ours, weight), self.score(theirs, weight))

        more = [self.entities] if entities and self.entities is not None else []
        return self._interval(difference, self.days, *more)

    def error(self, prediction: Values) -> Interval:
        """Return the metric of predictions and its interval by days."""
        return self._interval(lambda weight: self.score(prediction, weight), self.days)

    def bias(self, prediction: Values) -> Interval:
        """Return by which share the predictions together are too high (above 0), and its interval by days."""
        days = int(self.days.max()) + 1 if len(self.days) else 0
        actual = np.bincount(self.days, weights=self.actual, minlength=days)
        predicted = np.bincount(self.days, weights=prediction, minlength=days)

        def share(weight: Values) -> float:
            total = float(weight @ actual)
            return float(weight @ predicted) / total - 1 if total else float("nan")

        return self._interval(share, np.arange(days))

    def _interval(self, statistic: Callable[[Values], float], *groups: Codes) -> Interval:
        limits, config = self.config.limits, self.config
        return bootstrap(
            statistic, groups, replicates=config.replicates, seed=config.seed, confidence=limits.confidence
        )

    def _codes(self, column: str | None) -> Codes:
        if column is None:
            return np.arange(len(self.rows))
        return np.asarray(pd.factorize(self.rows[column], sort=True)[0])
