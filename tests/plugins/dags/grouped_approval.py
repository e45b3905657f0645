"""An approval inside a task group, for marks that reach it through the group."""

import pendulum
from airflow.sdk import DAG, TaskGroup

from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.operators.stage import ModelStageOperator

VERSION = {"model_name": "churn-classifier", "version": "1"}

with DAG(dag_id="grouped_approval", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):
    with TaskGroup("decide"):
        ask = ModelApprovalSensor(task_id="await_approval", **VERSION)
    promote = ModelStageOperator(
        task_id="promote", stage="Production", approval_task_id="decide.await_approval", **VERSION
    )
    ask >> promote
