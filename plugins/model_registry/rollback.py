"""Operators of a rollback: a second person's approval, and the move itself."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperator, Context, Param

from include.lifecycle.config import NotificationConfig, PolicyConfig
from include.lifecycle.decisions import AIRFLOW_RUN, AIRFLOW_RUN_UNVERIFIED, UNKNOWN, Decision, Door, Outcome
from include.lifecycle.policy import Facts, require
from include.lifecycle.stages import PRODUCTION
from include.lifecycle.text import one_line, says_something
from model_registry.airflow_api import TaskKey
from model_registry.approvals import (
    APPROVE,
    REASON,
    REJECT,
    Recorded,
    as_reason,
    decision_of_response,
    recorded_by,
    verified_response,
)
from model_registry.assets import emit_promotion, promotions_of
from model_registry.exceptions import (
    ApprovalExpiredError,
    ApprovalRejectedError,
    LifecycleRefusedError,
    NotApprovedError,
    decided_otherwise,
    told_to_airflow,
)
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, rolled_back, tells
from model_registry.operators import AIRFLOW_API_CONN
from model_registry.policies import requested_by, verified_requester
from model_registry.values import constant, rendered_text, rendered_version

if TYPE_CHECKING:
    from include.lifecycle.integrity import IntegrityMode
    from include.lifecycle.registry import ModelRegistry


class ModelRollbackOperator(BaseOperator):
    """Put a version back into Production that was there before, for the reason given with the run.

    Whoever triggered the run decides, unless ``approval_task_id`` names a task in which a second person
    approves. The policy is applied to that decision. The version has to have been in Production, as the
    promotion ledger tells, and its artifacts have to be those that were registered; the version that was in
    Production is archived with the reason. A version that is there already changes nothing.

    :param model_name: registered model (templated)
    :param version: version to bring back (templated)
    :param reason_param: parameter of the run that holds the reason
    :param policy: what the decision needs
    :param approval_task_id: the ``RollbackApprovalOperator`` in which a second person approves
    :param integrity: ``required`` refuses a version without recorded digests
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    :param airflow_conn_id: connection to Airflow's own API: shows that who triggered or approved was logged in
    """

    template_fields: Sequence[str] = ("model_name", "version")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#f9d6d5"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        reason_param: str = REASON,
        policy: PolicyConfig | None = None,
        approval_task_id: str | None = None,
        integrity: "IntegrityMode" = "when_recorded",
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        airflow_conn_id: str | None = AIRFLOW_API_CONN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**promotions_of(model_name, kwargs))
        for name, value in (("model_name", model_name), ("version", version), ("reason_param", reason_param)):
            constant(self.task_id, name, value)
        if policy is not None and policy.four_eyes and approval_task_id is None:
            raise ValueError(
                f"{self.task_id}: four_eyes needs approval_task_id, a task in which somebody else approves"
            )
        self.model_name = model_name
        self.version = version
        self.reason_param = reason_param
        self.policy = policy or PolicyConfig()
        self.approval_task_id = approval_task_id
        self.integrity = integrity
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.airflow_conn_id = airflow_conn_id
        self.version_url = ""

    @tells(rolled_back)
    def execute(self, context: Context) -> dict[str, Any]:
        """Move the version and return what was done."""
        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        self.version_url = hook.version_url(model, version)
        decision = self._decision(context, model, version)
        from include.lifecycle.messages import confirm

        with told_to_airflow(), hook.registry(integrity=self.integrity) as registry:
            self._check_not_overtaken(context, registry, model, version)
            done = registry.rollback(model, version, decision)
        for sentence in confirm(done):
            self.log.info("%s", sentence)
        emit_promotion(context, done.event)
        return done.to_dict()

    def _decision(self, context: Context, model: str, version: int) -> Decision:
        """Return the decision of who triggered the run or, where asked for, of the second person.

        :raises LifecycleRefusedError: when the policy is not met, with the rule and the remedy
        """
        asked = decision_of_run(context, self.reason_param, self.airflow_conn_id)
        self.log.info("Asked for by %s (%s): %s", asked.user, asked.user_source, one_line(asked.reason))
        requester = asked.user if asked.user_is_verified else None
        decision = asked
        if self.approval_task_id is not None:
            approved = self._approval(context, self.approval_task_id, model, version)
            why = (
                f"{asked.reason} (asked for by {one_line(asked.user, 80)}; approved: {approved.reason or 'no reason'})"
            )
            decision = replace(approved, reason=as_reason(why))
        with told_to_airflow():
            return require(self.policy, decision, Facts(requested_by=requester))

    def _check_not_overtaken(self, context: Context, registry: "ModelRegistry", model: str, version: int) -> None:
        """Check that nothing else came into Production since the rollback was asked for, as when an old run is cleared.

        :raises LifecycleRefusedError: when something did
        """
        ti, asked = context["ti"], _asked_at(context)
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

    def _approval(self, context: Context, task_id: str, model: str, version: int) -> Decision:
        recorded = recorded_by(context, task_id)
        if recorded is None or recorded.decision is None or (recorded.model, recorded.version) != (model, version):
            raise NotApprovedError(
                f"Nobody approved the rollback to version {version} of {model!r}: a second person answers {task_id}"
                f" under Required Actions; marking it success approves nothing. Clear {task_id} to ask again."
            )
        if recorded.decision.outcome is not Outcome.APPROVED:
            raise NotApprovedError(decided_otherwise(model, version, recorded.decision))
        ti = context["ti"]
        dag = self.get_dag()
        task = dag.task_dict.get(task_id) if dag is not None else None
        retries = (task.retries or 0) if task is not None else 0
        key = TaskKey(ti.dag_id, ti.run_id, task_id)
        return verified_response(recorded.decision, key, retries, self.airflow_conn_id)


class RollbackApprovalOperator(HITLOperator):
    """Ask a second person, under Required Actions, to approve a rollback.

    The request shows the version beside the one in Production, the reason and who asked. Approve ends as
    success; Reject, and no answer in time, end as failed without a retry.

    :param model_name: registered model (templated)
    :param version: version to bring back (templated)
    :param reason_param: parameter of the run that holds the reason
    :param expires_after: how long the second person has
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name", "version")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#fdebd0"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        reason_param: str = REASON,
        expires_after: timedelta = timedelta(days=1),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        help_text = "Kept in the promotion history."
        form = Param("", help_text, source="task", type="string", title="Reason", maxLength=1000)
        kwargs["params"] = {REASON: form}  # the DAG's own are not part of the answer
        super().__init__(subject="Roll back?", options=[APPROVE, REJECT], response_timeout=expires_after, **kwargs)
        constant(self.task_id, "model_name", model_name)
        constant(self.task_id, "version", version)
        self.model_name = model_name
        self.version = version
        self.reason_param = reason_param
        self.mlflow_conn_id = mlflow_conn_id
        self.version_url = ""

    def execute(self, context: Context) -> Any:
        """Ask, then wait; no worker slot is held."""
        from include.lifecycle.review import render_review

        model, version = self._version()
        # Jinja is done by now: what the registry and the form hold is text, and stays so
        self.subject = f"Roll {model} back to version {version}?"
        notes = {"Reason": _reason_of(context, self.reason_param), "Asked for by": requested_by(context) or UNKNOWN}
        with told_to_airflow(), MLflowRegistryHook(self.mlflow_conn_id).registry() as registry:
            self.body = render_review(registry, model, version, notes=notes)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """End the wait.

        :param event: the response, or that nobody answered in time
        """
        model, version = self._version()
        ti = context["ti"]
        if "error" in event:
            raise ApprovalExpiredError(
                f"Expired: nobody approved the rollback of {model!r} to version {version} in time."
            )
        decision = decision_of_response(event, dag_id=ti.dag_id, run_id=ti.run_id)
        if decision.outcome is not Outcome.APPROVED:
            raise ApprovalRejectedError(f"Rejected: {one_line(decision.user, 80)} refused the rollback to {version}.")
        return Recorded(model, version, decision).to_xcom()

    def _version(self) -> tuple[str, int]:
        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        self.version_url = MLflowRegistryHook(self.mlflow_conn_id).version_url(model, version)
        return model, version


