"""The operators of a rollback on a real MLflow server: who decides, what comes back, what is refused."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from model_registry.exceptions import (
    ApprovalExpiredError,
    ApprovalRejectedError,
    DecisionPendingError,
    LifecycleRefusedError,
    NotApprovedError,
)
from model_registry.operators import rollback as operators
from model_registry.operators.rollback import ModelRollbackOperator, RollbackApprovalOperator
from tests.mlflow_database import Prepared
from tests.plugins.api_server import APPROVAL, Run
from tests.plugins.asking import ask, decide, ledger
from tests.plugins.rollbacks import (
    ALONE,
    BY_APPROVER,
    BY_TWO,
    FILLED_IN,
    MODEL,
    REASON,
    context,
    know_forms,
    promoted,
    rollback,
    trigger,
    triggered,
)
from tests.registry_server import add_version, stage_of, tags_of

SECOND = PolicyConfig(four_eyes=True)
HITL = "airflow.providers.standard.operators.hitl.HITLOperator.execute"


@pytest.fixture
def two(mlflow: str, prepared: Prepared) -> str:
    """A model whose version 2 replaced version 1 in Production."""
    prepared("two in Production", lambda: promoted(mlflow, "two"))
    return "two"


@pytest.fixture
def client(api_client: Any) -> Any:
    """Airflow's own API application, which knows the forms of rollbacks."""
    know_forms()
    return api_client


def promote_another(mlflow: str, model: str, task: Any = None) -> int:
    """Promote one more version, in the run of a task where one is given, and return its number."""
    run = {"dag_id": task.dag_id, "run_id": task.run_id} if task is not None else {}
    return promoted(mlflow, model, 1, **run)[0]


# ---- in Airflow's API server: to trigger the run is to decide ----


def entered(run: Run) -> list[tuple[Any, Any]]:
    """What the ledger was asked and told in a run, as it was asked."""
    said = ledger(MODEL).statements
    asks = [item for item in said.asks.values() if item.place.run_id == run.run_id]
    return [(item, said.decided[item.id].what if item.id in said.decided else None) for item in asks]


@pytest.mark.parametrize(("conf", "version"), [({"version": 3}, 3), ({"version": None}, 0), ({}, 0)])
@pytest.mark.parametrize("user", ["anna", "ben"])
def test_whoever_triggers_a_run_asks_and_decides(client: Any, conf: dict[str, Any], version: int, user: str) -> None:
    run = trigger(client, user, **conf)
    ((asked, told),) = entered(run)
    place = asked.place
    assert (place.dag_id, place.task_id, asked.purpose, asked.version) == (ALONE, "rollback", "rollback", version)
    decision = told.decision
    assert (decision.outcome, decision.user, decision.roles) == (Outcome.APPROVED, user, ())
    assert (decision.user_source, decision.door, decision.user_is_verified) == ("airflow run", Channel.FORM, True)
    assert (decision.dag_id, decision.run_id, told.requested_by) == (ALONE, run.run_id, user)
    assert (asked.reason, decision.reason) == (REASON, REASON)
    assert [row[:3] for row in run.rows()] == [("approval_decided", "rollback", user)]


def test_who_is_no_approver_triggers_no_rollback(client: Any) -> None:
    run = trigger(client, "anna", BY_APPROVER)
    ((_, told),) = entered(run)
    assert (told.decision.user, told.decision.roles) == ("anna", ("admin",))
    before = ledger(MODEL).next_number
    body = {"logical_date": None, "conf": {"reason": REASON}, "dag_run_id": "by_ben"}
    answer = run.request("ben", "POST", f"/api/v2/dags/{BY_APPROVER}/dagRuns", body)
    assert (answer.status_code, "ben is not among the approvers role:admin, user:carl" in answer.text) == (403, True)
    assert ledger(MODEL).next_number == before
    assert run.request("anna", "GET", f"/api/v2/dags/{BY_APPROVER}/dagRuns/by_ben", None).status_code == 404


