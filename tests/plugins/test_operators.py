"""The operators on a real MLflow server: what moves, what is refused, what is recorded."""

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from mlflow import MlflowClient

from include.lifecycle.decisions import Decision, Door, Outcome
from model_registry.approvals import Recorded
from model_registry.confirmations import ConfirmPromotionOperator
from model_registry.exceptions import (
    LifecycleRefusedError,
    NotApprovedError,
    PromotionSkippedError,
    RegistryFailedError,
)
from model_registry.hooks import MLflowRegistryHook
from model_registry.marks import EVENT_MARK
from model_registry.operators import AIRFLOW_API_CONN, ModelStageOperator
from model_registry.recording import RecordDecisionOperator
from tests.plugins.airflow_answers import AirflowAnswers
from tests.registry_server import add_version, stage_of, tags_of

APPROVAL = "await_approval"
APPROVED = Decision(
    Outcome.APPROVED, user="anna", user_source="required_actions", reason="good", door=Door.REQUIRED_ACTIONS
)
REJECTED = Decision(
    Outcome.REJECTED, user="ben", user_source="required_actions", reason="bad", door=Door.REQUIRED_ACTIONS
)


def promote(model: str, version: object, **arguments: Any) -> ModelStageOperator:
    arguments = {"approval_task_id": APPROVAL, "airflow_conn_id": None, **arguments}
    return ModelStageOperator(
        task_id="promote",
        model_name=model,
        version=version,
        stage="Production",
        **arguments,  # type: ignore[arg-type]
    )


def record(model: str) -> RecordDecisionOperator:
    return RecordDecisionOperator(
        task_id="record_decision", model_name=model, approval_task_id=APPROVAL, airflow_conn_id=None
    )


def leave(task: Any, recorded: Recorded, state: str) -> None:
    task.xcoms[APPROVAL, "return_value"] = recorded.to_xcom()
    task.states[APPROVAL] = state


def test_a_newer_candidate_supersedes_older_ones(mlflow: str, model: str, task: Any) -> None:
    live, old, new = (add_version(mlflow, model, stage=stage) for stage in ("Production", "Staging", "None"))
    operator = ModelStageOperator(task_id="stage", model_name=model, version=str(new), stage="Staging")
    assert operator.execute(task.context)["archived"] == []
    assert [stage_of(mlflow, model, version) for version in (live, old, new)] == ["Production", "None", "Staging"]
    assert tags_of(mlflow, model, old)["decision.reason"] == f"version {new} reached Staging"


def test_staging_needs_a_passed_gate_and_archives_nothing(mlflow: str, model: str, task: Any) -> None:
    old = add_version(mlflow, model, stage="Staging")
    passed, failed, never = (add_version(mlflow, model, passed=value) for value in (True, False, None))
    result = ModelStageOperator(
        task_id="stage", model_name=model, version=str(passed), stage="Staging", supersede="never"
    ).execute(task.context)
    assert (result["version"], result["from"], result["to"], result["archived"]) == (passed, "None", "Staging", [])
    assert [stage_of(mlflow, model, version) for version in (old, passed)] == ["Staging", "Staging"]
    for version, message in ((failed, "its gate failed"), (never, "was not validated")):
        with pytest.raises(AirflowFailException, match=message):
            ModelStageOperator(task_id="stage", model_name=model, version=version, stage="Staging").execute(
                task.context
            )
        assert stage_of(mlflow, model, version) == "None"
    unchecked = ModelStageOperator(
        task_id="stage", model_name=model, version=never, stage="Staging", require_validation=False
    )
    assert unchecked.execute(task.context)["to"] == "Staging"


def test_an_approved_version_is_promoted_once_and_the_one_before_archived(mlflow: str, model: str, task: Any) -> None:
    first, second = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    for version in (first, second):
        leave(task, Recorded(model, version, APPROVED), "success")
        operator = promote(model, str(version))
        result = operator.execute(task.context)
    assert (result["archived"], result["user"], result["changed"]) == ([first], "anna", True)
    assert operator.version_url == f"{mlflow}/#/models/{model}/versions/{second}"
    assert [stage_of(mlflow, model, version) for version in (first, second)] == ["Archived", "Production"]
    again = promote(model, second).execute(task.context)
    assert (again["changed"], again["ledger_entry"]) == (False, result["ledger_entry"])
    with MLflowRegistryHook().registry() as registry:
        events = registry.history(model)
    assert [(event.version, event.user, event.reason) for event in events] == [
        (first, "anna", "good"),
        (second, "anna", "good"),
    ]


