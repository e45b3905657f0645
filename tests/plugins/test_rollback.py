"""The operators of a rollback on a real MLflow server: who decides, what comes back, what is refused."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.lifecycle.config import PolicyConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.registry import ModelRegistry
from model_registry.approvals import Recorded
from model_registry.exceptions import (
    ApprovalExpiredError,
    ApprovalRejectedError,
    LifecycleRefusedError,
    NotApprovedError,
)
from model_registry.rollback import ModelRollbackOperator, RollbackApprovalOperator
from tests.registry_server import add_version, stage_of, tags_of

APPROVAL = "await_approval"
SECOND = PolicyConfig(four_eyes=True)


@pytest.fixture
def two(mlflow: str, model: str) -> str:
    """A model whose version 2 replaced version 1 in Production."""
    registry = ModelRegistry(tracking_uri=mlflow)
    for version in (add_version(mlflow, model, stage="Staging"), add_version(mlflow, model, stage="Staging")):
        registry.promote(model, version, Decision(Outcome.APPROVED, reason="good"))
    return model


def context(task: Any, reason: object = "2 oversells", user: str | None = "ana", at: datetime | None = None) -> Any:
    run = SimpleNamespace(
        triggering_user_name=user, run_type="manual", consumed_asset_events=[], run_after=at or datetime.now(UTC)
    )
    return {**task.context, "params": {"reason": reason, "version": None}, "dag_run": run}


def rollback(model: str, version: object = 1, **arguments: Any) -> ModelRollbackOperator:
    arguments = {"airflow_conn_id": None, **arguments}
    return ModelRollbackOperator(task_id="rollback", model_name=model, version=version, **arguments)  # type: ignore[arg-type]


def logged_in(monkeypatch: pytest.MonkeyPatch, user: str = "ana") -> None:
    """Let Airflow's API confirm who triggered the run."""
    monkeypatch.setattr("model_registry.rollback.verified_requester", lambda *_: user)


