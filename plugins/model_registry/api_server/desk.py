"""In the API server: what a person decides on an ask, taken down for the ledger, or refused with a sentence.

It is asked before the database session commits that changes a task which asks (``effects``). The decision is held
against what was asked, as the promotion ledger has it: which version, under which policy, until when. One that is not
met refuses the whole request, and so does an MLflow that gives no answer: nothing is guessed. A decision that holds
becomes a letter in the same session (``outbox``).

- An approval (mark success, or Approve) has to meet the policy, in time.
- A rejection (mark failed, or Reject) needs a reason where the policy asks for one, and nothing else.
- A mark of the whole run is no decision and never refused: an operator has to be able to close a run that is stuck.
- A mark of a task that asked nothing decides nothing.
- Who triggers the DAG of a rollback decides on it, where no second person has to.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow.api_fastapi.common.dagbag import get_latest_version_of_dag
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from fastapi import HTTPException
from sqlalchemy.orm import object_session

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.statements import MAX_NAME, Ask, Place, as_reason
from include.lifecycle.rules.decisions import AIRFLOW_LOGIN, AIRFLOW_RUN, Channel, Decision, Outcome
from include.lifecycle.rules.policy import NOBODY, Facts, evaluate
from include.lifecycle.untrusted_text import one_line, shorten
from model_registry.api_server import outbox
from model_registry.api_server.callers import Caller, caller_of
from model_registry.api_server.effects import Effects, Visit
from model_registry.approval.asking import APPROVAL_OPERATORS, APPROVE, REASON
from model_registry.approval.policies import STARTED_BY_A_RULE
from model_registry.hooks import MLflowRegistryHook

log = logging.getLogger(__name__)

_FORBIDDEN, _AWAY = 403, 503
ANSWER_SECONDS = 30
"""How long the event loop may take to tell who sent a request."""
_IN_THE_UI = {_FORBIDDEN: 432, _AWAY: 533}
"""For a browser's session. Airflow's UI tells of a 403 only that a permission is missing, and of any other registered
status only its name; of a status that nobody registered it shows what is said."""
_LOGGED_IN = ("ui", "rest_api", "operator")
"""How a run was triggered whose user was logged in. The command line, also for a backfill, tells the name of its
operating system's user, which is nobody's name in Airflow."""
_FOLLOWED = 10
"""Runs that are followed from one asset to the next, to who began."""
ROLLBACK_OPERATOR = "ModelRollbackOperator"
_NUMBER = "[1-9][0-9]{0,8}"


class RefusedError(Exception):
    """A request is refused.

    :param visit: the request
    :param status: what a program is answered; a browser's session gets another one
    :param sentence: what its sender is told
    :param rows: what the audit log keeps of it
    """

    def __init__(self, visit: Visit, status: int, sentence: str, rows: Sequence[Any] = ()) -> None:
        super().__init__(sentence)
        by_header = any(name.lower() == b"authorization" for name, _ in visit.scope["headers"])
        self.answer = HTTPException(status if by_header else _IN_THE_UI[status], sentence)
        self.rows = list(rows)


@dataclass(frozen=True)
class _Act:
    """What a person did to a task instance that asks.

    :param task: Airflow's task instance
    :param approves: else it rejects
    :param door: ``mark`` or ``required_actions``
    :param note: the note that came with it
    :param before: the task's note, which is a reason too where it is this person's and was written since it was asked
    :param answer: the reason given in the form
    """

    task: Any
    approves: bool
    door: str
    note: Any = None
    before: Any = None
    answer: Any = None

    @property
    def tried(self) -> str:
        """What was tried."""
        return "approved" if self.approves else "rejected"

    def said(self, caller: Caller, since: datetime | None = None) -> str:
        """Return why, in the person's own words."""
        if self.door != "mark":
            return self.answer if isinstance(self.answer, str) else ""
        before = self.before
        if since is None or before is None or before.updated_at < since:
            before = None
        own = (note for note in (self.note, before) if note is not None and str(note.user_id) == caller.id)
        return next((str(note.content) for note in own if note.content), "")


