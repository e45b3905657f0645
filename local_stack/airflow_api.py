"""A client of Airflow's REST API: the calls that the UI makes when a person triggers and approves."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import requests

from local_stack.errors import ApiError

WAITING = frozenset({"deferred", "up_for_reschedule", "awaiting_input"})
_RUN_STATES_ACTIVE = ("queued", "running")
_TIMEOUT = 30.0
# SQLite has one writer at a time, and Airflow's API server can wait for itself: the request ends in an error that says
# so, a backfill's and a decision's in errors of their own. Nothing of it is kept, so sending it again is safe.
_DATABASE_ERRORS = frozenset({(500, "Database error"), (503, "Database is locked"), (503, "decide again")})
_DATABASE_TRIES = 6


@dataclass(frozen=True)
class TaskState:
    """A task instance as the API tells it; its id names one try."""

    task_id: str
    state: str | None
    try_number: int
    max_tries: int
    started: datetime | None
    ended: datetime | None
    id: str = ""


@dataclass(frozen=True)
class RunState:
    """A DAG run as the API tells it."""

    run_id: str
    state: str
    conf: dict[str, Any]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class AirflowApi:
    """Airflow's REST API with the login of one user.

    :param url: base URL of the API server, without ``/api/v2``
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._login = {"username": user, "password": password}
        self._session = requests.Session()
        # A proxy of the environment must not see requests to 127.0.0.1.
        self._session.trust_env = False
        self._token = ""

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON of its answer.

        :param path: what follows ``/api/v2``
        :param options: as for ``requests.request``
        :raises ApiError: when Airflow cannot be reached or refuses
        """
        for attempt in (1, 2):
            if not self._token:
                self._token = self._new_token()
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = until_kept(partial(self._send, method, f"/api/v2{path}", headers=headers, **options))
            # Tokens expire; one new token is worth a try, a second refusal is an answer.
            if answer.status_code != 401 or attempt == 2:
                break
            self._token = ""
        if not answer.ok:
            raise ApiError(
                f"Airflow refused {method} {path}: {answer.status_code} {_detail(answer)}", answer.status_code
            )
        return answer.json() if answer.content else None

    def _new_token(self) -> str:
        answer = self._send("POST", "/auth/token", json=self._login)
        if not answer.ok:
            raise ApiError(f"Airflow refused the login: {answer.status_code} {_detail(answer)}", answer.status_code)
        return str(answer.json()["access_token"])

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(method, f"{self.url}{path}", timeout=_TIMEOUT, **options)
        except requests.RequestException as error:
            raise ApiError(f"Airflow at {self.url} does not answer: {error}") from error

    def health(self) -> dict[str, str]:
        """Return the status of each part of Airflow; empty while the API server does not answer."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health")
        except ApiError:
            return {}
        if not answer.ok:
            return {}
        return {part: str(value.get("status")) for part, value in answer.json().items() if isinstance(value, dict)}

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a DAG's entry, or None while Airflow does not know it."""
        try:
            found: dict[str, Any] = self.request("GET", f"/dags/{quote(dag_id)}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def import_errors(self) -> list[str]:
        """Return what went wrong when Airflow read the DAG files, as "file: last line"."""
        found = self.request("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in found]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self.request("PATCH", f"/dags/{quote(dag_id)}", params={"update_mask": "is_paused"}, json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any], note: str | None = None) -> str:
        """Trigger a run as the form does, and return its id.

        :param conf: values of the form; the rest keep their defaults
        """
        body = {"logical_date": None, "conf": conf, "note": note}
        return str(self.request("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> RunState:
        """Return the state of a run."""
        return _run_state(self.request("GET", run_path(dag_id, run_id)))

    def active_runs(self, dag_id: str) -> list[RunState]:
        """Return the runs that are queued or running, the newest first."""
        answer = self.request(
            "GET",
            f"/dags/{quote(dag_id)}/dagRuns",
            params={"state": list(_RUN_STATES_ACTIVE), "order_by": "-run_after", "limit": 50},
        )
        return [_run_state(run) for run in answer["dag_runs"]]

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return the state of each task of a run."""
        answer = self.request("GET", f"{run_path(dag_id, run_id)}/taskInstances", params={"limit": 100})
        return [
            TaskState(
                task_id=task["task_id"],
                state=task["state"],
                try_number=task["try_number"],
                max_tries=task["max_tries"],
                started=_time(task["start_date"]),
                ended=_time(task["end_date"]),
                id=task["id"],
            )
            for task in answer["task_instances"]
        ]

    def task(self, dag_id: str, run_id: str, task_id: str) -> TaskState:
        """Return the state of one task of a run."""
        return next(task for task in self.tasks(dag_id, run_id) if task.task_id == task_id)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str, note: str) -> None:
        """Mark a task as a person does in the UI, with a note, and make sure that the mark held.

        A mark in the instant in which the task itself changes state can be answered with success and be lost.

        :param state: ``success`` or ``failed``
        :raises ApiError: when Airflow refuses, or the mark does not hold
        """
        path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}"
        for _ in range(3):
            self.request("PATCH", path, json={"new_state": state, "note": note})
            time.sleep(1)
            if self.task(dag_id, run_id, task_id).state == state:
                return
        raise ApiError(f"Airflow accepted the mark {state} of {task_id} in {run_id}, and then lost it three times")

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """Return the entries of a task's log, each with at least ``event``.

        :param try_number: which attempt, from 1
        """
        path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        answer = self.request("GET", path, params={"full_content": "true"})
        return [entry if isinstance(entry, dict) else {"event": str(entry)} for entry in answer["content"]]

    def error_of(self, dag_id: str, run_id: str, task: TaskState) -> str:
        """Return the sentence with which a task failed, from the log of its last attempt."""
        try:
            entries = self.log(dag_id, run_id, task.task_id, max(task.try_number, 1))
        except ApiError as error:
            return f"its log cannot be read: {error}"
        for entry in reversed(entries):
            details = entry.get("error_detail")
            if details:  # what was raised is the first, its causes follow
                return " ".join(str(details[0].get("exc_value") or details[0].get("exc_type")).split())
        errors = [entry for entry in entries if entry.get("level") in ("error", "critical")] or entries
        return str(errors[-1]["event"]) if errors else "its log is empty"

    def run_url(self, dag_id: str, run_id: str) -> str:
        """Return the address of a run in the UI."""
        return f"{self.url}/dags/{quote(dag_id)}/runs/{quote(run_id)}"


def until_kept(send: Callable[[], requests.Response]) -> requests.Response:
    """Send a request, again while Airflow's database refuses it, and return the last answer."""
    for _ in range(_DATABASE_TRIES - 1):
        answer = send()
        if not any(answer.status_code == status and text in _detail(answer) for status, text in _DATABASE_ERRORS):
            return answer
        time.sleep(2)
    return send()


def run_path(dag_id: str, run_id: str) -> str:
    """Return the path of a run below ``/api/v2``."""
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _run_state(run: dict[str, Any]) -> RunState:
    return RunState(run["dag_run_id"], run["state"], run.get("conf") or {})


def _detail(answer: requests.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text
    return str(detail)[:500]
