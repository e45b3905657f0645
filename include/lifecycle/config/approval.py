"""The sections ``approval`` and ``rollback``: who may decide, when, and how long the wait is."""

import re
from datetime import time
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from include.lifecycle.config.sections import Positive, Section

MAX_APPROVERS = 2500
"""Characters of a policy's approvers: an entry of the ledger holds 6,000 of everything."""

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
