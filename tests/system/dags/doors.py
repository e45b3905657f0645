"""The end of a retrain for toy versions: stage, approval, promotion, without the hour of training before it."""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from include.lifecycle.config.models import TaskConfig
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.operators.after_approval import ConfirmPromotionOperator, RecordDecisionOperator
from model_registry.operators.stage import ModelStageOperator

MODEL = {"model_name": "{{ params.model }}"}
VERSION = {"version": "{{ params.version }}"}
KINDS = {
    "doors": {},
    # Airflow takes what a task left away when it looks again: a mark in that second finds that nobody was asked.
    "doors_rescheduling": {"deferrable": False, "poll_seconds": 15},
    "doors_expiring": {"expires_after": timedelta(seconds=10)},
    "doors_daily": {},
    "patient": {},
    "patient_rescheduling": {"deferrable": False, "poll_seconds": 15},
}
TASKS = TaskConfig()
QUICK = {"retries": 1, "retry_delay": timedelta(seconds=1)}
# As the retrain is shipped, for what stands still: retries that come sooner are used up within one outage.
PATIENT = {
    "retries": TASKS.retries,
    "retry_delay": timedelta(seconds=TASKS.retry_delay_seconds),
    "retry_exponential_backoff": True,
}

for dag_id, arguments in KINDS.items():
    with DAG(
        dag_id=dag_id,
        schedule="@daily" if dag_id == "doors_daily" else None,
        catchup=False,
        start_date=pendulum.datetime(2026, 1, 1),
        max_active_runs=100,
        is_paused_upon_creation=False,
        default_args=PATIENT if dag_id.startswith("patient") else QUICK,
        params={"model": Param("m", type="string"), "version": Param(1, type="integer", minimum=1)},
    ):
        stage = ModelStageOperator(task_id="stage", stage="Staging", **MODEL, **VERSION)
        approval = ModelApprovalSensor(task_id="await_approval", **{"poll_seconds": 3, **arguments, **MODEL, **VERSION})
        promote = ModelStageOperator(
            task_id="promote", stage="Production", approval_task_id="await_approval", **MODEL, **VERSION
        )
        confirm = ConfirmPromotionOperator(
            task_id="confirm", approval_task_id="await_approval", promote_task_id="promote", **MODEL
        )
        record = RecordDecisionOperator(task_id="record_decision", approval_task_id="await_approval", **MODEL)
        stage >> approval >> promote >> confirm
        approval >> record
