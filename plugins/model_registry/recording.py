"""The operator that records how an approval ended where no code of the approval task did."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.config import NotificationConfig
from include.lifecycle.decisions import Decision, Outcome
from include.lifecycle.errors import TransitionRefusedError, VersionNotFoundError
from model_registry.approvals import NobodyDecidedError, Recorded, decision_of_mark, recorded_by, task_state
from model_registry.exceptions import told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, marked, tells
from model_registry.operators import AIRFLOW_API_CONN
from model_registry.values import constant, rendered_text


class RecordDecisionOperator(BaseOperator):
    """Record on the version how its approval ended, where no code of the approval task did.

    Marking a task failed runs none of its code, and a worker may die or MLflow be away just after a person
    rejected. Its trigger rule is ``all_done``, right behind the approval. It does nothing when the approval
    was given (the promotion records that) or was never asked for. It must not stand behind the promotion: Airflow
    takes a run's state from its last tasks, and this one is no failure when the approval was.

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
        self.version_url = MLflowRegistryHook(self.mlflow_conn_id).version_url(model, recorded.version)
        decision = recorded.decision
        if decision is None and state == "failed":
            try:
                decision = decision_of_mark(context, self.approval_task_id, Outcome.REJECTED, self.airflow_conn_id)
            except NobodyDecidedError as error:
                raise AirflowSkipException(
                    f"Nothing to record: {error}, and version {recorded.version} still waits in Staging."
                    f" Clear {self.approval_task_id} to ask again."
                ) from error
        if decision is None or decision.outcome is Outcome.APPROVED:
            raise AirflowSkipException(f"Nothing to record: {self.approval_task_id} is {state}")
        return self._record(recorded, decision)

    def _record(self, recorded: Recorded, decision: Decision) -> dict[str, Any]:
        from include.lifecycle.messages import confirm_decision

        model, version = recorded.model, recorded.version
        with told_to_airflow(), MLflowRegistryHook(self.mlflow_conn_id).registry() as registry:
            try:
                holds = registry.record_decision(model, version, decision)
            except (TransitionRefusedError, VersionNotFoundError) as error:  # it is not there any more
                raise AirflowSkipException(f"Nothing to record: {error}") from error
        for sentence in confirm_decision(version, decision, holds):
            self.log.info("%s", sentence)
        return {"model": model, "version": version, **holds.to_dict()}
