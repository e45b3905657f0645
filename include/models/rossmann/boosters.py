"""Training of the ensemble's members; the same rows, parameters, threads and seed give the same model.

A library is imported where it trains: the steps that need this module for its names, or one booster, start sooner.
"""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line
from include.models.rossmann.config import BoosterConfig
from include.models.rossmann.forecaster.features import FEATURE_NAMES
from include.models.rossmann.forecaster.members import BOOSTERS, Features, Member, Native
from include.models.rossmann.matrix import Matrix, TrainingMatrix

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Parameters = Mapping[str, str | int | float | bool]
Progress = Callable[[int, int], None]

DEFAULT_RATES = {"lightgbm": 0.1, "xgboost": 0.3, "catboost": 0.03}
ON_GPU: dict[str, dict[str, str]] = {
    "lightgbm": {"device_type": "gpu"},
    "xgboost": {"device": "cuda"},
    "catboost": {"task_type": "GPU"},
}
"""Each library's switch."""
HIGHEST_QUICK_RATE = 0.25
LEAST_ROUNDS = 10
HALF_LIFE_DAYS = 364.0
LAG_EASTER = "lag_easter"
RESIDUAL_LIMIT = 0.8
"""Residuals are cut at this size for training: a day that closed at ten says nothing about other days."""
LOWERED = 0.0085
"""How far below the median, in logs, forecasts that are trained on percentage errors lie: too much is punished harder
than too little. It is given back, so that all forecasts together are not too low (docs/forecast.md)."""


def train_member(
    booster: str,
    matrix: Matrix,
    settings: BoosterConfig,
    *,
    seed: int = 0,
    rounds_scale: float = 1.0,
    progress: Progress | None = None,
) -> Member:
    """Train one booster on all rows of a matrix.

    :param booster: lightgbm, xgboost or catboost
    :param matrix: the training rows, e.g. ``matrix.until(day)``
    :param settings: its rounds are a fixed number, so that no row outside ``matrix`` has a say
    :param rounds_scale: share of the rounds kept by a quick run; the learning rate rises to make up for it
    :param progress: called after each round with rounds done and rounds in all
    :raises ValueError: when the booster is unknown or the matrix has no rows
    :raises BadInputError: when the library cannot train on the device, or ``leave_out`` names no feature
    """
    if booster not in BOOSTERS:
        raise ValueError(f"unknown booster {booster!r}, expected {', '.join(BOOSTERS)}")
    if len(matrix) == 0:
        raise ValueError(f"no training rows for {booster}")
    params, total = quick_settings(booster, settings.params, settings.rounds, rounds_scale)
    names = seen_features(booster, settings.leave_out)
    rows = matrix.sample(settings.row_share, [seed, BOOSTERS.index(booster)], names)
    residual = limited_residual(rows.residual, rows.features[:, names.index(LAG_EASTER)])
    target, weight = percentage_target(residual, recency_weights(rows))
    log.info("Training %s: %d rounds on %d rows, %d features", booster, total, len(rows), len(names))
    trainers = {"lightgbm": _train_lightgbm, "xgboost": _train_xgboost, "catboost": _train_catboost}
    if settings.device == "gpu":
        params |= ON_GPU[booster]
        if booster == "catboost":
            # There it takes no callbacks, and draws rows in another way
            progress = None
            if "subsample" in params:
                params.setdefault("bootstrap_type", "Bernoulli")
    try:
        fit = _Fit(rows.features, names, target, weight, params, total, settings.threads, seed, progress)
        native = trainers[booster](fit)
        if booster == "xgboost" and settings.device == "gpu" and "cuda" not in native.save_config():
            raise RuntimeError("it found none and trained on the CPU")  # without a word
    except Exception as error:  # each library has exceptions of its own
        if settings.device == "cpu":
            raise
        raise BadInputError(
            f"boosters.{booster}.device is gpu, and {booster} says: {one_line(str(error), 300)}; set cpu, or train"
            " where there is one"
        ) from error
    return Member(booster, native)


def seen_features(booster: str, leave_out: Sequence[str]) -> list[str]:
    """Return the names of the features that a booster sees, in the matrix's order.

    :param leave_out: names of those that it does not, with the wildcards of ``fnmatch``
    :raises BadInputError: when a name is no feature's, or leaves out what the training needs
    """
    field = f"boosters.{booster}.leave_out"
    for name in leave_out:
        if not any(fnmatchcase(feature, name) for feature in FEATURE_NAMES):
            raise BadInputError(f"{field}: {name!r} is no feature{nearest(name, FEATURE_NAMES)}")
        if fnmatchcase(LAG_EASTER, name):
            raise BadInputError(f"{field}: {name!r} leaves out {LAG_EASTER}, which tells how far a target is cut")
    return [name for name in FEATURE_NAMES if not any(fnmatchcase(name, left) for left in leave_out)]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that refuses a name: the known one that is nearest, empty when none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def limited_residual(residual: FloatArray, before: npt.NDArray[np.floating]) -> FloatArray:
    """Return residuals, cut at ``RESIDUAL_LIMIT``, or where the store was on that day of the year before if farther.

    Carnival, and the holidays on which few stores open, come every year as far from Easter.

    :param residual: (rows,) log sales minus the store's usual log sales
    :param before: (rows,) the same as far from Easter a year before, NaN where nothing is known
    """
    before = before.astype(np.float64)
    limited: FloatArray = np.clip(residual, np.fmin(-RESIDUAL_LIMIT, before), np.fmax(RESIDUAL_LIMIT, before))
    return limited


