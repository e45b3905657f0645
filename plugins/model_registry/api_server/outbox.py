"""In the API server: letters to the promotion ledger, kept in Airflow's database until they are delivered.

A letter is a row of the audit log, added to the very session that a decision changes: it is committed with the change
or not at all. It is delivered right after, in the same request, which waits for no letter to another MLflow server;
what fails then is delivered later, by whichever API server is first, and a letter that arrives twice counts once. It
is signed with the ledger's key, where there is one, so that a row which somebody wrote into the database is no letter.

| event | what it says |
|---|---|
| ``approval_pending`` | a decision that the ledger does not have yet |
| ``approval_decided`` | one that it has |
| ``approval_refused`` | a decision that was refused, and why |
| ``approval_foreign`` | a row that no API server wrote |
| ``approval_undeliverable`` | a decision that the ledger can never take: the API server's log says why |
"""

import json
import logging
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from airflow.models import Log
from airflow.utils.session import create_session
from sqlalchemy import select, update

from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.anchors import sign
from include.lifecycle.ledger.entries import MAX_VALUE, canonical
from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.ledger.statements import Ask, Decided
from include.lifecycle.rules.decisions import Decision
from include.lifecycle.tracking_address import no_answer
from model_registry.api_server.callers import Caller
from model_registry.hooks import MLflowRegistryHook
from model_registry.witness import ANCHOR, DECIDED

log = logging.getLogger(__name__)

PENDING, REFUSED, FOREIGN = "approval_pending", "approval_refused", "approval_foreign"
LOOK_SECONDS = 5.0
"""How often an API server looks for letters that were left."""
MAX_NOTE = 1000
UNDELIVERABLE = "approval_undeliverable"
_FRAME = 500
"""Characters of an entry beside what it says."""
_AT_ONCE = 1000
_LETTER = "letter"
_started = threading.Event()
_delivering: dict[str, threading.Lock] = {}
"""Held by who delivers to a server, by its connection."""


class _UndeliverableError(Exception):
    """A letter that no ledger can ever take."""


def letter(
    task: Any,
    caller: Caller,
    model: str,
    conn_id: str,
    ask: Ask,
    decision: Decision,
    requested_by: str | None,
    *,
    asks: bool = False,
    task_id: str | None = None,
) -> Any:
    """Return the row that holds a decision.

    :param task: Airflow's task instance or run that it is about
    :param caller: who decided
    :param model: whose ledger it is for
    :param conn_id: connection of the MLflow server that holds it
    :param ask: what was asked
    :param decision: what was decided
    :param requested_by: who triggered the run
    :param asks: the ask is not in the ledger yet either
    :param task_id: the task, where ``task`` is a run
    :raises BadInputError: when an entry of the ledger does not hold it
    """
    decided = Decided(ask=ask.id, decision=decision, requested_by=requested_by)
    _fits(decided, ask if asks else None)  # else it could never be delivered
    said = {"ask": ask.to_dict() if asks else None, "decided": decided.to_dict()}
    content = {"model": model, "conn_id": conn_id, **said}
    return _row(PENDING, task, caller, Keyring.from_environment().sign(content, _LETTER), task_id)


def refusal(task: Any, caller: Caller, tried: str, reason: str, sentence: str) -> Any:
    """Return the row that tells of a refused decision."""
    content = {"tried": tried, "reason": reason[:MAX_NOTE], "detail": sentence}
    roles = list(caller.roles) if caller.roles is not None else None
    return _row(REFUSED, task, caller, {**content, "user": caller.name, "roles": roles})


def note(rows: list[Any]) -> None:
    """Write rows in a session of their own: the one that they are about was rolled back."""
    try:
        with create_session(scoped=False) as session:
            session.add_all(rows)
    except Exception:
        log.exception("What was refused could not be noted in the audit log")


def start() -> None:
    """Deliver what is left from now on, in a thread; a second call changes nothing."""
    if not _started.is_set():
        _started.set()
        threading.Thread(target=_deliver_for_ever, name="approval-outbox", daemon=True).start()


def connections(letters: Iterable[Any]) -> set[str]:
    """Return the connections of the servers that letters are for."""
    return {_conn_id(_content(letter.extra)) for letter in letters}


def deliver_now(conn_ids: Collection[str] | None = None) -> None:
    """Deliver the letters; what fails is left, and tried again soon.

    :param conn_ids: only those to the servers of these connections
    """
    try:
        _deliver(conn_ids)
    except Exception:
        log.warning("A decision is not in the promotion ledger yet: it is delivered later", exc_info=True)
    start()


