"""Configuration of the Rossmann forecast: every section of ``include/config/rossmann.yaml``."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from include.lifecycle.config.sections import Section
from include.retraining.config.model import DataPaths, DataSourceConfig, ModelConfig
from include.retraining.provenance import LIBRARIES

MODEL_LIBRARIES = (*LIBRARIES, "lightgbm", "xgboost", "catboost")
"""Distributions that a registered version imports."""

NAME = "rossmann"
TABLES = ("train", "store")
REFERENCE = "include.models.rossmann.model:MODEL"
HORIZON_DAYS: Final = 42
"""What features, folds, review and monitoring are made for."""

Booster = Literal["lightgbm", "xgboost", "catboost"]
Device = Literal["cpu", "gpu"]
PositiveInt = Annotated[int, Field(gt=0)]


class SalesPaths(DataPaths):
    """Sales by store and day, the stores, and the days to forecast."""

    train: str = "data/train.csv"
    store: str = "data/store.csv"
    future: str | None = "data/future.csv"


class DataConfig(DataSourceConfig):
    """Where the data comes from, and its files."""

    paths: SalesPaths = SalesPaths()
    freshness_days: PositiveInt | None = Field(None, description="oldest accepted newest day; null turns it off")


class ForecastConfig(Section):
    """The forecast task: horizon, training blocks, folds."""

    horizon_days: Literal[42] = Field(
        HORIZON_DAYS, description="features, folds, review and monitoring are made for it"
    )
    block_step_days: PositiveInt = Field(21, description="distance of the forecast origins used for training")
    max_blocks: PositiveInt | None = Field(None, description="newest training blocks used; null means all")
    cv_folds: Annotated[int, Field(ge=3, le=60)] = Field(3, description="cross-validation folds before the holdout")
    fold_end: date = Field(
        date(2015, 6, 19), description="a day on which a fold ends; the others lie whole horizons away"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 20150619
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

    rounds: Annotated[int, Field(gt=0, le=100_000)]
    threads: Annotated[int, Field(gt=0, le=1024)] = 2
    device: Device = Field("cpu", description="where it trains; gpu needs a library built for it, and a device")
    row_share: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="share of the training rows that it draws")
    leave_out: list[str] = Field(default_factory=list, description="features that it does not see; * stands for any")
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)


class RossmannConfig(ModelConfig):
    """The whole configuration."""

    data: DataConfig = DataConfig()
    forecast: ForecastConfig = ForecastConfig()
    boosters: dict[Booster, BoosterConfig] = Field(min_length=1)

    def folds(self, origins: int) -> int:
        """Return how many folds are forecast before the holdout: so many before each origin as are configured.

        :param origins: forecast origins of the backtest, the holdout's among them
        """
        return origins - 1 + self.forecast.cv_folds

    def with_booster(self, booster: Booster, **fields: Any) -> Self:
        """Return the configuration with other settings of one booster."""
        changed = self.boosters[booster].model_copy(update=fields)
        return self.model_copy(update={"boosters": {**self.boosters, booster: changed}})


def load_config(path: str | Path | None = None) -> RossmannConfig:
    """Read and validate the whole configuration (see ``ModelConfig.of``)."""
    return RossmannConfig.of(NAME, path)
