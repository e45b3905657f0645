"""The DAG that watches the live error, and asks for a retrain."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.lifecycle.config.load import load_lifecycle_config, load_section
from include.retraining.config.monitor import MonitorConfig
from model_registry.pipelines.forms import RUN, TEXT, data_revision, model_dag
from model_registry.steps.monitoring import requests_alias
from model_registry.steps.pipeline import pipeline_step

FORM = RUN | {"RETRAIN_RUN_AFTER": "{{ dag_run.run_after }}", "RETRAIN_DAY": "{{ params.day or '' }}"}
DOC = """\
Compare what was predicted with what came true, every night, and ask for a retrain when that got clearly worse.

| task | what it does |
|---|---|
| `monitor` | joins the predictions that the nights kept with the actuals, judges error, bias, drift and coverage |

An alarm is raised when two of the last five windows and the newest are bad. What raised it is told through the
notifiers, stands on the version in Production as the tag *monitor.alarms*, and asks for a retrain: `{name}_retrain`
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
| no alarm, and you see one coming | trigger `{name}_retrain` by hand |
"""


def monitor_dag(name: str) -> DAG:
    """Return the DAG ``NAME_monitor``.

    :param name: of the model
    :raises BadInputError: names file, field, value and what was expected in the configuration
    """
    config = load_lifecycle_config(name)
    monitor = load_section(MonitorConfig, "monitor", name)
    with model_dag(
        config,
        "monitor",
        DOC,
        timedelta(minutes=config.tasks.step_timeout_minutes),
        description=f"Watch the live error of {config.title} and ask for a retrain",
        schedule=CronTriggerTimetable(monitor.cron, timezone=config.schedule.timezone),
        tags=["monitoring"],
        params={
            "data_revision": data_revision(" with the actuals"),
            "day": Param(
                None,
                type=TEXT,
                format="date",
                title="Day",
                description="The night to judge; empty: the night of the run.",
            ),
        },
    ) as dag:
        pipeline_step(config, "monitor", env=FORM, outlets=[requests_alias(config.model)])
    return dag
