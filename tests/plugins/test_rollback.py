"""The operators of a rollback on a real MLflow server: who decides, what comes back, what is refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.lifecycle.config import PolicyConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.registry import ModelRegistry
from model_registry.approvals import APPROVE, REJECT, Recorded
from model_registry.exceptions import (
    ApprovalExpiredError,
    ApprovalRejectedError,
    LifecycleRefusedError,
    NotApprovedError,
)
from model_registry.rollback import ModelRollbackOperator, RollbackApprovalOperator
from tests.airflow_home import PASSWORD
from tests.plugins.api_server import Run, reach
from tests.registry_server import add_version, stage_of, tags_of

APPROVAL = "await_approval"
API = "airflow_api_default"
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


@dataclass
class Desk:
    """A run that somebody triggered in Airflow's own API application, and its task."""

    run: Run
    task: Any
    user: str

    @property
    def context(self) -> Any:
        return context(self.task, user=self.user)

    def answer(self, model: str, user: str = "ben", outcome: Outcome = Outcome.APPROVED, version: int = 1) -> None:
        """Have somebody answer the run's approval under Required Actions, about the version that was asked."""
        self.run.ask_in_required_actions()
        option = APPROVE if outcome is Outcome.APPROVED else REJECT
        assert self.run.answer(user, option, "confirmed").status_code == 200
        leave_answer(self.task, model, user, outcome, version)


@pytest.fixture
def triggered(api_client: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, task: Any) -> Callable[[str], Desk]:
    """Have a user trigger a run in Airflow; its API tells the task who did, and who answered."""
    connect("airflow_api_default", host="airflow", login="anna", password=PASSWORD)
    reach(api_client, monkeypatch)

    def trigger(user: str) -> Desk:
        run = Run(api_client, user=user)
        return Desk(run, replace(task, dag_id=run.dag_id, run_id=run.run_id), user)

    return trigger


def test_whoever_triggers_the_run_decides_and_the_bad_version_is_archived_with_the_reason(
    mlflow: str, two: str, triggered: Callable[[str], Desk]
) -> None:
    desk = triggered("anna")
    result = rollback(two, airflow_conn_id=API).execute(desk.context)
    assert (result["from"], result["to"], result["archived"], result["user"]) == ("Archived", "Production", [2], "anna")
    assert [stage_of(mlflow, two, version) for version in (1, 2)] == ["Production", "Archived"]
    event = ModelRegistry(tracking_uri=mlflow).history(two)[-1]
    assert (event.user, event.user_source, event.door, event.reason) == (
        "anna",
        "airflow run",
        Door.FORM,
        "2 oversells",
    )
    assert (event.entry, event.run_id) == (result["ledger_entry"], desk.run.run_id)
    assert "rolled back to version 1 by anna (form): 2 oversells" in tags_of(mlflow, two, 2)["rollback.reason"]
    again = rollback(two, airflow_conn_id=API).execute(desk.context)
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


def test_a_missing_ca_file_of_the_optional_connection_ends_nothing(
    mlflow: str, two: str, task: Any, connect: Any
) -> None:
    connect(API, host="https://airflow", login="a", password="b", extra={"ca_bundle": "/nowhere/ca.pem"})
    assert rollback(two, airflow_conn_id=API).execute(context(task))["changed"]
    assert tags_of(mlflow, two, 1)["decision.user_source"] == "airflow run, unverified"


@pytest.mark.parametrize("reason", ["", "  \n ", None, 7, "\u3164\u115f", "\u200b", "..."])
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


def test_the_policy_of_rollbacks_holds(mlflow: str, two: str, triggered: Callable[[str], Desk]) -> None:
    policy = PolicyConfig(approvers=("user:anna",))
    by_anna, by_ben = triggered("anna"), triggered("ben")
    with pytest.raises(AirflowFailException, match="Approvers"):
        rollback(two, policy=policy).execute(by_anna.context)  # without a connection nothing shows who it was
    with pytest.raises(AirflowFailException, match="ben is not among the approvers"):
        rollback(two, policy=policy, airflow_conn_id=API).execute(by_ben.context)
    assert stage_of(mlflow, two, 2) == "Production"
    assert rollback(two, policy=policy, airflow_conn_id=API).execute(by_anna.context)["changed"]


def test_digests_can_be_required(mlflow: str, two: str, task: Any) -> None:
    with pytest.raises(LifecycleRefusedError, match="registered without digests"):
        rollback(two, integrity="required").execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


# ---- a second person ----


def leave_answer(task: Any, model: str, user: str, outcome: Outcome = Outcome.APPROVED, version: int = 1) -> None:
    """Leave the XCom that the approval leaves; Airflow's users may edit it."""
    decision = Decision(outcome, user, "required_actions", "confirmed", Door.REQUIRED_ACTIONS)
    task.xcoms[APPROVAL, "return_value"] = Recorded(model, version, decision).to_xcom()
    task.states[APPROVAL] = "success"


def with_a_second_person(model: str) -> ModelRollbackOperator:
    return rollback(model, policy=SECOND, approval_task_id=APPROVAL, airflow_conn_id=API)


def test_a_second_person_approves(mlflow: str, two: str, triggered: Callable[[str], Desk]) -> None:
    desk = triggered("anna")
    desk.answer(two)
    assert with_a_second_person(two).execute(desk.context)["user"] == "ben"
    reason = tags_of(mlflow, two, 1)["decision.reason"]
    assert reason == "2 oversells (asked for by anna; approved: confirmed)"


def test_one_person_is_not_two(mlflow: str, two: str, triggered: Callable[[str], Desk]) -> None:
    desk = triggered("anna")
    desk.answer(two, user="anna")
    with pytest.raises(AirflowFailException, match="triggered this run"):
        with_a_second_person(two).execute(desk.context)
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize("answered", [None, "anna"])
def test_what_airflow_does_not_confirm_is_nobodys_approval(
    mlflow: str, two: str, triggered: Callable[[str], Desk], answered: str | None
) -> None:
    desk = triggered("anna")
    if answered:
        desk.answer(two, user=answered)
    leave_answer(desk.task, two, "ben")  # an XCom: anybody may have edited it
    with pytest.raises(AirflowFailException, match="Four eyes"):
        with_a_second_person(two).execute(desk.context)
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize("left", ["nothing", "another version", "a rejection"])
def test_a_mark_or_another_answer_approves_nothing(
    mlflow: str, two: str, triggered: Callable[[str], Desk], left: str
) -> None:
    desk = triggered("anna")
    desk.task.states[APPROVAL] = "success"
    if left == "another version":
        desk.answer(two, version=2)
    elif left == "a rejection":
        desk.answer(two, outcome=Outcome.REJECTED)
    told = "was rejected by ben" if left == "a rejection" else "Nobody approved the rollback to version 1"
    with pytest.raises(NotApprovedError, match=told):
        with_a_second_person(two).execute(desk.context)
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
    # Airflow's part of it needs the process that supervises a task; the system tests have one
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