def test_whoever_triggers_the_run_decides_and_the_bad_version_is_archived_with_the_reason(
    mlflow: str, two: str, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_in(monkeypatch)
    result = rollback(two).execute(context(task))
    assert (result["from"], result["to"], result["archived"], result["user"]) == ("Archived", "Production", [2], "ana")
    assert [stage_of(mlflow, two, version) for version in (1, 2)] == ["Production", "Archived"]
    event = ModelRegistry(tracking_uri=mlflow).history(two)[-1]
    assert (event.user, event.user_source, event.door, event.reason) == ("ana", "airflow run", Door.FORM, "2 oversells")
    assert (event.entry, event.run_id) == (result["ledger_entry"], task.run_id)
    assert "rolled back to version 1 by ana (form): 2 oversells" in tags_of(mlflow, two, 2)["rollback.reason"]
    again = rollback(two).execute(context(task))
    assert (again["changed"], again["ledger_entry"]) == (False, result["ledger_entry"])


def test_a_run_that_was_overtaken_is_not_followed_when_somebody_clears_it_later(
    mlflow: str, two: str, task: Any
) -> None:
    asked = datetime.now(UTC)
    rollback(two).execute(context(task, at=asked))
    registry = ModelRegistry(tracking_uri=mlflow)
    third = add_version(mlflow, two, stage="Staging")
    registry.promote(two, third, Decision(Outcome.APPROVED, reason="better"))
    with pytest.raises(LifecycleRefusedError, match=f"version {third} came into Production since: .* trigger it again"):
        rollback(two).execute(context(task, at=asked))
    assert stage_of(mlflow, two, third) == "Production"
    assert rollback(two).execute(context(task))["archived"] == [third]


def test_a_name_that_no_login_shows_is_kept_as_not_verified(mlflow: str, two: str, task: Any) -> None:
    assert rollback(two).execute(context(task))["user"] == "ana"
    tags = tags_of(mlflow, two, 1)
    assert tags["decision.user_source"] == "airflow run, unverified"
    assert rollback(two, 2).execute(context(task, user=None))["user"] == "unknown"


@pytest.mark.parametrize("reason", ["", "  \n ", None, 7])
def test_without_a_reason_nothing_moves(mlflow: str, two: str, task: Any, reason: object) -> None:
    with pytest.raises(LifecycleRefusedError, match="The run has no reason: trigger it again and say why"):
        rollback(two).execute(context(task, reason))
    assert stage_of(mlflow, two, 2) == "Production"


def test_only_a_former_champion_comes_back(mlflow: str, two: str, task: Any) -> None:
    never = add_version(mlflow, two)
    with pytest.raises(LifecycleRefusedError, match="was never in Production: rollback can take 1"):
        rollback(two, never).execute(context(task))
    with pytest.raises(LifecycleRefusedError, match="has no version 9"):
        rollback(two, 9).execute(context(task))


def test_the_policy_of_rollbacks_holds(
    mlflow: str, two: str, task: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = PolicyConfig(approvers=("user:ana",))
    with pytest.raises(AirflowFailException, match="Approvers"):
        rollback(two, policy=policy).execute(context(task))
    logged_in(monkeypatch, "ben")
    with pytest.raises(AirflowFailException, match="ben"):
        rollback(two, policy=policy).execute(context(task, user="ben"))
    assert stage_of(mlflow, two, 2) == "Production"
    logged_in(monkeypatch)
    assert rollback(two, policy=policy).execute(context(task))["changed"]


def test_digests_can_be_required(mlflow: str, two: str, task: Any) -> None:
    with pytest.raises(LifecycleRefusedError, match="registered without digests"):
        rollback(two, integrity="required").execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


# ---- a second person ----


def answer(task: Any, model: str, user: str = "ben", outcome: Outcome = Outcome.APPROVED, version: int = 1) -> None:
    decision = Decision(outcome, user, "required_actions", "confirmed", Door.REQUIRED_ACTIONS)
    task.xcoms[APPROVAL, "return_value"] = Recorded(model, version, decision).to_xcom()
    task.states[APPROVAL] = "success"


def confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow's API confirm the response."""
    monkeypatch.setattr("model_registry.rollback.verified_response", lambda decision, *_: decision)


def test_a_second_person_approves(mlflow: str, two: str, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged_in(monkeypatch)
    confirmed(monkeypatch)
    answer(task, two)
    result = rollback(two, policy=SECOND, approval_task_id=APPROVAL).execute(context(task))
    assert result["user"] == "ben"
    reason = tags_of(mlflow, two, 1)["decision.reason"]
    assert reason == "2 oversells (asked for by ana; approved: confirmed)"


def test_one_person_is_not_two(mlflow: str, two: str, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged_in(monkeypatch)
    confirmed(monkeypatch)
    answer(task, two, user="ana")
    with pytest.raises(AirflowFailException, match="triggered this run"):
        rollback(two, policy=SECOND, approval_task_id=APPROVAL).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


def test_what_airflow_does_not_confirm_is_nobodys_approval(mlflow: str, two: str, task: Any) -> None:
    answer(task, two)  # an XCom alone: anybody may have edited it
    with pytest.raises(AirflowFailException, match="Four eyes"):
        rollback(two, policy=SECOND, approval_task_id=APPROVAL).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize("left", ["nothing", "another version", "a rejection"])
def test_a_mark_or_another_answer_approves_nothing(
    mlflow: str, two: str, task: Any, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    logged_in(monkeypatch)
    confirmed(monkeypatch)
    task.states[APPROVAL] = "success"
    if left == "another version":
        answer(task, two, version=2)
    elif left == "a rejection":
        answer(task, two, outcome=Outcome.REJECTED)
    with pytest.raises(NotApprovedError, match=r"Nobody approved the rollback to version 1|was rejected by ben"):
        rollback(two, policy=SECOND, approval_task_id=APPROVAL).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


def test_four_eyes_need_a_task_that_asks() -> None:
    with pytest.raises(ValueError, match="four_eyes needs approval_task_id"):
        rollback("m", policy=SECOND)
    with pytest.raises(ValueError, match="version must not be empty"):
        rollback("m", "")


def ask(model: str) -> RollbackApprovalOperator:
    return RollbackApprovalOperator(task_id=APPROVAL, model_name=model, version="1")


def test_the_second_person_sees_version_and_reason_as_text(
    two: str, task: Any, mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.HITLOperator.execute", lambda *_: None)
    operator = ask(two)
    operator.execute(context(task, "<b>bad</b> {{ conn.secret }} [x](http://evil)"))
    assert operator.subject == f"Roll {two} back to version 1?"
    assert "Approval puts it in the place of version 2" in str(operator.body)
    assert "Asked for by | ana" in str(operator.body)
    for markup in ("<b>", "{{", "http://evil"):
        assert markup not in str(operator.body)


def test_the_second_persons_answer(two: str, task: Any, mlflow: str) -> None:
    response = {
        "chosen_options": ["Approve"],
        "params_input": {"reason": "yes"},
        "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
        "responded_by_user": {"id": "1", "name": "ben"},
    }
    recorded = Recorded.from_xcom(ask(two).execute_complete(task.context, response))
    assert recorded is not None
    assert recorded.decision is not None
    assert (recorded.version, recorded.decision.user, recorded.decision.reason) == (1, "ben", "yes")
    with pytest.raises(ApprovalRejectedError, match="ben refused"):
        ask(two).execute_complete(task.context, {**response, "chosen_options": ["Reject"]})
    with pytest.raises(ApprovalExpiredError, match="in time"):
        ask(two).execute_complete(task.context, {"error": "timed out", "error_type": "timeout"})
