"""The DAG of the weekly upkeep."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.lifecycle.config.load import load_lifecycle_config
from model_registry.operators import ModelReconcileOperator, ModelRetentionOperator
from model_registry.pipelines.forms import model_dag

CRON = "0 12 * * 1"
DELETE_HELP = "Delete the versions that nothing keeps, and their artifacts. It cannot be undone."
DOC = """\
Weekly upkeep of {title}'s registry: repair what is out of step, say what may be deleted.

| task | what it does |
|---|---|
| `reconcile` | brings stages and aliases to what the promotion ledger says; enters moves made by hand in MLflow |
| `retention` | says of each version why it is kept; deletes the others only when the run's form says *delete* |

Kept is what is in Production or Staging, has an alias, is one of the last former champions, or was registered or named
in the ledger lately: `lifecycle.retention` in the configuration says how many and how long. The ledger stays,
and each deletion is an event in it. The scheduled run deletes nothing: read its log, then trigger it with *delete*.

| what you see | what to do |
|---|---|
| `reconcile` changed something | its log says what; find out who moves versions in MLflow by hand |
| `reconcile` failed: the ledger was changed | nothing is repaired by it: compare with a backup of MLflow's database |
| `retention` failed | its last line says why; what was deleted is in the ledger, and the next run goes on |
| a version must stay for good | give it an alias in MLflow |
"""


def maintenance_dag(name: str) -> DAG:
    """Return the DAG ``NAME_maintenance``.

    :param name: of the model
    :raises BadInputError: names file, field, value and what was expected in the configuration
    """
    config = load_lifecycle_config(name)
    registry = {"model_name": config.model, "mlflow_conn_id": config.connections.mlflow}
    with model_dag(
        config,
        "maintenance",
        DOC,
        timedelta(hours=1),
        description=f"Repair the registry of {config.title} and say which versions may be deleted",
        schedule=CronTriggerTimetable(CRON, timezone=config.schedule.timezone),
        tags=["maintenance"],
        params={"delete": Param(False, type="boolean", title="Delete", description=DELETE_HELP)},
    ) as dag:
        reconcile = ModelReconcileOperator(task_id="reconcile", **registry)
        retention = ModelRetentionOperator(task_id="retention", config=config.retention, **registry)
        reconcile >> retention
    return dag
