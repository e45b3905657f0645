"""The DAG that retrains a model every night, and waits for a person."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeAlias

from airflow.sdk import DAG, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, Param, chain

from include.lifecycle.config.load import load_lifecycle_config
from include.lifecycle.config.models import LifecycleConfig
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.operators import ConfirmPromotionOperator, ModelStageOperator, RecordDecisionOperator
from model_registry.pipelines.forms import RUN, TEXT, data_revision, model_dag
from model_registry.steps.monitoring import REASON, retrain_asset
from model_registry.steps.pipeline import pipeline_step
from model_registry.tasks import xcom_field

Layer: TypeAlias = Mapping[str, Sequence[str]]
"""Tasks that run side by side: name of each, and its step with constant arguments."""

ORIGINS_HELP = (
    "More than 1: a backtest from so many days, each a horizon before the next; its page is in the MLflow run."
)
OF_THE_RUN = {"RETRAIN_RUN_ID": xcom_field("pull", "run_id")}
DOC = """\
Nightly retrain of {title}, also when its monitoring asks for one.

Pulls data, trains, registers the result in MLflow, validates it, moves it to Staging, reviews it and waits for a
person. Approval puts it into Production; anything else leaves Production as it was.

| task | what it does |
|---|---|
| `pull` | gets the data revision through DVC, checks it, opens the retrain's MLflow run |
| {training} | {about} |
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
| the new model is bad | trigger `{name}_rollback`: it puts a former one back |
"""


def retrain_dag(
    name: str, training: Sequence[Layer], *, about: str = "trains the members", backtest: bool = False
) -> DAG:
    """Return the DAG ``NAME_retrain``.

    :param name: of the model
    :param training: what lies between ``pull`` and ``register``, one layer after the other
    :param about: what those tasks do, for the DAG's documentation
    :param backtest: whether the form offers a backtest from several forecast origins
    :raises BadInputError: names file, field, value and what was expected in the configuration
    """
    config = load_lifecycle_config(name)
    step = {"execution_timeout": timedelta(minutes=config.tasks.step_timeout_minutes)}
    form = RUN | {
        "RETRAIN_NOTE": "{{ params.note or '' }}" + REASON,
        "RETRAIN_QUICK": "{{ 'true' if params.quick else 'false' }}",
    }
    params = {
        "data_revision": data_revision(),
        "note": Param(None, type=TEXT, title="Note", maxLength=1000, description="Kept with the MLflow run."),
        "quick": Param(False, type="boolean", title="Quick run", description="Less training: only a try."),
    }
    if backtest:
        form["RETRAIN_ORIGINS"] = "{{ params.origins }}"
        params["origins"] = Param(
            1, type="integer", minimum=1, maximum=60, title="Forecast origins", description=ORIGINS_HELP
        )
    names = ", ".join(f"`{task}`" for layer in training for task in layer)
    with model_dag(
        config,
        "retrain",
        DOC.replace("{training}", names).replace("{about}", about),
        timedelta(minutes=15),
        description=f"Train, validate and stage {config.title} every night; a person approves it",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable(config.schedule.cron, timezone=config.schedule.timezone),
            assets=[retrain_asset(config.model)],
        ),
        params=params,
    ) as dag:
        layers: list[list[BaseOperator]] = [[pipeline_step(config, "pull", env=form, **step)]]
        layers += [
            [pipeline_step(config, task, *words, env=OF_THE_RUN, **step) for task, words in layer.items()]
            for layer in training
        ]
        register, validate, review = (
            pipeline_step(config, task, env=OF_THE_RUN, **step) for task in ("register", "validate", "review")
        )
        stage = _release(config, xcom_field("register", "version"), review)
        for before, after in pairwise(layers):
            for task in before:
                task >> after
        layers[-1] >> register
        chain(register, validate, stage)
    return dag


def _release(config: LifecycleConfig, version: str, review: BaseOperator) -> BaseOperator:
    """Make the tasks that bring a version from its gate to Production, in the DAG around the call; return the first.

    :param config: the model's life cycle: names, connections, expiry, superseding, policy
    :param version: version that passed its gate (templated)
    :param review: task that reviews the version once it is in Staging
    """
    registry: dict[str, Any] = {
        "model_name": config.model,
        "mlflow_conn_id": config.connections.mlflow,
        "notifications": config.notifications,
    }
    rules: dict[str, Any] = {"policy": config.approval.policy, "timezone": config.schedule.timezone}
    staged = xcom_field("stage", "version")
    stage = ModelStageOperator(
        task_id="stage",
        version=version,
        stage="Staging",
        reason="gate passed",
        supersede=config.approval.supersede,
        **registry,
    )
    await_approval = ModelApprovalSensor(
        task_id="await_approval",
        version=staged,
        expires_after=timedelta(days=config.approval.expires_after_days),
        remind_before=timedelta(hours=config.approval.remind_before_hours or 0),
        poll_seconds=config.approval.poll_seconds,
        **registry,
        **rules,
    )
    promote = ModelStageOperator(
        task_id="promote",
        version=staged,
        stage="Production",
        approval_task_id="await_approval",
        integrity=config.integrity,
        **registry,
        **rules,
    )
    approval = {"approval_task_id": "await_approval", **registry}
    record_decision = RecordDecisionOperator(task_id="record_decision", **approval)
    confirm = ConfirmPromotionOperator(task_id="confirm", promote_task_id="promote", **approval)
    chain(stage, review, await_approval, promote, confirm)
    await_approval >> record_decision
    return stage