def _deliver_for_ever() -> None:
    told = False
    while True:
        try:
            _deliver()
            told = False
        except Exception as error:  # noqa: BLE001 -- MLflow or the database is away: the next look tries again
            if not told:
                log.warning("Decisions wait for the promotion ledger: %s: %s", type(error).__name__, str(error)[:300])
            told = True
        time.sleep(LOOK_SECONDS)


def _deliver(conn_ids: Collection[str] | None = None) -> None:
    """Deliver the letters, to one server after the other.

    :param conn_ids: only to the servers of these connections
    :raises Exception: the first that kept one from being delivered; those for other ledgers are delivered all the same
    """
    if conn_ids is None:
        conn_ids = list(dict.fromkeys(_conn_id(content) for _, content in _pending()))
    failed: list[Exception] = []
    for conn_id in conn_ids:
        with _delivering.setdefault(conn_id, threading.Lock()):
            failed += _deliver_to(conn_id)
    if failed:
        raise failed[0]


def _deliver_to(conn_id: str) -> list[Exception]:
    """Deliver the letters to one server, oldest first; return what kept some from being delivered."""
    failed: dict[str, Exception] = {}
    for number, content in _pending():
        model = str(content.get("model"))
        if _conn_id(content) != conn_id or model in failed:
            continue
        kept = content
        try:
            event, kept = _deliver_one(content)
        except _UndeliverableError:
            log.exception("A decision on %s can never be entered in the promotion ledger: %s", model, content)
            event = UNDELIVERABLE
        except Exception as error:  # noqa: BLE001 -- told by who asked for the delivery
            failed[model] = error
            if no_answer(error):
                break  # nor does it answer for its other ledgers, each of which would take as long
            continue
        with create_session(scoped=False) as session:
            changed = {"event": event} if kept is content else {"event": event, "extra": json.dumps(kept)}
            session.execute(update(Log).where(Log.id == number).values(**changed))
    return list(failed.values())


def _pending() -> list[tuple[int, dict[str, Any]]]:
    """Return number and content of the letters that are not delivered, oldest first."""
    with create_session(scoped=False) as session:
        query = select(Log.id, Log.extra).where(Log.event == PENDING).order_by(Log.id).limit(_AT_ONCE)
        return [(number, _content(extra)) for number, extra in session.execute(query)]


def _fits(decided: Decided, ask: Ask | None) -> None:
    """Make sure that entries of the ledger hold a decision.

    :raises BadInputError: when they do not
    """
    for what in (decided.to_dict(), ask.to_dict() if ask is not None else {}):
        canonical(what, MAX_VALUE - _FRAME)


def _content(extra: str | None) -> dict[str, Any]:
    try:
        content = json.loads(extra or "{}")
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


def _conn_id(content: dict[str, Any]) -> str:
    return str(content.get("conn_id"))


def _deliver_one(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Deliver a letter; return what it is now, and what its row keeps: the anchor of the entry as well."""
    keyring = Keyring.from_environment()
    if "decided" not in content or (keyring and not keyring.accepts(content, _LETTER)):
        log.error("A row of the audit log pretends to be a decision on %s: nobody with the key wrote it", content)
        return FOREIGN, content
    try:
        decided, model, conn_id = Decided.from_dict(content["decided"]), str(content["model"]), str(content["conn_id"])
        ask = Ask.from_dict(content["ask"]) if content["ask"] is not None else None
        _fits(decided, ask)
    except (AttributeError, KeyError, TypeError, ValueError, BadInputError) as error:
        raise _UndeliverableError(f"it is no decision: {type(error).__name__}: {error}") from error
    with MLflowRegistryHook(conn_id).registry_beside_others() as registry:
        if ask is not None:
            decided = replace(decided, ask=registry.ask(ask).id)
        entered = registry.decide(model, decided)
    who, what = decided.decision.user, decided.decision.outcome
    log.info("%s %s a version of %s (ask %s): %s", who, what, model, decided.ask, entered or "in the ledger before")
    return DECIDED, content if entered is None else {**content, ANCHOR: sign(keyring, model, entered, conn_id)}


def _row(event: str, task: Any, caller: Caller, content: dict[str, Any], task_id: str | None = None) -> Any:
    return Log(
        event=event,
        owner=caller.name,
        owner_display_name=caller.name,
        extra=json.dumps(content),
        dag_id=task.dag_id,
        run_id=task.run_id,
        task_id=task_id or getattr(task, "task_id", None),
        map_index=getattr(task, "map_index", None),
        try_number=getattr(task, "try_number", None),
    )
