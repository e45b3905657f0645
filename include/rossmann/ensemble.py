"""Weights and correction of the blend, from predictions of days that its members were not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from include.rossmann.forecaster.blend import Blend
from include.rossmann.metrics import rmspe

FloatArray = npt.NDArray[np.float64]

PULL_TO_EQUAL = 0.02
"""How strongly weights are held near equal ones: one fold of 42 days says little about small differences."""

ABSURD_ERRORS = 8.0
"""Errors beyond so many times the median error are cut there (about 5.4 standard deviations)."""


@dataclass(frozen=True)
class BlendScore:
    """RMSPE of a blend and of each member alone (with the blend's factor), and the gain over the best."""

    ensemble: float
    members: dict[str, float]

    @property
    def best_member(self) -> str:
        """Name of the best single member."""
        return min(self.members, key=lambda name: (self.members[name], name))

    @property
    def gain(self) -> float:
        """How much lower the ensemble's RMSPE is than that of its best member."""
        return self.members[self.best_member] - self.ensemble


def equal_blend(names: list[str] | tuple[str, ...]) -> Blend:
    """Return equal weights without a correction: for the oldest fold, which has none before it."""
    return Blend({name: 1.0 / len(names) for name in names})


def fit_blend(sales: FloatArray, base: FloatArray, residuals: Mapping[str, FloatArray]) -> Blend:
    """Fit weights and correction.

    The weights minimise the squared error of log sales, which percentage errors are to first order, with a
    pull to equal weights. The factor is the one of theory, exp(-1.5 variance of the log error): the ratio
    that would be best on one fold follows that fold's level, which says little about the next one's.

    :param sales: (rows,) true sales, above 0
    :param base: (rows,) usual log sales
    :param residuals: prediction of each member, (rows,), of rows that it was not trained on
    """
    names = sorted(residuals)
    equal = np.full(len(names), 1.0 / len(names))
    truth = np.log(sales) - base
    errors = truth[:, None] - np.stack([residuals[name] for name in names], axis=1)
    errors = errors - np.median(errors, axis=0)  # a fold's common level is no merit of a member
    # A store that sells a hundredth of its usual day (it closed at ten) must not set weights and correction.
    limit = ABSURD_ERRORS * np.median(np.abs(errors))
    errors = np.clip(errors, -limit, limit)
    covariance = errors.T @ errors / len(errors)
    scale = float(np.trace(covariance)) / len(names)

    def loss(weights: FloatArray) -> float:
        return float(weights @ covariance @ weights / scale + PULL_TO_EQUAL * ((weights - equal) ** 2).sum())

    found = minimize(
        loss,
        equal,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(names),
        constraints=[{"type": "eq", "fun": lambda weights: weights.sum() - 1.0}],
    )
    weights = np.clip(found.x, 0.0, None) if found.success else equal
    weights = weights / weights.sum()
    variance = float(weights @ covariance @ weights)
    return Blend({name: float(w) for name, w in zip(names, weights, strict=True)}, float(np.exp(-1.5 * variance)))


def score_blend(blend: Blend, sales: FloatArray, base: FloatArray, residuals: Mapping[str, FloatArray]) -> BlendScore:
    """Score a blend and its members on rows that it was not fitted on."""
    return BlendScore(
        ensemble=rmspe(sales, blend.sales(base, residuals)),
        members={name: rmspe(sales, Blend({name: 1.0}, blend.factor).sales(base, residuals)) for name in blend.weights},
    )
