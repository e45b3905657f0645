"""In the API server: what a request changed of a task that asks, found in the database session that changes it.

No request is read. Whatever path, method, encoding and body brought a change, it goes through one of the API server's
database sessions, and there it is seen: a task instance whose state became success or failed (a mark of the task, of
several, of a task group, with what is upstream, downstream, past and future), a response in Required Actions, a run
that somebody triggers. Before such a session commits, ``desk`` may refuse the request, and adds to the session the
letter that tells the ledger who decided; after the commit the letter is delivered. What is not committed decided
nothing.

Only sessions inside a request of a person are looked at: the middleware says whose request it is. Changes that worker
and scheduler make are none of it.
"""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from model_registry.approval.asking import APPROVAL_OPERATORS

if TYPE_CHECKING:
    from model_registry.api_server.callers import Caller

_DECISIVE = ("success", "failed")


@dataclass
class Effects:
    """What a session changed so far.

    :param marks: task instances that ask and were marked, by id
    :param answers: responses in Required Actions, by id of the task instance
    :param notes: notes that were written
    :param runs: DAG and run id of runs that were marked as a whole
    :param triggered: runs that were made
    :param deliver_to: connections of the servers whose letters are delivered after the commit
    :param refused: what is noted when the request is refused
    """

    marks: dict[Any, Any] = field(default_factory=dict)
    answers: dict[Any, Any] = field(default_factory=dict)
    notes: list[Any] = field(default_factory=list)
    runs: set[tuple[str, str]] = field(default_factory=set)
    triggered: dict[tuple[str, str], Any] = field(default_factory=dict)
    deliver_to: set[str] = field(default_factory=set)
    refused: list[Any] = field(default_factory=list)

    def decisive_marks(self, endpoint: Any) -> Iterator[Any]:
        """Yield the task instances whose mark is a decision: to mark a whole run is none about a version.

        :param endpoint: what handles the request; with a teardown that is not done, Airflow leaves the run's state
        """
        if str(getattr(endpoint, "__module__", "")).endswith(".routes.public.dag_run"):
            return
        yield from (task for task in self.marks.values() if (task.dag_id, task.run_id) not in self.runs)


@dataclass(eq=False)
class Visit:
    """A request of a person that may change something.

    :param scope: the request
    :param loop: the event loop that handles it
    :param sender: who sent it, or a sentence why that cannot be told; None until it was asked
    :param sessions: what its database sessions changed
    """

    scope: Any
    loop: asyncio.AbstractEventLoop
    sender: "Caller | str | None" = None
    sessions: "WeakKeyDictionary[Any, Effects]" = field(default_factory=WeakKeyDictionary)

    @property
    def endpoint(self) -> Any:
        """The function that handles the request, as Airflow's router found it."""
        return self.scope.get("endpoint")

    @property
    def of_a_worker(self) -> bool:
        """Whether a worker sent it: what a task does is no decision of a person."""
        return str(getattr(self.endpoint, "__module__", "")).startswith("airflow.api_fastapi.execution_api.")


visit_of: ContextVar[Visit | None] = ContextVar("model_registry_visit", default=None)
"""The request that is handled; None outside of one, and for requests that change nothing."""


def watch() -> None:
    """Look at the sessions of this process from now on; a second call changes nothing."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    for name, function in (
        ("before_flush", _before_flush),
        ("after_flush", _after_flush),
        ("before_commit", _before_commit),
        ("after_commit", _after_commit),
        ("after_soft_rollback", _after_rollback),
    ):
        if not event.contains(Session, name, function):
            event.listen(Session, name, function)


def _before_flush(session: Any, context: Any, instances: Any) -> None:  # noqa: ARG001 -- SQLAlchemy's signature
    """Find out who decides before anything is written.

    Airflow tells it in its event loop, which also writes the audit log: on SQLite that waits for whoever has written.
    """
    visit = visit_of.get()
    if visit is None or visit.sender is not None or visit.of_a_worker:
        return
    if any(_decides(changed, session) for changed in (*session.new, *session.dirty)):
        from model_registry.api_server import desk

        visit.sender = desk.sender_of(visit)


def _after_flush(session: Any, context: Any) -> None:  # noqa: ARG001 -- SQLAlchemy's signature
    visit = visit_of.get()
    if visit is None:
        return
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance, TaskInstanceNote

    effects = visit.sessions.setdefault(session, Effects())
    for changed in (*session.new, *session.dirty):
        decides = _decides(changed, session)
        if decides and isinstance(changed, TaskInstance):
            effects.marks[changed.id] = changed
        elif decides and isinstance(changed, HITLDetail):
            effects.answers[changed.ti_id] = changed
        elif isinstance(changed, TaskInstanceNote):
            effects.notes.append(changed)
        elif isinstance(changed, DagRun):
            key = (changed.dag_id, changed.run_id)
            if decides:
                effects.triggered[key] = changed
            elif _became(changed, "_state"):
                effects.runs.add(key)


def _decides(changed: Any, session: Any) -> bool:
    """Whether a change may be a decision: a task that asks was marked, a question answered, a run triggered."""
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance

    if isinstance(changed, TaskInstance):
        return changed.operator in APPROVAL_OPERATORS and _became(changed, "state")
    if isinstance(changed, HITLDetail):
        return bool(changed.chosen_options and _history(changed, "chosen_options").has_changes())
    return isinstance(changed, DagRun) and changed in session.new


def _before_commit(session: Any) -> None:
    visit = visit_of.get()
    if visit is None or session.in_nested_transaction():
        return
    session.flush()
    effects = visit.sessions.pop(session, None)
    if effects is None or not (effects.marks or effects.answers or effects.triggered):
        return
    from model_registry.api_server import desk, outbox

    visit.sessions[session] = left = Effects()
    try:
        letters = desk.review(session, effects, visit)
    except desk.RefusedError as refused:
        left.refused = refused.rows
        raise refused.answer from None
    left.deliver_to = outbox.connections(letters)
    session.add_all(letters)


def _after_commit(session: Any) -> None:
    visit = visit_of.get()
    if visit is None or session.in_nested_transaction():  # a savepoint's end, which keeps what was seen so far
        return
    left = visit.sessions.pop(session, None)
    if left is not None and left.deliver_to:
        from model_registry.api_server import outbox

        outbox.deliver_now(left.deliver_to)


def _after_rollback(session: Any, previous: Any) -> None:
    if previous.nested:
        return
    visit = visit_of.get()
    left = visit.sessions.pop(session, None) if visit is not None else None
    if left is not None and left.refused:
        from model_registry.api_server import outbox

        outbox.note(left.refused)


def _history(changed: Any, name: str) -> Any:
    from sqlalchemy import inspect

    return inspect(changed).attrs[name].history


def _became(changed: Any, name: str) -> bool:
    """Whether an attribute was set to a state that ends a task or run."""
    history = _history(changed, name)
    return bool(history.has_changes()) and any(str(getattr(to, "value", to)) in _DECISIVE for to in history.added or ())
