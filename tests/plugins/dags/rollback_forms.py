"""Rollbacks that somebody triggers with a form: alone, and with a second person who approves."""

import pendulum
from airflow.sdk import DAG, Param

from include.lifecycle.config.approval import PolicyConfig
from model_registry.operators.rollback import ModelRollbackOperator, RollbackApprovalOperator

VERSION = {"model_name": "rolled-back", "version": "{{ params.version or '' }}"}
APPROVER = PolicyConfig(approvers=("role:admin", "user:carl"))
SECOND = PolicyConfig(four_eyes=True)
FORM = {"version": Param(None, type=["null", "integer"]), "reason": Param("", type="string")}
START = pendulum.datetime(2026, 1, 1)

with DAG(dag_id="rollback_alone", schedule=None, start_date=START, params=FORM):
    ModelRollbackOperator(task_id="rollback", **VERSION)

with DAG(dag_id="rollback_filled_in", schedule=None, start_date=START, params={"version": 2, "reason": "2 oversells"}):
    ModelRollbackOperator(task_id="rollback", **VERSION)

with DAG(dag_id="rollback_by_approver", schedule=None, start_date=START, params=FORM):
    ModelRollbackOperator(task_id="rollback", policy=APPROVER, **VERSION)

with DAG(dag_id="rollback_by_two", schedule=None, start_date=START, params=FORM):
    ask = RollbackApprovalOperator(task_id="await_approval", policy=SECOND, **VERSION)
    ask >> ModelRollbackOperator(task_id="rollback", policy=SECOND, approval_task_id="await_approval", **VERSION)
