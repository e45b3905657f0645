"""Who approved, when and why, as far as Airflow can tell. Right or unknown, never guessed."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from airflow.sdk import Context

from include.lifecycle.decisions import UNKNOWN, XCOM, Decision, Door, Outcome
from include.lifecycle.text import shorten, storable
from model_registry.airflow_api import AirflowApi, LogRow, TaskKey
from model_registry.marks import EVENT_MARK, EVENT_NOTE, EVENT_RESPONSE, MARK_KEY

log = logging.getLogger(__name__)

APPROVE = "Approve"
REJECT = "Reject"
REASON = "reason"
MAX_REASON = 2000
"""Characters of a reason that are kept: as many as a tag of the version holds and a person reads."""

EVENT_STARTED, EVENT_FAILED = "running", "failed"
"""Rows of Airflow's own audit log: a task's process started, or ended so. A mark writes neither."""

AUDIT = "audit"
"""The user's name comes from Airflow's audit log, from a mark that Airflow accepted."""

_UNREADABLE = (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Recorded:
    """What an approval task left as XCom: its decision, and on which version.

    :param decision: None while the task waits
    """

    model: str
    version: int
    decision: Decision | None = None

    def to_xcom(self) -> dict[str, Any]:
        """Return what is stored as XCom."""
        decision = self.decision.to_dict() if self.decision else {}
        return {"model": self.model, "version": self.version, **decision}

    @classmethod
    def from_xcom(cls, content: object) -> Self | None:
        """Return what an XCom holds, None when it is not one of an approval."""
        if not isinstance(content, Mapping):
            return None
        fields = dict(content)
        try:
            model, version = str(fields.pop("model")), int(fields.pop("version"))
            return cls(model, version, Decision.from_dict(fields) if fields else None)
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Marker:
    """Who marked a task, with which note, when, and with which roles where they are known.

    :param nobody: why the task's state is nobody's decision about the version, empty when it may be one
    """

    user: str = UNKNOWN
    source: str = UNKNOWN
    note: str = ""
    at: datetime | None = None
    roles: tuple[str, ...] | None = None
    nobody: str = ""


class NobodyDecidedError(Exception):
    """The approval task is in a state that no decision of a person brought it to; the text tells what did."""


def task_state(context: Context, task_id: str) -> str | None:
    """Return the state of another task of this run, None when it has none yet."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id])
    state = (states.get(ti.run_id) or {}).get(task_id)
    return str(getattr(state, "value", state)) if state else None


def recorded_by(context: Context, task_id: str) -> Recorded | None:
    """Return what the approval task of this run left, None when none of its code came so far."""
    return Recorded.from_xcom(context["ti"].xcom_pull(task_ids=task_id))


def decision_of_response(event: Mapping[str, Any], *, dag_id: str, run_id: str) -> Decision:
    """Return the decision that a response in Required Actions made.

    :param event: the event with which Airflow resumes the task
    :param dag_id: DAG of the waiting task
    :param run_id: its run
    """
    chosen = list(event.get("chosen_options") or [])
    user = event.get("responded_by_user") or {}
    name = str(user.get("name") or user.get("id") or "")
    return Decision(
        outcome=Outcome.APPROVED if chosen == [APPROVE] else Outcome.REJECTED,
        user=name or UNKNOWN,
        user_source=str(Door.REQUIRED_ACTIONS) if name else UNKNOWN,
        reason=as_reason((event.get("params_input") or {}).get(REASON)),
        door=Door.REQUIRED_ACTIONS,
        at=_time(event.get("responded_at")),
        dag_id=dag_id,
        run_id=run_id,
    )


