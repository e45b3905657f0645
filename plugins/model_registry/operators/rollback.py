"""Operators of a rollback: a second person's approval, and the move itself."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.statements import Ask, Decided, as_reason
from include.lifecycle.rules.decisions import AIRFLOW_RUN_UNVERIFIED, UNKNOWN, Channel, Decision, Outcome
from include.lifecycle.rules.policy import Facts, require
from include.lifecycle.stages import PRODUCTION
from include.lifecycle.untrusted_text import one_line, says_something
from model_registry.approval.asking import APPROVE, REASON, REJECT, known_operator, place_of, series_of
from model_registry.approval.policies import requested_by
from model_registry.assets import promotions_of
from model_registry.exceptions import (
    ApprovalExpiredError,
    ApprovalRejectedError,
    DecisionPendingError,
    LifecycleRefusedError,
    NotApprovedError,
    decided_otherwise,
)
from model_registry.tasks import ModelTask, tells_refusals

if TYPE_CHECKING:
    from include.lifecycle.ledger.state import LedgerState
    from include.lifecycle.moves.integrity import IntegrityMode
    from include.lifecycle.moves.model_registry import ModelRegistry

PATIENCE_SECONDS = 20.0
"""How long an answered task waits for the API server to enter the answer in the ledger."""


class ModelRollbackOperator(ModelTask):
    """Put a version back into Production that was there before, for the reason given with the run.

    Whoever triggered the run decides, unless ``approval_task_id`` names a task in which a second person approves; a
    trigger by somebody who is none of the policy's approvers is refused. The version is the one that was asked for,
    as the promotion ledger has it: that of the run's form (or, where that names none, the champion before), or the
    one that the second person saw; no XCom chooses it. The policy is applied to the decision. The version has to
    have been in Production, as the promotion ledger tells, and its artifacts have to be those that were registered;
    the version that was in Production is archived with the reason. A version that is there already changes nothing.

    :param version: version to bring back (templated): of a run that no login triggered, and what the link leads to
    :param policy: what the decision needs
    :param approval_task_id: the ``RollbackApprovalOperator`` in which a second person approves
    :param integrity: ``required`` refuses a version without recorded digests
    :param kwargs: of ``ModelTask``
    """

    # also what the API server has to know of the task: of others a serialized DAG says nothing
    template_fields: Sequence[str] = ("model_name", "version", "mlflow_conn_id", "approval_task_id", "approvers")
    ui_color = "#f9d6d5"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        policy: PolicyConfig | None = None,
        approval_task_id: str | None = None,
        integrity: "IntegrityMode" = "when_recorded",
        **kwargs: Any,
    ) -> None:
        super().__init__(model_name=model_name, **promotions_of(model_name, kwargs))
        self.check_given(version=version)
        if policy is not None and policy.four_eyes and approval_task_id is None:
            raise ValueError(
                f"{self.task_id}: four_eyes needs approval_task_id, a task in which somebody else approves"
            )
        self.version = version
        self.policy = policy or PolicyConfig()
        self.approvers = list(self.policy.approvers)
        self.approval_task_id = approval_task_id
        self.integrity = integrity

    @tells_refusals
    def execute(self, context: Context) -> dict[str, Any]:
        """Move the version and return what was done."""
        model = self.rendered_model()
        if objection := self.hook.objection(self.policy):
            raise LifecycleRefusedError(f"Nothing is rolled back. {objection}")
        with self.registry(self.integrity) as registry:
            state = registry.ledger(model).read()
            ask = state.statements.last_ask(place_of(context, self.approval_task_id), "rollback")
            version = self._version(registry, state, model, ask)
            self.version, self.version_url = version, self.hook.version_url(model, version)
            decision = self._decision(context, state, ask, model, version)
            self._check_not_overtaken(context, registry, model, version, ask)
            approved = ask is not None and ask.id in state.statements.decided
            done = registry.rollback(model, version, decision, ask=ask.id if ask is not None and approved else "")
        return self.moved(context, "rolled_back", [done])

    def _version(self, registry: "ModelRegistry", state: "LedgerState", model: str, ask: Ask | None) -> int:
        """Return the version that was asked for."""
        if ask is None:
            return self.rendered_version()
        if (used := state.used(ask.id)) is not None:  # by an earlier try: the champion before is another one now
            return used.version
        if ask.version:
            return ask.version
        before = registry.previous_champion(model)
        if before is None:
            raise LifecycleRefusedError(f"No former champion of {model!r} is left to roll back to.")
        told = str(self.version).strip()
        if told.isdecimal() and int(told) != before.version:
            raise LifecycleRefusedError(
                f"Whoever triggered this run asked for the champion before, version {before.version} of {model!r}, and"
                f" the run is about version {told}: somebody edited its XComs, something else went live meanwhile, or"
                " the DAG takes its version from another field than `version`. Nothing is moved: trigger it again."
            )
        return before.version

    def _decision(self, context: Context, state: "LedgerState", ask: Ask | None, model: str, version: int) -> Decision:
        """Return the decision of who triggered the run or, where asked for, of the second person.

        :raises LifecycleRefusedError: when the policy is not met, with the rule and the remedy
        """
        decided = state.statements.decided.get(ask.id) if ask is not None else None
        said = decided.what if decided is not None else None
        if self.approval_task_id is not None:
            return self._second_person(context, ask, said, model, version)
        decision = said.decision if said is not None else decision_of_run(context)
        if not says_something(decision.reason):
            raise LifecycleRefusedError("The run has no reason: trigger it again and say why, it is kept.")
        self.log.info("Asked for by %s (%s): %s", decision.user, decision.user_source, one_line(decision.reason))
        return require(self.policy, decision, Facts(requested_by=said.requested_by if said is not None else None))

    def _second_person(
        self, context: Context, ask: Ask | None, said: Decided | None, model: str, version: int
    ) -> Decision:
        if ask is None or said is None:
            raise NotApprovedError(
                f"Nobody approved the rollback of {model!r} to version {version}, as the promotion ledger knows. Clear"
                f" {self.approval_task_id} to ask again."
            )
        approved = said.decision
        if approved.outcome is not Outcome.APPROVED:
            raise NotApprovedError(decided_otherwise(model, version, approved))
        asker = one_line(said.requested_by or requested_by(context) or UNKNOWN, 80)
        why = f"{ask.reason} (asked for by {asker}; approved: {approved.reason or 'no reason'})"
        decision = require(self.policy, approved, Facts(requested_by=said.requested_by))
        return replace(decision, reason=as_reason(why))

    def _check_not_overtaken(
        self, context: Context, registry: "ModelRegistry", model: str, version: int, ask: Ask | None
    ) -> None:
        """Check that nothing else came into Production since the rollback was asked for, as when an old run is cleared.

        :raises LifecycleRefusedError: when something did
        """
        ti, asked = context["ti"], ask.at if ask is not None else _asked_at(context)
        later = [
            event
            for event in registry.history(model)
            if event.is_promotion and event.time > asked and (event.dag_id, event.run_id) != (ti.dag_id, ti.run_id)
        ]
        if later and registry.version(model, version).stage != PRODUCTION:
            raise LifecycleRefusedError(
                f"The rollback of {model!r} to version {version} was asked for on {asked:%Y-%m-%d %H:%M} UTC, and"
                f" version {later[-1].version} came into Production since: if it is still wanted, trigger it again."
            )


class RollbackApprovalOperator(ModelTask, HITLOperator):
    """Ask a second person to approve a rollback, under Required Actions.

    The request shows the version beside the one in Production, the reason and who asked, and is entered in the
    promotion ledger. Approve ends as success; Reject, and no answer in time, end as failed without a retry. To mark it
    success or failed is to answer as well.

    :param version: version to bring back (templated)
    :param policy: what the answer needs; give ``ModelRollbackOperator`` the same
    :param expires_after: how long the second person has
    :param kwargs: of ``ModelTask``
    """

    template_fields: Sequence[str] = ("model_name", "version", "mlflow_conn_id")
    ui_color = "#fdebd0"

    def __init__(
        self,
        *,
        version: str | int,
        policy: PolicyConfig | None = None,
        expires_after: timedelta = timedelta(days=1),
        **kwargs: Any,
    ) -> None:
        help_text = "Kept in the promotion history."
        form = Param("", help_text, source="task", type="string", title="Reason", maxLength=1000)
        kwargs["params"] = {REASON: form}  # the DAG's own are not part of the answer
        super().__init__(subject="Roll back?", options=[APPROVE, REJECT], response_timeout=expires_after, **kwargs)
        known_operator(self)
        self.check_given(version=version)
        self.version = version
        self.policy = policy
        self.expires_after = expires_after

    def execute(self, context: Context) -> Any:
        """Ask, then wait; no worker slot is held."""
        from include.lifecycle.views.review import render_review

        model, version = self.rendered()
        # Jinja is done by now: what the registry and the form hold is text, and stays so
        self.subject = f"Roll {model} back to version {version}?"
        reason = as_reason((context.get("params") or {}).get(REASON))
        ask = Ask(
            model=model,
            version=version,
            place=place_of(context),
            instance=str(context["ti"].id),
            series=series_of(context, self.retries or 0),
            purpose="rollback",
            policy=self.policy,
            expires_at=datetime.now(UTC) + self.expires_after,
            reason=reason,
        )
        notes = {"Reason": reason, "Asked for by": requested_by(context) or UNKNOWN}
        with self.registry() as registry:
            self.body = render_review(registry, model, version, notes=notes, link=self.version_url)
            ask = registry.ask(ask)
            answered = registry.ledger(model).read().statements.decided.get(ask.id)
        if answered is not None:  # a try before this one was answered
            return self._end(ask, answered.what)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """End the wait.

        :param event: the response, of which the ledger tells who gave it, or that nobody answered in time
        """
        model, version = self.rendered()
        if "error" in event:
            raise ApprovalExpiredError(
                f"Expired: nobody approved the rollback of {model!r} to version {version} in time."
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.registry() as registry:
            while True:
                said = registry.ledger(model).read().statements
                ask = said.ask_of(str(context["ti"].id))
                if ask is not None and (answered := said.decided.get(ask.id)) is not None:
                    return self._end(ask, answered.what)
                if time.monotonic() > deadline:
                    break
                time.sleep(1)
        raise DecisionPendingError(
            f"The rollback of {model!r} to version {version} was answered, and the promotion ledger does not have the"
            " answer: Airflow's API server enters it as soon as MLflow answers there, where it runs with the plugin of"
            " this package."
        )

    def _end(self, ask: Ask, said: Decided) -> dict[str, Any]:
        decision = said.decision
        if decision.outcome is not Outcome.APPROVED:
            raise ApprovalRejectedError(
                f"Rejected: {one_line(decision.user, 80)} refused the rollback to {ask.version}."
            )
        return {"model": ask.model, "version": ask.version, **decision.to_dict()}


def decision_of_run(context: Context) -> Decision:
    """Return the decision that somebody made who triggered this run, of whom no login is known."""
    ti, told = context["ti"], requested_by(context)
    return Decision(
        Outcome.APPROVED,
        user=told or UNKNOWN,
        user_source=AIRFLOW_RUN_UNVERIFIED if told else UNKNOWN,
        reason=as_reason((context.get("params") or {}).get(REASON)),
        door=Channel.FORM,
        at=_asked_at(context),
        dag_id=ti.dag_id,
        run_id=ti.run_id,
    )


def _asked_at(context: Context) -> datetime:
    """Return when the run was triggered, in UTC."""
    now = datetime.now(UTC)
    told = getattr(context.get("dag_run"), "run_after", None)
    return min(now, told) if isinstance(told, datetime) else now
