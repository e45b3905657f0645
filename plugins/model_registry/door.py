"""The door: in the API server, refuse a mark or a response that the approval's policy cannot accept.

A waiting approval leaves what is asked as XCom ``approval_request``: which version, the policy, who triggered the
run, when the version was validated and until when somebody may decide. Before Airflow handles a request, the
decision that it would make of each such task instance is held against that.

- An approval (mark success, or Approve) has to meet the policy, in time.
- A rejection (mark failed, or Reject) needs a reason where the policy asks for one, and nothing else.
- A mark skipped decides nothing: the promotion is skipped with it, and the version stays where it is.
- A mark of the whole run is recorded and never refused: Airflow sets the waiting approval to the run's state and
  skips what follows, so nothing is promoted by it, and an operator has to be able to close a run that is stuck.
  It is no decision about the version: a promotion that is cleared afterwards refuses it.
- A mark of the promotion itself moves nothing either: it is recorded.

The door spares a person a promotion that fails later; it does not replace that check. XComs can be edited by
whoever Airflow lets, and a plugin that is not loaded refuses nothing, so the promotion applies the policy from the
DAG's own configuration again. Whoever lacks Airflow's permission is not answered here but by Airflow, and learns
nothing of the policy. What cannot be read here is let pass.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from model_registry.callers import Caller
from model_registry.mark_requests import Answer, Mark, Request
from model_registry.marks import EVENT_NOTE, TaskInstanceKey, extra_of

if TYPE_CHECKING:
    from include.lifecycle.decisions import Decision, Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A decision that the policy does not accept.

    :param key: the task instance that asks
    :param intent: what was tried: the new state of a mark, or the options of a response
    :param reason: the reason given
    :param sentence: what is not met, and how to repair it
    """

    key: TaskInstanceKey
    intent: str
    reason: str
    sentence: str


@dataclass(frozen=True)
class _Asking:
    """A task instance that asks for a decision."""

    key: TaskInstanceKey
    request: Mapping[str, Any]


def refusals(request: Request, caller: Caller, dag_bag: Any) -> list[Refusal]:
    """Return what the policy does not accept of a request, empty when it may pass.

    :param request: what the request would do
    :param caller: who sent it
    :param dag_bag: the API server's DAGs
    """
    if isinstance(request, Answer):
        return list(_of_answer(request, caller))
    return [refusal for mark in request for refusal in _of_mark(mark, caller, dag_bag)]


def _of_answer(answer: Answer, caller: Caller) -> Iterator[Refusal]:
    from airflow.utils.session import create_session

    from include.lifecycle.decisions import Door, Outcome
    from model_registry.approvals import APPROVE, REASON, as_reason

    key = TaskInstanceKey(answer.dag_id, answer.run_id, answer.task_id, answer.map_index)
    with create_session() as session:
        found = [asking for asking in _asking(session, answer.dag_id, run_id=key.run_id) if asking.key == key]
    if not found or not caller.may(answer.dag_id, answer=True):
        return
    outcome = Outcome.APPROVED if answer.chosen == (APPROVE,) else Outcome.REJECTED
    reason = as_reason(answer.params.get(REASON))
    for asking in found:
        sentence = _objection(asking, _decision(caller, outcome, Door.REQUIRED_ACTIONS, reason))
        if sentence:
            yield Refusal(key, ", ".join(answer.chosen), reason, sentence)


def _of_mark(mark: Mark, caller: Caller, dag_bag: Any) -> Iterator[Refusal]:
    from airflow.utils.session import create_session

    from include.lifecycle.decisions import Door, Outcome
    from model_registry.approvals import as_reason

    outcomes = {"success": Outcome.APPROVED, "failed": Outcome.REJECTED}
    if mark.whole_run or mark.state not in outcomes:
        return
    with create_session() as session:
        found = _reached(session, mark, dag_bag)
        notes = {} if mark.note else {asking.key: _note_beside(session, asking.key, caller.name) for asking in found}
    if not found or not caller.may(mark.dag_id):
        return
    for asking in found:
        reason = as_reason(mark.note or notes.get(asking.key))
        sentence = _objection(asking, _decision(caller, outcomes[mark.state], Door.MARK, reason))
        if sentence:
            yield Refusal(asking.key, mark.state, reason, sentence)


