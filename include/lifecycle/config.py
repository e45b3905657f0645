"""Configuration of a model's life cycle: the ``lifecycle`` section of a model's YAML file.

DAG files read it while Airflow parses them, so this module imports nothing heavier than pydantic.
"""

import os
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from include.lifecycle.errors import BadInputError

CONFIG_ENV = "RETRAIN_CONFIG"
DEFAULT_CONFIG = Path(__file__).resolve().parent.parent / "config" / "rossmann.yaml"

Positive = Annotated[float, Field(gt=0)]
Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A section of the configuration: frozen, and a field it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleConfig(Section):
    """When the nightly retrain starts: a cron expression read in a timezone."""

    cron: str = "0 2 * * *"
    timezone: str = "Europe/Berlin"

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("expected an IANA timezone such as Europe/Berlin") from error
        return value

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if not value.startswith("@") and len(value.split()) != 5:
            raise ValueError("expected five cron fields (minute hour day month weekday) or a preset such as @daily")
        return value


class GateConfig(Section):
    """The gate a candidate passes before Staging: ``metric`` strictly below ``threshold``."""

    metric: str = "rmspe"
    threshold: Positive = 0.10


Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class BlackoutConfig(Section):
    """A weekly window in which nothing is promoted: from ``start`` to before ``end``, next day's when not later."""

    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEKDAYS
    start: time
    end: time

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end are the same: give a window with a length")
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError("start and end are times of day in the model's timezone, without an offset")
        return self


class PolicyConfig(Section):
    """What an approval needs to hold. What is asked here and cannot be shown counts as not met."""

    approvers: tuple[Annotated[str, Field(pattern=r"^(user|role):\S.*$")], ...] = ()
    """``user:NAME`` or ``role:NAME``; empty: whoever Airflow lets mark or answer."""
    reason_required: bool = True
    four_eyes: bool = False
    """Whoever triggered the run may not approve it."""
    evidence_max_age_days: Positive | None = None
    blackouts: tuple[BlackoutConfig, ...] = ()


class ApprovalConfig(Section):
    """How long a candidate waits for a person, how often the wait looks at the registry, who may decide."""

    expires_after_days: Positive = 7.0
    poll_seconds: Positive = 30.0
    remind_before_hours: Positive | None = 24.0
    supersede: Literal["newer", "never"] = "newer"
    policy: PolicyConfig = PolicyConfig()


class RollbackConfig(Section):
    """Who may bring a former Production version back. Blackouts and the age of evidence do not count."""

    policy: PolicyConfig = PolicyConfig()


Occasion = Literal["waiting", "promoted", "rejected", "superseded", "expiring", "expired", "refused", "rolled_back"]
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)


class NotificationConfig(Section):
    """An Airflow notifier, and when it is told.

    ``arguments`` are those of its constructor; its templated fields see ``notification``.
    """

    notifier: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]
    arguments: dict[str, Any] = {}
    events: tuple[Occasion, ...] = OCCASIONS


class TaskConfig(Section):
    """Retries and time limits of the tasks that may fail for a while."""

    retries: Annotated[int, Field(ge=0)] = 3
    retry_delay_seconds: Positive = 60.0
    max_retry_delay_seconds: Positive = 900.0
    step_timeout_minutes: Positive = 180.0


class ConnectionConfig(Section):
    """Airflow connection ids. The last two are optional: the README says what is lost without them."""

    mlflow: str = "mlflow_default"
    airflow_api: str = "airflow_api_default"
    data: str = "rossmann_data"


class LifecycleConfig(Section):
    """The life cycle of one registered model."""

    model: str
    experiment: str
    owner: str
    tags: tuple[str, ...] = ()
    runner: Literal["local"] = "local"
    python: str | None = Field(None, description="Interpreter of the steps; null means Airflow's own")
    schedule: ScheduleConfig = ScheduleConfig()
    gate: GateConfig = GateConfig()
    approval: ApprovalConfig = ApprovalConfig()
    rollback: RollbackConfig = RollbackConfig()
    tasks: TaskConfig = TaskConfig()
    connections: ConnectionConfig = ConnectionConfig()
    notifications: tuple[NotificationConfig, ...] = ()


def config_path(path: str | Path | None = None) -> Path:
    """Return the configuration file: the argument, else the environment's, else the one in this repository."""
    return Path(path or os.environ.get(CONFIG_ENV) or DEFAULT_CONFIG)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    :param path: the file
    :raises BadInputError: when it cannot be read, is not YAML, or holds no mapping
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInputError(f"the configuration {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise BadInputError(f"the configuration {path} must be a mapping of sections, found {type(content).__name__}")
    return content


def validate_section(model: type[Model], content: object, source: str) -> Model:
    """Validate ``content`` as ``model``.

    :param model: the pydantic model
    :param content: what the YAML file holds
    :param source: file (and section) named in the error
    :raises BadInputError: names every wrong field, what was found and what was expected
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'the section'}: {problem['msg']}"
            f" (found {problem['input']!r:.80})"
            for problem in error.errors(include_url=False)
        )
        raise BadInputError(f"configuration {source}: {problems}") from error


def load_lifecycle_config(path: str | Path | None = None) -> LifecycleConfig:
    """Read and validate the ``lifecycle`` section of a model's configuration.

    :param path: the YAML file; by default the environment's ``RETRAIN_CONFIG``, else the Rossmann one
    :raises BadInputError: names file, field, value and what was expected
    """
    file = config_path(path)
    content = read_yaml(file)
    if "lifecycle" not in content:
        raise BadInputError(f"the configuration {file} has no section 'lifecycle'")
    return validate_section(LifecycleConfig, content["lifecycle"], f"{file}, section lifecycle")