def test_what_was_approved_is_the_version_that_was_asked_for(mlflow: str, model: str, task: Any) -> None:
    asked, newer = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    leave(task, Recorded(model, asked, APPROVED), "success")
    with pytest.raises(NotApprovedError, match=f"decided on version {asked} .* not on version {newer}"):
        promote(model, newer).execute(task.context)
    assert stage_of(mlflow, model, newer) == "Staging"


@pytest.mark.parametrize("state", [None, "deferred", "failed", "skipped", "upstream_failed"])
def test_without_an_approval_nothing_is_promoted(mlflow: str, model: str, task: Any, state: str | None) -> None:
    version = add_version(mlflow, model, stage="Staging")
    if state:
        leave(task, Recorded(model, version), state)
    with pytest.raises(NotApprovedError, match=f"was not approved: await_approval is {state or 'not started'}"):
        promote(model, version).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


def test_a_rejection_is_not_overruled_by_a_later_mark(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version, REJECTED), "success")
    with pytest.raises(NotApprovedError, match=r"was rejected by ben .* first decision holds"):
        promote(model, version).execute(task.context)


def test_a_mark_before_anybody_was_asked_approves_nothing(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    task.states[APPROVAL] = "success"
    with pytest.raises(NotApprovedError, match="before it asked"):
        promote(model, version).execute(task.context)


def test_a_mark_promotes_and_without_the_api_its_user_is_unknown(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version), "success")
    assert promote(model, version).execute(task.context)["user"] == "unknown"
    tags = tags_of(mlflow, model, version)
    assert (tags["decision.door"], tags["decision.user"]) == ("mark", "unknown")


@pytest.mark.parametrize("version", ["", "None", "seven", "0", "-1", "7; DROP TABLE", "7" * 5000, "²"])
def test_a_rendered_version_that_is_none_is_refused(connect: Any, task: Any, version: str) -> None:
    connect("mlflow_default", host="mlflow")
    with pytest.raises(LifecycleRefusedError, match="version") as raised:
        promote("some-model", version or "{{ '' }}").execute(task.context)
    assert len(str(raised.value)) < 300


def test_a_model_or_version_that_does_not_exist_fails_without_a_retry(mlflow: str, model: str, task: Any) -> None:
    stage = {"stage": "Staging", "task_id": "stage"}
    with pytest.raises(LifecycleRefusedError, match="no registered model"):
        ModelStageOperator(model_name=model, version=1, **stage).execute(task.context)
    add_version(mlflow, model)
    with pytest.raises(LifecycleRefusedError, match="has no version 9"):
        ModelStageOperator(model_name=model, version=9, **stage).execute(task.context)


def test_mlflow_being_away_may_be_retried(connect: Any, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9)
    monkeypatch.setattr("include.lifecycle.limits.CLIENT_LIMITS", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    with pytest.raises(RegistryFailedError, match="MLflow") as raised:
        ModelStageOperator(task_id="stage", model_name="m", version=1, stage="Staging").execute(task.context)
    assert isinstance(raised.value, AirflowException)
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_name": "", "version": 1, "stage": "Staging"}, "model_name must not be empty"),
        ({"model_name": "m", "version": "", "stage": "Staging"}, "version must not be empty"),
        ({"model_name": "m", "version": 1, "stage": "staging"}, "must be one of Staging, Production, None"),
        ({"model_name": "m", "version": 1, "stage": "Archived"}, "must be one of"),
        ({"model_name": "m", "version": 1, "stage": "Production", "approval_task_id": "stage"}, "another task"),
    ],
)
def test_the_author_is_told_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelStageOperator(task_id="stage", **arguments)


def test_marking_the_approval_failed_is_recorded_as_a_rejection(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version), "failed")
    result = record(model).execute(task.context)
    assert (result["outcome"], result["door"], result["user"]) == ("rejected", "mark", "unknown")
    assert tags_of(mlflow, model, version)["decision.outcome"] == "rejected"
    assert stage_of(mlflow, model, version) == "Staging"


