"""Approvals that only wait, at the interval at which they are shipped to look at the registry."""

import pendulum
from airflow.sdk import DAG, Param

from model_registry.approval.sensors import ModelApprovalSensor

with DAG(
    dag_id="waits",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    max_active_runs=1000,
    is_paused_upon_creation=False,
    params={"model": Param("m", type="string"), "version": Param(1, type="integer", minimum=1)},
):
    ModelApprovalSensor(task_id="await_approval", model_name="{{ params.model }}", version="{{ params.version }}")
