"""Configuration that every model has; a model's own adds the sections that only it knows."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field

from include.lifecycle.config.load import read_config, validate_section
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.config.names import require_own_names
from include.lifecycle.config.sections import Section
from include.retraining.config.monitor import MonitorConfig
from include.retraining.config.prediction import PredictionConfig
from include.retraining.config.review import ReviewConfig

DATA_REGISTRY_ENV = "RETRAIN_DATA_REGISTRY"
FUTURE = "future"
"""Name of the table of rows to predict, which a revision may lack."""


class DataPaths(Section):
    """Files in the data registry. Each may also lie there compressed (.csv.xz, .csv.gz) or as .parquet."""

    future: str | None = Field(None, description="rows to predict; may be missing there")


class DataSourceConfig(Section):
    """Where the data comes from: a git repository with DVC-tracked files."""

    registry: str | None = Field(None, description="git URL or folder; the environment may name it instead")
    revision: str = "main"
    paths: DataPaths = DataPaths()

    @property
    def files(self) -> dict[str, str]:
        """Path in the data registry of each configured file, by name."""
        return {name: path for name, path in self.paths.model_dump().items() if path}


class ModelConfig(Section):
    """The sections of any model."""

    lifecycle: LifecycleConfig
    data: DataSourceConfig = DataSourceConfig()
    review: ReviewConfig = ReviewConfig()
    monitor: MonitorConfig = MonitorConfig()
    prediction: PredictionConfig = PredictionConfig()

    @property
    def data_registry(self) -> str | None:
        """The data registry's URL: the environment's, else the configured one."""
        return os.environ.get(DATA_REGISTRY_ENV) or self.data.registry

    @classmethod
    def of(cls, name: str, path: str | Path | None = None) -> Self:
        """Read and validate the whole configuration of a model.

        :param name: of the model, e.g. ``rossmann``
        :param path: the YAML file; by default the environment's, else the one in this repository
        :raises BadInputError: names file, field, value and what was expected; or another model has a name of this one
        """
        content, source = read_config(name, path)
        config = validate_section(cls, content, source)
        if path is None:
            require_own_names(config.lifecycle)
        return config