def test_a_decision_that_the_approval_could_not_record_is_recorded_behind_it(
    mlflow: str, model: str, task: Any
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version, REJECTED), "failed")
    for _ in range(2):  # a retry records nothing new
        assert record(model).execute(task.context)["user"] == "ben"
    with MLflowRegistryHook().registry() as registry:
        assert [event.outcome for event in registry.history(model)] == [Outcome.REJECTED]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, connect: Any) -> AirflowAnswers:
    connect(AIRFLOW_API_CONN, host="airflow", login="reader", password="pw")
    return AirflowAnswers(monkeypatch)


def test_an_approval_that_failed_by_itself_is_nobodys_rejection(
    mlflow: str, model: str, task: Any, api: AirflowAnswers
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version), "failed")
    api.instance["state"] = "failed"
    api.log("failed", "airflow")
    operator = RecordDecisionOperator(task_id="record_decision", model_name=model, approval_task_id=APPROVAL)
    with pytest.raises(AirflowSkipException, match="await_approval failed by itself, and version 1 still waits"):
        operator.execute(task.context)
    assert "decision.outcome" not in tags_of(mlflow, model, version)
    api.log(EVENT_MARK, "ben", new_state="failed", note="bad")
    assert operator.execute(task.context)["user"] == "ben"


def test_a_mark_of_the_whole_run_promotes_nothing(mlflow: str, model: str, task: Any, api: AirflowAnswers) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version), "success")
    api.log(EVENT_MARK, "anna", new_state="success", note="close it", whole_run=True)
    with pytest.raises(NotApprovedError, match="marked success with the whole run, which is no decision about it"):
        promote(model, version, airflow_conn_id=AIRFLOW_API_CONN).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


def test_a_mark_in_the_second_of_a_later_look_counts(mlflow: str, model: str, task: Any, api: AirflowAnswers) -> None:
    version = add_version(mlflow, model, stage="Staging")
    task.states[APPROVAL] = "success"  # Airflow deletes the XComs of a task that reschedules itself at each look
    api.log(EVENT_MARK, "anna", new_state="success", note="good")
    api.log("running", "airflow")
    operator = promote(model, version, airflow_conn_id=AIRFLOW_API_CONN)
    with pytest.raises(NotApprovedError, match="before it asked"):
        operator.execute(task.context)
    api.log("running", "airflow")
    assert operator.execute(task.context)["user"] == "anna"


@pytest.mark.parametrize("state", ["success", "skipped", "upstream_failed", "failed", None])
def test_nothing_is_recorded_when_nobody_was_asked_or_the_promotion_records_it(
    mlflow: str, model: str, task: Any, state: str | None
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    if state:
        task.states[APPROVAL] = state
    with pytest.raises(AirflowSkipException, match="No approval was asked for"):
        record(model).execute(task.context)
    leave(task, Recorded(model, version, APPROVED), "success")
    with pytest.raises(AirflowSkipException, match="Nothing to record"):
        record(model).execute(task.context)
    assert "decision.outcome" not in tags_of(mlflow, model, version)


def test_a_decision_on_a_version_that_moved_meanwhile_comes_late(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Production")
    leave(task, Recorded(model, version, REJECTED), "failed")
    with pytest.raises(AirflowSkipException, match="is in Production, not in Staging"):
        record(model).execute(task.context)
    assert stage_of(mlflow, model, version) == "Production"


def test_a_promotion_that_was_marked_green_by_hand_is_red_and_on_the_version(
    mlflow: str, model: str, task: Any
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    leave(task, Recorded(model, version), "success")
    task.states["promote"] = "success"
    task.task_id = "confirm"
    confirm = ConfirmPromotionOperator(task_id="confirm", model_name=model, version=version, promote_task_id="promote")
    with pytest.raises(PromotionSkippedError, match="promote was marked success without running"):
        confirm.execute(task.context)
    assert "is not promoted" in tags_of(mlflow, model, version)["promotion.skipped"]
    assert stage_of(mlflow, model, version) == "Staging"

    task.task_id = "promote"
    promote(model, version).execute(task.context)
    assert "promotion.skipped" not in tags_of(mlflow, model, version)
    confirm.execute(task.context)
    newer = add_version(mlflow, model, stage="Staging")
    task.xcoms["promote", "return_value"] = {"version": version}
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(newer), "Production", True)
    confirm.execute(task.context)
