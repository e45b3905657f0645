"""The operator that writes how an approval ended onto the version, where no code of the approval task did."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.config import NotificationConfig
from include.lifecycle.decisions import Outcome
from include.lifecycle.errors import TransitionRefusedError, VersionNotFoundError
from model_registry.approvals import place_of
from model_registry.exceptions import told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, marked, tells
from model_registry.values import constant, rendered_text


class RecordDecisionOperator(BaseOperator):
    """Write onto the version how its approval ended, where no code of the approval task did, and tell people.

    Marking a task failed runs none of its code. The promotion ledger has the rejection since the mark; this task,
    right behind the approval and with the trigger rule ``all_done``, shows it on the version. It does nothing when
    the approval was given (the promotion shows that) or nobody decided. It must not stand behind the promotion:
    Airflow takes a run's state from its last tasks, and this one is no failure when the approval was.

    :param model_name: registered model (templated)
    :param approval_task_id: the task that waits for the approval
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name", "mlflow_conn_id")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#d6eaf8"

    def __init__(
        self,
        *,
        model_name: str,
        approval_task_id: str,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
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
        self.version_url = ""

    @tells(marked)
    def execute(self, context: Context) -> dict[str, Any]:
        """Show the decision on the version and return it."""
        from include.lifecycle.messages import confirm_decision

        model = rendered_text(self.task_id, "model_name", self.model_name)
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        with told_to_airflow(), hook.registry() as registry:
            state = registry.ledger(model).read()
            ask = state.statements.last_ask(place_of(context, self.approval_task_id))
            if ask is None:
                raise AirflowSkipException(f"{self.approval_task_id} asked nobody about a version of {model!r}")
            self.version_url = hook.version_url(model, ask.version)
            item = state.statements.decided.get(ask.id)
            if item is None:
                raise AirflowSkipException(
                    f"Nobody decided on version {ask.version} of {model!r} in this run. Where it still waits in"
                    f" Staging, clear {self.approval_task_id} to ask again."
                )
            decision = item.what.decision
            if decision.outcome is Outcome.APPROVED:
                raise AirflowSkipException("The approval was given: the promotion shows it")
            try:
                holds = registry.record_decision(model, ask.version, decision)
            except (TransitionRefusedError, VersionNotFoundError) as error:  # it is not there any more
                raise AirflowSkipException(f"Nothing to record: {error}") from error
        for sentence in confirm_decision(ask.version, decision, holds):
            self.log.info("%s", sentence)
        return {"model": model, "version": ask.version, **holds.to_dict()}
