"""In the API server: record who was accepted, or refused, when deciding on an approval or marking a promotion.

Airflow's own audit log cannot tell: it holds refused attempts like accepted ones, and none of a bulk mark.
Two parts work together. Airflow fires the task listeners once for each task instance that a mark really
changed, in the request that marks (bulk, whole run, task group, with upstream, downstream, past and future),
but does not tell them the user. The middleware around that request knows the user, and whether the request
ended well. These rows of the audit log come of it, each with the user as owner:

| event | when | extra |
|---|---|---|
| ``approval_mark`` | a mark was accepted, once per task instance | new_state, note, user, roles; whole_run if so |
| ``approval_note`` | a note was written without a mark | note, user, roles |
| ``approval_response`` | a response in Required Actions was accepted | chosen_options, user, roles |
| ``approval_refused`` | the door refused a mark or a response | tried, reason, detail, user, roles |

A marked approval also gets an XCom ``approval_mark``, with which its note reaches the promotion where no connection
to Airflow's API is set up. Whoever may edit XComs can edit it: it is a reason, and no proof of who gave it.

Only stdlib at module level: every part of Airflow imports the plugin.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from airflow.listeners import hookimpl

from model_registry.callers import Caller
from model_registry.mark_requests import Answer, Mark, Request, note_of

if TYPE_CHECKING:
    from model_registry.door import Refusal

log = logging.getLogger(__name__)

EVENT_MARK = "approval_mark"
EVENT_NOTE = "approval_note"
EVENT_RESPONSE = "approval_response"
EVENT_REFUSED = "approval_refused"
MARK_KEY = "approval_mark"
"""XCom of a marked approval: note, user, at, try_number, new_state."""
APPROVAL_OPERATOR = "ModelApprovalSensor"
ASKING_OPERATORS = frozenset({APPROVAL_OPERATOR, "RollbackApprovalOperator"})
WATCHED_OPERATORS = ASKING_OPERATORS | {"ModelStageOperator", "ModelRollbackOperator"}
MAX_NOTE = 1000
"""Airflow accepts no longer note."""


@dataclass(frozen=True)
class TaskInstanceKey:
    """A task instance, whatever its try."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of its columns."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls, task_instance: Any) -> Self:
        """Return the key of one of Airflow's task instances."""
        return cls(*(getattr(task_instance, name) for name in cls.names()))

    def to_dict(self) -> dict[str, Any]:
        """Return its columns."""
        return asdict(self)


@dataclass(frozen=True)
class Marked:
    """A task instance that a mark changed."""

    key: TaskInstanceKey
    operator: str
    try_number: int
    state: str


_marked: ContextVar[list[Marked] | None] = ContextVar("model_registry_marked", default=None)


@contextmanager
def collecting(marked: list[Marked]) -> Iterator[None]:
    """Collect into ``marked`` what is marked inside, also in threads that Airflow starts from there."""
    token = _marked.set(marked)
    try:
        yield
    finally:
        _marked.reset(token)


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
    operator = getattr(task_instance, "operator", None)
    if marked is None or operator not in WATCHED_OPERATORS:
        return
    marked.append(Marked(TaskInstanceKey.of(task_instance), operator, task_instance.try_number, state))


def record_accepted(request: Request, marked: Sequence[Marked], caller: Caller | None) -> None:
    """Write down what a request changed.

    :param request: what it asked for
    :param marked: what the listeners collected meanwhile
    :param caller: who sent it; None: unknown
    """
    if isinstance(request, Answer):
        _record_response(request, caller)
        return
    for task in marked:
        _record_mark(task, request, caller)
    for mark in request:
        if mark.state is None and mark.note and mark.task_id is not None:
            _record_note(mark, caller)


def record_refused(refused: Iterable["Refusal"], caller: Caller) -> None:
    """Write down what the door refused: Airflow itself never sees the request.

    :param refused: what was refused
    :param caller: who sent it
    """
    for refusal in refused:
        extra = {"tried": refusal.intent, "reason": refusal.reason[:MAX_NOTE], "detail": refusal.sentence}
        for task in _instances(refusal.key):
            _write(EVENT_REFUSED, refusal.key, task.try_number, extra, caller)


def extra_of(text: str | None) -> dict[str, Any]:
    """Return the extra of a row of the audit log, empty when it cannot be read."""
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        return {}
    return extra if isinstance(extra, dict) else {}


def _record_mark(task: Marked, marks: tuple[Mark, ...], caller: Caller | None) -> None:
    note = note_of(marks, task.state, **task.key.to_dict())[:MAX_NOTE]
    extra: dict[str, Any] = {"new_state": task.state, "note": note}
    if any(mark.whole_run for mark in marks):
        extra["whole_run"] = True
    _write(EVENT_MARK, task.key, task.try_number, extra, caller)
    if task.operator == APPROVAL_OPERATOR:
        _leave_xcom(task, note, caller)


def _record_note(mark: Mark, caller: Caller | None) -> None:
    key = TaskInstanceKey(mark.dag_id, mark.run_id, str(mark.task_id), -1 if mark.map_index is None else mark.map_index)
    for task in _instances(key):
        if task.operator in WATCHED_OPERATORS:
            _write(EVENT_NOTE, key, task.try_number, {"note": mark.note[:MAX_NOTE]}, caller)


def _record_response(answer: Answer, caller: Caller | None) -> None:
    key = TaskInstanceKey(answer.dag_id, answer.run_id, answer.task_id, answer.map_index)
    for task in _instances(key):
        if task.operator in ASKING_OPERATORS:
            _write(EVENT_RESPONSE, key, task.try_number, {"chosen_options": list(answer.chosen)}, caller)


def _instances(key: TaskInstanceKey) -> Iterator[Any]:
    """Yield operator and try of a task instance, if there is one."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.execute(
            select(TaskInstance.operator, TaskInstance.try_number).filter_by(**key.to_dict())
        ).one_or_none()
    if found is not None:
        yield found


def _write(event: str, key: TaskInstanceKey, try_number: int, extra: dict[str, Any], caller: Caller | None) -> None:
    """Write a row into the audit log."""
    from airflow.models import Log
    from airflow.utils.session import create_session

    user, roles = (caller.name, caller.roles) if caller else (None, None)
    extra = {**extra, "user": user, "roles": None if roles is None else list(roles)}
    row = {**key.to_dict(), "event": event, "try_number": try_number, "extra": json.dumps(extra)}
    with create_session() as session:
        session.add(Log(owner=user, owner_display_name=user, **row))


def _leave_xcom(task: Marked, note: str, caller: Caller | None) -> None:
    """Leave the note beside the mark; the row of the audit log is there already when this fails."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    content = {
        "note": note,
        "user": caller.name if caller else None,
        "at": datetime.now(UTC).isoformat(),
        "try_number": task.try_number,
        "new_state": task.state,
    }
    try:
        with create_session() as session:
            # as the API server itself stores what a task pushes: JSON as it is
            XComModel.set(MARK_KEY, content, serialize=False, session=session, **task.key.to_dict())
    except Exception:
        log.exception("The note of a mark of %s could not be left as XCom", task.key)
