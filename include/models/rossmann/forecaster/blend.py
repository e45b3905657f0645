"""How the members' predictions become one forecast."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .stores import FloatArray


@dataclass(frozen=True)
class Blend:
    """Weights of the members, which sum to one and average them in log space: what comes out forecasts the median.

    RMSPE punishes too much harder than too little, and lower forecasts would gain half a percent of it; on the mean of
    the origins all of them together would then be too low by more than one in a hundred (docs/forecast.md).
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("a blend needs at least one member")
        for name, weight in self.weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"weight of {name} is {weight}, expected a number of at least 0")
        total = math.fsum(self.weights.values())
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"weights sum to {total}, expected 1")

    def sales(self, base: FloatArray, residuals: Mapping[str, FloatArray]) -> FloatArray:
        """Return sales in euros.

        :param base: (rows,) usual log sales
        :param residuals: prediction of each member, (rows,); members without a weight are ignored
        """
        log_sales = np.array(base, dtype=np.float64)
        for name, weight in self.weights.items():
            log_sales += weight * residuals[name]
        sales: FloatArray = np.exp(log_sales)
        return sales
