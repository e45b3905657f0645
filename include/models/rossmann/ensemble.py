"""Weights of the blend, from predictions of days that its members were not trained on."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from include.lifecycle.errors import BadInputError
from include.models.rossmann.forecaster.blend import Blend
from include.models.rossmann.metrics import rmspe

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

KEYS = ["fold", "Store", "Date"]

PULL_TO_EQUAL = 1.0
"""How strongly weights are held near equal ones: a few folds of 42 days say little about small differences."""

ABSURD_ERRORS = 8.0
"""Errors beyond so many times the median error are cut there (about 5.4 standard deviations)."""


@dataclass(frozen=True)
class BlendScore:
    """RMSPE of a blend and of each member alone, and the gain over the best."""

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
    """Return equal weights: for the oldest fold, which has none before it."""
    return Blend({name: 1.0 / len(names) for name in names})


def fit_blend(
    sales: FloatArray,
    base: FloatArray,
    residuals: Mapping[str, FloatArray],
    folds: npt.NDArray[np.int64] | None = None,
) -> Blend:
    """Fit the weights: the least squared error of log sales, which percentage errors are to first order, on the mean
    of the folds, with a pull to equal weights.

    :param sales: (rows,) true sales, above 0
    :param base: (rows,) usual log sales
    :param residuals: prediction of each member, (rows,), of rows that it was not trained on
    :param folds: (rows,) number of each row's fold; None: one fold
    """
    from scipy.optimize import minimize

    names = sorted(residuals)
    equal = np.full(len(names), 1.0 / len(names))
    truth = np.log(sales) - base
    errors = truth[:, None] - np.stack([residuals[name] for name in names], axis=1)
    codes = np.zeros(len(sales), dtype=np.int64) if folds is None else folds
    covariance = np.mean([_covariance(errors[codes == code]) for code in np.unique(codes)], axis=0)
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
    return Blend({name: float(w) for name, w in zip(names, weights, strict=True)})


def _covariance(errors: FloatArray) -> FloatArray:
    """Return the covariance of the members' log errors on one fold: (rows, members) gives (members, members)."""
    errors = errors - np.median(errors, axis=0)  # a fold's common level is no merit of a member
    # A store that sells a hundredth of its usual day (it closed at ten) must not set the weights.
    limit = ABSURD_ERRORS * np.median(np.abs(errors))
    errors = np.clip(errors, -limit, limit)
    covariance: FloatArray = errors.T @ errors / len(errors)
    return covariance


def score_blend(blend: Blend, sales: FloatArray, base: FloatArray, residuals: Mapping[str, FloatArray]) -> BlendScore:
    """Score a blend and its members on rows that it was not fitted on."""
    return BlendScore(
        ensemble=rmspe(sales, blend.sales(base, residuals)),
        members={name: rmspe(sales, Blend({name: 1.0}).sales(base, residuals)) for name in blend.weights},
    )


def join(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one frame with a column for each booster's prediction.

    :param frames: predictions of each booster (see ``load_folds``)
    :raises BadInputError: when the boosters did not predict the same rows
    """
    names = list(frames)
    table = frames[names[0]].rename(columns={"residual": names[0]})
    for name in names[1:]:
        other = frames[name]
        if len(other) != len(table) or not np.array_equal(other[KEYS].to_numpy(), table[KEYS].to_numpy()):
            raise BadInputError(
                f"{name} predicted other rows than {names[0]}: the boosters were trained on different features;"
                " clear the training tasks and run them again"
            )
        table[name] = other["residual"].to_numpy()
    return table


def fold_blends(table: pd.DataFrame, names: list[str]) -> dict[int, Blend]:
    """Return the blend of each fold, which the folds before it give."""
    blends = {}
    for number in sorted(table["fold"].unique(), reverse=True):
        earlier = table[table["fold"] > number]
        fitted = fit_blend(*told(earlier, names), folds=earlier["fold"].to_numpy()) if len(earlier) else None
        blends[int(number)] = fitted or equal_blend(names)
    return blends


def score_folds(table: pd.DataFrame, blends: Mapping[int, Blend]) -> dict[int, BlendScore]:
    """Score every fold with its blend."""
    scores = {}
    for number, blend in blends.items():
        scores[number] = score_blend(blend, *told(table[table["fold"] == number], list(blend.weights)))
        log.info("Fold %d: ensemble RMSPE %.4f, %s", number, scores[number].ensemble, scores[number].members)
    return scores


def told(rows: pd.DataFrame, names: list[str]) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
    """Return sales (euros), usual log sales and each booster's forecast of the rows of a table."""
    return column(rows, "sales"), column(rows, "base"), {name: column(rows, name) for name in names}


def column(rows: pd.DataFrame, name: str) -> FloatArray:
    """Return a column as a float64 array."""
    return rows[name].to_numpy(dtype=np.float64)