@pytest.mark.parametrize(
    ("conf", "version"),
    [
        ({}, 2),
        (None, 2),
        ({"version": 3}, 3),
        ({"version": "3"}, 3),
        ({"version": 3.0}, 3),
        ({"version": None}, 0),
        ({"version": ""}, 0),
        ({"version": "3; x"}, None),
        ({"version": True}, None),
        ({"version": [3]}, None),
        ({"version": -3}, None),
    ],
)
def test_a_form_that_checks_nothing(client: Any, conf: dict[str, Any] | None, version: int | None) -> None:
    if version is None:
        body = {"logical_date": None, "conf": conf}
        answer = trigger(client).request("ben", "POST", f"/api/v2/dags/{FILLED_IN}/dagRuns", body)
        assert (answer.status_code, "version must be a number" in answer.text) == (403, True)
        return
    run = Run(client, FILLED_IN, "rollback", "ben", conf=conf)
    ((asked, told),) = entered(run)
    assert (asked.version, asked.reason, told.decision.reason) == (version, REASON, REASON)


def test_who_may_not_trigger_it_decides_nothing(client: Any) -> None:
    run, before = trigger(client), ledger(MODEL).next_number
    body: dict[str, Any] = {"logical_date": None, "conf": {"reason": "because"}}
    assert run.request("vera", "POST", f"/api/v2/dags/{ALONE}/dagRuns", body).status_code == 403
    assert client.post(f"/api/v2/dags/{ALONE}/dagRuns", json=body).status_code == 401
    body["conf"] = {"version": "1; DROP TABLE"}
    assert run.request("anna", "POST", f"/api/v2/dags/{ALONE}/dagRuns", body).status_code == 400
    assert ledger(MODEL).next_number == before


@pytest.mark.parametrize("version", [0, 3])
def test_a_run_made_again_under_the_same_id_is_the_decision_of_who_made_it_again(client: Any, version: int) -> None:
    conf: dict[str, Any] = {"version": version} if version else {}
    first = trigger(client, "anna", run_id="once", **conf)
    assert first.request("anna", "DELETE", first.path, None).status_code == 204
    again = trigger(client, "ben", run_id="once", **conf)
    said = ledger(MODEL).statements
    asked = said.last_ask(entered(again)[0][0].place, "rollback")
    assert asked is not None
    assert said.decided[asked.id].what.decision.user == "ben"
    assert again.request("ben", "DELETE", again.path, None).status_code == 204


def test_while_mlflow_is_away_no_run_is_made(client: Any, connect: Any) -> None:
    run = trigger(client)
    connect("mlflow_default", host="127.0.0.1", port=9)
    runs = f"/api/v2/dags/{ALONE}/dagRuns"
    body: dict[str, Any] = {"logical_date": None, "conf": {}, "dag_run_id": "while-away"}
    answer = run.request("anna", "POST", runs, body)
    assert answer.status_code == 503
    assert "cannot be read now" in answer.json()["detail"]
    assert run.request("anna", "GET", f"{runs}/while-away", None).status_code == 404
    Run(client)  # that of another DAG is made: to trigger it decides nothing


def test_where_a_second_person_decides_to_trigger_it_is_no_decision(client: Any) -> None:
    run = trigger(client, "anna", BY_TWO, version=1)
    assert (entered(run), run.rows()) == ([], [])


@pytest.mark.parametrize("named", [True, False])
def test_what_was_triggered_is_rolled_back(mlflow: str, client: Any, task: Any, named: bool) -> None:
    old, bad = promoted(mlflow, MODEL)
    conf: dict[str, Any] = {"version": old} if named else {}
    run = trigger(client, "anna", BY_APPROVER, **conf)
    task = replace(task, task_id="rollback", dag_id=BY_APPROVER, run_id=run.run_id)
    policy = PolicyConfig(approvers=("role:admin",))
    result = rollback(MODEL, bad if named else old, policy=policy).execute(context(task, user="ana"))
    assert (result["version"], result["archived"], result["user"], result["reason"]) == (old, [bad], "anna", REASON)
    assert (stage_of(mlflow, MODEL, old), stage_of(mlflow, MODEL, bad)) == ("Production", "Archived")


