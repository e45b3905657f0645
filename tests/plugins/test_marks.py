"""Who marked an approval, with Airflow's own API application and database."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from model_registry import marks
from model_registry.marks import EVENT_MARK, EVENT_NOTE, ApprovalMarkMiddleware
from tests.airflow_home import PASSWORD, example_bag

DAG = "example_other_model"


@pytest.fixture(scope="module")
def client(airflow_db: None) -> Iterator[Any]:
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from fastapi.testclient import TestClient

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(example_bag(), "examples", None)
    with TestClient(create_app(apps="core")) as client:
        yield client


class Run:
    """A run of the example whose approval waits."""

    def __init__(self, client: Any) -> None:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        self.client = client
        answer = self.request("anna", "POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "conf": {}})
        assert answer.status_code == 200, answer.text
        self.run_id = answer.json()["dag_run_id"]
        with create_session() as session:
            for ti in session.query(TaskInstance).filter_by(run_id=self.run_id):
                ti.state = {"stage": "success", "await_approval": "deferred"}.get(ti.task_id)
                ti.try_number = 1

    @property
    def path(self) -> str:
        return f"/api/v2/dags/{DAG}/dagRuns/{quote(self.run_id, safe='')}"

    def token(self, user: str) -> str:
        answer = self.client.post("/auth/token", json={"username": user, "password": PASSWORD})
        return str(answer.json()["access_token"])

    def request(self, user: str, method: str, path: str, body: dict[str, Any]) -> Any:
        return self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {self.token(user)}"})

    def mark(self, user: str, body: dict[str, Any], path: str = "/taskInstances/await_approval") -> int:
        return int(self.request(user, "PATCH", self.path + path, body).status_code)

    def rows(self) -> list[tuple[str, str, str | None, dict[str, Any], int | None]]:
        from airflow.models import Log
        from airflow.utils.session import create_session

        with create_session() as session:
            found = session.query(Log).filter_by(run_id=self.run_id).filter(Log.event.in_([EVENT_MARK, EVENT_NOTE]))
            return [
                (row.event, row.task_id, row.owner, json.loads(row.extra), row.try_number)
                for row in found.order_by(Log.id)
            ]


@pytest.fixture
def run(client: Any) -> Run:
    return Run(client)


def marked(owner: str, state: str, note: str, task_id: str = "await_approval") -> tuple[Any, ...]:
    return (EVENT_MARK, task_id, owner, {"new_state": state, "note": note}, 1)


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
    assert ("ben", {"new_state": "success", "note": "in bulk"}) in [(row[2], row[3]) for row in run.rows()]


def test_marking_the_whole_run(run: Run) -> None:
    assert run.mark("ben", {"state": "success", "note": "all of it"}, "") == 200
    assert run.rows() == [marked("ben", "success", "all of it")]


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
        (EVENT_NOTE, "await_approval", "anna", {"note": "a remark"}, 1),
    ]


def test_a_field_that_update_mask_leaves_out_does_not_count(run: Run) -> None:
    body = {"new_state": "success", "note": "ignored by Airflow"}
    assert run.mark("ben", body, "/taskInstances/await_approval?update_mask=new_state") == 200
    assert run.rows() == [marked("ben", "success", "")]


@pytest.mark.parametrize("broken", ["_user", "_write"])
def test_a_mark_goes_through_when_it_cannot_be_recorded(run: Run, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(marks, broken, fail)
    assert run.mark("ben", {"new_state": "success", "note": "because"}) == 200
    assert run.rows() == []


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        {"type": "websocket", "path": "/api/v2/dags/x"},
        {"type": "http", "method": "GET", "path": "/api/v2/dags/x/dagRuns/y/taskInstances/z"},
        {"type": "http", "method": "PATCH", "path": "/api/v2/pools/x"},
        {"type": "http", "method": "PATCH", "path": "/execution/task-instances/dags"},
    ],
)
def test_other_requests_pass_untouched(scope: dict[str, Any]) -> None:
    seen: list[tuple[object, ...]] = []

    async def app(*arguments: object) -> None:
        seen.append(arguments)

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: object) -> None:
        raise AssertionError

    asyncio.run(ApprovalMarkMiddleware(app)(scope, receive, send))
    assert seen == [(scope, receive, send)]


def test_an_error_of_the_application_is_not_swallowed() -> None:
    async def app(*_: object) -> None:
        raise LookupError("of the application")

    async def nothing(*_: object) -> dict[str, Any]:
        return {}

    scope = {"type": "http", "method": "PATCH", "path": "/api/v2/dags/x", "headers": []}
    with pytest.raises(LookupError):
        asyncio.run(ApprovalMarkMiddleware(app)(scope, nothing, nothing))
    assert marks._marked.get() is None
