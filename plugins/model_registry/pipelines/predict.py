"""The DAG that predicts every night, and after a promotion."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param

from include.lifecycle.config.load import load_lifecycle_config, load_section
from include.lifecycle.config.models import LifecycleConfig
from include.retraining.config.prediction import MOUNTED, PLACE_ENV, PredictionConfig
from include.retraining.output_names import MAX_NAME, NAME_PATTERN, is_url
from model_registry.assets import production_asset
from model_registry.pipelines.forms import RUN, TEXT, data_revision, model_dag, version
from model_registry.steps.pipeline import pipeline_step

NAME: dict[str, Any] = {"type": TEXT, "maxLength": MAX_NAME, "pattern": NAME_PATTERN}
FORM = RUN | {
    "RETRAIN_RUN_AFTER": "{{ dag_run.run_after }}",
    "RETRAIN_STAGE": "{{ '' if params.version else params.stage }}",
    "RETRAIN_VERSION": "{{ params.version or '' }}",
    "RETRAIN_INPUT": "{{ params.input or '' }}",
    "RETRAIN_OUTPUT": "{{ params.output or '' }}",
}
INPUT_HELP = "Rows to predict: a file below the configured prediction.inputs. Empty: the data registry's future file."
OUTPUT_HELP = "One file of this name (.csv, .csv.gz or .parquet) in the model's folder named/. Empty: dated names."
DOC = """\
Predict the next weeks every night, and when another version comes into Production.

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
| the predictions are bad | trigger `{name}_rollback`: the version that comes back predicts at once |
"""


def predict_dag(name: str) -> DAG:
    """Return the DAG ``NAME_predict``.

    :param name: of the model
    :raises BadInputError: names file, field, value and what was expected in the configuration
    """
    config = load_lifecycle_config(name)
    prediction = load_section(PredictionConfig, "prediction", name)
    with model_dag(
        config,
        "predict",
        DOC,
        timedelta(minutes=config.tasks.step_timeout_minutes),
        description=f"Predict with the version of {config.title} in Production, every night and after a promotion",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable(prediction.schedule.cron, timezone=prediction.schedule.timezone),
            assets=[production_asset(config.model)],
        ),
        tags=["prediction"],
        params={
            "stage": Param(
                prediction.stage,
                type="string",
                enum=["Production", "Staging"],
                maxLength=10,
                title="Stage",
                description="Its newest version predicts.",
            ),
            "version": version("A version instead of a stage."),
            "data_revision": data_revision(),
            "input": Param(None, title="Input", description=INPUT_HELP, **NAME),
            "output": Param(None, title="Output", description=OUTPUT_HELP, **NAME),
        },
    ) as dag:
        pipeline_step(config, "predict", "predict", "--publish", **_outputs(config, prediction))
    return dag


def _outputs(config: LifecycleConfig, prediction: PredictionConfig) -> dict[str, Any]:
    """Return the arguments of the task that lead it to the place where people look for its files.

    A local process writes there itself. A container is told the place, which where it is a folder is the volume mounted
    into it.

    :raises ValueError: when a container could write only to a folder that goes with it
    """
    if config.runner == "local":
        return {"env": FORM}
    if is_url(prediction.where):
        return {"env": FORM | {PLACE_ENV: prediction.where}}
    if prediction.docker_volume is None:
        raise ValueError(
            f"predict: with runner docker, what is written to the folder {prediction.where} goes with the container:"
            " name a volume in prediction.volume, or a URL in prediction.place"
        )
    from docker.types import Mount

    volume = prediction.docker_volume
    mount = Mount(target=MOUNTED, source=volume, type="bind" if volume.startswith("/") else "volume")
    return {"env": FORM | {PLACE_ENV: MOUNTED}, "mounts": [mount]}