def percentage_target(residual: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return target and weights that make a least-squares fit one of the least squared percentage errors, the metric's.

    The target is a share of the usual sales, its weight the inverse square of that share (Park and Stefanski, 1998, The
    best mean square relative error prediction; ``LOWERED`` is what differs). No row counts more than one that sold as
    little as ``RESIDUAL_LIMIT`` below usual.

    :param residual: (rows,) log sales minus the store's usual log sales
    :param weight: (rows,) how much a percentage error of the row counts
    """
    return np.exp(residual + LOWERED), weight * np.exp(-2.0 * np.maximum(residual, -RESIDUAL_LIMIT))


def recency_weights(matrix: TrainingMatrix) -> FloatArray:
    """Return a weight for each row: 1 in the newest block, half of it each ``HALF_LIFE_DAYS`` before."""
    age = (matrix.block_end[-1] - matrix.block_end).astype(np.int64)
    weights: FloatArray = 0.5 ** (age / HALF_LIFE_DAYS)
    return weights


def quick_settings(booster: str, params: Parameters, rounds: int, scale: float) -> tuple[dict[str, Any], int]:
    """Return parameters and rounds of a run that keeps the share ``scale`` of the rounds, at least ``LEAST_ROUNDS``."""
    settings = dict(params)
    if not 0 < scale <= 1:
        raise ValueError(f"rounds_scale is {scale}, expected a number above 0 and at most 1")
    if scale == 1.0:
        return settings, rounds
    total = max(LEAST_ROUNDS, round(rounds * scale))
    rate = float(settings.get("learning_rate", DEFAULT_RATES[booster]))
    settings["learning_rate"] = max(rate, min(HIGHEST_QUICK_RATE, rate * rounds / total))
    return settings, total


def importance(member: Member) -> pd.DataFrame:
    """Return the features that a member sees, with their importance as a share of all, the most important first.

    LightGBM and XGBoost: gain; CatBoost: change of the prediction.

    :return: feature, importance
    """
    native = member.native
    if member.booster == "lightgbm":
        values = np.asarray(native.feature_importance("gain"), dtype=np.float64)
    elif member.booster == "xgboost":
        gains: dict[str, Any] = native.get_score(importance_type="total_gain")
        values = np.array([float(gains.get(name, 0.0)) for name in member.features])
    else:
        values = np.asarray(native.get_feature_importance(), dtype=np.float64)
    total = values.sum()
    frame = pd.DataFrame({"feature": member.features, "importance": values / total if total > 0 else values})
    return frame.sort_values("importance", ascending=False, kind="stable").reset_index(drop=True)


def trained_rounds(member: Member) -> int:
    """Return how many rounds a member was trained, as its model says: a library may stop when no split gains."""
    native = member.native
    if member.booster == "lightgbm":
        return int(native.current_iteration())
    if member.booster == "xgboost":
        return int(native.num_boosted_rounds())
    return int(native.tree_count_)


@dataclass(frozen=True)
class _Fit:
    """What a library is given: (rows, features) and their names, (rows,) and (rows,), its parameters, and the rest."""

    features: Features
    names: list[str]
    target: FloatArray
    weight: FloatArray
    params: dict[str, Any]
    rounds: int
    threads: int
    seed: int
    progress: Progress | None

    def report(self, done: int) -> None:
        """Tell whoever wants to know how many rounds are done."""
        if self.progress:
            self.progress(done, self.rounds)


def _train_lightgbm(fit: _Fit) -> Native:
    import lightgbm

    fixed = {
        "objective": "regression",
        "verbosity": -1,
        "num_threads": fit.threads,
        "seed": fit.seed,
        "deterministic": True,
        "force_col_wise": True,  # which way is faster would otherwise be measured, and may differ from run to run
    }
    settings = {**fixed, **fit.params}
    data = lightgbm.Dataset(fit.features, fit.target, weight=fit.weight, params=settings, feature_name=fit.names)
    report = [lambda env: fit.report(env.iteration + 1)]
    return lightgbm.train(settings, data, num_boost_round=fit.rounds, callbacks=report)


def _train_xgboost(fit: _Fit) -> Native:
    import xgboost

    fixed = {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "nthread": fit.threads,
        "seed": fit.seed,
        "verbosity": 0,
    }
    settings = {**fixed, **fit.params}
    data = xgboost.QuantileDMatrix(
        fit.features,
        fit.target,
        weight=fit.weight,
        feature_names=fit.names,
        nthread=fit.threads,
        max_bin=int(settings.get("max_bin", 256)),
    )

    class Report(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
            fit.report(epoch + 1)
            return False

    return xgboost.train(settings, data, num_boost_round=fit.rounds, callbacks=[Report()])


def _train_catboost(fit: _Fit) -> Native:
    import catboost

    fixed = {
        "loss_function": "RMSE",
        "iterations": fit.rounds,
        "thread_count": fit.threads,
        "random_seed": fit.seed,
        "logging_level": "Silent",
        "allow_writing_files": False,
    }

    class Report:
        def after_iteration(self, info: Any) -> bool:
            fit.report(info.iteration)
            return True

    model = catboost.CatBoost({**fixed, **fit.params})
    pool = catboost.Pool(fit.features, fit.target, weight=fit.weight, feature_names=fit.names)
    model.fit(pool, callbacks=[Report()] if fit.progress else None)
    return model