def verified_response(decision: Decision, task: TaskKey, retries: int, conn_id: str | None) -> Decision:
    """Return an approval given in Required Actions as Airflow's API confirms it, with the user's roles.

    What the approval task left as XCom is not enough: Airflow's users may edit XComs. Where the API shows another
    user or no approval the user is unknown; where it cannot be asked the name counts as not verified.

    :param decision: the approval that the XCom tells
    :param task: the approval task
    :param retries: how often Airflow retries it
    :param conn_id: connection to Airflow's API
    """
    try:
        api = AirflowApi.from_connection(conn_id)
        if api is None:
            log.info("No connection %s: who answered %s is not verified", conn_id, task.task_id)
            return _unverified(decision)
        with api:
            instance = api.task_instance(task)
            tries = tries_asked(int(instance["try_number"]), int(instance["max_tries"]), retries)
            given = next(((number, found) for number in tries if (found := api.response(task, number))), None)
            rows = api.log_rows(task, try_number=given[0], events=(EVENT_RESPONSE,)) if given else []
    except _UNREADABLE as error:
        log.warning("Who answered %s is not verified: %s", task.task_id, _reason_of(error))
        return _unverified(decision)
    if given is not None and (given[1].get("responded_by_user") or {}).get("name"):
        confirmed = decision_of_response(given[1], dag_id=task.dag_id, run_id=task.run_id)
        if confirmed.outcome is Outcome.APPROVED and confirmed.user == decision.user:
            return replace(confirmed, roles=_roles_beside(rows, confirmed.user))
    log.warning("Airflow knows no approval of %s by %s: who it was stays unknown", task.task_id, decision.user)
    return without_user(decision)


def without_user(decision: Decision) -> Decision:
    """Return a decision of which nothing tells who made it."""
    return replace(decision, user=UNKNOWN, user_source=UNKNOWN, roles=None)


def tries_asked(try_number: int, max_tries: int, retries: int) -> range:
    """Return the tries of a task in which it asked what it asks now, newest first.

    Airflow may retry a task that a response had resumed (apache/airflow#72716), and the person is not asked twice.
    Who clears the task does want to be asked again, so tries before that do not count.

    :param try_number: the task's current try
    :param max_tries: its last one: clearing moves it on
    :param retries: how often Airflow retries it
    """
    first = min(max(max_tries - retries + 1, 1), try_number)
    return range(try_number, first - 1, -1)


def decision_of_mark(context: Context, task_id: str, outcome: Outcome, conn_id: str | None) -> Decision:
    """Return the decision that a mark of the approval task made.

    :param context: context of the task that asks
    :param task_id: the approval task
    :param outcome: approved for a mark success, rejected for a mark failed
    :param conn_id: connection to Airflow's API; without it the user is unknown
    :raises NobodyDecidedError: when the task failed by itself, or the whole run was marked
    """
    ti = context["ti"]
    task = TaskKey(ti.dag_id, ti.run_id, task_id)
    marker = who_marked(task, "success" if outcome is Outcome.APPROVED else "failed", conn_id)
    if marker.nobody:
        raise NobodyDecidedError(f"{task_id} {marker.nobody}")
    note = marker.note if marker.note or marker.user != UNKNOWN else _note_left(context, task_id)
    return Decision(
        outcome=outcome,
        user=marker.user,
        user_source=marker.source,
        reason=as_reason(note),
        door=Door.MARK,
        at=marker.at or datetime.now(UTC),
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        roles=marker.roles,
    )


def who_marked(task: TaskKey, state: str, conn_id: str | None) -> Marker:
    """Return who brought a task into the state that it is in.

    Only marks count that Airflow accepted, of this run, this task, its current try and this state. When
    the API cannot be asked, shows nothing or contradicts itself, the user is unknown; the note is then the task's.

    :param task: the task
    :param state: the state it is expected to be in
    :param conn_id: connection to Airflow's API
    """
    try:
        api = AirflowApi.from_connection(conn_id)
        if api is None:
            log.info("No connection %s: who marked %s stays unknown", conn_id, task.task_id)
            return Marker()
        with api:
            instance = api.task_instance(task)
            if instance.get("state") != state:
                return Marker()
            events = (EVENT_MARK, EVENT_NOTE, EVENT_FAILED)
            rows = api.log_rows(task, try_number=int(instance["try_number"]), events=events)
    except _UNREADABLE as error:
        log.warning("Who marked %s stays unknown: %s", task.task_id, _reason_of(error))
        return Marker()
    marker = read_rows(rows, state)
    return marker if marker.user != UNKNOWN else replace(marker, note=str(instance.get("note") or ""))


