"""What a task asks and what somebody decides on it, entered in the ledger as the sensor and the API server do it."""

import uuid
from typing import Any

from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.statements import Ask, Decided, Place
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import AIRFLOW_LOGIN, Channel, Decision, Outcome
from model_registry.hooks import MLflowRegistryHook
from tests.registry_server import store_of

APPROVAL = "await_approval"


def registry() -> ModelRegistry:
    """The registry that ``mlflow_default`` leads to, in the server's own database."""
    return ModelRegistry(tracking_uri=store_of(MLflowRegistryHook().tracking_uri))


def ask(task: Any, model: str, version: int, task_id: str = APPROVAL, **fields: Any) -> Ask:
    """Ask as a task of the run asks; each call asks anew, but for one with the ``instance`` of an earlier one."""
    place = Place(dag_id=task.dag_id, run_id=task.run_id, task_id=task_id, map_index=task.map_index)
    fields = {"instance": str(uuid.uuid4()), **fields}
    return registry().ask(Ask(model=model, version=version, place=place, **fields))


def decide(
    asked: Ask,
    outcome: Outcome = Outcome.APPROVED,
    *,
    user: str = "anna",
    reason: str = "good",
    door: Channel = Channel.REQUIRED_ACTIONS,
    requested_by: str | None = "",
    **fields: Any,
) -> Decision:
    """Decide on what was asked.

    :param requested_by: who triggered the run
    :param fields: of the decision, such as the roles of the user
    """
    where = {"user_source": AIRFLOW_LOGIN, "dag_id": asked.place.dag_id, "run_id": asked.place.run_id}
    decision = Decision(outcome, user=user, reason=reason, door=door, **{**where, **fields})
    registry().decide(asked.model, Decided(ask=asked.id, decision=decision, requested_by=requested_by))
    return decision


def approve(task: Any, model: str, version: int, **fields: Any) -> Ask:
    """Ask about a version and approve it, as a task that ends as success shows.

    :param fields: of the decision
    """
    asked = ask(task, model, version)
    decide(asked, **fields)
    task.states[APPROVAL] = "success"
    return asked


def reject(task: Any, model: str, version: int, **fields: Any) -> Ask:
    """Ask about a version and reject it, as a task that ends as failed shows.

    :param fields: of the decision
    """
    asked = ask(task, model, version)
    decide(asked, Outcome.REJECTED, **fields)
    task.states[APPROVAL] = "failed"
    return asked


def ledger(model: str) -> LedgerState:
    """What the model's ledger says."""
    return registry().ledger(model).read()
