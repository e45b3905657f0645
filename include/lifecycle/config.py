"""Configuration of a model's life cycle: the ``lifecycle`` section of a model's YAML file.

DAG files read it while Airflow parses them, so this module imports nothing heavier than pydantic.
"""

import os
import re
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from include.lifecycle.containers import ContainerConfig
from include.lifecycle.errors import BadInputError
from include.lifecycle.sections import Cron, Positive, Section
from include.lifecycle.text import one_line, without_credentials
from include.lifecycle.yaml_text import parse_yaml, read_text

CONFIG_ENV = "RETRAIN_CONFIG"
CONFIG_TEXT_ENV = "RETRAIN_CONFIG_TEXT"
APPROVERS_ENV = "RETRAIN_APPROVERS"
_DEPLOYED = {"RETRAIN_IMAGE": "image", "RETRAIN_NETWORK": "network", "RETRAIN_ENGINE": "engine"}
DEFAULT_CONFIG = Path(__file__).resolve().parent.parent / "config" / "rossmann.yaml"

MAX_APPROVERS = 2500
"""Characters of a policy's approvers: an entry of the ledger holds 6,000 of everything."""

MAX_PROBLEMS = 10
"""How many wrong fields one error names."""

Model = TypeVar("Model", bound=BaseModel)


class ScheduleConfig(Section):
    """When the nightly retrain starts: a cron expression read in a timezone."""

    cron: Cron = "0 2 * * *"
    timezone: str = "Europe/Berlin"

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("expected an IANA timezone such as Europe/Berlin") from error
        return value


class GateConfig(Section):
    """The gate a candidate passes before Staging: ``metric`` strictly below ``threshold``."""

    metric: str = "rmspe"
    threshold: Positive = 0.10


Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


def _time_of_day(value: object) -> object:
    """Take a time of day as text only: YAML reads 18:00 without quotes as the number 1080."""
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{2}:\d{2}(:\d{2})?", value):
        raise ValueError('expected a time of day in the model\'s timezone, in quotes, such as "18:00"')
    return value


TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]


class BlackoutConfig(Section):
    """A weekly window in which nothing is promoted: from ``start`` to before ``end``, next day's when not later.

    ``weekdays`` are those on which it starts. The same ``start`` and ``end`` make it a whole day.
    """

    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEKDAYS
    start: TimeOfDay
    end: TimeOfDay

    @property
    def days(self) -> int:
        """How many days after its start it ends: 0 or 1."""
        return 0 if self.end > self.start else 1


