"""A model's approval policy in Airflow: what it looks at, and what it makes of a promotion."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle import tags as tag
from include.lifecycle.config import PolicyConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.policy import NOBODY, Facts, Verdict, blackout_end, evaluate, validated_at
from include.lifecycle.stages import NONE, PRODUCTION
from model_registry.airflow_api import AirflowApi, TaskKey
from model_registry.approvals import without_user
from model_registry.exceptions import NotApprovedError, PolicyRefusedError, decided_otherwise

if TYPE_CHECKING:
    from include.lifecycle.registry import ModelRegistry

log = logging.getLogger(__name__)

REQUEST_KEY = "approval_request"
"""XCom of a waiting approval: what the door needs to apply the policy."""

_STARTED_BY_A_RULE = ("scheduled", "asset_triggered", "operator_triggered")
_LOGGED_IN = ("ui", "rest_api", "operator")
"""How a run was triggered whose user was logged in. The command line, also for a backfill, tells the name of its
operating system's user, which is nobody's name in Airflow."""


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
    """Return who triggered the run, as Airflow's login tells: ``NOBODY`` for a schedule, None when it is not known.

    A run that another run triggered has the user of that run.
    """
    run: Any = context.get("dag_run")
    if user := getattr(run, "triggering_user_name", None):
        return str(user)
    run_type = getattr(run, "run_type", None)
    if str(getattr(run_type, "value", run_type)) not in _STARTED_BY_A_RULE:
        return None
    # anybody may create an asset event by hand, and Airflow does not say who
    by_hand = any(event.source_task_id is None for event in getattr(run, "consumed_asset_events", None) or ())
    return None if by_hand else NOBODY


def verified_requester(context: Context, conn_id: str | None) -> str | None:
    """Return who triggered the run; None also where nothing shows that this user was logged in to Airflow.

    :param context: context of a task of the run
    :param conn_id: connection to Airflow's API, which tells how the run was triggered
    """
    user = requested_by(context)
    if not user:
        return user
    ti = context["ti"]
    try:
        api = AirflowApi.from_connection(conn_id)
        if api is None:
            return None
        with api:
            run = api.dag_run(TaskKey(ti.dag_id, ti.run_id, ti.task_id))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        log.warning("Who triggered the run is not verified: %s", type(error).__name__)
        return None
    return user if run.get("triggered_by") in _LOGGED_IN else None


def facts_of(context: Context, policy: PolicyConfig, conn_id: str | None, tags: Mapping[str, str]) -> Facts:
    """Return what a policy looks at beside the decision.

    :param context: context of a task of the run
    :param policy: what the approval needs
    :param conn_id: connection to Airflow's API, asked only where the policy asks for four eyes
    :param tags: the version's tags
    """
    requester = verified_requester(context, conn_id) if policy.four_eyes else requested_by(context)
    return Facts(requested_by=requester, validated_at=validated_at(tags))


def request_content(
    model: str, version: int, policy: PolicyConfig, timezone: str, facts: Facts, expires_at: datetime
) -> dict[str, Any]:
    """Return what a waiting approval leaves for the door.

    :param policy: what the approval needs
    :param timezone: of the policy's times of day
    :param facts: what the policy looks at beside the decision
    :param expires_at: when the wait expires
    """
    return {
        "model": model,
        "version": version,
        "policy": policy.model_dump(mode="json"),
        "timezone": timezone,
        "requested_by": facts.requested_by,
        "validated_at": facts.validated_at.isoformat() if facts.validated_at else None,
        "expires_at": expires_at.isoformat(),
    }


@dataclass(frozen=True, kw_only=True)
class PromotionRules:
    """Applies a policy to the promotion of one version.

    :param policy: what the approval needs
    :param timezone: of its times of day
    :param airflow_conn_id: connection to Airflow's API, optional
    """

    policy: PolicyConfig
    timezone: str
    airflow_conn_id: str | None
    registry: "ModelRegistry"
    model: str
    version: int

    def approve(self, context: Context, decision: Decision) -> Decision:
        """Return the approval with what the policy says of it.

        A version that is in Production already is past the policy: its promotion goes on, or was made outside.

        :param context: context of the task that promotes
        :param decision: the approval
        :raises PolicyRefusedError: when the policy is not met
        """
        info = self.registry.version(self.model, self.version)
        if decision.door not in (Door.MARK, Door.REQUIRED_ACTIONS) and info.stage != PRODUCTION:
            # what happens outside shows in the registry: of this only an XCom tells, which may be edited
            decision = without_user(decision)
        verdict = evaluate(self.policy, decision, facts_of(context, self.policy, self.airflow_conn_id, info.tags))
        if not verdict.allowed and info.stage != PRODUCTION:
            self._refuse(decision, verdict)
        return replace(decision, policy=verdict.summary())

    def held_until(self, decision: Decision) -> datetime | None:
        """Return the end of the blackout that holds the promotion back, None when none does.

        The approval is then recorded, on the version and in the ledger: no newer candidate supersedes it.

        :param decision: the approval
        :raises NotApprovedError: when another decision was first
        :raises AirflowSkipException: when the version waited, and a newer one came into Production meanwhile
        """
        info = self.registry.version(self.model, self.version)
        if info.stage == PRODUCTION:
            return None
        if tag.PROMOTION_WAITS_UNTIL in info.tags:
            self._not_overtaken(Decision.from_tags(info.tags) or decision)
        until = blackout_end(self.policy, self.timezone)
        if until is None:
            return None
        holds = self.registry.record_decision(self.model, self.version, decision)
        if holds.outcome is not Outcome.APPROVED:
            raise NotApprovedError(decided_otherwise(self.model, self.version, holds))
        self.registry.note_wait(self.model, self.version, until)
        return until

    def _refuse(self, decision: Decision, verdict: Verdict) -> None:
        sentence = verdict.refusal
        if decision.door is Door.MARK and not decision.user_is_verified:
            sentence += f" Who marked and why is read through the connection {self.airflow_conn_id!r} to Airflow's API."
        try:
            self.registry.note_refusal(self.model, self.version, sentence)
        except Exception as error:  # noqa: BLE001 -- the refusal holds, whether the tag can be written or not
            log.warning("The refusal is not on version %d of %s: %s", self.version, self.model, error)
        raise PolicyRefusedError(
            f"Version {self.version} of {self.model!r} is not promoted, and nothing is moved. {sentence} Clear the"
            " approval task to decide again."
        )

    def _not_overtaken(self, approved: Decision) -> None:
        """Check that no newer version, approved later, is in Production: two that waited may start in any order."""
        live = self.registry.production(self.model)
        if live is None or live.version <= self.version:
            return
        standing = Decision.from_tags(live.tags)
        if standing is not None and standing.at <= approved.at:
            return
        reason = f"version {live.version}, which came later, is in Production"
        superseded = Decision(Outcome.SUPERSEDED, reason=reason, dag_id=approved.dag_id, run_id=approved.run_id)
        self.registry.transition(self.model, self.version, NONE, superseded)
        raise AirflowSkipException(f"Superseded: version {self.version} of {self.model!r} waited, and {reason}")
