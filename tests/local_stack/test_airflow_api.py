"""The REST client against a server that answers as Airflow does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local_stack.airflow_api import AirflowApi
from local_stack.errors import ApiError
from tests.answers import answer

RUN = "manual__2026-01-01T00:00:00+00:00"
RUN_PATH = "/api/v2/dags/d/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00"


def task(task_id, state, try_number=1):
    return {
        "task_id": task_id,
        "state": state,
        "try_number": try_number,
        "max_tries": 3,
        "id": "019a-1",
        "start_date": "2026-01-01T00:00:01Z",
        "end_date": None,
    }


class FakeAirflow(BaseHTTPRequestHandler):
    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        path = self.path.split("?")[0]
        server = self.server
        server.requests.append((self.command, self.path, body, self.headers.get("Authorization")))
        if path == "/auth/token":
            server.tokens += 1
            good = body == {"username": "admin", "password": "right"}
            status, answer = (201, {"access_token": f"token{server.tokens}"}) if good else (401, {"detail": "Invalid"})
        elif self.headers.get("Authorization") in server.expired:
            status, answer = 401, {"detail": "Token expired"}
        else:
            answers = server.answers.get((self.command, path), [(404, {"detail": "not found"})])
            status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), FakeAirflow)
    made.requests, made.answers, made.tokens, made.expired = [], {}, 0, set()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def api(server, monkeypatch):
    monkeypatch.setattr("local_stack.airflow_api.time.sleep", lambda _: None)
    return AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "right")


def test_a_wrong_password_is_said(server):
    api = AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "wrong")
    with pytest.raises(ApiError, match="refused the login: 401 Invalid"):
        api.dag("d")


def test_an_expired_token_is_renewed_once(server, api):
    server.answers[("GET", "/api/v2/dags/d")] = [(200, {"dag_id": "d"})]
    server.expired.add("Bearer token1")
    assert api.dag("d") == {"dag_id": "d"}
    assert server.tokens == 2


LOCKED = (500, {"detail": {"reason": "Database error", "statement": "hidden", "message": "Serious error"}})


BACKFILL_LOCKED = (503, {"detail": "Database is locked. Backfill creation is not supported on SQLite"})


@pytest.mark.parametrize("refusal", [LOCKED, BACKFILL_LOCKED])
def test_a_write_that_the_database_refused_is_sent_again(server, api, refusal):
    server.answers[("PATCH", "/api/v2/dags/d")] = [refusal, refusal, (200, {})]
    api.unpause("d")
    assert [request[0] for request in server.requests].count("PATCH") == 3


def test_a_database_that_refuses_every_write_is_an_error(server, api):
    server.answers[("PATCH", "/api/v2/dags/d")] = [LOCKED]
    with pytest.raises(ApiError, match="Database error"):
        api.unpause("d")


@pytest.mark.parametrize("status", [500, 503])
def test_another_error_of_the_server_is_not_sent_again(server, api, status):
    server.answers[("PATCH", "/api/v2/dags/d")] = [(status, {"detail": "broken"}), (200, {})]
    with pytest.raises(ApiError, match="broken"):
        api.unpause("d")


def test_a_dag_that_is_not_there_is_none(api):
    assert api.dag("d") is None


def test_no_server_says_where_it_was_looked_for():
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:1 does not answer"):
        AirflowApi("http://127.0.0.1:1", "admin", "right").dag("d")


def test_trigger_sends_what_the_form_sends(server, api):
    server.answers[("POST", "/api/v2/dags/d/dagRuns")] = [(200, {"dag_run_id": RUN})]
    assert api.trigger("d", {"quick": True}) == RUN
    assert server.requests[-1][2] == {"logical_date": None, "conf": {"quick": True}, "note": None}


def test_mark_sends_the_note_and_escapes_the_run_id(server, api):
    path = f"{RUN_PATH}/taskInstances/await_approval"
    server.answers[("PATCH", path)] = [(200, {})]
    server.answers[("GET", f"{RUN_PATH}/taskInstances")] = [
        (200, {"task_instances": [task("await_approval", "success")]})
    ]
    api.mark("d", RUN, "await_approval", "success", "good figures")
    patch = next(request for request in server.requests if request[0] == "PATCH")
    assert patch[1] == path
    assert patch[2] == {"new_state": "success", "note": "good figures"}


def test_a_lost_mark_is_repeated(server, api):
    server.answers[("PATCH", f"{RUN_PATH}/taskInstances/a")] = [(200, {})]
    server.answers[("GET", f"{RUN_PATH}/taskInstances")] = [
        (200, {"task_instances": [task("a", "deferred")]}),
        (200, {"task_instances": [task("a", "success")]}),
    ]
    api.mark("d", RUN, "a", "success", "note")
    assert [request[0] for request in server.requests].count("PATCH") == 2


def test_a_mark_that_never_holds_is_an_error(server, api):
    server.answers[("PATCH", f"{RUN_PATH}/taskInstances/a")] = [(200, {})]
    server.answers[("GET", f"{RUN_PATH}/taskInstances")] = [(200, {"task_instances": [task("a", "deferred")]})]
    with pytest.raises(ApiError, match="lost it three times"):
        api.mark("d", RUN, "a", "success", "note")


def test_an_answer_under_required_actions(server, api):
    path = f"{RUN_PATH}/taskInstances/a/-1/hitlDetails"
    server.answers[("PATCH", path)] = [(200, {})]
    answer(api, "d", RUN, "a", "Reject", "too late")
    assert server.requests[-1][2] == {"chosen_options": ["Reject"], "params_input": {"reason": "too late"}}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (
            [
                {"event": "x"},
                {
                    "event": "Task failed",
                    "level": "error",
                    "error_detail": [{"exc_value": "error: no\nrows"}],
                },
            ],
            "error: no rows",
        ),
        ([{"event": "bad", "level": "error"}, {"event": "bye", "level": "info"}], "bad"),
        (["plain line"], "plain line"),
        ([], "its log is empty"),
    ],
)
def test_the_reason_of_a_failure_is_one_line(server, api, entries, sentence):
    server.answers[("GET", f"{RUN_PATH}/taskInstances/a/logs/2")] = [(200, {"content": entries})]
    server.answers[("GET", f"{RUN_PATH}/taskInstances")] = [(200, {"task_instances": [task("a", "failed", 2)]})]
    assert api.error_of("d", RUN, api.task("d", RUN, "a")) == sentence
