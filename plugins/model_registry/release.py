"""The end of every retrain in one call: staging, approval, promotion, as the model's configuration has them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, chain

from include.lifecycle.config import LifecycleConfig
from model_registry.confirmations import ConfirmPromotionOperator
from model_registry.operators import ModelStageOperator
from model_registry.recording import RecordDecisionOperator
from model_registry.sensors import ModelApprovalSensor
from model_registry.templates import xcom_field


@dataclass(frozen=True)
class ReleaseTasks:
    """The tasks that bring a version from its gate to Production, wired to one another.

    ``stage`` is the first: what comes before the release goes before it.
    """

    stage: ModelStageOperator
    await_approval: ModelApprovalSensor
    promote: ModelStageOperator
    record_decision: RecordDecisionOperator
    confirm: ConfirmPromotionOperator


def release_tasks(config: LifecycleConfig, *, version: str | int, review: BaseOperator | None = None) -> ReleaseTasks:
    """Return the tasks that bring a version from its gate to Production, in the DAG around the call.

    :param config: the model's life cycle: names, connections, expiry, superseding, policy
    :param version: version that passed its gate (templated)
    :param review: task that reviews the version once it is in Staging, where there is one
    """
    registry: dict[str, Any] = {
        "model_name": config.model,
        "mlflow_conn_id": config.connections.mlflow,
        "notifications": config.notifications,
    }
    rules: dict[str, Any] = {"policy": config.approval.policy, "timezone": config.schedule.timezone}
    staged = xcom_field("stage", "version")
    stage = ModelStageOperator(
        task_id="stage",
        version=version,
        stage="Staging",
        reason="gate passed",
        supersede=config.approval.supersede,
        **registry,
    )
    await_approval = ModelApprovalSensor(
        task_id="await_approval",
        version=staged,
        expires_after=timedelta(days=config.approval.expires_after_days),
        remind_before=timedelta(hours=config.approval.remind_before_hours or 0),
        poll_seconds=config.approval.poll_seconds,
        **registry,
        **rules,
    )
    promote = ModelStageOperator(
        task_id="promote",
        version=staged,
        stage="Production",
        approval_task_id="await_approval",
        integrity=config.integrity,
        **registry,
        **rules,
    )
    record_decision = RecordDecisionOperator(task_id="record_decision", approval_task_id="await_approval", **registry)
    confirm = ConfirmPromotionOperator(
        task_id="confirm",
        model_name=config.model,
        approval_task_id="await_approval",
        promote_task_id="promote",
        mlflow_conn_id=config.connections.mlflow,
        notifications=config.notifications,
    )
    chain(stage, *((review,) if review is not None else ()), await_approval, promote, confirm)
    await_approval >> record_decision
    return ReleaseTasks(stage, await_approval, promote, record_decision, confirm)
