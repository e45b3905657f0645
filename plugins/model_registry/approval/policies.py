"""A model's approval policy in Airflow: what it looks at, and what it makes of a promotion."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.statements import Ask, Decided
from include.lifecycle.rules.decisions import Decision, Outcome
from include.lifecycle.rules.policy import NOBODY, Facts, blackout_end, evaluate
from include.lifecycle.stages import NONE, PRODUCTION
from model_registry.exceptions import NotApprovedError, PolicyRefusedError, decided_otherwise

if TYPE_CHECKING:
    from include.lifecycle.moves.model_registry import ModelRegistry

log = logging.getLogger(__name__)

STARTED_BY_A_RULE = ("scheduled", "asset_triggered", "operator_triggered")


def known_timezone(task_id: str, timezone: str) -> str:
    """Check a timezone that the DAG's author gave.

    :raises ValueError: when there is none of that name
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{task_id}: timezone must be an IANA name like Europe/Berlin, found {timezone!r}") from error
    return timezone


def requested_by(context: Context) -> str | None:
    """Return who triggered the run, as the run tells: ``NOBODY`` for a schedule, None when it is not known.

    For people, and for a record that says it is not verified: whether this user was logged in, the API server knows
    (``desk.requester_of``). A run that another run triggered has the user of that run.
    """
    run: Any = context.get("dag_run")
    if user := getattr(run, "triggering_user_name", None):
        return str(user)
    run_type = getattr(run, "run_type", None)
    if str(getattr(run_type, "value", run_type)) not in STARTED_BY_A_RULE:
        return None
    # anybody may create an asset event by hand, and Airflow does not say who
    by_hand = any(event.source_task_id is None for event in getattr(run, "consumed_asset_events", None) or ())
    return None if by_hand else NOBODY


@dataclass(frozen=True, kw_only=True)
class PromotionRules:
    """Applies a policy to a promotion.

    :param policy: what the approval needs
    :param timezone: of its times of day
    :param ask: what was asked
    :param decided: what was decided on it
    :param validated_at: when the version was validated last, as the ledger knows
    """

    policy: PolicyConfig
    timezone: str
    registry: "ModelRegistry"
    ask: Ask
    decided: Decided
    validated_at: datetime | None

    def approve(self) -> Decision:
        """Return the approval with what the policy says of it now.

        :raises PolicyRefusedError: when the policy is not met
        """
        facts = Facts(requested_by=self.decided.requested_by, validated_at=self.validated_at)
        verdict = evaluate(self.policy, self.decided.decision, facts)
        if verdict.allowed:
            return replace(self.decided.decision, policy=verdict.summary())
        model, version, sentence = self.ask.model, self.ask.version, verdict.refusal
        try:
            self.registry.note_refusal(model, version, sentence)
        except Exception as error:  # noqa: BLE001 -- the refusal holds, whether the tag can be written or not
            log.warning("The refusal is not on version %d of %s: %s", version, model, error)
        raise PolicyRefusedError(
            f"Version {version} of {model!r} is not promoted, and nothing is moved. {sentence} Clear"
            f" {self.ask.place.task_id} to decide again."
        )

    def held_until(self, decision: Decision) -> datetime | None:
        """Return the end of the blackout that holds the promotion back, None when none does.

        The approval is then on the version as well, for people.

        :param decision: the approval
        :raises NotApprovedError: when another decision was first
        :raises AirflowSkipException: when the version waited, and a newer one came into Production meanwhile
        """
        model, version = self.ask.model, self.ask.version
        info = self.registry.version(model, version)
        if info.stage == PRODUCTION:
            return None
        if tag.PROMOTION_WAITS_UNTIL in info.tags:
            self._not_overtaken(decision)
        until = blackout_end(self.policy, self.timezone)
        if until is None:
            return None
        holds = self.registry.record_decision(model, version, decision)
        if holds.outcome is not Outcome.APPROVED:
            raise NotApprovedError(decided_otherwise(model, version, holds))
        self.registry.note_wait(model, version, until)
        return until

    def _not_overtaken(self, approved: Decision) -> None:
        """Check that no newer version, approved later, is in Production: two that waited may start in any order."""
        model, version = self.ask.model, self.ask.version
        newer = self.registry.overtaken_by(model, version)
        if newer is None:
            return
        reason = f"version {newer}, approved later, is in Production"
        superseded = Decision(Outcome.SUPERSEDED, reason=reason, dag_id=approved.dag_id, run_id=approved.run_id)
        self.registry.transition(model, version, NONE, superseded)
        raise AirflowSkipException(f"Superseded: version {version} of {model!r} waited, and {reason}")