# ---- the operator ----


def test_whoever_triggered_the_run_decides_and_the_bad_version_is_archived_with_the_reason(
    mlflow: str, two: str, task: Any
) -> None:
    asked = triggered(task, two)
    result = rollback(two).execute(context(task))
    assert (result["from"], result["to"], result["archived"], result["user"]) == ("Archived", "Production", [2], "anna")
    assert [stage_of(mlflow, two, version) for version in (1, 2)] == ["Production", "Archived"]
    event = ledger(two).events[-1]
    assert (event.user, event.user_source, event.door, event.reason, event.ask) == (
        "anna", "airflow run", Channel.FORM, REASON, asked.id,
    )  # fmt: skip
    assert (event.entry, event.run_id) == (result["ledger_entry"], task.run_id)
    assert "rolled back to version 1 by anna (form): 2 oversells" in tags_of(mlflow, two, 2)["rollback.reason"]
    again = rollback(two).execute(context(task))
    assert (again["changed"], again["ledger_entry"]) == (False, result["ledger_entry"])


@pytest.mark.parametrize("told", [3, "", "nonsense"])
def test_the_version_is_the_forms_whatever_an_xcom_says(mlflow: str, two: str, task: Any, told: object) -> None:
    promote_another(mlflow, two)
    triggered(task, two, 1)
    operator = rollback(two)
    operator.version = told  # type: ignore[assignment]
    assert operator.execute(context(task))["version"] == 1
    assert operator.version_url.endswith("/versions/1")


def test_the_reason_and_the_user_are_the_forms_whatever_the_run_says(two: str, task: Any) -> None:
    triggered(task, two)
    result = rollback(two).execute(context(task, "edited", user="eve"))
    assert (result["user"], result["reason"]) == ("anna", REASON)


def test_without_a_version_the_champion_before_comes_back_and_a_retry_goes_no_further(
    mlflow: str, two: str, task: Any
) -> None:
    promote_another(mlflow, two)
    triggered(task, two, 0)
    result = rollback(two, 2).execute(context(task))
    assert (result["version"], result["archived"]) == (2, [3])
    for told in (1, 2, 3):
        again = rollback(two, told).execute(context(task))
        assert (again["version"], again["changed"], again["ledger_entry"]) == (2, False, result["ledger_entry"])
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize("told", [1, "3"])
def test_what_another_version_was_checked_for_is_not_the_champion_before(
    mlflow: str, two: str, task: Any, told: object
) -> None:
    third = promote_another(mlflow, two)
    triggered(task, two, 0)
    with pytest.raises(LifecycleRefusedError, match=f"before, version 2 .*about version {told}"):
        rollback(two, told).execute(context(task))
    assert stage_of(mlflow, two, third) == "Production"


def test_without_a_champion_before_there_is_nothing_to_roll_back_to(mlflow: str, model: str, task: Any) -> None:
    promote_another(mlflow, model)
    triggered(task, model, 0)
    with pytest.raises(LifecycleRefusedError, match="No former champion"):
        rollback(model).execute(context(task))


def test_a_run_that_was_overtaken_is_not_followed_when_somebody_clears_it_later(
    mlflow: str, two: str, task: Any
) -> None:
    triggered(task, two)
    rollback(two).execute(context(task))
    third = promote_another(mlflow, two)
    for pretends in (None, datetime.now(UTC) + timedelta(days=1)):  # what the run says of itself changes nothing
        with pytest.raises(LifecycleRefusedError, match=f"version {third} came into Production"):
            rollback(two).execute(context(task, at=pretends))
    assert stage_of(mlflow, two, third) == "Production"
    another = replace(task, run_id="another")
    triggered(another, two)
    assert rollback(two).execute(context(another))["archived"] == [third]


