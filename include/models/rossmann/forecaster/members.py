"""The ensemble's members: boosters in their libraries' own file formats."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .features import FEATURE_NAMES
from .stores import FloatArray

SUFFIXES = {"lightgbm": ".txt", "xgboost": ".ubj", "catboost": ".cbm"}
"""File name suffix of each booster's native model file."""

BOOSTERS = tuple(SUFFIXES)

LEAST_SHARE = 0.01
"""Of the usual sales that a member forecasts: a sum of trees has no lower end."""

Features = npt.NDArray[np.float32]
Native: TypeAlias = Any
"""lightgbm.Booster, xgboost.Booster or catboost.CatBoost (the libraries are not typed)."""


def pick_features(features: npt.NDArray[np.float32], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return some columns of a matrix of all features, which is returned itself where they are all.

    :param features: (rows, features) in the order of ``FEATURE_NAMES``
    :param names: the columns to return, in this order
    """
    if tuple(names) == FEATURE_NAMES:
        return features
    return np.ascontiguousarray(features[:, [FEATURE_NAMES.index(name) for name in names]])


@dataclass(frozen=True)
class Member:
    """A fitted booster: its library forecasts sales as a share of the store's usual ones, ``predict`` gives its log."""

    booster: str
    native: Native

    @cached_property
    def features(self) -> list[str]:
        """Names of the features that it sees, in its order, as its model says; all where that has no names."""
        if self.booster == "lightgbm":
            return list(self.native.feature_name())
        if self.booster == "xgboost":
            return list(self.native.feature_names or FEATURE_NAMES)
        return list(self.native.feature_names_)

    def predict(self, features: Features) -> FloatArray:
        """Predict residuals.

        :param features: (rows, features) in the order of ``FEATURE_NAMES``
        :return: (rows,) float64, log sales minus the store's usual log sales
        """
        if len(features) == 0:
            return np.zeros(0)
        features = np.ascontiguousarray(pick_features(features, self.features), dtype=np.float32)
        if self.booster == "xgboost":
            # The members see an array, so that names cannot be a reason for a model not to load or predict.
            predicted = self.native.inplace_predict(features)
        else:
            predicted = self.native.predict(features)
        return np.log(np.maximum(np.asarray(predicted, dtype=np.float64), LEAST_SHARE))

    def save(self, folder: Path) -> Path:
        """Write the native model file ``<booster><suffix>`` into a folder and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.booster}{SUFFIXES[self.booster]}"
        self.native.save_model(str(path))
        return path


def load_member(path: Path) -> Member:
    """Load a native model file; its suffix tells the library, which is imported now: most steps need none.

    :raises ValueError: when no booster writes files of this suffix
    """
    booster = next((name for name, suffix in SUFFIXES.items() if suffix == path.suffix), None)
    if booster == "lightgbm":
        import lightgbm

        return Member(booster, lightgbm.Booster(model_file=str(path)))
    if booster == "xgboost":
        import xgboost

        return Member(booster, xgboost.Booster(model_file=str(path)))
    if booster == "catboost":
        import catboost

        return Member(booster, catboost.CatBoost().load_model(str(path)))
    raise ValueError(f"{path.name}: no booster writes {path.suffix!r}, expected one of {', '.join(SUFFIXES.values())}")
