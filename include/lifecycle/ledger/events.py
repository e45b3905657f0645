"""An event of the life cycle: a move between stages or a decision, as the promotion ledger keeps it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from include.lifecycle import tags as tag
from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.statements import MAX_NAME, MAX_QUOTED, Validation
from include.lifecycle.ledger.stored import Stored, Time
from include.lifecycle.rules.decisions import UNKNOWN, Channel, Decision, Outcome, utc_now
from include.lifecycle.stages import ARCHIVED, NONE, PRODUCTION, STAGING
from include.lifecycle.untrusted_text import shorten, storable, text_digest

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
_ADDED_LATER = ("policy", "late", "reason_digest", "ask")


@dataclass(frozen=True)
class Event(Stored):
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

    __pydantic_config__ = ConfigDict(extra="ignore")

    time: Time
    model: str
    version: int
    from_stage: Annotated[str, Field(alias="from")]
    to_stage: Annotated[str, Field(alias="to")]
    outcome: Outcome
    user: str = UNKNOWN
    user_source: str = UNKNOWN
    door: Channel = Channel.AUTOMATIC
    reason: str = ""
    decided: Time | None = None
    dag_id: str | None = None
    run_id: str | None = None
    archived: tuple[int, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    late: bool = False
    reason_digest: str | None = None
    ask: str = ""
    entry: Annotated[int | None, Field(exclude=True)] = None
    digest: Annotated[str | None, Field(exclude=True)] = None

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
            if self.door is Channel.OUTSIDE:
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
        """Return what the ledger stores: entries written without the last fields stay what they were."""
        return {name: value for name, value in super().to_dict().items() if value or name not in _ADDED_LATER}

    def as_row(self) -> dict[str, Any]:
        """Return the event for a listing: what the ledger stores, and where."""
        added = {"policy": self.policy, "late": self.late, "reason_digest": self.reason_digest}
        return {**self.to_dict(), **added, "entry": self.entry, "digest": self.digest}


def evidence_of(tags: Mapping[str, str], validation: Validation | None) -> dict[str, str]:
    """Return what a version's tags hold; of its gate, what the ledger knows is believed rather than those."""
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