@pytest.mark.parametrize("version", [0, 1])
def test_what_was_asked_for_is_done_once(mlflow: str, two: str, task: Any, version: int) -> None:
    triggered(task, two, version)
    rollback(two).execute(context(task))
    third = promote_another(mlflow, two, task)
    with pytest.raises(LifecycleRefusedError, match="approval was used"):
        rollback(two).execute(context(task))
    assert stage_of(mlflow, two, third) == "Production"


def test_a_run_that_no_login_triggered_is_overtaken_too(mlflow: str, two: str, task: Any) -> None:
    asked = datetime.now(UTC)
    third = promote_another(mlflow, two)
    with pytest.raises(LifecycleRefusedError, match=f"version {third} came into Production"):
        rollback(two).execute(context(task, at=asked))
    assert stage_of(mlflow, two, third) == "Production"


def test_a_name_that_no_login_shows_is_kept_as_not_verified(mlflow: str, two: str, task: Any) -> None:
    assert rollback(two).execute(context(task))["user"] == "ana"
    assert tags_of(mlflow, two, 1)["decision.user_source"] == "airflow run, unverified"
    assert rollback(two, 2).execute(context(task, user=None))["user"] == "unknown"


@pytest.mark.parametrize("told", ["", None, "nonsense"])
def test_a_run_that_no_login_triggered_names_a_version(two: str, task: Any, told: object) -> None:
    operator = rollback(two)
    operator.version = told  # type: ignore[assignment]
    with pytest.raises(LifecycleRefusedError, match=r"version (is empty|must)"):
        operator.execute(context(task))


@pytest.mark.parametrize("reason", ["", "  \n ", None, 7, "\u3164\u115f", "\u200b", "..."])
@pytest.mark.parametrize("login", [True, False])
def test_without_a_reason_nothing_moves(mlflow: str, two: str, task: Any, reason: Any, login: bool) -> None:
    if login:
        triggered(task, two, reason=reason if isinstance(reason, str) else "")
    with pytest.raises(LifecycleRefusedError, match="has no reason"):
        rollback(two).execute(context(task, REASON if login else reason))
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize("login", [True, False])
def test_only_a_former_champion_comes_back(mlflow: str, two: str, task: Any, login: bool) -> None:
    never = add_version(mlflow, two)
    for version, told in ((never, "rollback can take 1"), (9, "has no version 9")):
        if login:
            triggered(task, two, version)
        with pytest.raises(LifecycleRefusedError, match=told):
            rollback(two, version).execute(context(task))


@pytest.mark.parametrize(
    ("approvers", "refused"),
    [
        (("user:anna",), None),
        (("role:admin",), None),
        (("role:op", "user:anna"), None),
        (("role:op", "user:ben"), "anna is not among"),
        (("user:admin", "role:anna"), "anna is not among"),
    ],
)
def test_the_policy_is_met_by_the_forms_login(
    mlflow: str, two: str, task: Any, approvers: tuple[str, ...], refused: str | None
) -> None:
    triggered(task, two, roles=("admin",))
    operator = rollback(two, policy=PolicyConfig(approvers=approvers))
    if refused is None:
        assert operator.execute(context(task))["changed"]
        assert ledger(two).events[-1].policy == "approvers met, reason met"
        return
    with pytest.raises(AirflowFailException, match=refused):
        operator.execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize("approver", ["user:ana", "role:admin"])
def test_the_policy_is_not_met_by_a_name_that_no_login_shows(mlflow: str, two: str, task: Any, approver: str) -> None:
    with pytest.raises(AirflowFailException, match="ana approved is not"):
        rollback(two, policy=PolicyConfig(approvers=(approver,))).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


@pytest.mark.parametrize(
    "other", [{"run_id": "another"}, {"dag_id": "another"}, {"task_id": "another"}, {"map_index": 1}]
)
def test_what_was_decided_elsewhere_decides_nothing_here(two: str, task: Any, other: dict[str, Any]) -> None:
    triggered(task, two)
    with pytest.raises(AirflowFailException, match="Approvers are user:anna"):
        rollback(two, policy=PolicyConfig(approvers=("user:anna",))).execute(context(replace(task, **other)))


