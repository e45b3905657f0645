"""Put a version of any registered model through staging, a person's approval and promotion."""

import pendulum
from airflow.sdk import DAG, Param

from model_registry.operators import ModelStageOperator, RecordDecisionOperator
from model_registry.sensors import ModelApprovalSensor

MODEL = {"model_name": "churn-classifier"}
VERSION = {"version": "{{ params.version }}"}  # the ledger knows that it passed its gate: ModelRegistry.validated

with DAG(
    dag_id="example_other_model",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={"version": Param(1, type="integer", minimum=1, description="Version of churn-classifier")},
):
    stage = ModelStageOperator(task_id="stage", stage="Staging", **MODEL, **VERSION)
    approval = ModelApprovalSensor(task_id="await_approval", poll_seconds=5, **MODEL, **VERSION)
    promote = ModelStageOperator(
        task_id="promote", stage="Production", approval_task_id="await_approval", **MODEL, **VERSION
    )
    record = RecordDecisionOperator(task_id="record_decision", approval_task_id="await_approval", **MODEL)
    stage >> approval >> [promote, record]
