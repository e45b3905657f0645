"""Attacks on approvals that once worked: each fails, and what it resembles still works."""

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from mlflow import MlflowClient

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Decision, Outcome
from include.lifecycle.tags import AIRFLOW_DAG_ID, AIRFLOW_RUN_ID
from model_registry.api_server import desk, outbox
from model_registry.api_server.callers import Caller
from model_registry.api_server.effects import Visit, visit_of
from model_registry.approval import sensors
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.exceptions import LifecycleRefusedError
from model_registry.operators.rollback import ModelRollbackOperator, RollbackApprovalOperator
from model_registry.operators.stage import ModelStageOperator
from tests.plugins.api_server import APPROVAL, DAG, MODEL, Run, said
from tests.plugins.asking import ask, decide, ledger
from tests.plugins.rollbacks import MODEL as ROLLED_BACK
from tests.plugins.rollbacks import context, promoted, rollback, triggered
from tests.plugins.test_desk import ONLY_ANNA, SUCCESS, approval, bulk, refused
from tests.registry_server import add_version, stage_of
from tests.validations import validation

pytestmark = pytest.mark.long

FAILED = {"new_state": "failed", "note": "odd figures"}
FOUR_EYES = {"four_eyes": True}
EVERY_RUN = "/api/v2/dags/~/dagRuns/~/taskInstances"
DOORS = ("mark", "required_actions")


@contextmanager
def database() -> Iterator[Any]:
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


def task_of(session: Any, run: Run) -> Any:
    from airflow.models.taskinstance import TaskInstance

    return session.query(TaskInstance).filter_by(run_id=run.run_id, task_id=run.task_id).one()


def run_of(session: Any, run: Run) -> Any:
    from airflow.models.dagrun import DagRun

    return session.query(DagRun).filter_by(run_id=run.run_id).one()


def by_nobody(run: Run, run_type: str = "scheduled", triggered_by: str = "TIMETABLE") -> Run:
    """Let a rule have started a run."""
    with database() as session:
        found = run_of(session, run)
        found.run_type, found.triggered_by, found.triggering_user_name = run_type, triggered_by, None
    return run


def by_asset(run: Run, *sources: Run, task_id: str | None = "promote") -> Run:
    """Let assets that other runs changed have started a run."""
    from airflow.models.asset import AssetEvent

    by_nobody(run, "asset_triggered", "ASSET")
    with database() as session:
        run_of(session, run).consumed_asset_events = [
            AssetEvent(asset_id=1, source_task_id=task_id, source_dag_id=each.dag_id, source_run_id=each.run_id)
            for each in sources
        ]
    return run


def gone(run: Run) -> None:
    """Delete a run."""
    assert run.request("ben", "DELETE", run.path, None).status_code == 204


def tried_again(run: Run, state: str) -> None:
    """Give the approval the new id that Airflow gives it for its next try."""
    with database() as session:
        task = task_of(session, run)
        task.prepare_db_for_next_try(session)
        task.state = state


def decides(run: Run, door: str, reason: str, user: str = "anna", *, approves: bool = True) -> Any:
    if door == "mark":
        return run.patch(user, {"new_state": "success" if approves else "failed", "note": reason})
    return run.answer(user, "Approve" if approves else "Reject", reason)


# ---- 1: four eyes, in a run that somebody else started ----


@pytest.fixture(params=["registered", "validated", "validated, and again by a schedule"])
def annas(request: pytest.FixtureRequest, api_client: Any, mlflow: str, task: Any, monkeypatch: Any) -> Any:
    """Anna's run, and one that a schedule started and that is told to ask about the version of hers."""
    monkeypatch.setattr(sensors, "upsert_hitl_detail", lambda **_: None)
    hers, scheduled = Run(api_client, user="anna"), by_nobody(Run(api_client, user="ben"))
    version = add_version(mlflow, MODEL, stage="Staging")
    if request.param == "registered":
        for name, value in ((AIRFLOW_DAG_ID, hers.dag_id), (AIRFLOW_RUN_ID, hers.run_id)):
            MlflowClient(tracking_uri=mlflow).set_model_version_tag(MODEL, str(version), name, value)
    else:
        for run in (hers, scheduled)[: 2 if "again" in request.param else 1]:
            where = {"dag_id": run.dag_id, "run_id": run.run_id}
            ModelRegistry(tracking_uri=mlflow).validated(validation(MODEL, version, **where))
    task = replace(task, task_id=APPROVAL, dag_id=DAG, run_id=scheduled.run_id, id=scheduled.instance().id)
    sensor = ModelApprovalSensor(
        task_id=APPROVAL, model_name=MODEL, version=version, policy=PolicyConfig(four_eyes=True)
    )
    with pytest.raises(TaskDeferred):
        sensor.execute(task.context)
    return hers, scheduled