def test_digests_can_be_required(mlflow: str, two: str, task: Any) -> None:
    triggered(task, two)
    with pytest.raises(LifecycleRefusedError, match="registered without digests"):
        rollback(two, integrity="required").execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


# ---- a second person ----


def second(model: str, task: Any, version: int = 1, **decided: Any) -> None:
    """Ask a second person, who answers unless ``outcome`` is None; anna triggered the run."""
    asked = ask(task, model, version, purpose="rollback", reason=REASON, policy=SECOND)
    task.states[APPROVAL], task.task_id = "success", "rollback"
    decided = {"outcome": Outcome.APPROVED, "user": "ben", "reason": "confirmed", "requested_by": "anna"} | decided
    if decided["outcome"] is not None:
        decide(asked, decided.pop("outcome"), **decided)


def by_two(model: str, **arguments: Any) -> ModelRollbackOperator:
    return rollback(model, policy=SECOND, approval_task_id=APPROVAL, **arguments)


def test_a_second_person_approves(mlflow: str, two: str, task: Any) -> None:
    second(two, task)
    result = by_two(two).execute(context(task, "edited", user="eve"))
    assert (result["user"], ledger(two).events[-1].policy) == ("ben", "reason met, four eyes met")
    reason = tags_of(mlflow, two, 1)["decision.reason"]
    assert reason == "2 oversells (asked for by anna; approved: confirmed)"


def test_the_second_person_chose_the_version_and_no_xcom(mlflow: str, two: str, task: Any) -> None:
    promote_another(mlflow, two)
    second(two, task, 1)
    assert by_two(two, version=2).execute(context(task))["version"] == 1


@pytest.mark.parametrize(
    ("decided", "told"),
    [
        ({"user": "anna"}, "anna triggered this run"),
        ({"user": "ANNA "}, "triggered this run"),
        ({"requested_by": None}, "who triggered the run"),
        ({"user_source": "operating system, unverified"}, "ben approved is not"),
        ({"reason": "\u3164"}, "A reason is required"),
    ],
)
def test_one_person_is_not_two(mlflow: str, two: str, task: Any, decided: dict[str, Any], told: str) -> None:
    second(two, task, **decided)
    with pytest.raises(AirflowFailException, match=told):
        by_two(two).execute(context(task, user="carl"))
    assert stage_of(mlflow, two, 2) == "Production"


def test_a_run_that_nobody_triggered_has_no_first_person(two: str, task: Any) -> None:
    second(two, task, requested_by="")
    assert by_two(two).execute(context(task))["user"] == "ben"


@pytest.mark.parametrize("asked", [None, "nobody answered", "a promotion", "another task", "another run"])
def test_an_xcom_and_a_state_approve_nothing(mlflow: str, two: str, task: Any, asked: str | None) -> None:
    approval = Decision(Outcome.APPROVED, "ben", "airflow login", "confirmed", Channel.REQUIRED_ACTIONS)
    task.xcoms[APPROVAL, "return_value"] = {"model": two, "version": 1, **approval.to_dict()}
    task.xcoms[APPROVAL, "return_value"]["decision"] = approval.to_dict()
    task.states[APPROVAL] = "success"
    if asked == "nobody answered":
        second(two, task, outcome=None)
    elif asked == "a promotion":
        decide(ask(task, two, 1), user="ben", requested_by="anna")
    elif asked == "another task":
        decide(ask(task, two, 1, "another", purpose="rollback"), user="ben", requested_by="anna")
    elif asked == "another run":
        second(two, replace(task, run_id="another"))
    with pytest.raises(NotApprovedError, match=r"Nobody .* version 1, .*await_approval"):
        by_two(two).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


def test_a_rejection_stays_one(mlflow: str, two: str, task: Any) -> None:
    second(two, task, outcome=Outcome.REJECTED)
    with pytest.raises(NotApprovedError, match="was rejected by ben"):
        by_two(two).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


def test_who_triggered_it_is_not_enough_where_a_second_person_decides(mlflow: str, two: str, task: Any) -> None:
    triggered(task, two)
    with pytest.raises(NotApprovedError, match="Nobody approved the rollback"):
        by_two(two).execute(context(task))
    assert stage_of(mlflow, two, 2) == "Production"