@dataclass
class _Ledgers:
    """The ledgers of a request, each read once."""

    visit: Visit
    read: dict[tuple[str, str], LedgerState] = field(default_factory=dict)
    hooks: dict[str, MLflowRegistryHook] = field(default_factory=dict)

    def hook(self, conn_id: str) -> MLflowRegistryHook:
        """Return the hook of a connection."""
        return self.hooks.setdefault(conn_id, MLflowRegistryHook(conn_id))

    def of(self, conn_id: str, model: str) -> LedgerState:
        """Return what a ledger says.

        :raises RefusedError: when MLflow does not answer: a decision could not be kept
        """
        if (conn_id, model) not in self.read:
            try:
                with self.hook(conn_id).registry_beside_others() as registry:
                    self.read[conn_id, model] = registry.ledger(model).read()
            except Exception as error:
                log.warning("A decision on %s is refused, its ledger cannot be read", model, exc_info=True)
                sentence = (
                    "Nothing was changed: the promotion ledger in MLflow, which keeps who decided, cannot be read now"
                    f" ({type(error).__name__}). Try again in a minute; the API server's log says more."
                )
                raise RefusedError(self.visit, _AWAY, sentence) from error
        return self.read[conn_id, model]


def review(session: Any, effects: Effects, visit: Visit) -> list[Any]:
    """Return the letters that tell the ledger what a request decided.

    :param session: the session that is about to commit
    :param effects: what it changed
    :param visit: the request
    :raises RefusedError: when it must not commit
    """
    acts = list(_acts(effects, visit.endpoint))
    rollbacks = [(run, tasks) for run in effects.triggered.values() if (tasks := _rollbacks(session, run, visit))]
    if not acts and not rollbacks:
        return []
    caller = _caller(visit)
    if caller is None:  # a worker's request
        return []
    ledgers, letters, refused = _Ledgers(visit), [], []
    for act in acts:
        sentence, letter = _taken(session, act, caller, ledgers)
        if sentence:
            refused.append((act, sentence))
        elif letter is not None:
            letters.append(letter)
    if refused:
        rows = [outbox.refusal(act.task, caller, act.tried, act.said(caller), sentence) for act, sentence in refused]
        sentences = dict.fromkeys(sentence for _, sentence in refused)
        raise RefusedError(visit, _FORBIDDEN, " ".join(sentences), rows)
    for run, tasks in rollbacks:
        letters += _triggered(run, tasks, caller, ledgers)
    return letters


def _taken(session: Any, act: _Act, caller: Caller, ledgers: _Ledgers) -> tuple[str, Any]:
    """Return why an act is refused, empty when it is not, and its letter, None for one that decides nothing."""
    task = act.task
    model, conn_id = asks_about(session, task, ledgers.visit)
    if not model:
        if session.get(HITLDetail, task.id) is None:  # it asked nobody
            return "", None
        return f"Which model {task.task_id} asks about cannot be told any more: clear it, so that it asks again.", None
    state = ledgers.of(conn_id, model)
    ask = state.statements.ask_of(str(task.id))
    if ask is None:
        return _between_tries(state, task), None
    if act.approves and (objection := ledgers.hook(conn_id).objection(ask.policy)):
        return objection, None
    requested_by = _requested_by(session, ask, task.get_dagrun(session=session), caller)
    sentence, decision = _objection(state, ask, _decision(act, ask, caller), requested_by)
    if sentence:
        return sentence, None
    try:
        return "", outbox.letter(task, caller, model, conn_id, ask, decision, requested_by)
    except BadInputError as error:
        return f"The promotion ledger cannot keep this: {error}.", None