def test_who_made_a_version_cannot_borrow_a_scheduled_run_to_approve_it(annas: Any) -> None:
    _, scheduled = annas
    assert "anna triggered this run" in refused(scheduled.patch("anna", SUCCESS))
    assert scheduled.decided() is None
    assert scheduled.mark("ben", SUCCESS) == 200
    assert scheduled.decided() == ("approved", "ben", "because", "mark")
    assert said().decided[said().ask_of(str(scheduled.instance().id)).id].what.requested_by == "anna"  # type: ignore[union-attr]


def test_a_run_that_made_the_version_and_is_gone_might_have_been_anybodys(annas: Any) -> None:
    hers, scheduled = annas
    gone(hers)
    for user in ("anna", "ben"):
        assert "who triggered the run is unknown" in refused(scheduled.patch(user, SUCCESS))
    assert scheduled.mark("ben", FAILED) == 200, "to reject needs nothing of it"


def test_what_schedules_made_anybody_may_approve(api_client: Any, mlflow: str) -> None:
    made, asks = (by_nobody(Run(api_client)) for _ in range(2))
    asks.ask(FOUR_EYES, made_by=((made.dag_id, made.run_id), (asks.dag_id, asks.run_id)))
    answer = asks.patch("anna", SUCCESS)
    assert answer.status_code == 200, answer.text


# ---- 2: the mark of a whole run whose teardown is not done ----


def _whole(run: Run, state: str) -> tuple[str, Any]:
    return run.path, {"state": state, "note": "stuck"}


def _whole_in_bulk(run: Run, state: str) -> tuple[str, Any]:
    entity = {"dag_id": run.dag_id, "dag_run_id": run.run_id, "state": state, "note": "stuck"}
    return f"/api/v2/dags/{run.dag_id}/dagRuns", bulk(entity)


@pytest.mark.parametrize("whole", [_whole, _whole_in_bulk])
@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("user", ["anna", "ben"])
def test_a_whole_run_with_a_teardown_is_closed_and_decides_nothing(
    api_client: Any, mlflow: str, user: str, state: str, whole: Any
) -> None:
    run = Run(api_client, "attack_teardown")
    run.ask({**ONLY_ANNA, "reason_required": False})
    answer = run.request(user, "PATCH", *whole(run, state))
    assert answer.status_code == 200, answer.text
    assert run.state() != "deferred", "it is closed"
    assert (run.decided(), run.rows()) == (None, [])


def test_beside_a_teardown_the_mark_of_the_approval_decides(api_client: Any, mlflow: str) -> None:
    run = Run(api_client, "attack_teardown")
    run.ask(ONLY_ANNA)
    assert "is not among the approvers" in refused(run.patch("ben", SUCCESS))
    assert run.mark("anna", SUCCESS) == 200
    assert run.decided() == ("approved", "anna", "because", "mark")


# ---- 3: a rollback to another version than the one that the DAG names ----


@pytest.mark.parametrize(
    ("dag_id", "version"), [("attack_constant", 3), ("attack_constant_text", 3), ("attack_other_field", 0)]
)
@pytest.mark.parametrize("conf", [{}, {"version": 2}])
def test_a_rollback_asks_for_the_version_that_the_dag_names(
    api_client: Any, mlflow: str, dag_id: str, version: int, conf: dict[str, Any]
) -> None:
    if conf and not version:
        version = conf["version"]
    run = Run(api_client, dag_id, "rollback", "anna", conf={"reason": "2 oversells", **conf})
    asks = [each for each in ledger(ROLLED_BACK).statements.asks.values() if each.place.run_id == run.run_id]
    assert [(each.version, each.purpose) for each in asks] == [(version, "rollback")]


