"""Intervals by a paired bootstrap: both versions are scored on the same resampled days, so their common luck cancels.

Rows of one day go wrong together (a holiday, the weather), and so do those of one store: rows are no sample, days are.
Drawing days, and days and stores at once, follows Efron (1979) and the pigeonhole bootstrap of Owen (2007,
"The pigeonhole bootstrap", Annals of Applied Statistics 1:386-411).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.retraining.protocol import Values

Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """An estimate and its percentile interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Whether all of it lies above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether all of it lies below 0."""
        return self.high < 0


def bootstrap(
    statistic: Callable[[Values], float],
    groups: Sequence[Codes],
    *,
    replicates: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Return a statistic and its interval when groups of rows are drawn with replacement.

    :param statistic: given (rows,) weights, how often each row counts
    :param groups: of each row the group in each way of grouping, as codes from 0 on: days, or days and stores
    :param seed: of the draws: the same rows give the same interval
    :param confidence: share of the samples between the ends
    """
    rows = len(groups[0])
    value = statistic(np.ones(rows))
    if not np.isfinite(value) or all(len(codes) == 0 or codes.max() < 1 for codes in groups):
        return Interval(value, float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    sizes = [int(codes.max()) + 1 for codes in groups]
    found = np.empty(replicates)
    for number in range(replicates):
        weights = np.ones(rows)
        for codes, size in zip(groups, sizes, strict=True):
            weights *= np.bincount(random.integers(0, size, size), minlength=size)[codes]
        found[number] = statistic(weights)
    found = found[np.isfinite(found)]
    if not len(found):
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
