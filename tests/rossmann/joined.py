"""A matrix in memory, which no step of a retrain has: for what looks at all of its rows at once."""

from collections.abc import Iterable

import numpy as np

from include.models.rossmann.matrix import ARRAYS, TrainingMatrix


def join(blocks: Iterable[TrainingMatrix]) -> TrainingMatrix:
    """Return blocks as one matrix in memory."""
    parts = list(blocks)
    return TrainingMatrix(*(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS))