@pytest.mark.parametrize("told", [1, " 1 "])
def test_a_version_of_another_field_is_not_brought_back_by_asking_for_the_champion_before(
    mlflow: str, model: str, task: Any, told: object
) -> None:
    other, before, live = promoted(mlflow, model, 3)
    triggered(task, model, 0)
    with pytest.raises(LifecycleRefusedError, match=f"about version {other}: "):
        rollback(model, told).execute(context(task))
    assert stage_of(mlflow, model, live) == "Production"
    assert rollback(model, before).execute(context(task))["version"] == before


def test_a_constant_version_that_was_asked_for_is_brought_back(mlflow: str, model: str, task: Any) -> None:
    other, _, live = promoted(mlflow, model, 3)
    triggered(task, model, other)
    result = rollback(model, other).execute(context(task))
    assert (result["version"], result["archived"]) == (other, [live])


# ---- 4: what was meant for another version ----


def _made_again(run: Run) -> Run:
    gone(run)
    return Run(run.client, user="ben", dag_run_id=run.run_id)


def _cleared(run: Run) -> Run:
    tried_again(run, "deferred")
    return run


AGAIN = {"the run is deleted and made again": _made_again, "the task is cleared": _cleared}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("again", sorted(AGAIN))
def test_what_was_meant_for_one_version_approves_no_other_of_the_same_run(run: Run, again: str, door: str) -> None:
    first = run.ask(ONLY_ANNA)
    run = AGAIN[again](run)
    second = run.ask(ONLY_ANNA)
    run.ask_in_required_actions()
    for reason in ("good", f"v{first.version} is good", f"{second.version}0 rows more"):
        sentence = refused(decides(run, door, reason))
        assert f"asked about version {first.version} before: name {second.version} in the reason" in sentence
    assert (run.state(), run.decided()) == ("deferred", None)
    reason = f"v{second.version} is better than {first.version}"
    assert decides(run, door, reason).status_code == 200
    assert run.decided() == ("approved", "anna", reason, door)


@pytest.mark.parametrize("again", sorted(AGAIN))
def test_the_same_version_asked_about_again_needs_no_number(run: Run, again: str) -> None:
    first = run.ask(ONLY_ANNA)
    run = AGAIN[again](run)
    run.ask(ONLY_ANNA, version=first.version)
    assert run.mark("anna", SUCCESS) == 200


def test_a_rejection_needs_no_number(run: Run) -> None:
    run.ask()
    _cleared(run).ask()
    assert run.mark("ben", FAILED) == 200


# ---- 5: a run that an asset started, whose producer a person triggered ----


@pytest.mark.parametrize("steps", [1, 2])
def test_an_asset_carries_on_who_triggered_its_producer(api_client: Any, mlflow: str, steps: int) -> None:
    run = Run(api_client, user="anna")
    for _ in range(steps):
        run = by_asset(Run(api_client, user="ben"), run)
    run.ask(FOUR_EYES)
    assert "anna triggered this run" in refused(run.patch("anna", SUCCESS))
    assert run.mark("ben", SUCCESS) == 200


def _gone(client: Any) -> Run:
    producer = Run(client)
    gone(producer)
    return by_asset(Run(client), producer)


def _of_itself(client: Any) -> Run:
    run = Run(client)
    return by_asset(run, run)


UNKNOWN = {
    "its producer is gone": _gone,
    "somebody made the event by hand": lambda client: by_asset(Run(client), Run(client), task_id=None),
    "the command line started the producer": lambda client: by_asset(
        Run(client), by_nobody(Run(client), "manual", "CLI")
    ),
    "two people are behind it": lambda client: by_asset(Run(client), Run(client), Run(client, user="ben")),
    "it goes in a circle": _of_itself,
}


@pytest.mark.parametrize("why", sorted(UNKNOWN))
def test_an_asset_of_which_nobody_knows_who_changed_it(api_client: Any, mlflow: str, why: str) -> None:
    run = UNKNOWN[why](api_client)
    run.ask(FOUR_EYES)
    for user in ("anna", "ben"):
        assert "who triggered the run is unknown" in refused(run.patch(user, SUCCESS))
    assert run.mark("ben", FAILED) == 200


