"""An event of the life cycle: a move between stages or a decision, as the promotion ledger keeps it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from include.lifecycle import tags as tag
from include.lifecycle.decisions import UNKNOWN, Decision, Door, Outcome, utc_now
from include.lifecycle.errors import BadInputError
from include.lifecycle.stages import ARCHIVED, NONE, PRODUCTION, STAGING
from include.lifecycle.statements import MAX_NAME, MAX_QUOTED, Validation
from include.lifecycle.text import shorten, storable, text_digest

MAX_REASON = 100_000
"""Characters of the longest reason; MLflow keeps no more in a tag. A longer one is refused rather than cut."""
MAX_INLINE = 2000
"""Characters of a reason that an entry of the ledger holds; a longer one is kept as an artifact (see ``texts``)."""
SHOWN_OF_LONG = 500
"""Characters of a longer reason that the entry holds beside the digest of the whole."""
MAX_POLICY = 500

ARTIFACTS = "artifacts"
"""Name of the evidence that identifies the artifact files of a version."""

EVIDENCE = {
    tag.VALIDATION_OUTCOME: "outcome",
    tag.VALIDATION_METRIC: "metric",
    tag.VALIDATION_VALUE: "value",
    tag.VALIDATION_THRESHOLD: "threshold",
    tag.VALIDATION_TIME: "validated",
    tag.VALIDATION_DATA_VERSION: "validated_on",
    tag.DATA_VERSION: "data_version",
    tag.CODE_COMMIT: "code_commit",
    tag.ARTIFACTS_DIGEST: ARTIFACTS,
}


@dataclass(frozen=True)
class Event:
    """One event. ``entry`` and ``digest`` say where the ledger keeps it and are not part of it.

    :param time: when it was written, in UTC
    :param decided: when the decision behind it was made, in UTC
    :param from_stage: stage before; the same as ``to_stage`` for a decision that moved nothing
    :param to_stage: stage after; ``Deleted`` for a Production version that somebody deleted
    :param archived: versions that the move archived
    :param evidence: the gate's metric, value and threshold, the data version, the digest of the artifacts
    :param policy: the rules of the policy that were applied and their outcome, empty when none was
    :param late: a decision that came after the one that holds: it is recorded and changes nothing
    :param ask: the ask whose approval was used, empty for what nobody was asked in Airflow
    :param reason_digest: SHA-256 of a reason that is too long for the ledger; ``reason`` is then its beginning
    """

    time: datetime
    model: str
    version: int
    from_stage: str
    to_stage: str
    outcome: Outcome
    user: str = UNKNOWN
    user_source: str = UNKNOWN
    door: Door = Door.AUTOMATIC
    reason: str = ""
    decided: datetime | None = None
    dag_id: str | None = None
    run_id: str | None = None
    archived: tuple[int, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    late: bool = False
    reason_digest: str | None = None
    ask: str = ""
    entry: int | None = None
    digest: str | None = None

    @classmethod
    def of(cls, model: str, version: int, from_stage: str, to_stage: str, decision: Decision) -> Self:
        """Return the event of a decision.

        :raises BadInputError: when a text is longer than the ledger keeps
        """
        if len(decision.reason) > MAX_REASON:
            raise BadInputError(
                f"The reason for version {version} of {model!r} has {len(decision.reason)} characters:"
                f" give at most {MAX_REASON}"
            )
        for name in ("user", "user_source", "dag_id", "run_id"):
            if len(getattr(decision, name) or "") > MAX_NAME:
                raise BadInputError(f"The {name} of the decision is longer than {MAX_NAME} characters")
        # quotes and line ends count twice in an entry
        short = (
            len(decision.reason) <= MAX_INLINE and len(json.dumps(decision.reason, ensure_ascii=False)) <= MAX_QUOTED
        )
        return cls(
            time=utc_now(),
            decided=decision.at,
            model=model,
            version=version,
            from_stage=from_stage,
            to_stage=to_stage,
            outcome=decision.outcome,
            user=decision.user,
            user_source=decision.user_source,
            door=decision.door,
            reason=decision.reason if short else shorten(decision.reason, SHOWN_OF_LONG),
            reason_digest=None if short else text_digest(decision.reason),
            policy=shorten(decision.policy, MAX_POLICY),
            dag_id=decision.dag_id,
            run_id=decision.run_id,
        )

    @property
    def moved(self) -> bool:
        """Whether the version changed its stage."""
        return self.from_stage != self.to_stage

    @property
    def is_promotion(self) -> bool:
        """Whether the version came into Production, by promotion, rollback or from outside."""
        return self.moved and self.to_stage == PRODUCTION

    @property
    def what(self) -> str:
        """What happened, in a word or two."""
        if self.is_promotion:
            if self.door is Door.OUTSIDE:
                return "moved by hand"
            return "rolled back" if self.from_stage == ARCHIVED else "promoted"
        if self.moved:
            return {STAGING: "staged", NONE: "superseded"}.get(self.to_stage, self.to_stage.lower())
        return self.outcome.value

    @property
    def decides(self) -> bool:
        """Whether it decided about the version.

        A gate that let it into Staging did not, nor what came too late, nor a rollback to it that was rejected.
        """
        if self.moved:
            return not self.late and self.to_stage != STAGING
        return not self.late and (self.to_stage != ARCHIVED or self.outcome is Outcome.SUPERSEDED)

    def as_decision(self) -> Decision:
        """Return the decision behind it; a long reason is shortened."""
        return Decision(
            self.outcome,
            self.user,
            self.user_source,
            self.reason,
            self.door,
            at=self.decided or self.time,
            dag_id=self.dag_id,
            run_id=self.run_id,
            policy=self.policy,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        content: dict[str, Any] = {
            "time": self.time.isoformat(),
            "model": self.model,
            "version": self.version,
            "from": self.from_stage,
            "to": self.to_stage,
            "outcome": str(self.outcome),
            "user": self.user,
            "user_source": self.user_source,
            "door": str(self.door),
            "reason": self.reason,
            "decided": self.decided.isoformat() if self.decided else None,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "archived": list(self.archived),
            "evidence": dict(self.evidence),
        }
        # entries written without these stay what they were, letter by letter
        if self.policy:
            content["policy"] = self.policy
        if self.late:
            content["late"] = True
        if self.reason_digest:
            content["reason_digest"] = self.reason_digest
        if self.ask:
            content["ask"] = self.ask
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, entry: int | None = None, digest: str | None = None) -> Self:
        """Return the event that the ledger stores.

        :raises ValueError: when it is not an event
        """
        try:
            decided = content["decided"]
            return cls(
                time=datetime.fromisoformat(content["time"]).astimezone(UTC),
                model=content["model"],
                version=int(content["version"]),
                from_stage=content["from"],
                to_stage=content["to"],
                outcome=Outcome(content["outcome"]),
                user=content["user"],
                user_source=content["user_source"],
                door=Door(content["door"]),
                reason=content["reason"],
                decided=datetime.fromisoformat(decided).astimezone(UTC) if decided else None,
                dag_id=content["dag_id"],
                run_id=content["run_id"],
                archived=tuple(int(version) for version in content["archived"]),
                evidence=dict(content["evidence"]),
                policy=str(content.get("policy", "")),
                late=bool(content.get("late", False)),
                reason_digest=content.get("reason_digest"),
                ask=str(content.get("ask", "")),
                entry=entry,
                digest=digest,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an event: {error!r}") from error

    def as_row(self) -> dict[str, Any]:
        """Return the event for a listing: what the ledger stores, and where."""
        added = {"policy": self.policy, "late": self.late, "reason_digest": self.reason_digest}
        return {**self.to_dict(), **added, "entry": self.entry, "digest": self.digest}


def evidence_of(tags: Mapping[str, str], validation: Validation | None = None) -> dict[str, str]:
    """Return what is known of a version: what its tags hold, and what the ledger knows of its gate.

    :param tags: the version's tags
    :param validation: its validation in the ledger, which is believed rather than the tags
    """
    found = {name: storable(tags[key]) for key, name in EVIDENCE.items() if key in tags}
    if validation is not None:
        found |= {
            "outcome": validation.outcome,
            "metric": validation.metric,
            "value": validation.value,
            "threshold": validation.threshold,
            "validated": validation.at.isoformat(timespec="seconds"),
            "validated_on": validation.data_version,
        }
    return {name: text[:MAX_NAME] for name, text in found.items()}
