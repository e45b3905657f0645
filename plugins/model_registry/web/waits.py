"""The Airflow tasks in which waiting versions wait, read from Airflow's database: this runs in the API server."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from include.lifecycle.rules.decisions import time_of

SENSOR = "ModelApprovalSensor"


@dataclass(frozen=True)
class Wait:
    """A task that waits for a decision.

    :param expires_at: when the wait expires, None where the task does not tell
    """

    task_id: str
    state: str | None
    expires_at: datetime | None = None


def find_waits(runs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Wait]:
    """Return the approval task of each run that has one.

    :param runs: DAG and run ids
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select, tuple_

    wanted = sorted(set(runs))
    if not wanted:
        return {}
    with create_session() as session:
        found = session.scalars(
            select(TaskInstance)
            .where(tuple_(TaskInstance.dag_id, TaskInstance.run_id).in_(wanted), TaskInstance.operator == SENSOR)
            .order_by(TaskInstance.start_date)
        )
        return {
            (task.dag_id, task.run_id): Wait(
                task.task_id,
                str(getattr(task.state, "value", task.state)) if task.state else None,
                time_of(str(task.trigger.kwargs.get("expires_at"))) if task.trigger is not None else None,
            )
            for task in found
        }