def test_an_asset_that_a_schedule_changed_is_nobodys(api_client: Any, mlflow: str) -> None:
    run = by_asset(Run(api_client), by_nobody(Run(api_client)))
    run.ask(FOUR_EYES)
    assert run.mark("anna", SUCCESS) == 200


# ---- 6: `promote` of an old run, cleared after a newer version went live ----


def _promotes(model: str, version: int, policy: PolicyConfig | None = None) -> ModelStageOperator:
    return ModelStageOperator(
        task_id="promote", model_name=model, version=version, stage="Production", approval_task_id=APPROVAL,
        policy=policy,
    )  # fmt: skip


def _later_run(mlflow: str, model: str, task: Any, version: int) -> None:
    later = replace(task, run_id="later", id=uuid.uuid4(), states={APPROVAL: "success"})
    decide(ask(later, model, version))
    _promotes(model, version).execute(later.context)


def _command_line(mlflow: str, model: str, task: Any, version: int) -> None:
    ModelRegistry(tracking_uri=mlflow).promote(model, version, Decision(Outcome.APPROVED, reason="good"))


def _by_hand(mlflow: str, model: str, task: Any, version: int) -> None:
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(version), "Production")


def _by_hand_and_entered(mlflow: str, model: str, task: Any, version: int) -> None:
    _by_hand(mlflow, model, task, version)
    ModelRegistry(tracking_uri=mlflow).reconcile(model)


@pytest.mark.parametrize(
    ("went_live", "policy"),
    [
        (_later_run, None),
        (_later_run, PolicyConfig(approvers=("user:anna",))),
        (_command_line, None),
        (_by_hand_and_entered, None),
        (_by_hand, None),
    ],
)
def test_an_approval_from_before_a_newer_version_went_live_does_not_replace_it(
    mlflow: str, model: str, task: Any, policy: PolicyConfig | None, went_live: Any
) -> None:
    old, new = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    decide(ask(task, model, old, policy=policy))
    task.states[APPROVAL] = "success"
    went_live(mlflow, model, task, new)
    with pytest.raises(LifecycleRefusedError, match=f"approved before version {new}, "):
        _promotes(model, old, policy).execute(task.context)
    assert [stage_of(mlflow, model, each) for each in (old, new)] == ["Staging", "Production"]
    decide(ask(task, model, old, policy=policy))  # by somebody who knows what is live
    _promotes(model, old, policy).execute(task.context)
    assert stage_of(mlflow, model, old) == "Production"


# ---- 7: the reason of one approval is no reason of another ----


@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("first", [True, False])
def test_a_note_in_bulk_is_the_reason_of_its_own_approval_only(
    api_client: Any, run: Run, state: str, first: bool
) -> None:
    other = Run(api_client)
    theirs = [each.ask() for each in (run, other)]
    entities = [
        approval(dag_id=run.dag_id, dag_run_id=run.run_id, note="ship it"),
        approval(dag_id=other.dag_id, dag_run_id=other.run_id, new_state=state, note=None),
    ]
    sentence = refused(run.request("anna", "PATCH", EVERY_RUN, bulk(*(entities if first else entities[::-1]))))
    assert f"Version {theirs[1].version}" in sentence
    assert f"Version {theirs[0].version}" not in sentence
    assert [each.decided() for each in (run, other)] == [None, None]
    entities[1]["note"] = "its own"
    assert run.request("anna", "PATCH", EVERY_RUN, bulk(*entities)).status_code == 200
    assert [each.decided()[2] for each in (run, other)] == ["ship it", "its own"]  # type: ignore[index]


@pytest.mark.parametrize("which", ["past and future", "upstream", "group"])
def test_one_note_of_a_wide_mark_is_the_reason_of_all_that_it_reaches(api_client: Any, mlflow: str, which: str) -> None:
    dag_id, task_id = ("grouped_approval", "decide.await_approval") if which == "group" else (DAG, APPROVAL)
    dates = ["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"] if which == "past and future" else [None]
    runs = [Run(api_client, dag_id, task_id, logical_date=date) for date in dates]
    for each in runs:
        each.ask()
    body, path = {
        "past and future": ({**SUCCESS, "include_past": True, "include_future": True}, None),
        "upstream": ({**SUCCESS, "include_upstream": True}, "/taskInstances/promote"),
        "group": (SUCCESS, "/taskGroupInstances/decide"),
    }[which]
    assert runs[0].mark("anna", body, path) == 200
    assert [each.decided() for each in runs] == [("approved", "anna", "because", "mark")] * len(runs)


