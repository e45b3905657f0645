"""Approvals of toy versions under several policies: who decided, and who may."""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from include.lifecycle.config.approval import PolicyConfig
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.operators.after_approval import ConfirmPromotionOperator, RecordDecisionOperator
from model_registry.operators.stage import ModelStageOperator
from model_registry.tasks import xcom_field

MODEL = {"model_name": "{{ params.model }}"}
VERSION = {"version": "{{ params.version }}"}
# SimpleAuthManager writes roles small, FAB with a capital.
APPROVERS = PolicyConfig(approvers=("role:op", "role:Op"))
KINDS = {
    "identity_approvers": {"policy": APPROVERS},
    "identity_four_eyes": {"policy": PolicyConfig(approvers=APPROVERS.approvers, four_eyes=True)},
    "identity_open": {},
    "identity_rejected": {"policy": APPROVERS},
    "identity_attacked": {"policy": PolicyConfig(approvers=("user:olga",))},
}

for dag_id, arguments in KINDS.items():
    with DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1),
        max_active_runs=100,
        is_paused_upon_creation=False,
        default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
        params={"model": Param("m", type="string"), "version": Param(1, type="integer", minimum=1)},
    ):
        # as the shipped DAGs: the version is what the task before left as XCom
        version = {"version": xcom_field("stage", "version")} if dag_id == "identity_attacked" else VERSION
        approval = ModelApprovalSensor(task_id="await_approval", poll_seconds=5, **arguments, **MODEL, **version)
        promote = ModelStageOperator(
            task_id="promote", stage="Production", approval_task_id="await_approval", **arguments, **MODEL, **version
        )
        approval >> promote
        if dag_id == "identity_attacked":
            ModelStageOperator(task_id="stage", stage="Staging", **MODEL, **VERSION) >> approval
            promote >> ConfirmPromotionOperator(
                task_id="confirm", approval_task_id="await_approval", promote_task_id="promote", **MODEL
            )
        if dag_id in ("identity_rejected", "identity_attacked"):
            approval >> RecordDecisionOperator(task_id="record_decision", approval_task_id="await_approval", **MODEL)
