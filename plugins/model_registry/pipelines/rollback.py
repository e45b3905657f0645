"""The DAG that puts a former Production version back."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from include.lifecycle.config.load import load_lifecycle_config
from model_registry.operators import ModelRollbackOperator, RollbackApprovalOperator
from model_registry.pipelines.forms import model_dag, version
from model_registry.steps.pipeline import pipeline_step
from model_registry.tasks import xcom_field

APPROVAL = "await_approval"
VERSION_HELP = "A version that was in Production, see the docs of this DAG. Empty: the champion before the current one."
DOC = """\
Put a former Production version of {title} back. Trigger it with a reason, and a version.

Only versions that were in Production can come back: `python -m include.models.{name} history` lists them, with who
promoted them and why; in MLflow they are in the stage *Archived*. Without a version it takes the champion before
the current one, which the alias `previous` names.

| task | what it does |
|---|---|
| `check` | was it in Production, are its files as registered, does it load and forecast a sample |
| `await_approval` | only where the configuration asks for a second person: waits under Required Actions |
| `rollback` | puts it into Production and archives the version there, with the reason, in one step |

Whoever triggers it decides: name and reason go into the promotion history. Blackout windows do not hold it back. The
next nightly candidate is compared with the version that is live then.

| what you see | what to do |
|---|---|
| the form refuses | a reason is required, and the version is a whole number |
| `check` failed | its last line says why that version cannot come back and which can; trigger it with another |
| `await_approval` failed | the second person refused, or nobody answered in time: trigger it again |
| `rollback` failed | its last line names the rule that is not met, or who holds the lock; Production is as it was |
| nothing is well enough | train again: trigger `{name}_retrain` with an earlier data revision |
"""


def rollback_dag(name: str) -> DAG:
    """Return the DAG ``NAME_rollback``.

    :param name: of the model
    :raises BadInputError: names file, field, value and what was expected in the configuration
    """
    config = load_lifecycle_config(name)
    rules = config.rollback
    registry: dict[str, Any] = {
        "model_name": config.model,
        "version": xcom_field("check", "version"),
        "mlflow_conn_id": config.connections.mlflow,
    }
    with model_dag(
        config,
        "rollback",
        DOC,
        timedelta(minutes=15),
        description=f"Put a former Production version of {config.title} back",
        schedule=None,
        tags=["rollback"],
        # somebody waits for it
        default_args={"retry_delay": timedelta(seconds=min(10.0, config.tasks.retry_delay_seconds))},
        params={
            "version": version(VERSION_HELP),
            "reason": Param(
                type="string",
                minLength=1,
                maxLength=1000,
                pattern=r"\S",
                title="Reason",
                description="Why: kept with both versions and in the promotion history.",
            ),
        },
    ) as dag:
        check = pipeline_step(config, "check", env={"RETRAIN_VERSION": "{{ params.version or '' }}"})
        rollback = ModelRollbackOperator(
            task_id="rollback",
            policy=rules.effective_policy,
            approval_task_id=APPROVAL if rules.require_second_person else None,
            integrity=config.integrity,
            notifications=config.notifications,
            **registry,
        )
        if rules.require_second_person:
            approval = RollbackApprovalOperator(
                task_id=APPROVAL,
                policy=rules.effective_policy,
                expires_after=timedelta(hours=rules.expires_after_hours),
                **registry,
            )
            check >> approval >> rollback
        else:
            check >> rollback
    return dag
