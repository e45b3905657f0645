"""Nightly retrain of the Rossmann forecast, also when its monitoring asks for one.

Pulls data, trains three boosters, blends them, registers the ensemble in MLflow, validates it, moves it to Staging,
reviews it and waits for a person. Approval puts it into Production; anything else leaves Production as it was.

| task | what it does |
|---|---|
| `pull` | gets the data revision through DVC, checks it, opens the retrain's MLflow run |
| `features`, `train_*`, `ensemble` | training matrix; one booster each (unchanged folds are kept); the blend |
| `register` | one model artifact, a new version of the registered model |
| `validate` | scores the registered version on the holdout; the gate |
| `stage` | None to Staging |
| `review` | compares the version with Production on the same unseen rows, answers the checklist, makes the page |
| `await_approval` | waits for a decision, holding no worker slot |
| `promote` | Staging to Production, archives the version before; in a blackout it waits for its end, deferred |
| `confirm` | fails when `promote` was marked green by hand and promoted nothing |
| `record_decision` | writes a rejection or expiry onto the version; skipped otherwise |

**Approve or reject**: *Browse > Required Actions*, or the tab of `await_approval`: the review's verdicts and page,
Approve or Reject, a reason. Or mark `await_approval` success (approve) or failed (reject): the note is the reason.

| what you see | what to do |
|---|---|
| a step failed | retries are used up: read its last lines, mend that, clear it; what is done stays done |
| `pull` failed | its last line names file, rows and what was expected: correct the data, clear `pull` |
| `validate` failed | the gate: the version stays out of Staging, tagged *retrain required*; nothing to clear |
| `review` failed | what its last line names holds the version back: it is in None again, tagged *retrain required* |
| `await_approval` failed | rejected or expired, as its last line says; trigger a new run for a new candidate |
| `await_approval` and `promote` skipped | the version left Staging meanwhile; the log says how |
| `promote` failed | its last line says what is missing; Production is as it was. Clear it once that is mended |
| the new model is bad | trigger `rossmann_rollback`: it puts a former one back |
"""

from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param, chain

from include.lifecycle.config import load_lifecycle_config
from model_registry.monitoring import REASON, retrain_asset
from model_registry.pipeline import pipeline_step, task_defaults
from model_registry.release import release_tasks
from model_registry.templates import xcom_field

CONFIG = load_lifecycle_config()
BOOSTERS = ("lightgbm", "xgboost", "catboost")
TEXT = ["null", "string"]  # a form field that may stay empty: "string" alone is required by the form
REVISION_HELP = "Branch, tag or commit of the data registry; empty takes the configured one."
ORIGINS_HELP = (
    "More than 1: a backtest from so many days, each a horizon before the next; its page is in the MLflow run."
)
RUN = {"RETRAIN_RUN_ID": xcom_field("pull", "run_id")}
FORM = {
    "RETRAIN_DAG_ID": "{{ dag.dag_id }}",
    "RETRAIN_DAG_RUN_ID": "{{ run_id }}",
    "RETRAIN_DATA_REVISION": "{{ params.data_revision or '' }}",
    "RETRAIN_NOTE": "{{ params.note or '' }}" + REASON,
    "RETRAIN_QUICK": "{{ 'true' if params.quick else 'false' }}",
    "RETRAIN_ORIGINS": "{{ params.origins }}",
}


STEP = {"execution_timeout": timedelta(minutes=CONFIG.tasks.step_timeout_minutes)}

with DAG(
    dag_id="rossmann_retrain",
    description="Train, validate and stage the Rossmann forecast every night; a person approves it",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(CONFIG.schedule.cron, timezone=CONFIG.schedule.timezone),
        assets=[retrain_asset(CONFIG.model)],
    ),
    catchup=False,
    max_active_runs=16,  # a run that waits for its approval is a running run, and must not block the next night
    tags=list(CONFIG.tags),
    default_args=task_defaults(CONFIG, timedelta(minutes=15)),
    params={
        "data_revision": Param(None, type=TEXT, title="Data revision", maxLength=200, description=REVISION_HELP),
        "note": Param(None, type=TEXT, title="Note", maxLength=1000, description="Kept with the MLflow run."),
        "quick": Param(False, type="boolean", title="Quick run", description="Fewer boosting rounds: only a try."),
        "origins": Param(1, type="integer", minimum=1, maximum=60, title="Forecast origins", description=ORIGINS_HELP),
    },
):
    pull = pipeline_step(CONFIG, "pull", env=FORM, **STEP)
    features = pipeline_step(CONFIG, "features", env=RUN, **STEP)
    train = [
        pipeline_step(CONFIG, f"train_{booster}", "train", "--booster", booster, env=RUN, **STEP)
        for booster in BOOSTERS
    ]
    ensemble = pipeline_step(CONFIG, "ensemble", env=RUN, **STEP)
    register = pipeline_step(CONFIG, "register", env=RUN, **STEP)
    validate = pipeline_step(CONFIG, "validate", env=RUN, **STEP)
    review = pipeline_step(CONFIG, "review", env=RUN, **STEP)
    release = release_tasks(CONFIG, version=xcom_field("register", "version"), review=review)
    chain(pull, features, train, ensemble, register, validate, release.stage)