def decision_of_run(context: Context, reason_param: str, conn_id: str | None) -> Decision:
    """Return the decision that somebody made by triggering this run with a reason.

    :param context: context of a task of the run
    :param reason_param: parameter that holds the reason
    :param conn_id: connection to Airflow's API, without which the user's name counts as not verified
    :raises LifecycleRefusedError: when there is no reason
    """
    reason = _reason_of(context, reason_param)
    if not says_something(reason):
        raise LifecycleRefusedError(f"The run has no {reason_param}: trigger it again and say why, it is kept.")
    ti = context["ti"]
    told, verified = requested_by(context), verified_requester(context, conn_id)
    source = AIRFLOW_RUN if verified else AIRFLOW_RUN_UNVERIFIED
    return Decision(
        Outcome.APPROVED,
        user=told or UNKNOWN,
        user_source=source if told else UNKNOWN,
        reason=reason,
        door=Door.FORM,
        at=_asked_at(context),
        dag_id=ti.dag_id,
        run_id=ti.run_id,
    )


def _asked_at(context: Context) -> datetime:
    """Return when the run was triggered, in UTC."""
    now = datetime.now(UTC)
    told = getattr(context.get("dag_run"), "run_after", None)
    return min(now, told) if isinstance(told, datetime) else now


def _reason_of(context: Context, reason_param: str) -> str:
    return as_reason((context.get("params") or {}).get(reason_param))