def _approver(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind not in ("user", "role") or not name or name != name.strip():
        raise ValueError("expected user:NAME or role:NAME, as Airflow shows them")
    return value


class PolicyConfig(Section):
    """What an approval needs to hold. What is asked here and cannot be shown counts as not met."""

    approvers: tuple[Annotated[str, AfterValidator(_approver)], ...] = ()
    """``user:NAME`` or ``role:NAME``; empty: whoever Airflow lets mark or answer."""
    reason_required: bool = True
    four_eyes: bool = False
    """Whoever triggered the run may not approve it."""
    review_required: bool = False
    """A review of the version, which held it not back, has to be in the promotion ledger."""
    evidence_max_age_days: Positive | None = None
    blackouts: tuple[BlackoutConfig, ...] = ()

    @field_validator("approvers")
    @classmethod
    def _few_enough_to_be_kept(cls, approvers: tuple[str, ...]) -> tuple[str, ...]:
        if (length := sum(len(name) + 3 for name in approvers)) > MAX_APPROVERS:
            raise ValueError(
                f"{len(approvers)} names have {length} characters, and each ask keeps them in the promotion ledger:"
                f" name roles, with at most {MAX_APPROVERS} characters together"
            )
        return approvers

    @field_validator("blackouts")
    @classmethod
    def _some_of_the_week_is_left(cls, blackouts: tuple[BlackoutConfig, ...]) -> tuple[BlackoutConfig, ...]:
        if _cover_the_week(blackouts):
            raise ValueError("the blackouts cover the whole week, so nothing could ever be promoted: leave a gap")
        return blackouts


def _cover_the_week(blackouts: tuple[BlackoutConfig, ...]) -> bool:
    """Whether the windows, put together, leave no second of a week."""
    day, week = 86_400, 7 * 86_400
    starts = [(window, WEEKDAYS.index(weekday)) for window in blackouts for weekday in window.weekdays]
    windows = sorted(
        (number * day + _seconds(window.start), (number + window.days) * day + _seconds(window.end))
        for window, number in starts
    )
    if not windows:
        return False
    # Sunday's windows may reach into Monday: the second week has all that reaches into it
    reached = windows[0][0]
    for start, end in [*windows, *((start + week, end + week) for start, end in windows)]:
        if start > reached:
            return False
        reached = max(reached, end)
    return True


def _seconds(at: time) -> int:
    return at.hour * 3600 + at.minute * 60 + at.second


class ApprovalConfig(Section):
    """How long a candidate waits for a person, how often the wait looks at the registry, who may decide.

    ``supersede``: whether a newer candidate that reaches Staging ends the wait of an older one.
    """

    expires_after_days: Positive = 7.0
    poll_seconds: Positive = 30.0
    remind_before_hours: Positive | None = 24.0
    supersede: Literal["newer", "never"] = "newer"
    policy: PolicyConfig = PolicyConfig()


class RollbackConfig(Section):
    """Who may bring a former Production version back, at any time of the week and however old it is."""

    policy: PolicyConfig = PolicyConfig()
    """Without approvers of its own it has the approval's (``LifecycleConfig``)."""
    require_second_person: bool = False
    """Somebody other than who triggered the rollback has to approve it."""
    expires_after_hours: Positive = 24.0
    """How long a rollback waits for the second person."""

    @field_validator("policy")
    @classmethod
    def _at_any_time(cls, policy: PolicyConfig) -> PolicyConfig:
        if policy.blackouts or policy.evidence_max_age_days is not None or policy.review_required:
            raise ValueError(
                "a rollback is exempt from blackouts, evidence_max_age_days and review_required: take them out here"
            )
        return policy

    @model_validator(mode="after")
    def _second_person_for_four_eyes(self) -> Self:
        if self.policy.four_eyes and not self.require_second_person:
            raise ValueError("policy.four_eyes needs require_second_person: true, else nobody could ever roll back")
        return self

    @property
    def effective_policy(self) -> PolicyConfig:
        """The policy; four eyes where a second person is required."""
        return self.policy.model_copy(update={"four_eyes": self.require_second_person})


class RetentionConfig(Section):
    """Which versions the maintenance keeps although nothing uses them."""

    keep_champions: Annotated[int, Field(ge=1)] = 3
    """Former Production versions, the last ones."""
    keep_days: Annotated[float, Field(ge=1)] = 30.0
    """Days for which a version is kept that was registered, or that the ledger names."""


Occasion = Literal[
    "gate_failed",
    "held_back",
    "waiting",
    "promoted",
    "rejected",
    "superseded",
    "expiring",
    "expired",
    "refused",
    "rolled_back",
    "live_error",
    "drift",
    "data_missing",
    "retrain_asked",
    "rollback_proposed",
]
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)


class NotificationConfig(Section):
    """An Airflow notifier, and when it is told.

    ``arguments`` are those of its constructor; its templated fields see ``notification``.
    """

    notifier: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]
    arguments: dict[str, Any] = Field(default_factory=dict)
    events: tuple[Occasion, ...] = OCCASIONS


class TaskConfig(Section):
    """Retries and time limits of the tasks that may fail for a while."""

    retries: Annotated[int, Field(ge=0)] = 3
    retry_delay_seconds: Positive = 60.0
    max_retry_delay_seconds: Positive = 900.0
    step_timeout_minutes: Positive = 180.0


class ConnectionConfig(Section):
    """Airflow connection ids. The second is optional: without it the step's environment leads to the data registry."""

    mlflow: str = "mlflow_default"
    data: str = "rossmann_data"


class LifecycleConfig(Section):
    """The life cycle of one registered model."""

    @property
    def predictions_experiment(self) -> str:
        """The MLflow experiment that records which version made which predictions."""
        return f"{self.experiment}-predictions"

    @property
    def monitoring_experiment(self) -> str:
        """The MLflow experiment that holds what each night's monitoring found."""
        return f"{self.experiment}-monitoring"

    @property
    def experiments(self) -> tuple[str, str, str]:
        """All MLflow experiments of the model, which belong to the pipeline's login; the ledger has its own."""
        return self.experiment, self.predictions_experiment, self.monitoring_experiment

    model: str
    experiment: str
    owner: str
    tags: tuple[str, ...] = ()
    runner: Literal["local", "docker"] = "local"
    python: str | None = Field(None, description="Interpreter of the steps; null means Airflow's own")
    schedule: ScheduleConfig = ScheduleConfig()
    gate: GateConfig = GateConfig()
    approval: ApprovalConfig = ApprovalConfig()
    rollback: RollbackConfig = Field(RollbackConfig(), validate_default=True)
    retention: RetentionConfig = RetentionConfig()
    integrity: Literal["required", "when_recorded"] = Field(
        "when_recorded", description="required: a version without recorded digests is neither promoted nor used"
    )
    tasks: TaskConfig = TaskConfig()
    containers: ContainerConfig = ContainerConfig()
    connections: ConnectionConfig = ConnectionConfig()
    notifications: tuple[NotificationConfig, ...] = ()

    @field_validator("rollback")
    @classmethod
    def _approvers_of_the_approval(cls, rollback: RollbackConfig, info: ValidationInfo) -> RollbackConfig:
        """Give a rollback that names no approvers those of an approval: it puts a version into Production as well."""
        approval = info.data.get("approval")  # missing where it is not valid, which is said
        if approval is None or rollback.policy.approvers:
            return rollback
        policy = rollback.policy.model_copy(update={"approvers": approval.policy.approvers})
        return rollback.model_copy(update={"policy": policy})