def test_an_approval_is_used_once(mlflow: str, two: str, task: Any) -> None:
    second(two, task)
    done = by_two(two).execute(context(task))
    again = by_two(two).execute(context(task))
    assert (again["changed"], again["ledger_entry"]) == (False, done["ledger_entry"])
    third = promote_another(mlflow, two, task)
    with pytest.raises(LifecycleRefusedError, match="approval was used"):
        by_two(two).execute(context(task))
    assert stage_of(mlflow, two, third) == "Production"


def test_an_approval_that_was_overtaken_is_not_followed(mlflow: str, two: str, task: Any) -> None:
    second(two, task)
    third = promote_another(mlflow, two)
    with pytest.raises(LifecycleRefusedError, match=f"version {third} came into Production"):
        by_two(two).execute(context(task))
    assert stage_of(mlflow, two, third) == "Production"


def test_four_eyes_need_a_task_that_asks() -> None:
    with pytest.raises(ValueError, match="four_eyes needs"):
        rollback("m", policy=SECOND)
    with pytest.raises(ValueError, match="version must not"):
        rollback("m", "")


# ---- the task that asks the second person ----


@pytest.fixture
def asking(task: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The task that asks, whose operator leaves Airflow's part out: that needs the process which supervises a task."""
    monkeypatch.setattr(HITL, lambda *_: "waits")
    task.task_id = APPROVAL
    return task


def asks(model: str, **arguments: Any) -> RollbackApprovalOperator:
    arguments = {"version": "1", "policy": SECOND, **arguments}
    return RollbackApprovalOperator(task_id=APPROVAL, model_name=model, **arguments)


RESPONSE = {"chosen_options": ["Approve"], "responded_by_user": {"id": "eve", "name": "eve"}, "params_input": {}}


def test_the_second_person_sees_version_and_reason_as_text(two: str, asking: Any) -> None:
    operator = asks(two)
    assert operator.execute(context(asking, "<b>bad</b> {{ conn.secret }} [x](http://evil)")) == "waits"
    assert operator.subject == f"Roll {two} back to version 1?"
    assert "Approval puts it in the place of version 2" in str(operator.body)
    assert "Asked for by | ana" in str(operator.body)
    for markup in ("<b>", "{{", "http://evil"):
        assert markup not in str(operator.body)


def test_what_is_asked_is_in_the_ledger(two: str, asking: Any) -> None:
    asks(two, expires_after=timedelta(hours=3)).execute(context(asking))
    asked = ledger(two).statements.ask_of(str(asking.id))
    assert asked is not None
    assert (asked.version, asked.purpose, asked.policy, asked.reason) == (1, "rollback", SECOND, REASON)
    assert asked.expires_at is not None
    assert timedelta(hours=2.9) < asked.expires_at - datetime.now(UTC) < timedelta(hours=3)


@pytest.mark.parametrize("claimed", ["Approve", "Reject"])
def test_the_second_persons_answer_is_the_ledgers(two: str, asking: Any, claimed: str) -> None:
    response = {**RESPONSE, "chosen_options": [claimed]}
    asks(two).execute(context(asking))
    asked = ledger(two).statements.ask_of(str(asking.id))
    assert asked is not None
    decide(asked, user="ben", reason="yes")
    result = asks(two).execute_complete(context(asking), response)
    assert (result["model"], result["version"], result["outcome"], result["user"]) == (two, 1, "approved", "ben")


@pytest.mark.parametrize("claimed", ["Approve", "Reject"])
def test_a_refusal_is_the_ledgers(two: str, asking: Any, claimed: str) -> None:
    asks(two).execute(context(asking))
    asked = ledger(two).statements.ask_of(str(asking.id))
    assert asked is not None
    decide(asked, Outcome.REJECTED, user="ben")
    with pytest.raises(ApprovalRejectedError, match=r"ben refused .* to 1"):
        asks(two).execute_complete(context(asking), {**RESPONSE, "chosen_options": [claimed]})


def test_nobody_answers_in_time(two: str, asking: Any) -> None:
    asks(two).execute(context(asking))
    with pytest.raises(ApprovalExpiredError):
        asks(two).execute_complete(context(asking), {"error": "timed out", "error_type": "timeout"})


def test_an_answer_that_the_ledger_does_not_have_yet(two: str, asking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asks(two).execute(context(asking))
    monkeypatch.setattr(operators, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(DecisionPendingError) as raised:
        asks(two).execute_complete(context(asking), RESPONSE)
    assert not isinstance(raised.value, AirflowFailException), "the next try may find it"
    monkeypatch.setattr(operators, "PATIENCE_SECONDS", 30.0)
    asked = ledger(two).statements.ask_of(str(asking.id))
    assert asked is not None
    later = threading.Timer(1.0, decide, [asked], {"user": "ben"})
    later.start()
    assert asks(two).execute_complete(context(asking), RESPONSE)["user"] == "ben"
    later.join()


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.APPROVED, None), (Outcome.REJECTED, "ben refused")])
def test_a_try_after_one_that_was_answered_asks_nobody_again(
    two: str, asking: Any, outcome: Outcome, told: str | None
) -> None:
    asks(two, retries=2).execute(context(asking))
    asked = ledger(two).statements.ask_of(str(asking.id))
    assert asked is not None
    decide(asked, outcome, user="ben")
    again = replace(asking, id="a later try", try_number=2, max_tries=2)
    if told is None:
        assert asks(two, retries=2).execute(context(again))["user"] == "ben"
    else:
        with pytest.raises(ApprovalRejectedError, match=told):
            asks(two, retries=2).execute(context(again))