def _between_tries(state: LedgerState, task: Any) -> str:
    """Return why a task that asked nothing in this try cannot be decided on, empty where it asked nothing at all.

    Airflow gives a task that it will try again a new id at once: nobody's decision may be lost in between.
    """
    place = Place(dag_id=task.dag_id, run_id=task.run_id, task_id=task.task_id, map_index=task.map_index)
    asked = [ask for ask in state.statements.asks.values() if ask.place == place]
    if not asked or asked[-1].id in state.statements.decided:
        log.info("%s of %s was marked before it asked: that decides nothing", task.task_id, task.run_id)
        return ""
    return f"{task.task_id} asked in a try that has ended, and not yet in the next one: decide when it waits again."


def requester_of(run: Any, depth: int = 0) -> str | None:
    """Return who triggered a run, as Airflow's login tells: ``NOBODY`` for a schedule, None when it is not known.

    A run that another run triggered has the user of that run; so has one that an asset triggered, of the run that
    changed the asset.

    :param run: Airflow's run, from its database
    :param depth: how many runs were followed
    """
    if run.triggering_user_name:
        triggered_by = str(getattr(run.triggered_by, "value", run.triggered_by))
        return str(run.triggering_user_name) if triggered_by in _LOGGED_IN else None
    if str(getattr(run.run_type, "value", run.run_type)) not in STARTED_BY_A_RULE or depth > _FOLLOWED:
        return None
    found: set[str | None] = set()
    for event in run.consumed_asset_events:
        query = {"dag_id": event.source_dag_id, "run_id": event.source_run_id}
        # anybody may create an asset event by hand, and Airflow does not say who
        session = object_session(run)
        known = session is not None and event.source_task_id is not None
        source = session.query(DagRun).filter_by(**query).one_or_none() if session is not None and known else None
        found.add(requester_of(source, depth + 1) if source is not None else None)
    found.discard(NOBODY)
    return NOBODY if not found else found.pop() if len(found) == 1 else None


def _requested_by(session: Any, ask: Ask, run: Any, caller: Caller) -> str | None:
    """Return who made the version that is asked about: the caller, where he triggered any of the runs that did.

    A run that nobody triggered may be made to ask about a version of another one.
    """
    found = [requester_of(run)]
    for dag_id, run_id in ask.made_by:
        if (dag_id, run_id) != (run.dag_id, run.run_id):
            other = session.query(DagRun).filter_by(dag_id=dag_id, run_id=run_id).one_or_none()
            found.append(requester_of(other) if other is not None else None)
    if any(name is not None and name.casefold() == caller.name.casefold() for name in found):
        return caller.name
    if None in found:
        return None
    return next((name for name in found if name != NOBODY), NOBODY)


def asks_about(session: Any, task: Any, visit: Visit) -> tuple[str, str]:
    """Return the model that a task instance asks about, and its connection; empty where neither can be told.

    What the worker rendered comes first; nobody can edit it. It only says where to look: what was asked is in the
    ledger, under the task instance's id.
    """
    rendered = RenderedTaskInstanceFields.get_templated_fields(task, session=session) or {}
    dag = _dag_of(session, task.dag_id, visit)
    defined = dag.task_dict.get(task.task_id) if dag is not None else None
    model = rendered.get("model_name") or getattr(defined, "model_name", None) or ""
    conn_id = rendered.get("mlflow_conn_id") or getattr(defined, "mlflow_conn_id", None)
    return ("" if "{{" in model else model), conn_id or MLflowRegistryHook.default_conn_name


