"""A booster as the configuration has it: what a retrain trains, and a search for better parameters tries."""

import logging
from typing import Any

from include.models.rossmann.boosters import seen_features, train_member
from include.models.rossmann.config import Booster, RossmannConfig
from include.models.rossmann.forecaster import Member
from include.models.rossmann.matrix import Matrix
from include.retraining.progress import LogProgress
from include.retraining.provenance import library_versions

log = logging.getLogger(__name__)


class Trainer:
    """One booster with its configured settings.

    :param booster: lightgbm, xgboost or catboost
    """

    def __init__(self, config: RossmannConfig, booster: Booster, *, quick: bool = False) -> None:
        self.booster = booster
        self.settings = config.boosters[booster]
        self.features = seen_features(booster, self.settings.leave_out)
        self.forecast = config.forecast
        self.rounds_scale = config.forecast.quick_rounds_scale if quick else 1.0

    def params(self) -> dict[str, Any]:
        """Return what the booster's MLflow run names as parameters."""
        return {
            "booster": self.booster,
            "library_version": library_versions([self.booster])[self.booster],
            "rounds": self.settings.rounds,
            "rounds_scale": self.rounds_scale,
            "threads": self.settings.threads,
            "row_share": self.settings.row_share,
            "features": len(self.features),
            "device": self.settings.device,
            "seed": self.forecast.seed,
        } | dict(self.settings.params)

    def fit(self, matrix: Matrix) -> Member:
        """Train on all rows of a matrix."""
        return train_member(
            self.booster,
            matrix,
            self.settings,
            seed=self.forecast.seed,
            rounds_scale=self.rounds_scale,
            progress=LogProgress(log, f"{self.booster} rounds"),
        )

    def settings_key(self) -> dict[str, Any]:
        """Return what decides what the booster makes of a matrix, the libraries' versions among it."""
        return self.params() | {"seen": self.features, "libraries": library_versions([self.booster, "numpy"])}