# ---- 8: between two tries ----


@pytest.mark.parametrize("state", ["up_for_retry", "scheduled", None])
@pytest.mark.parametrize("body", [SUCCESS, FAILED])
def test_a_mark_between_two_tries_is_not_lost_without_a_word(run: Run, body: dict[str, Any], state: str | None) -> None:
    ask = run.ask()
    tried_again(run, state or "queued")
    assert "asked in a try that has ended, and not yet in the next one" in refused(run.patch("anna", body))
    assert (run.state(), said().decided.get(ask.id)) == (state or "queued", None)
    run.ask(version=ask.version)
    assert run.mark("anna", body) == 200
    assert run.decided() is not None


def test_what_was_decided_in_a_try_before_may_be_marked_and_decides_nothing_more(run: Run) -> None:
    ask = run.ask()
    assert run.mark("ben", FAILED) == 200
    tried_again(run, "up_for_retry")
    assert run.mark("anna", SUCCESS) == 200
    assert said().decided[ask.id].what.decision.user == "ben"
    assert run.decided() is None


# ---- 9: a decision after the one that holds ----


LATE = {
    "a rejection": lambda run: run.patch("ben", FAILED),
    "a rejection in the form": lambda run: run.answer("ben", "Reject", "leak"),
    "an approval in the form": lambda run: run.answer("ben", "Approve", "me too"),
    "a rejection in bulk": lambda run: run.request(
        "ben", "PATCH", f"{run.path}/taskInstances", bulk(approval(**FAILED))
    ),
}


@pytest.mark.parametrize("what", sorted(LATE))
def test_a_decision_after_an_approval_is_not_taken_and_says_how_to_stop_it(run: Run, what: str) -> None:
    ask = run.ask()
    run.ask_in_required_actions()
    assert run.mark("anna", SUCCESS) == 200
    sentence = refused(LATE[what](run))
    assert f"Version {ask.version} of {MODEL} was approved by anna, and the first decision holds" in sentence
    assert "mark the task behind it failed" in sentence
    assert (run.state(), run.decided(), said().late) == ("success", ("approved", "anna", "because", "mark"), [])
    assert run.mark("ben", FAILED, "/taskInstances/promote") == 200
    assert run.state("promote") == "failed"


def test_a_second_approval_of_what_waits_again_is_not_taken(run: Run) -> None:
    run.ask()
    assert run.mark("anna", SUCCESS) == 200
    with database() as session:
        task_of(session, run).state = "deferred"
    assert "was approved by anna" in refused(run.patch("ben", SUCCESS))


# ---- 10: nobody knows whose request it is ----


