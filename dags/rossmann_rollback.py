"""Put a former Production version of the Rossmann forecast back. Trigger it with a reason, and a version.

Only versions that were in Production can come back: `python -m include.rossmann history` lists them, with who
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
| nothing is well enough | train again: trigger `rossmann_retrain` with an earlier data revision |
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, chain

from include.lifecycle.config import load_lifecycle_config
from model_registry.pipeline import pipeline_step, task_defaults
from model_registry.rollback import ModelRollbackOperator, RollbackApprovalOperator
from model_registry.templates import xcom_field

CONFIG = load_lifecycle_config()
POLICY = CONFIG.rollback
APPROVAL = "await_approval"
VERSION_HELP = "A version that was in Production, see the docs of this DAG. Empty: the champion before the current one."
REGISTRY = {
    "model_name": CONFIG.model,
    "version": xcom_field("check", "version"),
    "mlflow_conn_id": CONFIG.connections.mlflow,
}

with DAG(
    dag_id="rossmann_rollback",
    description="Put a former Production version of the Rossmann forecast back",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=16,  # one that waits for a second person must not hold back an urgent one
    tags=[*CONFIG.tags, "rollback"],
    default_args={
        **task_defaults(CONFIG, timedelta(minutes=15)),
        "retry_delay": timedelta(seconds=min(10.0, CONFIG.tasks.retry_delay_seconds)),  # somebody waits for it
    },
    params={
        "version": Param(None, type=["null", "integer"], minimum=1, title="Version", description=VERSION_HELP),
        "reason": Param(
            type="string",
            minLength=1,
            maxLength=1000,
            pattern=r"\S",
            title="Reason",
            description="Why: kept with both versions and in the promotion history.",
        ),
    },
):
    check = pipeline_step(CONFIG, "check", env={"RETRAIN_VERSION": "{{ params.version or '' }}"})
    rollback = ModelRollbackOperator(
        task_id="rollback",
        policy=POLICY.effective_policy,
        approval_task_id=APPROVAL if POLICY.require_second_person else None,
        integrity=CONFIG.integrity,
        notifications=CONFIG.notifications,
        **REGISTRY,
    )
    if POLICY.require_second_person:
        approval = RollbackApprovalOperator(
            task_id=APPROVAL,
            policy=POLICY.effective_policy,
            expires_after=timedelta(hours=POLICY.expires_after_hours),
            **REGISTRY,
        )
        chain(check, approval, rollback)
    else:
        chain(check, rollback)
