"""In the API server: record who was accepted when marking an approval or a promotion.

Airflow's own audit log cannot tell: it holds refused attempts like accepted ones, and none of a bulk mark.
Two parts work together. Airflow fires the task listeners once for each task instance that a mark really
changed, in the request that marks (bulk, whole run, task group, with upstream, downstream, past and future),
but does not tell them the user. The middleware around that request knows the user, and whether the request
ended well. It then writes one row into the audit log, event ``approval_mark``, which ``approvals`` reads.

Only stdlib at module level: every part of Airflow imports the plugin.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from airflow.listeners import hookimpl

log = logging.getLogger(__name__)

EVENT_MARK = "approval_mark"
EVENT_NOTE = "approval_note"
WATCHED_OPERATORS = frozenset({"ModelApprovalSensor", "ModelStageOperator"})
MAX_NOTE = 1000
"""Airflow accepts no longer note."""

_MAX_BODY = 1_000_000
_TASK_PATH = re.compile(r"/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)(?:/(-?\d+))?$")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Marked:
    """A task instance that a mark changed."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    state: str


_marked: ContextVar[list[Marked] | None] = ContextVar("model_registry_marked", default=None)


class MarkListener:
    """Collects the task instances that the request around it changed; does nothing outside the API server."""

    @hookimpl
    def on_task_instance_success(self, task_instance: Any) -> None:
        """Collect a task instance that was marked success."""
        _collect(task_instance, "success")

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any) -> None:
        """Collect a task instance that was marked failed."""
        _collect(task_instance, "failed")

    @hookimpl
    def on_task_instance_skipped(self, task_instance: Any) -> None:
        """Collect a task instance that was marked skipped."""
        _collect(task_instance, "skipped")


def _collect(task_instance: Any, state: str) -> None:
    marked = _marked.get()
    if marked is None or getattr(task_instance, "operator", None) not in WATCHED_OPERATORS:
        return
    marked.append(
        Marked(
            dag_id=task_instance.dag_id,
            run_id=task_instance.run_id,
            task_id=task_instance.task_id,
            map_index=task_instance.map_index,
            try_number=task_instance.try_number,
            state=state,
        )
    )


class ApprovalMarkMiddleware:
    """Record accepted marks of approvals. Every request that is not a PATCH of a DAG passes untouched.

    :param app: the application around which it stands
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "PATCH" or "/dags" not in path or "/execution/" in path:
            await self.app(scope, receive, send)
            return
        marked: list[Marked] = []
        body = _Body(receive)

        async def record_then_send(message: Message) -> None:
            # The database session of the request is committed before its response starts.
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                await _record(scope, marked, body)
            await send(message)

        token = _marked.set(marked)
        try:
            await self.app(scope, body.receive, record_then_send)
        finally:
            _marked.reset(token)


class _Body:
    """Reads along while the application reads the request's body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: list[bytes] = []
        self._size = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and self._size <= _MAX_BODY:
            part = message.get("body", b"")
            self._parts.append(part)
            self._size += len(part)
        return message

    def json(self) -> dict[str, Any]:
        if self._size > _MAX_BODY:
            return {}
        try:
            content = json.loads(b"".join(self._parts) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


async def _record(scope: Scope, marked: list[Marked], body: _Body) -> None:
    """Write the rows of an accepted request; whatever goes wrong here is logged and disturbs nobody."""
    try:
        content = _masked_by_query(scope, body.json())
        noted = None if marked else _noted_task(scope, content)
        if not marked and noted is None:
            return
        user = await _user(scope)
        await asyncio.to_thread(_write, list(_rows(marked, noted, content)), user)
    except Exception:
        log.exception("Who marked an approval could not be recorded: it stays unknown")


def _rows(
    marked: Iterable[Marked], noted: tuple[str, str, str, int] | None, content: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for task in marked:
        extra = {"new_state": task.state, "note": _note(content, task)}
        yield {
            "event": EVENT_MARK,
            "dag_id": task.dag_id,
            "run_id": task.run_id,
            "task_id": task.task_id,
            "map_index": task.map_index,
            "try_number": task.try_number,
            "extra": json.dumps(extra),
        }
    if noted is not None:
        dag_id, run_id, task_id, map_index = noted
        yield {
            "event": EVENT_NOTE,
            "dag_id": dag_id,
            "run_id": run_id,
            "task_id": task_id,
            "map_index": map_index,
            "try_number": None,
            "extra": json.dumps({"note": str(content["note"])[:MAX_NOTE]}),
        }


def _note(content: dict[str, Any], task: Marked) -> str:
    """Return the note that came with the mark of this task: of its own entity in a bulk request."""
    for action in content.get("actions") or []:
        for entity in (action.get("entities") or []) if isinstance(action, dict) else []:
            if isinstance(entity, dict) and entity.get("task_id") == task.task_id:
                named = (entity.get("dag_id", task.dag_id), entity.get("dag_run_id", task.run_id))
                if named == (task.dag_id, task.run_id) and entity.get("note"):
                    return str(entity["note"])[:MAX_NOTE]
    return str(content.get("note") or "")[:MAX_NOTE]


def _noted_task(scope: Scope, content: dict[str, Any]) -> tuple[str, str, str, int] | None:
    """Return the task of a request that changes nothing but a task's note."""
    found = _TASK_PATH.search(scope["path"])
    if found is None or not content.get("note"):
        return None
    dag_id, run_id, task_id, map_index = found.groups()
    return dag_id, run_id, task_id, int(map_index or -1)


def _masked_by_query(scope: Scope, content: dict[str, Any]) -> dict[str, Any]:
    """Return the body without fields that ``update_mask`` tells Airflow to leave alone."""
    mask = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("update_mask")
    return content if not mask else {name: value for name, value in content.items() if name in mask}


async def _user(scope: Scope) -> str | None:
    """Return the name of the user whose request was accepted, found as Airflow itself finds it."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from starlette.requests import Request

    request = Request(scope)
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    token = credentials.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN)
    if not token:
        return None
    return str((await get_auth_manager().get_user_from_token(token)).get_name())


def _write(rows: list[dict[str, Any]], user: str | None) -> None:
    """Write rows into the audit log; a note only where it belongs to a watched task."""
    from airflow.models import Log
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for row in rows:
            if row["try_number"] is None:
                key = {name: row[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
                found = session.execute(
                    select(TaskInstance.operator, TaskInstance.try_number).filter_by(**key)
                ).one_or_none()
                if found is None or found.operator not in WATCHED_OPERATORS:
                    continue
                row["try_number"] = found.try_number
            session.add(Log(owner=user, owner_display_name=user, **row))