def sender_of(visit: Visit) -> Caller | str:
    """Return who sent a request, or a sentence why that cannot be told."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asked = asyncio.run_coroutine_threadsafe(caller_of(visit.scope), visit.loop)
    else:
        # waiting here would hold up the loop that has to answer; no endpoint that marks or answers does so (3.3)
        return "Nothing was changed: this path cannot decide on an approval."
    try:
        return asked.result(ANSWER_SECONDS) or "Nothing was changed: log in again, then decide."
    except Exception:  # the loop is too busy, or the database is: most requests decide nothing, and go on
        log.exception("Who sent a request cannot be told")
        asked.cancel()
        return "Nothing was changed: who decides could not be told in time; decide again."


def _caller(visit: Visit) -> Caller | None:
    """Return who sent a request, None for a worker's.

    :raises RefusedError: when it cannot be told: nothing is decided for nobody
    """
    if visit.of_a_worker:
        return None
    sender = visit.sender or sender_of(visit)
    if isinstance(sender, str):
        raise RefusedError(visit, _AWAY, sender)
    return sender


def _acts(effects: Effects, endpoint: Any) -> Iterator[_Act]:
    # a request for several tasks says of each why; else what reached a task from another one carries that one's note
    several = str(getattr(endpoint, "__name__", "")).startswith("bulk")
    said = {note.content: note for note in effects.notes} if not several else {}
    for task in effects.decisive_marks(endpoint):
        state = str(getattr(task.state, "value", task.state))
        if state in ("success", "failed"):
            own = task.task_instance_note
            new = own if own in effects.notes else next(iter(said.values())) if len(said) == 1 else None
            yield _Act(task, state == "success", "mark", new, own)
    for answer in effects.answers.values():
        if answer.task_instance.operator in APPROVAL_OPERATORS:
            reason = (answer.params_input or {}).get(REASON)
            approves = list(answer.chosen_options) == [APPROVE]
            yield _Act(answer.task_instance, approves, "required_actions", answer=reason)


def _decision(act: _Act, ask: Ask, caller: Caller) -> Decision:
    return Decision(
        Outcome.APPROVED if act.approves else Outcome.REJECTED,
        user=shorten(caller.name, MAX_NAME),
        user_source=AIRFLOW_LOGIN,
        reason=as_reason(act.said(caller, ask.at)),
        door=Channel(act.door),
        dag_id=act.task.dag_id,
        run_id=act.task.run_id,
        roles=_roles(caller, ask.policy.approvers if ask.policy else ()),
    )


def _roles(caller: Caller, approvers: Collection[str]) -> tuple[str, ...] | None:
    """Return a caller's roles that a policy names: a user may have any number of others."""
    return None if caller.roles is None else tuple(role for role in caller.roles if f"role:{role}" in approvers)


def _objection(state: LedgerState, ask: Ask, decision: Decision, requested_by: str | None) -> tuple[str, Decision]:
    """Return the sentence of what a decision lacks, empty when it holds, and the decision with what the policy says."""
    version = f"Version {ask.version} of {one_line(ask.model, 80)}"
    policy = ask.policy or PolicyConfig(reason_required=False)
    if (first := state.statements.decided.get(ask.id)) is not None:
        held = first.what.decision
        stop = " To stop it, mark the task behind it failed." if held.outcome is Outcome.APPROVED else ""
        who = one_line(held.user, 60)
        return f"{version} was {held.outcome} by {who}, and the first decision holds.{stop}", decision
    if decision.outcome is not Outcome.APPROVED:
        if evaluate(PolicyConfig(reason_required=policy.reason_required), decision, Facts()).allowed:
            return "", decision
        return (
            f"{version} is not rejected. A reason is required: say why, in the note of the mark or the form's field.",
            decision,
        )
    facts = Facts(requested_by=requested_by, validated_at=ask.validated_at)
    verdict = evaluate(policy, decision, facts)
    decision = replace(decision, policy=verdict.summary() if ask.policy is not None else "")
    objections = [verdict.refusal] if verdict.refusal else []
    others = state.statements.versions_asked(ask.place) - {ask.version, 0}
    if others and str(ask.version) not in re.findall(r"\d+", decision.reason):
        before = ", ".join(str(number) for number in sorted(others))
        objections.append(
            f"{ask.place.task_id} of this run asked about version {before} before: name {ask.version} in the reason, so"
            " that it is certain which one is meant."
        )
    standing = state.standing(ask.version) if ask.purpose == "promotion" else None
    if ask.expires_at is not None and ask.expires_at <= datetime.now(UTC):
        objections.insert(0, f"The time to decide ended at {ask.expires_at:%Y-%m-%d %H:%M} UTC: retrain.")
    elif standing is not None and standing.outcome is not Outcome.APPROVED:
        who = f" by {one_line(standing.user, 60)}" if standing.outcome is Outcome.REJECTED else ""
        objections.insert(0, f"It was {standing.outcome}{who}, and the first decision holds: retrain.")
    return (f"{version} is not approved. {' '.join(objections)}" if objections else ""), decision


