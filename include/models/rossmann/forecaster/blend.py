"""How the members' predictions become one forecast."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .stores import FloatArray


@dataclass(frozen=True)
class Blend:
    """Weights of the members, which sum to one, and the factor that corrects the blend for RMSPE.

    Members are averaged in log space. The mean of a logarithm forecasts the median, and RMSPE punishes
    too much harder than too little: ``factor`` is below one.
    """

    weights: Mapping[str, float]
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("a blend needs at least one member")
        for name, weight in self.weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"weight of {name} is {weight}, expected a number of at least 0")
        total = math.fsum(self.weights.values())
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"weights sum to {total}, expected 1")
        if not math.isfinite(self.factor) or self.factor <= 0:
            raise ValueError(f"factor is {self.factor}, expected a number above 0")

    def sales(self, base: FloatArray, residuals: Mapping[str, FloatArray]) -> FloatArray:
        """Return sales in euros.

        :param base: (rows,) usual log sales
        :param residuals: prediction of each member, (rows,); members without a weight are ignored
        """
        log_sales = np.array(base, dtype=np.float64)
        for name, weight in self.weights.items():
            log_sales += weight * residuals[name]
        sales: FloatArray = np.exp(log_sales) * self.factor
        return sales
