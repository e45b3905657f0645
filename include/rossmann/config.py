"""Configuration of the Rossmann forecast: every section of ``include/config/rossmann.yaml``."""

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from include.lifecycle.config import LifecycleConfig, read_config, validate_section
from include.lifecycle.sections import Section
from include.retraining.monitor.config import MonitorConfig
from include.retraining.predict.config import PredictionConfig
from include.retraining.review.config import ReviewConfig

DATA_REGISTRY_ENV = "RETRAIN_DATA_REGISTRY"

Booster = Literal["lightgbm", "xgboost", "catboost"]
Device = Literal["cpu", "gpu"]
PositiveInt = Annotated[int, Field(gt=0)]


class DataPaths(Section):
    """Files in the data registry. Each may also lie there compressed (.csv.xz, .csv.gz) or as .parquet."""

    train: str = "data/train.csv"
    store: str = "data/store.csv"
    future: str | None = "data/future.csv"


class DataConfig(Section):
    """Where the data comes from: a git repository with DVC-tracked files."""

    registry: str | None = Field(None, description="git URL or folder; the environment may name it instead")
    revision: str = "main"
    paths: DataPaths = DataPaths()
    freshness_days: PositiveInt | None = Field(None, description="oldest accepted newest day; null turns it off")

    @property
    def files(self) -> dict[str, str]:
        """Path in the data registry of each configured file, by name."""
        return {name: path for name, path in self.paths.model_dump().items() if path}


class ForecastConfig(Section):
    """The forecast task: horizon, training blocks, folds."""

    horizon_days: PositiveInt = 42
    block_step_days: PositiveInt = Field(21, description="distance of the forecast origins used for training")
    max_blocks: PositiveInt | None = Field(None, description="newest training blocks used; null means all")
    cv_folds: Annotated[int, Field(ge=3)] = Field(3, description="cross-validation folds before the holdout")
    fold_end: date = Field(
        date(2015, 6, 19), description="a day on which a fold ends; the others lie whole horizons away"
    )
    seed: int = 20150619
    quick_rounds_scale: Annotated[float, Field(gt=0, le=1)] = Field(0.2, description="rounds kept by a quick run")

    @model_validator(mode="after")
    def _blocks_end_where_folds_end(self) -> Self:
        if self.horizon_days % self.block_step_days:
            raise ValueError(
                f"horizon_days ({self.horizon_days}) must be a multiple of block_step_days "
                f"({self.block_step_days}), so that every fold ends where a training block ends"
            )
        return self


class BoosterConfig(Section):
    """One member of the ensemble: fixed boosting rounds and the library's own parameters."""

    rounds: PositiveInt
    threads: PositiveInt = 2
    device: Device = Field("cpu", description="where it trains; gpu needs a library built for it, and a device")
    row_share: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="share of the training rows that it draws")
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)


class RossmannConfig(Section):
    """The whole configuration."""

    lifecycle: LifecycleConfig
    data: DataConfig = DataConfig()
    forecast: ForecastConfig = ForecastConfig()
    boosters: dict[Booster, BoosterConfig] = Field(min_length=1)
    review: ReviewConfig = ReviewConfig()
    monitor: MonitorConfig = MonitorConfig()
    prediction: PredictionConfig = PredictionConfig()

    def with_booster(self, booster: Booster, **fields: Any) -> Self:
        """Return the configuration with other settings of one booster."""
        changed = self.boosters[booster].model_copy(update=fields)
        return self.model_copy(update={"boosters": {**self.boosters, booster: changed}})

    @property
    def data_registry(self) -> str | None:
        """The data registry's URL: the environment's, else the configured one."""
        return os.environ.get(DATA_REGISTRY_ENV) or self.data.registry


def load_config(path: str | Path | None = None) -> RossmannConfig:
    """Read and validate the whole configuration.

    :param path: the YAML file; by default the environment's ``RETRAIN_CONFIG``, else the one in this repository
    :raises BadInputError: names file, field, value and what was expected
    """
    content, source = read_config(path)
    return validate_section(RossmannConfig, content, source)
