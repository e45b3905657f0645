"""Compare what was predicted with what came true, every night, and ask for a retrain when that got clearly worse.

| task | what it does |
|---|---|
| `monitor` | joins the predictions that the nights kept with the actuals, judges error, bias, drift and coverage |

An alarm is raised when two of the last five windows and the newest are bad. What raised it is told through the
notifiers, stands on the version in Production as the tag *monitor.alarms*, and asks for a retrain: `rossmann_retrain`
starts with the reason as its note, one request at a time. Where the former champion is clearly better on the same days,
a rollback is proposed; nobody but a person makes it.

The dashboard is `monitor/dashboard.html` of the newest run in MLflow's experiment *NAME-monitoring*, and under
*Browse > Models* in Airflow.

| what you see | what to do |
|---|---|
| `monitor` failed | its last line says why; nothing was judged: mend that, clear it |
| an alarm *error* or *bias* | look at the dashboard's slices; decide on the retrain's candidate, or roll back |
| an alarm *drift* | what is fed in has changed: ask where it comes from before you trust a retrain |
| an alarm *missing* or *late* | the data registry is behind: correct it; late actuals are judged when they come |
| no alarm, and you see one coming | trigger `rossmann_retrain` by hand |
"""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.lifecycle.config import load_lifecycle_config, load_section
from include.retraining.monitor.config import MonitorConfig
from model_registry.monitoring import requests_alias
from model_registry.pipeline import pipeline_step, task_defaults

CONFIG = load_lifecycle_config()
MONITOR = load_section(MonitorConfig, "monitor")
TEXT = ["null", "string"]  # a form field that may stay empty: "string" alone is required by the form
FORM = {
    "RETRAIN_DAG_ID": "{{ dag.dag_id }}",
    "RETRAIN_DAG_RUN_ID": "{{ run_id }}",
    "RETRAIN_RUN_AFTER": "{{ dag_run.run_after }}",
    "RETRAIN_DATA_REVISION": "{{ params.data_revision or '' }}",
    "RETRAIN_DAY": "{{ params.day or '' }}",
}
REVISION_HELP = "Branch, tag or commit of the data registry with the actuals; empty takes the configured one."
DAY_HELP = "The night to judge; empty: the night of the run."

with DAG(
    dag_id="rossmann_monitor",
    description="Watch the live error of the Rossmann forecast and ask for a retrain",
    doc_md=__doc__,
    schedule=CronTriggerTimetable(MONITOR.cron, timezone=CONFIG.schedule.timezone),
    catchup=False,
    max_active_runs=16,
    tags=[*CONFIG.tags, "monitoring"],
    default_args=task_defaults(CONFIG, timedelta(minutes=CONFIG.tasks.step_timeout_minutes)),
    params={
        "data_revision": Param(None, type=TEXT, title="Data revision", maxLength=200, description=REVISION_HELP),
        "day": Param(None, type=TEXT, format="date", title="Day", description=DAY_HELP),
    },
):
    pipeline_step(CONFIG, "monitor", env=FORM, outlets=[requests_alias(CONFIG.model)])
