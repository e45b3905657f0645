"""Configuration of the batch prediction: the section ``prediction`` of a model's YAML file.

DAG files read it while Airflow parses them, so this module imports nothing heavier than pydantic.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from include.lifecycle.config.models import ScheduleConfig
from include.lifecycle.config.sections import Cron, Section
from include.retraining.output_names import Format, is_url, shown

PLACE_ENV = "RETRAIN_PREDICTIONS"
VOLUME_ENV = "RETRAIN_PREDICTIONS_VOLUME"
MOUNTED = "/predictions"
"""Where a container sees the volume."""
PROJECT = Path(__file__).resolve().parents[3]

Stage = Literal["Production", "Staging"]


class NightlyConfig(ScheduleConfig):
    """When the nightly prediction starts: a cron expression read in a timezone, whose date names the outputs."""

    cron: Cron = "0 5 * * *"


class PredictionConfig(Section):
    """Batch prediction: which version, where its outputs go, how long they are kept."""

    stage: Stage = Field("Production", description="whose version predicts at night")
    place: str = Field(
        ".run/predictions",
        min_length=1,
        description="folder (a relative one: below the project's) or fsspec URL; RETRAIN_PREDICTIONS overrides it",
    )
    volume: str | None = Field(
        "retrain-predictions",
        description="runner docker: volume, or folder of the engine's host, that is the place; null where it is a URL",
    )
    inputs: str | None = Field(
        None, description="folder or fsspec URL below which the form's input is looked for; null: the form takes none"
    )
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = ("parquet", "csv")
    keep_days: Annotated[float, Field(ge=1)] | None = Field(
        60, description="nights for which published outputs are kept; null and no keep_runs: for good"
    )
    keep_runs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="the newest so many are kept as well, however old"
    )
    schedule: NightlyConfig = NightlyConfig()

    @field_validator("place", "inputs")
    @classmethod
    def _one_file_system(cls, value: str | None) -> str | None:
        if value is not None and ("::" in value or "{{" in value):
            raise ValueError("expected a folder or one URL such as s3://bucket/predictions")
        if value is not None and value != shown(value):
            raise ValueError("expected no user and password in it: file systems read them from the environment")
        return value

    @property
    def where(self) -> str:
        """The place: the environment's, else the configured one; a folder as an absolute path."""
        return absolute(os.environ.get(PLACE_ENV) or self.place)

    @property
    def inputs_place(self) -> str | None:
        """Where a form's inputs are; a folder as an absolute path."""
        return absolute(self.inputs) if self.inputs else None

    @property
    def docker_volume(self) -> str | None:
        """What containers mount as the place: the environment's, else the configured one; None for a URL."""
        if is_url(self.where):
            return None
        return os.environ.get(VOLUME_ENV) or self.volume


def absolute(place: str) -> str:
    """Return a place independent of the folder that one stands in: a relative one is below the project's."""
    return place if is_url(place) else str(PROJECT / Path(place).expanduser())
