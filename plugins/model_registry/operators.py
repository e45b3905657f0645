"""Operators that move a model version between stages, and that record what nobody's code recorded."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.config import NotificationConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.stages import NONE, PRODUCTION, STAGING
from model_registry.approvals import as_reason, decision_of_mark, recorded_by, task_state
from model_registry.exceptions import NotApprovedError, told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, marked, promoted, tells
from model_registry.values import constant, rendered_text, rendered_version

AIRFLOW_API_CONN = "airflow_api_default"
_TARGETS = (STAGING, PRODUCTION, NONE)  # a version reaches Archived only by being replaced


class ModelStageOperator(BaseOperator):
    """Move a version of any registered model to a stage, under the model's lock and with an entry in its ledger.

    A move to Production archives the version that was there, by the same call. Moving a version that is
    there already changes nothing, so the task may be retried or cleared. With ``approval_task_id`` the move
    needs an approval by that task of the same run, for this version; who decided, when and why goes into
    the ledger with it.

    :param model_name: registered model (templated)
    :param version: version to move (templated): the one that an earlier task of the run returned
    :param stage: Staging, Production or None (templated)
    :param reason: why, for moves that no person decides (templated)
    :param require_validation: refuse a version whose gate has not passed, as the version's tags tell
    :param approval_task_id: the task that waits for the approval, usually a ``ModelApprovalSensor``
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    :param airflow_conn_id: connection to Airflow's own API, optional: tells who marked the approval
    """

    template_fields: Sequence[str] = ("model_name", "version", "stage", "reason")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#d6eaf8"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        stage: str,
        reason: str = "",
        require_validation: bool = True,
        approval_task_id: str | None = None,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        airflow_conn_id: str | None = AIRFLOW_API_CONN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("model_name", model_name), ("version", version), ("stage", stage)):
            constant(self.task_id, name, value)
        if "{{" not in stage and stage not in _TARGETS:
            raise ValueError(f"{self.task_id}: stage must be one of {', '.join(_TARGETS)}, found {stage!r}")
        if approval_task_id == self.task_id:
            raise ValueError(f"{self.task_id}: approval_task_id must name another task")
        self.model_name = model_name
        self.version = version
        self.stage = stage
        self.reason = reason
        self.require_validation = require_validation
        self.approval_task_id = approval_task_id
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.airflow_conn_id = airflow_conn_id
        self.version_url = ""

    @tells(promoted)
    def execute(self, context: Context) -> dict[str, Any]:
        """Move the version and return what was done."""
        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        self.version_url = hook.version_url(model, version)
        decision = self._decision(context, model, version)
        from include.lifecycle.messages import confirm

        with told_to_airflow(), hook.registry() as registry:
            done = registry.transition(model, version, self.stage, decision, require_validation=self.require_validation)
        for sentence in confirm(done):
            self.log.info("%s", sentence)
        return {
            "model": model,
            "version": version,
            "from": done.from_stage,
            "to": done.to_stage,
            "archived": list(done.archived),
            "changed": done.changed,
            "user": done.event.user,
            "reason": done.event.reason,
            "ledger_entry": done.event.entry,
            "ledger_digest": done.event.digest,
        }

    def _decision(self, context: Context, model: str, version: int) -> Decision:
        ti = context["ti"]
        if self.approval_task_id is None:
            outcome = Outcome.SUPERSEDED if self.stage == NONE else Outcome.APPROVED
            reason = as_reason(self.reason)
            return Decision(outcome, reason=reason, door=Door.AUTOMATIC, dag_id=ti.dag_id, run_id=ti.run_id)
        decision = self._approval(context, self.approval_task_id, model, version)
        self.log.info(
            "Approved by %s (%s) through %s at %s", decision.user, decision.user_source, decision.door, decision.at
        )
        return decision

    def _approval(self, context: Context, task_id: str, model: str, version: int) -> Decision:
        """Return the approval of this version by this run.

        :raises NotApprovedError: when there is none
        """
        recorded = recorded_by(context, task_id)
        if recorded is not None and (recorded.model, recorded.version) != (model, version):
            raise NotApprovedError(
                f"{task_id} decided on version {recorded.version} of {recorded.model!r}, not on version {version}"
                f" of {model!r}: nothing is moved. Clear {task_id} to ask for this version."
            )
        if recorded is not None and recorded.decision is not None:
            decision = recorded.decision
            if decision.outcome is not Outcome.APPROVED:
                raise NotApprovedError(
                    f"Version {version} of {model!r} was {decision.outcome} by {decision.user} at"
                    f" {decision.at:%Y-%m-%d %H:%M} UTC: the first decision holds. Train a new candidate."
                )
            return decision
        state = task_state(context, task_id)
        if recorded is None and state == "success":
            raise NotApprovedError(
                f"{task_id} was marked success before it asked: nobody was shown version {version} of {model!r}."
                f" Clear {task_id}, then decide."
            )
        if state != "success":
            raise NotApprovedError(
                f"Version {version} of {model!r} was not approved: {task_id} is {state or 'not started'}."
                f" Approve it there; this task then runs by itself."
            )
        return decision_of_mark(context, task_id, Outcome.APPROVED, self.airflow_conn_id)


class RecordDecisionOperator(BaseOperator):
    """Record on the version how its approval ended, where no code of the approval task did.

    Marking a task failed runs none of its code, and a worker may die or MLflow be away just after a person
    rejected. Give it the trigger rule ``all_done`` right behind the approval. It does nothing when the
    approval was given (the promotion records that) or was never asked for.

    :param model_name: registered model (templated)
    :param approval_task_id: the task that waits for the approval
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    :param airflow_conn_id: connection to Airflow's own API, optional: tells who marked the approval
    """

    template_fields: Sequence[str] = ("model_name",)
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#d6eaf8"

    def __init__(
        self,
        *,
        model_name: str,
        approval_task_id: str,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        airflow_conn_id: str | None = AIRFLOW_API_CONN,
        trigger_rule: str = "all_done",
        **kwargs: Any,
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        constant(self.task_id, "model_name", model_name)
        constant(self.task_id, "approval_task_id", approval_task_id)
        self.model_name = model_name
        self.approval_task_id = approval_task_id
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.airflow_conn_id = airflow_conn_id
        self.version_url = ""

    @tells(marked)
    def execute(self, context: Context) -> dict[str, Any]:
        """Record the decision and return it."""
        model = rendered_text(self.task_id, "model_name", self.model_name)
        recorded = recorded_by(context, self.approval_task_id)
        state = task_state(context, self.approval_task_id)
        if recorded is None or recorded.model != model:
            raise AirflowSkipException(f"No approval was asked for: {self.approval_task_id} is {state}")
        decision = recorded.decision
        if decision is None and state == "failed":
            decision = decision_of_mark(context, self.approval_task_id, Outcome.REJECTED, self.airflow_conn_id)
        if decision is None or decision.outcome is Outcome.APPROVED:
            raise AirflowSkipException(f"Nothing to record: {self.approval_task_id} is {state}")
        from include.lifecycle.messages import confirm_decision

        hook = MLflowRegistryHook(self.mlflow_conn_id)
        self.version_url = hook.version_url(model, recorded.version)
        with told_to_airflow(), hook.registry() as registry:
            try:
                holds = registry.record_decision(model, recorded.version, decision)
            except TransitionRefusedError as error:  # it moved meanwhile: the decision comes late
                raise AirflowSkipException(f"Nothing to record: {error}") from error
        for sentence in confirm_decision(recorded.version, decision, holds):
            self.log.info("%s", sentence)
        return {"model": model, "version": recorded.version, **holds.to_dict()}
