"""Training of the ensemble's members; the same rows, parameters, threads and seed give the same model."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import catboost
import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost

from include.lifecycle.errors import BadInputError
from include.lifecycle.text import one_line
from include.rossmann.config import Device
from include.rossmann.forecaster.features import FEATURE_NAMES
from include.rossmann.forecaster.members import BOOSTERS, Features, Member
from include.rossmann.matrix import TrainingMatrix

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Parameters = Mapping[str, str | int | float | bool]
Progress = Callable[[int, int], None]

RATE_NAMES = {"lightgbm": "learning_rate", "xgboost": "learning_rate", "catboost": "learning_rate"}
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
LAG_EASTER = FEATURE_NAMES.index("lag_easter")
TARGET_LIMIT = 0.8
"""Residuals are cut at this size for training: a day that closed at ten says nothing about other days."""


def train_member(
    booster: str,
    matrix: TrainingMatrix,
    *,
    params: Parameters,
    rounds: int,
    threads: int = 2,
    seed: int = 0,
    rounds_scale: float = 1.0,
    row_share: float = 1.0,
    device: Device = "cpu",
    half_life_days: float | None = HALF_LIFE_DAYS,
    progress: Progress | None = None,
) -> Member:
    """Train one booster on all rows of a matrix.

    :param booster: lightgbm, xgboost or catboost
    :param matrix: the training rows, e.g. ``matrix.until(day)``
    :param params: the library's own parameters
    :param rounds: trees; a fixed number, so that no row outside ``matrix`` has a say
    :param threads: threads of the library
    :param seed: seed of everything random
    :param rounds_scale: share of the rounds kept by a quick run; the learning rate rises to make up for it
    :param row_share: share of the rows that are drawn for training; each booster draws its own
    :param device: cpu, or gpu where the library was built for one and finds it
    :param half_life_days: a block that ends so many days before the newest one weighs half; None: all alike
    :param progress: called after each round with rounds done and rounds in all
    :raises ValueError: when the booster is unknown or the matrix has no rows
    :raises BadInputError: when the library cannot train on the device
    """
    if booster not in BOOSTERS:
        raise ValueError(f"unknown booster {booster!r}, expected {', '.join(BOOSTERS)}")
    if len(matrix) == 0:
        raise ValueError(f"no training rows for {booster}")
    settings, total = quick_settings(booster, params, rounds, rounds_scale)
    matrix = matrix.sample(row_share, [seed, BOOSTERS.index(booster)])
    target = limited_target(matrix)
    weight = recency_weights(matrix, half_life_days)
    log.info("Training %s: %d rounds on %d rows, %d threads", booster, total, len(matrix), threads)
    trainers = {"lightgbm": _train_lightgbm, "xgboost": _train_xgboost, "catboost": _train_catboost}
    if device == "gpu":
        settings |= ON_GPU[booster]
        if booster == "catboost":
            # There it takes no callbacks, and draws rows in another way
            progress = None
            if "subsample" in settings:
                settings.setdefault("bootstrap_type", "Bernoulli")
    try:
        native = trainers[booster](matrix.features, target, weight, settings, total, threads, seed, progress)
        if booster == "xgboost" and device == "gpu" and "cuda" not in native.save_config():
            raise RuntimeError("it found none and trained on the CPU")  # without a word
    except Exception as error:  # each library has exceptions of its own
        if device == "cpu":
            raise
        raise BadInputError(
            f"boosters.{booster}.device is gpu, and {booster} says: {one_line(str(error), 300)}; set cpu, or train"
            " where there is one"
        ) from error
    return Member(booster, native)


def limited_target(matrix: TrainingMatrix) -> FloatArray:
    """Return the residuals, cut at ``TARGET_LIMIT``, or where the store was on that day of the year before if farther.

    Carnival, and the holidays on which few stores open, come every year as far from Easter.
    """
    before = matrix.features[:, LAG_EASTER].astype(np.float64)  # NaN where nothing is known
    target: FloatArray = np.clip(matrix.target, np.fmin(-TARGET_LIMIT, before), np.fmax(TARGET_LIMIT, before))
    return target


def recency_weights(matrix: TrainingMatrix, half_life_days: float | None) -> FloatArray:
    """Return a weight for each row: 1 in the newest block, half of it each ``half_life_days`` before."""
    if half_life_days is None:
        return np.ones(len(matrix))
    age = (matrix.block_end[-1] - matrix.block_end).astype(np.int64)
    weights: FloatArray = 0.5 ** (age / half_life_days)
    return weights


def quick_settings(booster: str, params: Parameters, rounds: int, scale: float) -> tuple[dict[str, Any], int]:
    """Return parameters and rounds of a run that keeps the share ``scale`` of the rounds."""
    settings = dict(params)
    if not 0 < scale <= 1:
        raise ValueError(f"rounds_scale is {scale}, expected a number above 0 and at most 1")
    if scale == 1.0:
        return settings, rounds
    total = max(LEAST_ROUNDS, round(rounds * scale))
    name = RATE_NAMES[booster]
    rate = float(settings.get(name, DEFAULT_RATES[booster]))
    settings[name] = max(rate, min(HIGHEST_QUICK_RATE, rate * rounds / total))
    return settings, total


def importance(member: Member) -> pd.DataFrame:
    """Return the features with their importance as a share of all, the most important first.

    LightGBM and XGBoost: gain; CatBoost: change of the prediction.

    :return: feature, importance
    """
    native = member.native
    if isinstance(native, lightgbm.Booster):
        values = np.asarray(native.feature_importance("gain"), dtype=np.float64)
    elif isinstance(native, xgboost.Booster):
        gains: dict[str, Any] = native.get_score(importance_type="total_gain")
        values = np.array([float(gains.get(f"f{n}", 0.0)) for n in range(len(FEATURE_NAMES))])
    else:
        values = np.asarray(native.get_feature_importance(), dtype=np.float64)
    total = values.sum()
    frame = pd.DataFrame({"feature": FEATURE_NAMES, "importance": values / total if total > 0 else values})
    return frame.sort_values("importance", ascending=False, kind="stable").reset_index(drop=True)


def trained_rounds(member: Member) -> int:
    """Return how many rounds a member was trained, as its model says: a library may stop when no split gains."""
    native = member.native
    if isinstance(native, lightgbm.Booster):
        return int(native.current_iteration())
    if isinstance(native, xgboost.Booster):
        return int(native.num_boosted_rounds())
    return int(native.tree_count_)


def _train_lightgbm(
    features: Features,
    target: FloatArray,
    weight: FloatArray,
    params: dict[str, Any],
    rounds: int,
    threads: int,
    seed: int,
    progress: Progress | None,
) -> lightgbm.Booster:
    fixed = {
        "objective": "regression",
        "verbosity": -1,
        "num_threads": threads,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,  # which way is faster would otherwise be measured, and may differ from run to run
    }
    callbacks = []
    if progress:
        callbacks.append(lambda env: progress(env.iteration + 1, rounds))
    settings = {**fixed, **params}
    data = lightgbm.Dataset(
        features, target, weight=weight, params=settings, feature_name=list(FEATURE_NAMES), free_raw_data=True
    )
    return lightgbm.train(settings, data, num_boost_round=rounds, callbacks=callbacks)


def _train_xgboost(
    features: Features,
    target: FloatArray,
    weight: FloatArray,
    params: dict[str, Any],
    rounds: int,
    threads: int,
    seed: int,
    progress: Progress | None,
) -> xgboost.Booster:
    fixed = {"objective": "reg:squarederror", "tree_method": "hist", "nthread": threads, "seed": seed, "verbosity": 0}
    settings = {**fixed, **params}
    data = xgboost.QuantileDMatrix(
        features, target, weight=weight, nthread=threads, max_bin=int(settings.get("max_bin", 256))
    )

    class Report(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
            if progress:
                progress(epoch + 1, rounds)
            return False

    return xgboost.train(settings, data, num_boost_round=rounds, callbacks=[Report()])


def _train_catboost(
    features: Features,
    target: FloatArray,
    weight: FloatArray,
    params: dict[str, Any],
    rounds: int,
    threads: int,
    seed: int,
    progress: Progress | None,
) -> catboost.CatBoost:
    fixed = {
        "loss_function": "RMSE",
        "iterations": rounds,
        "thread_count": threads,
        "random_seed": seed,
        "logging_level": "Silent",
        "allow_writing_files": False,
    }

    class Report:
        def after_iteration(self, info: Any) -> bool:
            if progress:
                progress(info.iteration, rounds)
            return True

    model = catboost.CatBoost({**fixed, **params})
    pool = catboost.Pool(features, target, weight=weight, feature_names=list(FEATURE_NAMES))
    model.fit(pool, callbacks=[Report()] if progress else None)
    return model
