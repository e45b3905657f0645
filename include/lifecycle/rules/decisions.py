"""A decision about a candidate: what it is, and how a wait for one ends.

This module runs in Airflow's triggerer and while DAG files are parsed: standard library only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from include.lifecycle import tags as tag
from include.lifecycle.stages import PRODUCTION, STAGING
from include.lifecycle.untrusted_text import storable, text_digest

UNKNOWN = "unknown"
"""What a user and the source of a user's name are when nothing tells them: they are never guessed."""


OPERATING_SYSTEM = "operating system, unverified"
"""Source of the user's name at the command line: whoever runs it can call himself anything."""
AIRFLOW_LOGIN = "airflow login"
"""Source of a user's name: the login with which Airflow's API server took the decision."""
AIRFLOW_RUN = "airflow run"
"""Source of a user's name: the Airflow run that this user triggered, logged in."""
AIRFLOW_RUN_UNVERIFIED = "airflow run, unverified"
"""The same, where nothing shows a login: Airflow's command line tells its operating system's user."""

UNVERIFIED = (UNKNOWN, OPERATING_SYSTEM, AIRFLOW_RUN_UNVERIFIED)
"""Sources that vouch for nobody's name."""


class Outcome(StrEnum):
    """How the wait for a decision ended."""

    APPROVED = "approved"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class Channel(StrEnum):
    """Through which door a decision came."""

    MARK = "mark"
    """A mark of the approval task in Airflow."""
    REQUIRED_ACTIONS = "required_actions"
    """A response in Airflow's Required Actions."""
    CLI = "cli"
    """This project's command line."""
    FORM = "form"
    """The form of a run in Airflow, such as that of a rollback: to trigger it is to decide."""
    OUTSIDE = "outside"
    """A move by hand, in MLflow's UI or through its API."""
    EXPIRY = "expiry"
    """Nobody decided in time."""
    AUTOMATIC = "automatic"
    """A rule decided, e.g. the gate."""

    @property
    def words(self) -> str:
        """The door as people know it."""
        return {Channel.REQUIRED_ACTIONS: "Required Actions", Channel.CLI: "command line"}.get(self, self.value)


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def time_of(text: str | None) -> datetime | None:
    """Return the time that a text tells, in UTC also without a timezone; None for none: people can edit tags."""
    try:
        found = datetime.fromisoformat(text or "")
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Decision:
    """Who decided what about a candidate, when, why and through which door.

    Its text is made storable: control characters and the like become a replacement character.

    :param user: who decided, ``unknown`` when nothing tells
    :param user_source: how the user is known, e.g. ``airflow login``
    :param reason: the reason or note given: untrusted text
    :param door: the door it came through
    :param dag_id: Airflow DAG whose run decided or waited
    :param roles: the user's roles in Airflow; None where they are not known
    :param policy: the rules of the policy that were applied and their outcome, as the ledger keeps them
    """

    outcome: Outcome
    user: str = UNKNOWN
    user_source: str = UNKNOWN
    reason: str = ""
    door: Channel = Channel.AUTOMATIC
    at: datetime = field(default_factory=utc_now)
    dag_id: str | None = None
    run_id: str | None = None
    roles: tuple[str, ...] | None = field(default=None, compare=False)
    policy: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"Decision.at needs a timezone, found {self.at.isoformat()}")
        object.__setattr__(self, "outcome", Outcome(self.outcome))
        object.__setattr__(self, "door", Channel(self.door))
        object.__setattr__(self, "at", self.at.astimezone(UTC))
        for name in ("user", "user_source", "reason", "dag_id", "run_id", "policy"):
            if text := getattr(self, name):
                object.__setattr__(self, name, storable(text))
        if self.roles is not None:
            object.__setattr__(self, "roles", tuple(storable(str(role)) for role in self.roles))

    @property
    def user_is_verified(self) -> bool:
        """Whether something vouches for the user's name: Airflow's login, not the operating system's."""
        return self.user != UNKNOWN and self.user_source not in UNVERIFIED

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: an XCom, a trigger's event. Roles and policy are there when they are known."""
        content: dict[str, Any] = {
            "outcome": str(self.outcome),
            "user": self.user,
            "user_source": self.user_source,
            "reason": self.reason,
            "door": str(self.door),
            "at": self.at.isoformat(),
            "dag_id": self.dag_id,
            "run_id": self.run_id,
        }
        if self.roles is not None:
            content["roles"] = list(self.roles)
        if self.policy:
            content["policy"] = self.policy
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the decision that ``to_dict`` made.

        :raises ValueError: when a field is missing or unknown
        """
        try:
            return cls(**{**content, "at": datetime.fromisoformat(content["at"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a decision: {error}") from error

    def as_tags(self) -> dict[str, str]:
        """Return the tags that record this decision on a version; the outcome comes last.

        Tags are written one by one: whoever sees the outcome sees the rest.
        """
        return {
            tag.DECISION_USER: self.user,
            tag.DECISION_USER_SOURCE: self.user_source,
            tag.DECISION_REASON: self.reason,
            tag.DECISION_DOOR: str(self.door),
            tag.DECISION_TIME: self.at.isoformat(),
            tag.DECISION_OUTCOME: str(self.outcome),
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Self | None:
        """Return the decision that a version's tags record, or None.

        People can edit tags: what cannot be read is unknown, and the door then ``outside``.
        """
        outcome, door = tags.get(tag.DECISION_OUTCOME), tags.get(tag.DECISION_DOOR)
        if outcome not in set(Outcome):
            return None
        return cls(
            outcome=Outcome(outcome),
            user=tags.get(tag.DECISION_USER) or UNKNOWN,
            user_source=tags.get(tag.DECISION_USER_SOURCE) or UNKNOWN,
            reason=tags.get(tag.DECISION_REASON, ""),
            door=Channel(door) if door in set(Channel) else Channel.OUTSIDE,
            at=time_of(tags.get(tag.DECISION_TIME)) or utc_now(),
        )


def shown_state(stage: str | None, tags: Mapping[str, str]) -> str:
    """Return a short text that changes when stage or tags of a version do; the stage is None for a deleted one."""
    return text_digest(json.dumps([stage, dict(tags)], sort_keys=True))[:16]


def decide_wait(
    stage: str | None, standing: Decision | None, *, expires_at: datetime, now: datetime | None = None
) -> Decision | None:
    """Return how the wait for a decision on a staged version ends, or None while it goes on.

    A version in Production was approved from outside, a decision that the ledger has holds, a version that left
    Staging otherwise is superseded, and past ``expires_at`` the wait has expired.

    :param stage: the version's stage, None when the version was deleted
    :param standing: what the ledger says was decided about it
    :param expires_at: when the wait expires
    """
    now = now or utc_now()
    if stage == PRODUCTION:
        if standing is not None and standing.outcome is Outcome.APPROVED:
            return standing
        return Decision(
            Outcome.APPROVED, door=Channel.OUTSIDE, at=now, reason="the version was moved to Production from outside"
        )
    if standing is not None and standing.outcome is not Outcome.APPROVED:
        return standing
    if stage != STAGING:
        found = "was deleted" if stage is None else f"was moved to {stage}"
        return Decision(Outcome.SUPERSEDED, door=Channel.OUTSIDE, at=now, reason=f"the version {found} while it waited")
    if now >= expires_at:
        reason = f"nobody decided before {expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return Decision(Outcome.EXPIRED, door=Channel.EXPIRY, at=now, reason=reason)
    return None
