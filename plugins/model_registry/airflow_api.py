"""Airflow's REST API, as a task reads it: a task has no database access of its own."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import httpx
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from model_registry.hooks import base_url, ca_bundle

_TIMEOUT = 10.0
_ALLOWED_EXTRAS = frozenset({"path", "tls_verify", "ca_bundle"})
_ROWS = 100


@dataclass(frozen=True)
class TaskKey:
    """One task of one run."""

    dag_id: str
    run_id: str
    task_id: str

    @property
    def run_path(self) -> str:
        """The run's path below ``/api/v2``; ids may hold any character."""
        return f"/dags/{quote(self.dag_id, safe='')}/dagRuns/{quote(self.run_id, safe='')}"

    @property
    def path(self) -> str:
        """The task's path below ``/api/v2``."""
        return f"{self.run_path}/taskInstances/{quote(self.task_id, safe='')}"


@dataclass(frozen=True)
class LogRow:
    """A row of Airflow's audit log."""

    number: int
    event: str
    owner: str | None
    extra: str | None
    when: datetime


class AirflowApi:
    """A client of the API server, logged in as the connection's user.

    :param url: base URL of the API server, without ``/api/v2``
    :param user: login
    :param password: its password
    :param verify: certificates to verify with, or whether to verify
    """

    def __init__(self, url: str, user: str, password: str, *, verify: str | bool = True) -> None:
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT, verify=verify)
        self._login = {"username": user, "password": password}

    @classmethod
    def from_connection(cls, conn_id: str | None) -> Self | None:
        """Return a client for a connection of type ``http``, None when there is no such connection.

        :param conn_id: the connection
        :raises ValueError: when the connection is there and unusable
        """
        if not conn_id:
            return None
        try:
            connection = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            return None
        extra = connection.extra_dejson
        if unknown := sorted(set(extra) - _ALLOWED_EXTRAS):
            raise ValueError(f"connection {conn_id!r} has unknown extras {', '.join(unknown)}")
        if not connection.login:
            raise ValueError(f"connection {conn_id!r} has no login")
        verify = ca_bundle(connection) or extra.get("tls_verify", True)
        return cls(base_url(connection), connection.login, connection.password or "", verify=verify)

    def __enter__(self) -> Self:
        token = self._json(self._client.post("/auth/token", json=self._login))["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def task_instance(self, task: TaskKey) -> dict[str, Any]:
        """Return the task instance as the API shows it: state, try_number, note and more."""
        return self._json(self._client.get(f"/api/v2{task.path}"))

    def dag_run(self, task: TaskKey) -> dict[str, Any]:
        """Return a task's run as the API shows it: triggered_by, triggering_user_name and more."""
        return self._json(self._client.get(f"/api/v2{task.run_path}"))

    def log_rows(self, task: TaskKey, *, try_number: int, events: tuple[str, ...]) -> list[LogRow]:
        """Return the audit log's newest rows of one try of a task, oldest first.

        :param task: the task
        :param try_number: the try
        :param events: names of the events
        """
        found = self._json(
            self._client.get(
                "/api/v2/eventLogs",
                params={
                    "dag_id": task.dag_id,
                    "run_id": task.run_id,
                    "task_id": task.task_id,
                    "try_number": try_number,
                    "included_events": list(events),
                    "order_by": "-event_log_id",
                    "limit": _ROWS,
                },
            )
        )
        rows = [
            LogRow(
                number=int(row["event_log_id"]),
                event=str(row["event"]),
                owner=row["owner"] or None,
                extra=row["extra"],
                when=datetime.fromisoformat(row["when"]),
            )
            for row in found["event_logs"]
        ]
        return sorted(rows, key=lambda row: row.number)

    def response(self, task: TaskKey, try_number: int) -> dict[str, Any] | None:
        """Return the response that somebody gave in Required Actions, as the event Airflow makes of it.

        :param task: the task that asked
        :param try_number: the try that asked
        """
        answer = self._client.get(f"/api/v2{task.path}/-1/hitlDetails/tries/{try_number}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        detail = self._json(answer)
        if not detail.get("response_received") or not detail.get("chosen_options"):
            return None
        return {
            "chosen_options": detail["chosen_options"],
            "params_input": detail.get("params_input") or {},
            "responded_at": detail.get("responded_at"),
            "responded_by_user": detail.get("responded_by_user"),
        }

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        answer.raise_for_status()
        content = answer.json()
        if not isinstance(content, dict):
            raise ValueError(f"{answer.request.url.path} answered with something other than a JSON object")
        return content
