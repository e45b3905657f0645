"""DAGs whose approvals and rollbacks somebody might lead astray."""

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.operators.rollback import ModelRollbackOperator
from model_registry.operators.stage import ModelStageOperator

VERSION = {"model_name": "churn-classifier", "version": "1"}
REASON = {"reason": Param("", type="string")}
OTHER_FIELD = {**REASON, "to_version": Param(3, type="integer")}
START = pendulum.datetime(2026, 1, 1)

with DAG(dag_id="attack_teardown", schedule=None, start_date=START):
    up = EmptyOperator(task_id="up")
    ask = ModelApprovalSensor(task_id="await_approval", **VERSION)
    promote = ModelStageOperator(task_id="promote", stage="Production", approval_task_id="await_approval", **VERSION)
    down = EmptyOperator(task_id="down").as_teardown(setups=up.as_setup())
    up >> ask >> promote >> down

with DAG(dag_id="attack_constant", schedule=None, start_date=START, params=REASON):
    ModelRollbackOperator(task_id="rollback", model_name="rolled-back", version=3)

with DAG(dag_id="attack_constant_text", schedule=None, start_date=START, params=REASON):
    ModelRollbackOperator(task_id="rollback", model_name="rolled-back", version="3")

with DAG(dag_id="attack_other_field", schedule=None, start_date=START, params=OTHER_FIELD):
    ModelRollbackOperator(task_id="rollback", model_name="rolled-back", version="{{ params.to_version }}")

with DAG(
    dag_id="attack_templated",
    schedule=None,
    start_date=START,
    params={"model": Param("churn-classifier", type="string")},
):
    ModelApprovalSensor(task_id="await_approval", model_name="{{ params.model }}", version="1")
