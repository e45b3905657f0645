"""Who decided: right or unknown, never guessed."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from include.lifecycle.decisions import Decision, Outcome
from model_registry import airflow_api
from model_registry.airflow_api import LogRow, TaskKey
from model_registry.approvals import EVENT_FAILED, Marker, Recorded, as_reason, read_rows, who_marked
from model_registry.marks import EVENT_MARK, EVENT_NOTE

START = datetime(2026, 1, 1, tzinfo=UTC)
TASK = TaskKey("dag", "manual__2026-01-01T00:00:00+00:00/x", "await_approval")


def rows(*found: tuple[str | None, str, str]) -> list[LogRow]:
    """Rows of owner, state (or "note") and note."""
    return [
        LogRow(
            number=number,
            event=EVENT_NOTE if state == "note" else EVENT_MARK,
            owner=owner,
            extra=json.dumps({"note": note} if state == "note" else {"new_state": state, "note": note}),
            when=START + timedelta(seconds=number),
        )
        for number, (owner, state, note) in enumerate(found)
    ]


@pytest.mark.parametrize(
    ("found", "user", "note"),
    [
        ([("anna", "success", "good")], "anna", "good"),
        ([("ben", "failed", "bad"), ("anna", "success", "good")], "anna", "good"),
        ([("anna", "success", "good"), ("ben", "failed", "bad")], "unknown", ""),
        ([("anna", "success", "good"), ("ben", "success", "me too")], "unknown", ""),
        ([("anna", "success", "1"), ("ben", "failed", "2"), ("carl", "success", "3")], "carl", "3"),
        ([(None, "success", "good")], "unknown", ""),
        ([], "unknown", ""),
        ([("anna", "success", ""), ("anna", "note", "added later")], "anna", "added later"),
        ([("anna", "success", ""), ("ben", "note", "somebody else's")], "anna", ""),
        ([("anna", "note", "before"), ("anna", "success", "")], "anna", "before"),
        ([("anna", "success", "first"), ("anna", "note", "edited")], "anna", "first"),
        ([("anna", "note", "only a note")], "unknown", ""),
    ],
)
def test_the_mark_that_holds(found: list[tuple[str | None, str, str]], user: str, note: str) -> None:
    marker = read_rows(rows(*found), "success")
    assert (marker.user, marker.note) == (user, note)
    assert marker.source == ("unknown" if user == "unknown" else "audit")


def test_a_task_that_failed_by_itself_was_marked_by_nobody() -> None:
    failed = LogRow(9, EVENT_FAILED, "airflow", None, START)
    assert read_rows([failed], "failed").nobody == "failed by itself"
    earlier = rows(("anna", "success", "good"))
    assert read_rows([*earlier, failed], "failed").nobody == "failed by itself"
    later = read_rows([replace(failed, number=0), *rows(("anna", "failed", "bad"))], "failed")
    assert (later.user, later.nobody) == ("anna", "")
    assert read_rows([replace(failed, number=0), *rows(("anna", "success", "good"))], "success").user == "anna"


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_mark_of_the_whole_run_decides_about_no_version(state: str) -> None:
    extra = json.dumps({"new_state": state, "note": "close it", "whole_run": True})
    marker = read_rows([LogRow(1, EVENT_MARK, "anna", extra, START)], state)
    assert (marker.user, marker.nobody) == ("unknown", f"was marked {state} with the whole run")


@pytest.mark.parametrize("extra", [None, "", "no json", "[]", '"text"', "{}"])
def test_rows_that_cannot_be_read_tell_nothing(extra: str | None) -> None:
    assert read_rows([LogRow(1, EVENT_MARK, "anna", extra, START)], "success") == Marker()


class Server:
    """An API server of a few answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[httpx.Request] = []
        self.instance: dict[str, Any] = {"state": "success", "try_number": 2}
        self.status = 200
        client = httpx.Client
        monkeypatch.setattr(
            airflow_api.httpx, "Client", lambda **options: client(transport=httpx.MockTransport(self), **options)
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path.endswith("/auth/token"):
            return httpx.Response(201, json={"access_token": "t"})
        if request.url.path.endswith("/eventLogs"):
            row = {
                "event_log_id": 1,
                "event": EVENT_MARK,
                "owner": "anna",
                "when": START.isoformat(),
                "extra": json.dumps({"new_state": "success", "note": "good"}),
            }
            return httpx.Response(self.status, json={"event_logs": [row], "total_entries": 1})
        return httpx.Response(200, json=self.instance)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, connect: Callable[..., None]) -> Server:
    connect("airflow_api_default", host="airflow/base", login="reader", password="pw-of-the-reader")
    return Server(monkeypatch)


def test_the_api_is_asked_for_this_task_and_its_current_try(server: Server) -> None:
    assert who_marked(TASK, "success", "airflow_api_default") == Marker("anna", "audit", "good", START)
    raw = [request.url.raw_path.decode() for request in server.requests]
    assert raw[0] == "/base/auth/token"
    assert "/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fx/taskInstances/await_approval" in raw[1]
    asked = server.requests[2].url.params
    assert (asked["dag_id"], asked["run_id"], asked["try_number"]) == (TASK.dag_id, TASK.run_id, "2")


def test_unknown_when_the_state_is_another_one(server: Server) -> None:
    server.instance["state"] = "failed"
    assert who_marked(TASK, "success", "airflow_api_default") == Marker()


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_unknown_and_a_warning_when_the_api_refuses(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = status
    with caplog.at_level(logging.WARNING):
        assert who_marked(TASK, "success", "airflow_api_default") == Marker()
    assert f"HTTP status {status}" in caplog.text
    assert "pw-of-the-reader" not in caplog.text


def test_unknown_when_there_is_no_connection_or_no_server(connect: Callable[..., None]) -> None:
    assert who_marked(TASK, "success", None) == Marker()
    assert who_marked(TASK, "success", "no such connection") == Marker()
    connect("down", host="127.0.0.1", port=9, login="reader", password="x")
    assert who_marked(TASK, "success", "down") == Marker()
    connect("wrong", host="", login="reader")
    assert who_marked(TASK, "success", "wrong") == Marker()
    connect("nobody", host="airflow")
    assert who_marked(TASK, "success", "nobody") == Marker()


@pytest.mark.parametrize("content", [None, "text", [], {}, {"model": "m"}, {"model": "m", "version": "x"}])
def test_an_xcom_of_another_task_is_no_approval(content: object) -> None:
    assert Recorded.from_xcom(content) is None


def test_an_approval_survives_its_xcom() -> None:
    recorded = Recorded("m", 7, Decision(Outcome.APPROVED, user="anna", at=START, reason="good"))
    assert Recorded.from_xcom(json.loads(json.dumps(recorded.to_xcom()))) == recorded
    assert Recorded.from_xcom(Recorded("m", 7).to_xcom()) == Recorded("m", 7)


def test_a_reason_is_stored_as_text() -> None:
    assert (
        as_reason("  <script>alert(1)</script>{{ x }} '; DROP TABLE\r\n ")
        == "<script>alert(1)</script>{{ x }} '; DROP TABLE"
    )
    assert as_reason(None) == as_reason(7) == ""
