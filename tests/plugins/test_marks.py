"""Who decided on an approval, with Airflow's own API application and database."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from model_registry import marks, middleware
from model_registry.marks import EVENT_MARK, EVENT_NOTE, EVENT_RESPONSE, MARK_KEY
from tests.plugins.api_server import Run

ROLES = {"anna": ["admin"], "ben": ["op"]}


def row(event: str, owner: str, task_id: str = "await_approval", **extra: Any) -> tuple[Any, ...]:
    return (event, task_id, owner, {**extra, "user": owner, "roles": ROLES[owner]}, 1)


def marked(owner: str, state: str, note: str, task_id: str = "await_approval", **extra: Any) -> tuple[Any, ...]:
    return row(EVENT_MARK, owner, task_id, new_state=state, note=note, **extra)


@pytest.mark.parametrize("state", ["success", "failed", "skipped"])
def test_an_accepted_mark_is_recorded_with_its_user_and_note(run: Run, state: str) -> None:
    assert run.mark("ben", {"new_state": state, "note": "because"}) == 200
    assert run.rows() == [marked("ben", state, "because")]


def test_refused_and_empty_marks_leave_nothing(run: Run) -> None:
    assert run.mark("vera", {"new_state": "success", "note": "me"}) == 403
    assert (
        run.client.patch(f"{run.path}/taskInstances/await_approval", json={"new_state": "success"}).status_code == 401
    )
    assert run.mark("ben", {"new_state": "nonsense"}) == 422
    assert run.rows() == []
    assert run.mark("ben", {"new_state": "success", "note": "one"}) == 200
    assert run.mark("anna", {"new_state": "success", "note": "two"}) == 409
    assert run.rows() == [marked("ben", "success", "one")]


def test_a_mark_with_the_cookie_of_the_ui(run: Run) -> None:
    path = f"{run.path}/taskInstances/await_approval"
    answer = run.client.patch(path, json={"new_state": "success"}, headers={"Cookie": f"_token={run.token('ben')}"})
    assert answer.status_code == 200
    assert run.rows() == [marked("ben", "success", "")]


def test_a_bulk_mark_that_airflow_itself_does_not_log(run: Run) -> None:
    entities = [
        {"task_id": "await_approval", "map_index": -1, "new_state": "success", "note": "in bulk"},
        {"task_id": "stage", "map_index": -1, "new_state": "failed", "note": "another"},
    ]
    assert run.mark("ben", {"actions": [{"action": "update", "entities": entities}]}, "/taskInstances") == 200
    assert marked("ben", "success", "in bulk") in run.rows()


def test_marking_the_whole_run(run: Run) -> None:
    assert run.mark("ben", {"state": "success", "note": "all of it"}, "") == 200
    assert run.rows() == [marked("ben", "success", "all of it", whole_run=True)]
    assert run.state("promote") == "skipped"


def test_a_mark_with_what_is_downstream_records_each_task_that_changed(run: Run) -> None:
    body = {"new_state": "success", "note": "and on", "include_downstream": True}
    assert run.mark("ben", body) == 200
    assert {row[1] for row in run.rows()} == {"await_approval", "promote"}
    assert {row[2] for row in run.rows()} == {"ben"}


def test_a_note_that_is_written_by_itself(run: Run) -> None:
    assert run.mark("ben", {"new_state": "success"}) == 200
    assert run.mark("anna", {"note": "a remark"}) == 200
    assert run.mark("anna", {"note": "on a task of no interest"}, "/taskInstances/record_decision") == 200
    assert run.rows() == [
        marked("ben", "success", ""),
        row(EVENT_NOTE, "anna", note="a remark"),
    ]


def test_a_field_that_update_mask_leaves_out_does_not_count(run: Run) -> None:
    body = {"new_state": "success", "note": "ignored by Airflow"}
    assert run.mark("ben", body, "/taskInstances/await_approval?update_mask=new_state") == 200
    assert run.rows() == [marked("ben", "success", "")]


@pytest.mark.parametrize("group", ["", "?update_mask=new_state&update_mask=note"])
def test_a_mark_of_a_task_group(api_client: Any, group: str) -> None:
    run = Run(api_client, "grouped_approval", "decide.await_approval")
    body = {"new_state": "success", "note": "the group"}
    assert run.mark("ben", body, f"/taskGroupInstances/decide{group}") == 200
    assert run.rows() == [marked("ben", "success", "the group", "decide.await_approval")]


def test_the_note_of_a_mark_lies_beside_it_as_xcom(run: Run) -> None:
    assert run.mark("ben", {"new_state": "success", "note": "because"}) == 200
    left = run.xcom(MARK_KEY)
    assert datetime.fromisoformat(left.pop("at")).tzinfo is not None
    assert left == {"note": "because", "user": "ben", "try_number": 1, "new_state": "success"}


def test_a_mark_of_the_promotion_leaves_no_xcom(run: Run) -> None:
    assert run.mark("ben", {"new_state": "success", "note": "because"}, "/taskInstances/promote") == 200
    assert run.rows() == [marked("ben", "success", "because", "promote")]
    assert run.xcom(MARK_KEY) is None


def test_a_response_is_recorded_with_user_and_roles_once(run: Run) -> None:
    run.ask_in_required_actions()
    assert run.answer("vera", "Approve", "me").status_code == 403
    assert run.answer("ben", "Maybe", "neither").status_code == 400
    assert run.rows() == []
    assert run.answer("ben", "Approve", "because").status_code == 200
    assert run.answer("anna", "Reject", "too late").status_code == 409
    assert run.rows() == [row(EVENT_RESPONSE, "ben", chosen_options=["Approve"])]


def test_the_second_persons_answer_about_a_rollback_is_recorded_too(run: Run) -> None:
    run.ask_in_required_actions()
    run.is_of("RollbackApprovalOperator")
    assert run.answer("ben", "Approve", "because").status_code == 200
    assert run.rows() == [row(EVENT_RESPONSE, "ben", chosen_options=["Approve"])]


def test_a_dry_run_is_no_mark(run: Run) -> None:
    assert run.mark("ben", {"new_state": "success"}, "/taskInstances/await_approval/dry_run") == 200
    assert run.rows() == []
    assert run.state() == "deferred"


@pytest.mark.parametrize("broken", ["caller_of", "read_request"])
def test_a_mark_is_recorded_as_far_as_it_is_known(run: Run, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setattr(middleware, broken, _failing())
    assert run.mark("ben", {"new_state": "success", "note": "because"}) == 200
    ((event, task_id, owner, extra, _),) = run.rows()
    assert (event, task_id) == (EVENT_MARK, "await_approval")
    known = {"user": None, "note": "because"} if broken == "caller_of" else {"user": "ben", "note": ""}
    assert owner == known["user"]
    assert {name: extra[name] for name in known} == known


def test_a_mark_goes_through_when_it_cannot_be_recorded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_write", _failing())
    assert run.mark("ben", {"new_state": "success", "note": "because"}) == 200
    assert run.state() == "success"
    assert run.rows() == []


def _failing() -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("broken on purpose")

    return fail
