"""Weekly upkeep of the Rossmann forecast's registry: repair what is out of step, say what may be deleted.

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

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.lifecycle.config import load_lifecycle_config
from model_registry.maintenance import ModelReconcileOperator, ModelRetentionOperator
from model_registry.pipeline import task_defaults

CONFIG = load_lifecycle_config()
REGISTRY = {"model_name": CONFIG.model, "mlflow_conn_id": CONFIG.connections.mlflow}
DELETE_HELP = "Delete the versions that nothing keeps, and their artifacts. It cannot be undone."

with DAG(
    dag_id="rossmann_maintenance",
    description="Repair the registry of the Rossmann forecast and say which versions may be deleted",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 12 * * 1", timezone=CONFIG.schedule.timezone),
    catchup=False,
    max_active_runs=16,
    tags=[*CONFIG.tags, "maintenance"],
    default_args=task_defaults(CONFIG, timedelta(hours=1)),
    params={"delete": Param(False, type="boolean", title="Delete", description=DELETE_HELP)},
):
    reconcile = ModelReconcileOperator(task_id="reconcile", **REGISTRY)
    retention = ModelRetentionOperator(task_id="retention", config=CONFIG.retention, **REGISTRY)
    reconcile >> retention