def was_asked_before(task: TaskKey, conn_id: str | None) -> bool:
    """Return whether an approval task asked in its current try, although nothing of it is left.

    A task that reschedules itself starts anew at each look, and Airflow then deletes its XComs: a mark in that
    second finds none. Airflow's log shows the looks before, of which each asked, or ended the wait.

    :param task: the approval task
    :param conn_id: connection to Airflow's API
    """
    try:
        api = AirflowApi.from_connection(conn_id)
        if api is None:
            return False
        with api:
            instance = api.task_instance(task)
            rows = api.log_rows(task, try_number=int(instance["try_number"]), events=(EVENT_STARTED,))
    except _UNREADABLE as error:
        log.warning("Whether %s asked is unknown: %s", task.task_id, _reason_of(error))
        return False
    return len(rows) > 1


def read_rows(rows: list[LogRow], state: str) -> Marker:
    """Return who made the mark that holds, from the accepted marks of one try.

    The marks at the end of the log that set ``state`` made it what it is. Airflow refuses a mark that
    changes nothing, so there is one; several by different users came at the same instant. A failure of the task's
    own, or a mark of the whole run, which decides about no version, is told as such.

    :param rows: rows of the audit log, oldest first
    :param state: the state the task is in
    """
    last: list[tuple[LogRow, dict[str, Any]]] = []
    failed = False
    for row in rows:
        if row.event == EVENT_FAILED:
            last, failed = [], state == "failed"
        if row.event != EVENT_MARK:
            continue
        extra = _extra(row)
        last = [*last, (row, extra)] if extra.get("new_state") == state else []
        failed = False
    if failed:
        return Marker(nobody="failed by itself")
    if last and all(extra.get("whole_run") is True for _, extra in last):
        return Marker(nobody=f"was marked {state} with the whole run")
    owners = {row.owner for row, _ in last}
    if len(owners) != 1 or None in owners:
        return Marker()
    row, extra = last[0]
    note = str(extra.get("note") or "") or _note_beside(rows, row.owner)
    return Marker(user=str(row.owner), source=AUDIT, note=note, at=row.when, roles=_roles(extra))


def as_reason(text: object) -> str:
    """Return what a person typed as it can be stored: untrusted text, cut where it is longer than kept."""
    return shorten(storable(text if isinstance(text, str) else ""), MAX_REASON).strip()


def _note_beside(rows: list[LogRow], owner: str | None) -> str:
    """Return the newest note that the same user wrote without a mark."""
    notes = [_extra(row).get("note") for row in rows if row.event == EVENT_NOTE and row.owner == owner]
    return str(notes[-1] or "") if notes else ""


def _note_left(context: Context, task_id: str) -> str:
    """Return the note that the plugin in the API server left beside a mark, for who may not read the audit log."""
    left = context["ti"].xcom_pull(task_ids=task_id, key=MARK_KEY)
    note = left.get("note") if isinstance(left, Mapping) else None
    return note if isinstance(note, str) else ""


def _unverified(decision: Decision) -> Decision:
    return replace(decision, user_source=XCOM if decision.user != UNKNOWN else UNKNOWN, roles=None)


def _roles_beside(rows: list[LogRow], user: str) -> tuple[str, ...] | None:
    """Return the roles that the newest row of the same user tells."""
    told = [roles for row in rows if _extra(row).get("user") == user and (roles := _roles(_extra(row))) is not None]
    return told[-1] if told else None


def _roles(extra: Mapping[str, Any]) -> tuple[str, ...] | None:
    roles = extra.get("roles")
    return tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else None


def _extra(row: LogRow) -> dict[str, Any]:
    try:
        extra = json.loads(row.extra or "{}")
    except ValueError:
        return {}
    return extra if isinstance(extra, dict) else {}


def _time(value: object) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else datetime.now(UTC)


def _reason_of(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.request.url.path} answered with HTTP status {error.response.status_code}"
    return f"{type(error).__name__}: {error}"