NOBODYS = {
    "a mark": lambda run: ("PATCH", run.approval, SUCCESS),
    "a rejection": lambda run: ("PATCH", run.approval, FAILED),
    "bulk": lambda run: ("PATCH", f"{run.path}/taskInstances", bulk(approval())),
    "a form": lambda run: (
        "PATCH", f"{run.approval}/-1/hitlDetails", {"chosen_options": ["Approve"], "params_input": {"reason": "good"}},
    ),
    "a rollback": lambda run: (
        "POST", "/api/v2/dags/attack_constant/dagRuns",
        {"logical_date": None, "dag_run_id": run.run_id, "conf": {"reason": "2 oversells"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(NOBODYS))
def test_nothing_is_decided_for_nobody(run: Run, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    async def nobody(_: Any) -> None:
        return None

    run.ask(ONLY_ANNA)
    run.ask_in_required_actions()
    method, path, body = NOBODYS[what](run)
    with monkeypatch.context() as patched:
        patched.setattr(desk, "caller_of", nobody)
        assert "Nothing was changed: log in again" in refused(run.request("anna", method, path, body), 503)
        cookie = {"Cookie": f"_token={run.token('anna')}"}
        assert "log in again" in refused(run.client.request(method, path, json=body, headers=cookie), 533)
        assert run.mark("ben", SUCCESS, "/taskInstances/promote") == 200, "what asks nobody is none of it"
    assert (run.state(), run.decided(), run.rows()) == ("deferred", None, [])
    assert run.request("anna", method, path, body).status_code == 200


def test_who_decides_is_asked_before_the_database_is_held(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop that tells it also writes the audit log, which on SQLite waits for whoever has written."""
    from airflow import settings

    real, held = desk.caller_of, list[bool]()

    async def look(scope: Any) -> Any:
        with closing(sqlite3.connect(settings.engine.url.database, timeout=0)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                held.append(True)
            else:
                held.append(False)
        return await real(scope)

    run.ask(ONLY_ANNA)
    monkeypatch.setattr(desk, "caller_of", look)
    assert run.mark("anna", SUCCESS) == 200
    assert (held, run.state(), run.decided()[0]) == ([False], "success", "approved")


def test_who_cannot_be_told_in_time_decides_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(_: Any) -> None:
        await asyncio.sleep(60)

    run.ask(ONLY_ANNA)
    with monkeypatch.context() as patched:
        patched.setattr(desk, "caller_of", busy)
        patched.setattr(desk, "ANSWER_SECONDS", 0.01)
        assert "decide again" in refused(run.request("anna", "PATCH", run.approval, SUCCESS), 503)
    assert (run.state(), run.decided(), run.rows()) == ("deferred", None, [])
    assert run.mark("anna", SUCCESS) == 200


def test_a_login_that_ends_during_the_request_decides_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.core_api import security
    from fastapi import HTTPException

    real, calls, enough = security.resolve_user_from_token, [0], [99]

    async def until(token: Any) -> Any:
        calls[0] += 1
        if calls[0] > enough[0]:
            raise HTTPException(401, "Token Expired")
        return await real(token)

    run.ask(ONLY_ANNA)
    headers = {"Authorization": f"Bearer {run.token('ben')}"}
    monkeypatch.setattr(security, "resolve_user_from_token", until)
    assert run.client.patch(run.approval, json={"note": "looked at it"}, headers=headers).status_code == 200
    enough[0], calls[0] = calls[0], 0
    assert "log in again" in refused(run.client.patch(run.approval, json=SUCCESS, headers=headers), 503)
    assert (run.state(), run.decided()) == ("deferred", None)


# ---- 11: a templated model whose rendered fields are gone ----


@pytest.mark.parametrize("body", [SUCCESS, FAILED])
def test_a_model_that_cannot_be_told_any_more_is_not_decided_on(
    api_client: Any, mlflow: str, body: dict[str, Any]
) -> None:
    run = Run(api_client, "attack_templated")
    run.ask(ONLY_ANNA)
    run.ask_in_required_actions()
    assert f"Which model {APPROVAL} asks about cannot be told" in refused(run.patch("ben", body))
    assert (run.state(), run.decided()) == ("deferred", None)
    assert run.mark("ben", {"state": "failed"}, "") == 200, "the run can be closed all the same"


@pytest.mark.parametrize("body", [SUCCESS, FAILED])
def test_a_templated_model_of_a_task_that_never_ran_asked_nobody(
    api_client: Any, mlflow: str, body: dict[str, Any]
) -> None:
    run = Run(api_client, "attack_templated")
    assert run.mark("ben", body) == 200
    assert (run.decided(), run.rows()) == (None, [])


def test_a_templated_model_is_the_one_that_the_worker_rendered(api_client: Any, mlflow: str) -> None:
    run = Run(api_client, "attack_templated")
    run.ask(ONLY_ANNA)
    with database() as session:
        task = task_of(session, run)
        task.start_date = datetime.now(UTC)
        task.task = SimpleNamespace()
        task.update_rtif({"model_name": MODEL, "version": "1"}, session=session)
    assert "is not among the approvers" in refused(run.patch("ben", SUCCESS))
    assert run.mark("anna", SUCCESS) == 200
    assert run.decided() == ("approved", "anna", "because", "mark")


# ---- 12: letters that can never be delivered ----


QUOTES = "good " + '"' * 990
TEAMS = tuple(f"team-{number:02}" + '"' * 60 for number in range(32))
BY_A_TEAM = {"approvers": [f"role:{team}" for team in TEAMS]}


@pytest.fixture
def in_every_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_caller", lambda _: Caller("anna", TEAMS, "anna"))


@pytest.mark.parametrize("door", DOORS)
def test_a_letter_that_the_ledger_can_never_hold_is_not_written(run: Run, in_every_team: None, door: str) -> None:
    run.ask(BY_A_TEAM)
    run.ask_in_required_actions()
    assert "The promotion ledger cannot keep this" in refused(decides(run, door, QUOTES))
    assert (run.state(), run.decided(), [row[0] for row in run.rows()]) == ("deferred", None, ["approval_refused"])
    assert decides(run, door, "good").status_code == 200
    assert run.decided() == ("approved", "anna", "good", door)


def test_a_letter_that_can_never_be_delivered_does_not_keep_back_the_next(
    api_client: Any, run: Run, in_every_team: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models import Log

    run.ask(BY_A_TEAM)
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "MAX_VALUE", 10**6)
        assert run.mark("anna", {**SUCCESS, "note": QUOTES}) == 200
    outbox.deliver_now()
    with database() as session:
        events = [row.event for row in session.query(Log).filter_by(run_id=run.run_id, owner="anna") if row.extra]
    assert outbox.UNDELIVERABLE in events
    assert outbox.PENDING not in events
    next_one = Run(api_client)
    next_one.ask(BY_A_TEAM)
    assert next_one.mark("anna", SUCCESS) == 200
    assert [row[0] for row in next_one.rows()] == ["approval_decided"]


NO_LETTERS = {
    "{broken": outbox.FOREIGN,
    "": outbox.FOREIGN,
    "[1]": outbox.FOREIGN,
    "{}": outbox.FOREIGN,
    json.dumps({"decided": {}, "model": MODEL, "conn_id": "mlflow_default", "ask": None}): outbox.UNDELIVERABLE,
    json.dumps({"decided": "approved", "model": MODEL, "conn_id": "mlflow_default", "ask": None}): outbox.UNDELIVERABLE,
    json.dumps({"decided": {}, "model": [MODEL], "conn_id": None}): outbox.UNDELIVERABLE,
}


@pytest.mark.parametrize("extra", sorted(NO_LETTERS))
def test_what_is_no_letter_does_not_keep_back_the_next(run: Run, extra: str) -> None:
    from airflow.models import Log

    with database() as session:
        session.add(Log(event=outbox.PENDING, owner="eve", extra=extra, run_id=f"no letter of {run.run_id}"))
    run.ask()
    assert run.mark("ben", SUCCESS) == 200
    assert [row[0] for row in run.rows()] == ["approval_decided"]
    outbox.deliver_now()
    with database() as session:
        (row,) = session.query(Log).filter_by(run_id=f"no letter of {run.run_id}")
        event = row.event
        session.delete(row)  # where it is still there, no other test shall have to deliver it
    assert event == NO_LETTERS[extra]


# ---- 14: savepoints ----


@pytest.fixture
def visiting(api_client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A session inside a request whose sender is anna, in which something was written before."""
    from airflow import settings
    from airflow.models import Log

    caller = ["anna"]
    monkeypatch.setattr(desk, "_caller", lambda _: Caller(caller[0], ("admin",), caller[0]))
    monkeypatch.setattr(desk, "sender_of", lambda _: "nobody answers: the loop does not run")
    scope = {"app": api_client.app, "headers": [(b"authorization", b"")], "endpoint": None}
    loop = asyncio.new_event_loop()
    token = visit_of.set(Visit(scope, loop))
    session = settings.NonScopedSession()
    session.add(Log(event="before"))  # SQLite begins no transaction for a savepoint alone
    session.flush()
    try:
        yield SimpleNamespace(session=session, caller=caller)
    finally:
        session.rollback()
        visit_of.reset(token)
        session.close()
        loop.close()


def _inside(session: Any, run: Run) -> None:
    with session.begin_nested():
        task_of(session, run).state = "success"


def _before(session: Any, run: Run) -> None:
    task_of(session, run).state = "success"
    with session.begin_nested():
        session.flush()


def _before_one_that_fails(session: Any, run: Run) -> None:
    task_of(session, run).state = "success"
    session.flush()
    session.begin_nested().rollback()


def _inside_one_that_is_left_open(session: Any, run: Run) -> None:
    session.begin_nested()
    task_of(session, run).state = "success"
    session.flush()


def _two_deep(session: Any, run: Run) -> None:
    with session.begin_nested(), session.begin_nested():
        task_of(session, run).state = "success"


@pytest.fixture
def asked(run: Run) -> Run:
    run.ask({**ONLY_ANNA, "reason_required": False})
    return run


MARKS = [_inside, _inside_one_that_is_left_open, _before, _before_one_that_fails, _two_deep]


@pytest.mark.parametrize("marks", MARKS)
def test_a_savepoint_neither_delivers_a_decision_early_nor_loses_it(asked: Run, visiting: Any, marks: Any) -> None:
    marks(visiting.session, asked)
    assert (asked.decided(), asked.rows()) == (None, [])
    visiting.session.commit()
    assert asked.decided() == ("approved", "anna", "", "mark")
    assert [row[0] for row in asked.rows()] == ["approval_decided"]


@pytest.mark.parametrize("marks", MARKS)
def test_a_savepoint_passes_nothing_by_the_desk(asked: Run, visiting: Any, marks: Any) -> None:
    from fastapi import HTTPException

    visiting.caller[0] = "ben"
    marks(visiting.session, asked)
    with pytest.raises(HTTPException, match="among the approvers"):
        visiting.session.commit()
    visiting.session.rollback()
    assert (asked.state(), asked.decided()) == ("deferred", None)
    assert [row[0] for row in asked.rows()] == ["approval_refused"]


def test_what_a_savepoint_takes_back_decides_nothing(asked: Run, visiting: Any) -> None:
    savepoint = visiting.session.begin_nested()
    task_of(visiting.session, asked).state = "success"
    visiting.session.flush()
    savepoint.rollback()
    visiting.session.commit()
    assert (asked.state(), asked.decided(), asked.rows()) == ("deferred", None, [])


# ---- 15: operators that the API server would not see ----


@pytest.mark.parametrize("operator", [ModelApprovalSensor, RollbackApprovalOperator])
def test_a_subclass_whose_marks_nobody_sees_cannot_be_made(operator: Any) -> None:
    arguments = {"task_id": APPROVAL, "model_name": MODEL, "version": 1}
    for base in (operator, type("Between", (operator,), {})):
        hidden = type("Hidden", (base,), {})
        with pytest.raises(ValueError, match="Hidden: marks"):
            hidden(**arguments)
    assert type(operator(**arguments)) is operator


def test_a_subclass_of_what_asks_nobody_can_be_made() -> None:
    hidden: Any = type("Hidden", (ModelRollbackOperator,), {})
    assert hidden(task_id="rollback", model_name=MODEL, version=1).version == 1


# ---- 16: a connection that people can edit ----


@pytest.fixture
def editable(mlflow: str, mlflow_url: str, api_client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the desk's connection lie in Airflow's database."""
    from airflow.models.connection import Connection

    host, port = mlflow_url.removeprefix("http://").split(":")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT")
    with database() as session:
        session.add(Connection("mlflow_default", "http", host=host, port=int(port), schema="http"))
    yield
    with database() as session:
        session.query(Connection).filter_by(conn_id="mlflow_default").delete()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("policy", [ONLY_ANNA, {"four_eyes": True}])
def test_nobody_approves_through_a_connection_that_people_can_edit(
    api_client: Any, editable: None, connect: Any, mlflow_url: str, policy: dict[str, Any], door: str
) -> None:
    run = Run(api_client, user="ben")
    run.ask(policy)
    run.ask_in_required_actions()
    assert "lies in Airflow's database" in refused(decides(run, door, "good"))
    assert (run.state(), run.decided()) == ("deferred", None)
    host, port = mlflow_url.removeprefix("http://").split(":")
    connect("mlflow_default", host=host, port=int(port), schema="http")
    assert decides(run, door, "good").status_code == 200


@pytest.mark.parametrize(
    ("policy", "approves"), [({}, True), ({"evidence_max_age_days": 1}, True), (ONLY_ANNA, False), (FOUR_EYES, False)]
)
def test_through_it_somebody_rejects_and_approves_what_anybody_may(
    api_client: Any, editable: None, policy: dict[str, Any], approves: bool
) -> None:
    run = Run(api_client, user="ben")
    run.ask(policy)
    assert decides(run, "mark", "because", approves=approves).status_code == 200
    assert run.decided() == ("approved" if approves else "rejected", "anna", "because", "mark")
