"""Predict the next weeks every night, and when another version comes into Production.

Loads the model by stage, gives it the newest history of the data registry, and writes the predictions as Parquet and
CSV, with the version that made them in each row. Trigger it to predict with a version, data or rows of your own.

| task | what it does |
|---|---|
| `predict` | finds the version once, checks its files, predicts, records that in MLflow, writes the files |

**Where**: below `prediction.place` of the configuration, `MODEL/DATE/MODEL-vVERSION-RUN.parquet` and `.csv`, and beside
them as `.json` what they are. `MODEL/latest.json` names the newest, with digests; it is written last. What a run of
yours changes (version, rows, revision) is written under dated names too, and never becomes the newest. Old files go
after `prediction.keep_days`. The run in MLflow (experiment *NAME-predictions*) keeps rows, dates, data version, digests
of input and output, and the predictions.

| what you see | what to do |
|---|---|
| `predict` failed | its last line says why; files and pointer are as they were: mend that, clear it |
| ... `No version ... is in Production` | nothing was approved yet: approve a candidate, or trigger it with *Staging* |
| ... `outside the horizon` | the rows to predict do not follow the newest history: update the data registry |
| ... `was changed` | somebody changed the artifact store: find out who; retrain or roll back |
| ... `cannot write` | disk, rights or credentials of the place, as the sentence says |
| `latest.json` names an older night | the runs since then failed, or had a version, rows or a revision of their own |
| the predictions are bad | trigger `rossmann_rollback`: the version that comes back predicts at once |
"""

from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param

from include.lifecycle.config import load_lifecycle_config, load_section
from include.retraining.predict.config import PredictionConfig
from include.retraining.predict.names import MAX_NAME, NAME_PATTERN
from model_registry.assets import production_asset
from model_registry.pipeline import task_defaults
from model_registry.predicting import prediction_step

CONFIG = load_lifecycle_config()
PREDICTION = load_section(PredictionConfig, "prediction")
TEXT = ["null", "string"]  # a form field that may stay empty: "string" alone is required by the form
NAME = {"type": TEXT, "maxLength": MAX_NAME, "pattern": NAME_PATTERN}
FORM = {
    "RETRAIN_DAG_ID": "{{ dag.dag_id }}",
    "RETRAIN_DAG_RUN_ID": "{{ run_id }}",
    "RETRAIN_RUN_AFTER": "{{ dag_run.run_after }}",
    "RETRAIN_STAGE": "{{ '' if params.version else params.stage }}",
    "RETRAIN_VERSION": "{{ params.version or '' }}",
    "RETRAIN_DATA_REVISION": "{{ params.data_revision or '' }}",
    "RETRAIN_INPUT": "{{ params.input or '' }}",
    "RETRAIN_OUTPUT": "{{ params.output or '' }}",
}
STAGE_HELP = "Its newest version predicts."
VERSION_HELP = "A version instead of a stage."
REVISION_HELP = "Branch, tag or commit of the data registry; empty takes the configured one."
INPUT_HELP = "Rows to predict: a file below the configured prediction.inputs. Empty: the data registry's future file."
OUTPUT_HELP = "One file of this name (.csv, .csv.gz or .parquet) in the model's folder named/. Empty: dated names."

with DAG(
    dag_id="rossmann_predict",
    description="Predict the next weeks with the Rossmann forecast in Production, every night and after a promotion",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(PREDICTION.schedule.cron, timezone=PREDICTION.schedule.timezone),
        assets=[production_asset(CONFIG.model)],
    ),
    catchup=False,
    max_active_runs=16,
    tags=[*CONFIG.tags, "prediction"],
    default_args=task_defaults(CONFIG, timedelta(minutes=CONFIG.tasks.step_timeout_minutes)),
    params={
        "stage": Param(
            PREDICTION.stage,
            type="string",
            enum=["Production", "Staging"],
            maxLength=10,
            title="Stage",
            description=STAGE_HELP,
        ),
        "version": Param(None, type=["null", "integer"], minimum=1, title="Version", description=VERSION_HELP),
        "data_revision": Param(None, type=TEXT, title="Data revision", maxLength=200, description=REVISION_HELP),
        "input": Param(None, title="Input", description=INPUT_HELP, **NAME),
        "output": Param(None, title="Output", description=OUTPUT_HELP, **NAME),
    },
):
    prediction_step(CONFIG, PREDICTION, "predict", "predict", "--publish", env=FORM)