def _asking(session: Any, dag_id: str, *, run_id: str | None = None, state: str | None = None) -> Iterator[_Asking]:
    """Yield the task instances of a DAG that asked for a decision.

    :param run_id: of this run only
    :param state: leave out those that are in this state already
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import and_, or_, select

    from model_registry.policies import REQUEST_KEY

    same = and_(*(getattr(XComModel, name) == getattr(TaskInstance, name) for name in TaskInstanceKey.names()))
    query = select(TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index, XComModel.value)
    query = query.join(XComModel, same).where(XComModel.key == REQUEST_KEY, TaskInstance.dag_id == dag_id)
    if run_id is not None:
        query = query.where(TaskInstance.run_id == run_id)
    if state is not None:
        query = query.where(or_(TaskInstance.state.is_(None), TaskInstance.state != state))
    for row in session.execute(query):
        key = TaskInstanceKey(dag_id, row.run_id, row.task_id, row.map_index)
        content = XComModel.deserialize_value(row)
        if isinstance(content, Mapping):
            yield _Asking(key, content)
        else:
            log.warning("What %s asks cannot be read from its XCom: its policy is not applied at the door", key)


def _reached(session: Any, mark: Mark, dag_bag: Any) -> list[_Asking]:
    """Return the asking task instances that a mark would change, found as Airflow finds them."""
    one_run = not (mark.past or mark.future)
    found = list(_asking(session, mark.dag_id, run_id=mark.run_id if one_run else None, state=mark.state))
    if not mark.wide:
        return [asking for asking in found if mark.names(**asking.key.to_dict())]
    if not found:
        return []
    from airflow.api.common.mark_tasks import set_state
    from airflow.api_fastapi.common.dagbag import get_latest_version_of_dag
    from airflow.utils.state import TaskInstanceState

    dag = get_latest_version_of_dag(dag_bag, mark.dag_id, session)
    if mark.task_id is not None:
        tasks: list[Any] = [dag.get_task(mark.task_id)]
    else:
        tasks = list(dag.task_group_dict[mark.group_id].iter_tasks())
    for task in tasks:
        task.dag = dag
    changed = set_state(
        tasks=tasks if mark.map_index is None else [(task, mark.map_index) for task in tasks],
        run_id=mark.run_id,
        upstream=mark.upstream,
        downstream=mark.downstream,
        future=mark.future,
        past=mark.past,
        state=TaskInstanceState(mark.state),
        commit=False,
        session=session,
    )
    keys = {TaskInstanceKey.of(instance) for instance in changed}
    return [asking for asking in found if asking.key in keys]


def _note_beside(session: Any, key: TaskInstanceKey, user: str) -> str:
    """Return the newest note that the same user wrote on this try without a mark, as the promotion will read it."""
    from airflow.models import Log
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    tries = select(TaskInstance.try_number).filter_by(**key.to_dict()).scalar_subquery()
    query = select(Log.extra).filter_by(event=EVENT_NOTE, owner=user, **key.to_dict())
    newest = session.scalar(query.where(Log.try_number == tries).order_by(Log.id.desc()).limit(1))
    return str(extra_of(newest).get("note") or "")


def _decision(caller: Caller, outcome: "Outcome", door: Any, reason: str) -> "Decision":
    from include.lifecycle.decisions import Decision

    return Decision(outcome, user=caller.name, user_source=str(door), reason=reason, door=door, roles=caller.roles)


def _objection(asking: _Asking, decision: "Decision") -> str:
    """Return the sentence of what a decision lacks, empty when it is accepted."""
    from include.lifecycle.config import PolicyConfig
    from include.lifecycle.decisions import Outcome
    from include.lifecycle.policy import Facts, evaluate
    from include.lifecycle.text import one_line

    asked = asking.request
    policy = PolicyConfig.model_validate(asked["policy"])
    version = f"Version {int(asked['version'])} of {one_line(str(asked['model']), 80)}"
    if decision.outcome is not Outcome.APPROVED:
        reason_only = PolicyConfig(reason_required=policy.reason_required)
        if evaluate(reason_only, decision, Facts()).allowed:
            return ""
        return f"{version} is not rejected. A reason is required: say why, in the note of the mark or the form's field."
    facts = Facts(requested_by=_requester(asked), validated_at=_time(asked.get("validated_at")))
    objection = evaluate(policy, decision, facts).refusal
    expires_at = _time(asked.get("expires_at"))
    if expires_at is not None and expires_at <= datetime.now(UTC):
        ended = f"The time to decide ended at {expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: retrain."
        objection = f"{ended} {objection}".strip()
    return f"{version} is not approved. {objection}" if objection else ""


def _requester(asked: Mapping[str, Any]) -> str | None:
    name = asked.get("requested_by")
    return name if isinstance(name, str) else None


def _time(text: object) -> datetime | None:
    if not isinstance(text, str) or not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
