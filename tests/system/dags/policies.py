"""Stage, approval and promotion of toy versions under the policy that the configuration has when a task starts."""

import pendulum
from airflow.sdk import DAG, Param

from include.lifecycle.config.load import load_lifecycle_config
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.operators.stage import ModelStageOperator

CONFIG = load_lifecycle_config("rossmann")
VERSION = {"model_name": "{{ params.model }}", "version": "{{ params.version }}"}
RULES = {
    "policy": CONFIG.approval.policy.model_copy(update={"review_required": False}),
    "timezone": CONFIG.schedule.timezone,
}

with DAG(
    dag_id="policies",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    max_active_runs=100,
    is_paused_upon_creation=False,
    default_args={"retries": 1, "retry_delay": pendulum.duration(seconds=1)},
    params={"model": Param("m", type="string"), "version": Param(1, type="integer", minimum=1)},
):
    stage = ModelStageOperator(task_id="stage", stage="Staging", **VERSION)
    approval = ModelApprovalSensor(task_id="await_approval", poll_seconds=2, **VERSION, **RULES)
    promote = ModelStageOperator(
        task_id="promote", stage="Production", approval_task_id="await_approval", **VERSION, **RULES
    )
    stage >> approval >> promote