def _rollbacks(session: Any, run: Any, visit: Visit) -> list[Any]:
    """Return the tasks of a run that roll back a model without a second person."""
    dag = _dag_of(session, run.dag_id, visit)
    return [
        task
        for task in (dag.tasks if dag is not None else ())
        if task.task_type == ROLLBACK_OPERATOR
        and not getattr(task, "approval_task_id", None)
        and "{{" not in getattr(task, "model_name", "")
    ]


def _triggered(run: Any, tasks: Sequence[Any], caller: Caller, ledgers: _Ledgers) -> Iterator[Any]:
    """Yield the letters of a run that rolls back: to trigger it is to decide, where no second person has to."""
    visit = ledgers.visit
    for task in tasks:
        model, approvers = task.model_name, tuple(getattr(task, "approvers", ()))
        # the form's own values, also where the request names none: what the run's tasks see
        form = task.dag.params.deep_merge(run.conf if isinstance(run.conf, dict) else None).dump()
        reason = as_reason(form.get(REASON))
        constant = str(getattr(task, "version", "")).strip()  # of the DAG's author: no form names another one
        ask = Ask(
            model=model,
            version=int(constant) if re.fullmatch(_NUMBER, constant) else _version_of(form, visit),
            place=Place(dag_id=run.dag_id, run_id=run.run_id, task_id=task.task_id),
            instance=f"run:{run.id}:{secrets.token_hex(4)}",  # SQLite gives the number of a deleted run again
            purpose="rollback",
            reason=reason,
        )
        decision = Decision(
            Outcome.APPROVED,
            user=shorten(caller.name, MAX_NAME),
            user_source=AIRFLOW_RUN,
            reason=reason,
            door=Channel.FORM,
            dag_id=run.dag_id,
            run_id=run.run_id,
            roles=_roles(caller, approvers),
        )
        policy = PolicyConfig(approvers=approvers, reason_required=False)
        if refusal := evaluate(policy, decision, Facts()).refusal:
            raise RefusedError(visit, _FORBIDDEN, f"Nothing was triggered. {refusal}")
        conn_id = getattr(task, "mlflow_conn_id", None) or MLflowRegistryHook.default_conn_name
        ledgers.of(conn_id, model)
        try:
            yield outbox.letter(
                run, caller, model, conn_id, ask, decision, caller.name, asks=True, task_id=task.task_id
            )
        except BadInputError as error:
            sentence = f"Nothing was changed: the promotion ledger cannot keep this: {error}."
            raise RefusedError(visit, _FORBIDDEN, sentence) from error


def _version_of(form: Mapping[str, Any], visit: Visit) -> int:
    """Return the version that a form names, 0 for none: the champion before.

    :raises RefusedError: when it names something else, which is not to become the champion before
    """
    text = str(form.get("version") or "").strip().removesuffix(".0")
    if text and not re.fullmatch(_NUMBER, text):
        sentence = f"Nothing was triggered: version must be a number, found {one_line(text, 40)!r}."
        raise RefusedError(visit, _FORBIDDEN, sentence)
    return int(text or 0)


def _dag_of(session: Any, dag_id: str, visit: Visit) -> Any:
    try:
        return get_latest_version_of_dag(visit.scope["app"].state.dag_bag, dag_id, session)
    except HTTPException:  # it is not there any more
        return None
