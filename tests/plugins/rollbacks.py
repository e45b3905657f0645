"""Rollbacks: the DAGs whose forms Airflow's API application knows, and what it enters in the ledger for them."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from include.lifecycle.ledger.statements import Ask
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import AIRFLOW_RUN, Channel, Decision, Outcome
from model_registry.operators.rollback import ModelRollbackOperator
from tests.plugins.api_server import Run
from tests.plugins.asking import ask, decide
from tests.registry_server import add_version

FORMS = Path(__file__).parent / "dags" / "rollback_forms.py"
ALONE, BY_TWO, FILLED_IN = "rollback_alone", "rollback_by_two", "rollback_filled_in"
BY_APPROVER = "rollback_by_approver"
MODEL = "rolled-back"
ROLLBACK = "rollback"
REASON = "2 oversells"


def know_forms() -> None:
    """Let the API application know the DAGs."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(dag_folder=str(FORMS), bundle_path=FORMS.parent, bundle_name="examples")
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "examples", None)


def trigger(client: Any, user: str = "anna", dag_id: str = ALONE, run_id: str | None = None, **conf: Any) -> Run:
    """Have a user trigger a run with its form."""
    task_id = "await_approval" if dag_id == BY_TWO else ROLLBACK
    return Run(client, dag_id, task_id, user, conf={"reason": REASON, **conf}, dag_run_id=run_id)


def promoted(url: str, model: str, count: int = 2, **fields: Any) -> list[int]:
    """Promote new versions one after the other and return their numbers.

    :param fields: of the decision, such as the run that made it
    """
    registry, versions = ModelRegistry(tracking_uri=url), []
    for _ in range(count):
        versions.append(add_version(url, model, stage="Staging"))
        registry.promote(model, versions[-1], Decision(Outcome.APPROVED, reason="good", **fields))
    return versions


def triggered(task: Any, model: str, version: int = 1, user: str = "anna", reason: str = REASON, **fields: Any) -> Ask:
    """Enter what the API server enters when a user triggers the run; 0 is a form without a version.

    :param fields: of the decision, such as the roles of the user
    """
    task.task_id = ROLLBACK
    instance = f"run:{uuid.uuid4()}"
    asked = ask(task, model, version, ROLLBACK, purpose="rollback", reason=reason, instance=instance)
    decide(
        asked, user=user, reason=reason, door=Channel.FORM, requested_by=user, **{"user_source": AIRFLOW_RUN, **fields}
    )
    return asked


def context(task: Any, reason: object = REASON, user: str | None = "ana", at: datetime | None = None) -> Any:
    """Context of a task in a run that somebody triggered by hand."""
    run = SimpleNamespace(
        triggering_user_name=user,
        run_type="manual",
        consumed_asset_events=[],
        run_after=at or datetime.now(UTC),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return {**task.context, "params": {"reason": reason, "version": None}, "dag_run": run}


def rollback(model: str, version: object = 1, **arguments: Any) -> ModelRollbackOperator:
    """The operator, whose version is only what the link leads to where somebody asked for one."""
    return ModelRollbackOperator(task_id=ROLLBACK, model_name=model, version=version, **arguments)  # type: ignore[arg-type]