def test_a_task_that_was_cleared_asks_again(two: str, asking: Any) -> None:
    asks(two, retries=2).execute(context(asking))
    first = ledger(two).statements.ask_of(str(asking.id))
    assert first is not None
    decide(first, user="ben")
    cleared = replace(asking, id="after it was cleared", try_number=2, max_tries=3)
    assert asks(two, retries=2).execute(context(cleared)) == "waits"
    cleared.task_id = "rollback"
    with pytest.raises(NotApprovedError, match="Nobody approved the rollback"):
        by_two(two).execute(context(cleared))


@pytest.mark.parametrize("door", [Channel.MARK, Channel.REQUIRED_ACTIONS])
def test_a_second_person_in_airflow(mlflow: str, client: Any, asking: Any, door: Channel) -> None:
    old, bad = promoted(mlflow, MODEL)
    run = trigger(client, "anna", BY_TWO, version=old)
    task = replace(asking, id=run.instance().id, dag_id=BY_TWO, run_id=run.run_id)
    asks(MODEL, version=old).execute(context(task, user="anna"))
    run.ask_in_required_actions()

    def answer(user: str) -> int:
        if door is Channel.MARK:
            return run.mark(user, {"new_state": "success", "note": "confirmed"})
        return int(run.answer(user, "Approve", "confirmed").status_code)

    assert answer("anna") == 403
    assert [told for _, told in entered(run)] == [None]
    assert answer("ben") == 200
    back = replace(task, task_id="rollback")
    result = by_two(MODEL, version=bad).execute(context(back, user="anna"))
    assert (result["version"], result["archived"], result["user"]) == (old, [bad], "ben")
    assert result["reason"] == "2 oversells (asked for by anna; approved: confirmed)"
    assert ledger(MODEL).events[-1].door is door


def test_the_second_persons_link_leads_to_where_people_reach_mlflow(
    two: str, asking: Any, connect: Any, mlflow_url: str
) -> None:
    connect("mlflow_default", host=mlflow_url, extra={"ui_url": "https://models.example.com/ui"})
    operator = asks(two)
    assert operator.execute(context(asking)) == "waits"
    assert f"(https://models.example.com/ui/#/models/{two}/versions/1)" in str(operator.body)
    assert mlflow_url not in str(operator.body)