def config_path(path: str | Path | None = None) -> Path:
    """Return the configuration file: the argument, else the environment's, else the one in this repository."""
    return Path(path or os.environ.get(CONFIG_ENV) or DEFAULT_CONFIG)


def config_text(path: str | Path | None = None) -> tuple[str, str]:
    """Return the configuration as text, and where it comes from: the file, unless the environment holds the text.

    A step in a container is given the text: the file lies where Airflow runs.

    :param path: the YAML file; by default see ``config_path``
    :raises BadInputError: when it cannot be read
    """
    if path is None and (text := os.environ.get(CONFIG_TEXT_ENV)):
        return text, CONFIG_TEXT_ENV
    file = config_path(path)
    return read_text(file, "the configuration"), str(file)


def read_config(path: str | Path | None = None) -> tuple[dict[str, Any], str]:
    """Return the configuration's mapping of sections, with what the environment sets, and where it comes from.

    :param path: the YAML file; by default see ``config_text``
    :raises BadInputError: when it cannot be read, is not YAML, names a key twice, or holds no mapping
    """
    text, source = config_text(path)
    content = parse_yaml(text, f"the configuration {source}")
    if not isinstance(content, dict):
        raise BadInputError(f"the configuration {source} must be a mapping of sections, found {type(content).__name__}")
    if isinstance(content.get("lifecycle"), dict):
        content["lifecycle"] = _deployed(content["lifecycle"])
    return content, source


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
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'the section'}: {problem['msg']}"
            f" (found {_found(problem['loc'], problem['input'])})"
            for problem in error.errors(include_url=False)
        ]
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        told = "; ".join(one_line(problem) for problem in problems[:MAX_PROBLEMS])
        raise BadInputError(f"configuration {source}: {told}{more}") from error


def _found(place: tuple[int | str, ...], value: object) -> str:
    """Return what was found as everybody may read it.

    What notifiers are given may be secret, and so may what is in a mapping of which something else is wrong.
    """
    if "arguments" in place:
        return f"a {type(value).__name__}, not shown here"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value)) or 'nothing'}"[:80]
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list) for item in value):
        return f"a list of {len(value)}"
    return f"{without_credentials(repr(value)):.80}"


def load_section(model: type[Model], name: str, path: str | Path | None = None) -> Model:
    """Read and validate one section of a model's configuration; one that is not there has its defaults.

    :param model: the pydantic model
    :param name: of the section
    :param path: the YAML file; by default the environment's ``RETRAIN_CONFIG``, else the Rossmann one
    :raises BadInputError: names file, field, value and what was expected
    """
    content, source = read_config(path)
    return validate_section(model, content.get(name, {}), f"{source}, section {name}")


def load_lifecycle_config(path: str | Path | None = None) -> LifecycleConfig:
    """Read and validate the ``lifecycle`` section of a model's configuration.

    :param path: the YAML file; by default the environment's ``RETRAIN_CONFIG``, else the Rossmann one
    :raises BadInputError: names file, field, value and what was expected
    """
    content, source = read_config(path)
    if "lifecycle" not in content:
        raise BadInputError(f"the configuration {source} has no section 'lifecycle'")
    return validate_section(LifecycleConfig, content["lifecycle"], f"{source}, section lifecycle")


def _deployed(lifecycle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section ``lifecycle`` with what the environment sets: what differs between deployments of one file."""
    content = dict(lifecycle)
    if runner := os.environ.get("RETRAIN_RUNNER"):
        content["runner"] = runner
    if named := os.environ.get(APPROVERS_ENV):
        approvers = [name.strip() for name in named.split(",") if name.strip()]
        if not approvers:
            raise BadInputError(
                f"{APPROVERS_ENV} names nobody, found {named!r}: name them as in role:Approver,user:anna, or unset it"
            )
        approval = dict(content.get("approval") or {})
        content["approval"] = {**approval, "policy": {**(approval.get("policy") or {}), "approvers": approvers}}
    set_here = {field: os.environ[name] for name, field in _DEPLOYED.items() if os.environ.get(name)}
    if set_here:
        content["containers"] = {**(content.get("containers") or {}), **set_here}
    return content
