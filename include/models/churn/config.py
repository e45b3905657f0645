"""Configuration of the churn model: every section of ``include/config/churn.yaml``."""

from typing import Annotated

from pydantic import Field

from include.lifecycle.config.sections import Section
from include.retraining.config.model import DataPaths, DataSourceConfig, ModelConfig

NAME = "churn"
TABLES = ("customers",)
REFERENCE = "include.models.churn.model:MODEL"


class ChurnPaths(DataPaths):
    """Customers of whom it is known whether they left, and those to predict."""

    customers: str = "data/customers.csv"
    future: str | None = "data/future.csv"


class ChurnData(DataSourceConfig):
    """Where the data comes from, and its files."""

    paths: ChurnPaths = ChurnPaths()


class BoosterConfig(Section):
    """The one member: fixed boosting rounds and LightGBM's own parameters."""

    rounds: Annotated[int, Field(gt=0)] = 200
    quick_rounds_scale: Annotated[float, Field(gt=0, le=1)] = Field(0.2, description="rounds kept by a quick run")
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)


class ChurnConfig(ModelConfig):
    """The whole configuration."""

    data: ChurnData = ChurnData()
    booster: BoosterConfig = BoosterConfig()
