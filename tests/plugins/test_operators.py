"""The operators on a real MLflow server: what moves, what is refused, what is recorded."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from model_registry.exceptions import (
    DecisionPendingError,
    LifecycleRefusedError,
    NotApprovedError,
    PromotionSkippedError,
    RegistryFailedError,
)
from model_registry.hooks import MLflowRegistryHook
from model_registry.operators.after_approval import ConfirmPromotionOperator, RecordDecisionOperator
from model_registry.operators.stage import ModelStageOperator
from tests.plugins.asking import APPROVAL, approve, ask, decide, ledger, reject
from tests.registry_server import add_version, stage_of, tags_of

STATES = [None, "deferred", "failed", "skipped", "upstream_failed"]


def promote(model: str, version: object = 1, **arguments: Any) -> ModelStageOperator:
    return ModelStageOperator(
        task_id="promote",
        model_name=model,
        version=version,  # type: ignore[arg-type]
        stage="Production",
        **{"approval_task_id": APPROVAL, **arguments},
    )


def record(model: str) -> RecordDecisionOperator:
    return RecordDecisionOperator(task_id="record_decision", model_name=model, approval_task_id=APPROVAL)


def confirm(model: str) -> ConfirmPromotionOperator:
    return ConfirmPromotionOperator(
        task_id="confirm", model_name=model, approval_task_id=APPROVAL, promote_task_id="promote"
    )


# ---- moves that nobody decides ----


def test_a_newer_candidate_supersedes_older_ones(mlflow: str, mlflow_url: str, model: str, task: Any) -> None:
    live, old, new = (add_version(mlflow, model, stage=stage) for stage in ("Production", "Staging", "None"))
    operator = ModelStageOperator(task_id="stage", model_name=model, version=str(new), stage="Staging")
    assert operator.execute(task.context)["archived"] == []
    assert operator.version_url == f"{mlflow_url}/#/models/{model}/versions/{new}"
    assert [stage_of(mlflow, model, version) for version in (live, old, new)] == ["Production", "None", "Staging"]
    assert tags_of(mlflow, model, old)["decision.reason"] == f"version {new} reached Staging"


def test_staging_needs_a_passed_gate_and_archives_nothing(mlflow: str, model: str, task: Any) -> None:
    old = add_version(mlflow, model, stage="Staging")
    passed, failed, never = (add_version(mlflow, model, passed=value) for value in (True, False, None))
    MlflowClient(tracking_uri=mlflow).set_model_version_tag(model, str(never), tag.VALIDATION_OUTCOME, tag.PASSED)
    result = ModelStageOperator(
        task_id="stage", model_name=model, version=str(passed), stage="Staging", supersede="never"
    ).execute(task.context)
    assert (result["version"], result["from"], result["to"], result["archived"]) == (passed, "None", "Staging", [])
    assert [stage_of(mlflow, model, version) for version in (old, passed)] == ["Staging", "Staging"]
    for version, message in ((failed, "its gate failed"), (never, "knows no validation")):
        with pytest.raises(AirflowFailException, match=message):
            ModelStageOperator(task_id="stage", model_name=model, version=version, stage="Staging").execute(
                task.context
            )
        assert stage_of(mlflow, model, version) == "None"
    unchecked = ModelStageOperator(
        task_id="stage", model_name=model, version=never, stage="Staging", require_validation=False
    )
    assert unchecked.execute(task.context)["to"] == "Staging"


@pytest.mark.parametrize("version", ["", "None", "seven", "0", "-1", "7; DROP TABLE", "7" * 5000, "²"])
def test_a_rendered_version_that_is_none_is_refused(connect: Any, task: Any, version: str) -> None:
    connect("mlflow_default", host="mlflow")
    with pytest.raises(LifecycleRefusedError, match="version") as raised:
        promote("some-model", version or "{{ '' }}", approval_task_id=None).execute(task.context)
    assert len(str(raised.value)) < 300


def test_a_model_or_version_that_does_not_exist_fails_without_a_retry(mlflow: str, model: str, task: Any) -> None:
    stage: dict[str, Any] = {"stage": "Staging", "task_id": "stage"}
    with pytest.raises(LifecycleRefusedError, match="no registered model"):
        ModelStageOperator(model_name=model, version=1, **stage).execute(task.context)
    add_version(mlflow, model)
    with pytest.raises(LifecycleRefusedError, match="has no version 9"):
        ModelStageOperator(model_name=model, version=9, **stage).execute(task.context)


@pytest.mark.parametrize("approval_task_id", [None, APPROVAL])
def test_mlflow_being_away_may_be_retried(
    connect: Any, task: Any, monkeypatch: pytest.MonkeyPatch, approval_task_id: str | None
) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9)
    monkeypatch.setattr("include.lifecycle.ledger.limits.CLIENT_LIMITS", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    with pytest.raises(RegistryFailedError) as raised:
        promote("m", approval_task_id=approval_task_id).execute(task.context)
    assert isinstance(raised.value, AirflowException)
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_name": "", "version": 1, "stage": "Staging"}, "model_name must not"),
        ({"model_name": "m", "version": "", "stage": "Staging"}, "version must not"),
        ({"model_name": "m", "version": 1, "stage": "staging"}, "one of Staging, Production"),
        ({"model_name": "m", "version": 1, "stage": "Archived"}, "must be one of"),
        ({"model_name": "m", "version": 1, "stage": "Staging", "supersede": "all"}, "newer or never"),
        ({"model_name": "m", "version": 1, "stage": "Production", "approval_task_id": "stage"}, "another task"),
    ],
)
def test_the_author_is_told_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelStageOperator(task_id="stage", **arguments)


# ---- what somebody approved ----


def test_an_approved_version_is_promoted_once_and_the_one_before_archived(
    mlflow: str, mlflow_url: str, model: str, task: Any
) -> None:
    first, second = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    for version in (first, second):
        asked = approve(task, model, version)
        operator = promote(model, version)
        result = operator.execute(task.context)
    assert (result["archived"], result["user"], result["changed"]) == ([first], "anna", True)
    assert operator.version_url == f"{mlflow_url}/#/models/{model}/versions/{second}"
    assert [stage_of(mlflow, model, version) for version in (first, second)] == ["Archived", "Production"]
    again = promote(model, second).execute(task.context)
    assert (again["changed"], again["ledger_entry"]) == (False, result["ledger_entry"])
    events = ledger(model).events
    assert [(event.version, event.user, event.reason) for event in events] == [
        (first, "anna", "good"),
        (second, "anna", "good"),
    ]
    assert events[-1].ask == asked.id


def test_what_was_asked_under_a_review_is_promoted_with_one(mlflow: str, model: str, task: Any) -> None:
    """The policy of the ask counts: one from before there were reviews is answered without."""
    reviewed = PolicyConfig(review_required=True, reason_required=False)
    version = add_version(mlflow, model, stage="Staging")
    asked = ask(task, model, version, policy=reviewed)
    decide(asked)
    task.states[APPROVAL] = "success"
    with pytest.raises(LifecycleRefusedError, match="was not reviewed"):
        promote(model, version, policy=reviewed).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"
    registry = ModelRegistry(tracking_uri=mlflow)
    registry.ledger(model).state("reviewed", Reviewed(model=model, version=version, verdict="fail").to_dict())
    with pytest.raises(LifecycleRefusedError, match="held back by"):
        promote(model, version, policy=reviewed).execute(task.context)
    registry.reviewed(Reviewed(model=model, version=version, verdict="warn"))
    assert promote(model, version, policy=reviewed).execute(task.context)["changed"]
    older = add_version(mlflow, model, stage="Staging")
    approve(task, model, older)
    assert promote(model, older, policy=reviewed).execute(task.context)["changed"]


@pytest.mark.parametrize("claimed", ["newer", "99", "nonsense", ""])
def test_what_was_asked_about_is_promoted_whatever_the_argument_says(
    mlflow: str, model: str, task: Any, claimed: str
) -> None:
    asked, newer = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    approve(task, model, asked)
    operator = promote(model, "{{ edited }}")
    operator.version = str(newer) if claimed == "newer" else claimed
    assert operator.execute(task.context)["version"] == asked
    assert [stage_of(mlflow, model, version) for version in (asked, newer)] == ["Production", "Staging"]
    assert operator.version_url.endswith(f"/versions/{asked}")


@pytest.mark.parametrize("state", [*STATES, "success"])
def test_where_nothing_was_asked_nothing_is_approved(mlflow: str, model: str, task: Any, state: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    task.states = {APPROVAL: state} if state else {}
    with pytest.raises(NotApprovedError, match=f"{APPROVAL} has asked nobody") as raised:
        promote(model, version).execute(task.context)
    assert isinstance(raised.value, AirflowFailException)
    assert stage_of(mlflow, model, version) == "Staging"


@pytest.mark.parametrize("other", [{"run_id": "another"}, {"dag_id": "another"}, {"map_index": 3}])
def test_what_another_run_asked_and_got_is_none_of_this_one(
    mlflow: str, model: str, task: Any, other: dict[str, Any]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    mine = {name: getattr(task, name) for name in other}
    for name, value in other.items():
        setattr(task, name, value)
    approve(task, model, version)
    for name, value in mine.items():
        setattr(task, name, value)
    with pytest.raises(NotApprovedError, match="has asked nobody"):
        promote(model, version).execute(task.context)


def test_what_another_task_of_the_run_asked_and_got_is_none_of_this_one(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    decide(ask(task, model, version, task_id="another"))
    with pytest.raises(NotApprovedError, match="has asked nobody"):
        promote(model, version).execute(task.context)


@pytest.mark.parametrize("state", STATES)
def test_without_an_approval_nothing_is_promoted(mlflow: str, model: str, task: Any, state: str | None) -> None:
    version = add_version(mlflow, model, stage="Staging")
    ask(task, model, version)
    task.states = {APPROVAL: state} if state else {}
    with pytest.raises(NotApprovedError, match=f"was not approved: {APPROVAL} is {state or 'not started'}") as raised:
        promote(model, version).execute(task.context)
    assert isinstance(raised.value, AirflowFailException), "a retry would find the same"
    assert stage_of(mlflow, model, version) == "Staging"


def test_a_success_that_the_ledger_does_not_know_may_be_retried(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked = ask(task, model, version)
    task.states[APPROVAL] = "success"
    with pytest.raises(DecisionPendingError) as raised:
        promote(model, version).execute(task.context)
    assert isinstance(raised.value, AirflowException)
    assert not isinstance(raised.value, AirflowFailException)
    assert stage_of(mlflow, model, version) == "Staging"
    decide(asked)
    assert promote(model, version).execute(task.context)["changed"]


@pytest.mark.parametrize("state", [*STATES, "success"])
def test_a_rejection_holds_whatever_the_task_is_marked(mlflow: str, model: str, task: Any, state: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked = reject(task, model, version, user="ben")
    decide(asked, user="anna")
    task.states = {APPROVAL: state} if state else {}
    with pytest.raises(NotApprovedError, match="was rejected by ben"):
        promote(model, version).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


def test_an_approval_holds_whatever_the_task_is_marked_later(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked = approve(task, model, version)
    decide(asked, Outcome.REJECTED, user="ben")
    task.states[APPROVAL] = "failed"
    assert promote(model, version).execute(task.context)["user"] == "anna"


def test_an_approval_of_another_ask_is_none(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked, other = ask(task, model, version), ask(task, model, version, task_id="another")
    for elsewhere in (other, replace(asked, id="0" * 16)):
        decide(elsewhere)
    with pytest.raises(NotApprovedError, match="was not approved"):
        promote(model, version).execute(task.context)


CLAIM = {"outcome": "approved", "user": "eve", "user_source": "airflow login", "door": "required_actions"}


def claim(task: Any, model: str, version: int) -> None:
    """Edit what everybody may edit so that it claims an approval by eve."""
    content = {"model": model, "version": version, "reason": "x", "at": datetime.now(UTC).isoformat(), **CLAIM}
    for task_id in (APPROVAL, "stage", "promote"):
        for key in ("return_value", "approval_request", "approval_mark"):
            task.xcoms[task_id, key] = {**content, "note": "x", "roles": ["Admin"]}
    with MLflowRegistryHook().registry() as registry:
        for key, value in Decision(Outcome.APPROVED, user="eve", door=Channel.MARK).as_tags().items():
            registry.client.set_model_version_tag(model, str(version), key, value)


def test_edited_xcoms_and_tags_approve_nothing(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    claim(task, model, version)
    with pytest.raises(NotApprovedError):
        promote(model, version).execute(task.context)
    asked = ask(task, model, version)
    task.states[APPROVAL] = "success"
    with pytest.raises(DecisionPendingError):
        promote(model, version).execute(task.context)
    decide(asked, Outcome.REJECTED)
    with pytest.raises(NotApprovedError):
        promote(model, version).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


def test_edited_xcoms_and_tags_change_neither_version_nor_user(mlflow: str, model: str, task: Any) -> None:
    approved, other = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    approve(task, model, approved)
    claim(task, model, other)
    result = promote(model, other).execute(task.context)
    assert (result["version"], result["user"], result["reason"]) == (approved, "anna", "good")
    assert tags_of(mlflow, model, approved)["decision.user"] == "anna"
    assert stage_of(mlflow, model, other) == "Staging"


def test_an_approval_is_used_once(mlflow: str, model: str, task: Any) -> None:
    first, second = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    approve(task, model, first)
    used = promote(model, first).execute(task.context)["ledger_entry"]
    with MLflowRegistryHook().registry() as registry:
        registry.promote(model, second, Decision(Outcome.APPROVED, user="ben", reason="better", door=Channel.CLI))
    with pytest.raises(LifecycleRefusedError, match=f"in entry {used}: .*roll back"):
        promote(model, first).execute(task.context)
    assert [stage_of(mlflow, model, version) for version in (first, second)] == ["Archived", "Production"]
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(first), "Staging")
    with pytest.raises(LifecycleRefusedError, match=f"used in entry {used}"):
        promote(model, first).execute(task.context)


def test_a_task_that_was_cleared_asks_anew_and_the_approval_before_counts_no_more(
    mlflow: str, model: str, task: Any
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    approve(task, model, version)
    ask(task, model, version)
    task.states[APPROVAL] = "deferred"
    with pytest.raises(NotApprovedError, match=f"{APPROVAL} is deferred"):
        promote(model, version).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


def test_an_approval_of_other_artifacts_is_none(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked = ask(task, model, version, digest="a" * 64)
    decide(asked)
    MlflowClient(tracking_uri=mlflow).set_model_version_tag(model, str(version), tag.ARTIFACTS_DIGEST, "b" * 64)
    with pytest.raises(LifecycleRefusedError, match="were aaaaaaaaaaaa then"):
        promote(model, version).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


@pytest.mark.parametrize(("passed", "message"), [(False, "its gate failed"), (None, "knows no validation")])
def test_an_approval_does_not_replace_the_gate(
    mlflow: str, model: str, task: Any, passed: bool | None, message: str
) -> None:
    version = add_version(mlflow, model, passed=passed, stage="Staging")
    approve(task, model, version)
    with pytest.raises(LifecycleRefusedError, match=message):
        promote(model, version).execute(task.context)
    assert promote(model, version, require_validation=False).execute(task.context)["changed"]


@pytest.mark.parametrize("state", [*STATES, "success"])
def test_a_version_that_came_to_production_by_hand_needs_no_approval(
    mlflow: str, model: str, task: Any, state: str | None
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    ask(task, model, version)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(version), "Production")
    task.states = {APPROVAL: state} if state else {}
    assert not promote(model, version).execute(task.context)["changed"]
    (event,) = ledger(model).events
    assert (event.version, event.door, event.user) == (version, Channel.OUTSIDE, "unknown")


# ---- how an approval ended, on the version ----


@pytest.mark.parametrize("door", [Channel.MARK, Channel.REQUIRED_ACTIONS])
def test_a_rejection_that_no_code_recorded_is_recorded_behind_it(
    mlflow: str, mlflow_url: str, model: str, task: Any, door: Channel
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    reject(task, model, version, user="ben", door=door)
    operator = record(model)
    for _ in range(2):  # a retry records nothing new
        result = operator.execute(task.context)
        assert (result["version"], result["outcome"], result["door"], result["user"]) == (
            version, "rejected", door, "ben",
        )  # fmt: skip
    assert operator.version_url == f"{mlflow_url}/#/models/{model}/versions/{version}"
    tags = tags_of(mlflow, model, version)
    assert (tags["decision.outcome"], tags["decision.user"], tags["decision.reason"]) == ("rejected", "ben", "good")
    assert stage_of(mlflow, model, version) == "Staging"
    assert [event.outcome for event in ledger(model).events] == [Outcome.REJECTED]


@pytest.mark.parametrize("state", [*STATES, "success"])
def test_nothing_is_recorded_when_nobody_was_asked_or_nobody_decided(
    mlflow: str, model: str, task: Any, state: str | None
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    task.states = {APPROVAL: state} if state else {}
    task.xcoms[APPROVAL, "return_value"] = {"model": model, "version": version, **CLAIM, "outcome": "rejected"}
    with pytest.raises(AirflowSkipException, match="asked nobody"):
        record(model).execute(task.context)
    ask(task, model, version)
    with pytest.raises(AirflowSkipException, match=f"Nobody decided on version {version} "):
        record(model).execute(task.context)
    assert "decision.outcome" not in tags_of(mlflow, model, version)


def test_an_approval_is_left_to_the_promotion(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    approve(task, model, version)
    with pytest.raises(AirflowSkipException, match="the promotion shows it"):
        record(model).execute(task.context)
    assert "decision.outcome" not in tags_of(mlflow, model, version)


def test_a_decision_on_a_version_that_moved_meanwhile_comes_late(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked = ask(task, model, version)
    with MLflowRegistryHook().registry() as registry:
        registry.promote(model, version, Decision(Outcome.APPROVED, user="anna", door=Channel.CLI))
    decide(asked, Outcome.REJECTED, user="ben")
    result = record(model).execute(task.context)
    assert (result["outcome"], result["user"]) == ("approved", "anna"), "the first decision holds"
    assert stage_of(mlflow, model, version) == "Production"
    assert tags_of(mlflow, model, version)["decision.outcome"] == "approved"
    assert [(event.outcome, event.late) for event in ledger(model).events] == [
        (Outcome.APPROVED, False),
        (Outcome.REJECTED, True),
    ]


def test_a_decision_on_a_version_that_was_deleted_is_in_the_ledger_alone(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    reject(task, model, version)
    MlflowClient(tracking_uri=mlflow).delete_model_version(model, str(version))
    with pytest.raises(AirflowSkipException, match="Nothing to record"):
        record(model).execute(task.context)


# ---- whether what was approved was promoted ----


@pytest.mark.parametrize("decided", [True, False])
def test_a_promotion_that_was_marked_green_by_hand_is_red_and_on_the_version(
    mlflow: str, mlflow_url: str, model: str, task: Any, decided: bool
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    asked = ask(task, model, version)
    if decided:
        decide(asked)
    task.states |= {APPROVAL: "success", "promote": "success"}
    task.xcoms["promote", "return_value"] = {"model": model, "version": version, "changed": True, "to": "Production"}
    operator = confirm(model)
    with pytest.raises(PromotionSkippedError):
        operator.execute(task.context)
    assert (operator.version, operator.version_url) == (version, f"{mlflow_url}/#/models/{model}/versions/{version}")
    assert "is not promoted" in tags_of(mlflow, model, version)["promotion.skipped"]
    assert stage_of(mlflow, model, version) == "Staging"
    if not decided:
        decide(asked)
    promote(model, version).execute(task.context)
    assert "promotion.skipped" not in tags_of(mlflow, model, version)
    confirm(model).execute(task.context)


def test_a_promotion_that_another_replaced_was_one(mlflow: str, model: str, task: Any) -> None:
    version, newer = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    approve(task, model, version)
    promote(model, version).execute(task.context)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(newer), "Production", True)
    confirm(model).execute(task.context)


def test_a_version_that_came_to_production_by_hand_is_confirmed(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    ask(task, model, version)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(version), "Production")
    confirm(model).execute(task.context)


def test_where_nothing_was_asked_nothing_is_confirmed(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Production")
    task.xcoms["promote", "return_value"] = {"model": model, "version": version, "changed": True}
    with pytest.raises(PromotionSkippedError, match=f"{APPROVAL} asked nobody"):
        confirm(model).execute(task.context)
