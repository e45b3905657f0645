"""Airflow's own API application with its database, and a run of the example whose approval waits."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.statements import Ask, Place, Statements
from tests.airflow_home import PASSWORD, example_bag
from tests.plugins.asking import registry

DAG = "example_other_model"
APPROVAL = "await_approval"
GROUPED = Path(__file__).parent / "dags" / "grouped_approval.py"
ATTACKS = GROUPED.with_name("attacks.py")
MODEL = "churn-classifier"
EVENTS = ("approval_pending", "approval_decided", "approval_refused", "approval_foreign")
_versions = itertools.count(1001)  # beyond those that tests register, which count from 1


@contextmanager
def api_client() -> Iterator[Any]:
    """Yield a client of the application, which knows the example."""
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from fastapi.testclient import TestClient

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(example_bag(), "examples", None)
    for file in (GROUPED, ATTACKS):
        bag = DagBag(dag_folder=str(file), bundle_path=file.parent, bundle_name="examples")
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "examples", None)
    with TestClient(create_app(apps="core")) as client:
        yield client


def said() -> Statements:
    """What the ledger of the example's model was told."""
    return registry().ledger(MODEL).read().statements


class Run:
    """A run of the example whose approval waits.

    :param client: the application
    :param dag_id: the DAG
    :param task_id: its approval
    :param user: who triggers it
    :param fields: of the run, such as its logical date
    """

    def __init__(
        self, client: Any, dag_id: str = DAG, task_id: str = APPROVAL, user: str = "anna", **fields: Any
    ) -> None:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        self.client, self.dag_id, self.task_id = client, dag_id, task_id
        body = {"logical_date": None, "conf": {}, **fields}
        answer = self.request(user, "POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        assert answer.status_code == 200, answer.text
        self.run_id = answer.json()["dag_run_id"]
        with create_session() as session:
            for ti in session.query(TaskInstance).filter_by(run_id=self.run_id):
                ti.state = {"stage": "success", task_id: "deferred"}.get(ti.task_id)
                ti.try_number = 1

    def is_of(self, operator: str) -> None:
        """Let the approval be a task of another operator."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            session.query(TaskInstance).filter_by(run_id=self.run_id, task_id=self.task_id).one().operator = operator

    @property
    def path(self) -> str:
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}"

    @property
    def approval(self) -> str:
        return f"{self.path}/taskInstances/{self.task_id}"

    def token(self, user: str) -> str:
        answer = self.client.post("/auth/token", json={"username": user, "password": PASSWORD})
        return str(answer.json()["access_token"])

    def request(self, user: str, method: str, path: str, body: Any) -> Any:
        return self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {self.token(user)}"})

    def patch(self, user: str, body: Any, path: str | None = None) -> Any:
        """Mark the approval, or what lies at ``path`` below the run."""
        return self.request(user, "PATCH", self.approval if path is None else self.path + path, body)

    def mark(self, user: str, body: Any, path: str | None = None) -> int:
        return int(self.patch(user, body, path).status_code)

    def ask(self, policy: dict[str, Any] | None = None, task_id: str = "", **fields: Any) -> Ask:
        """Enter in the ledger what the sensor enters when it asks, about a version that nobody asked about before."""
        instance = self.instance(task_id)
        place = Place(dag_id=self.dag_id, run_id=self.run_id, task_id=instance.task_id, map_index=instance.map_index)
        wanted: dict[str, Any] = {
            "version": next(_versions),
            "policy": PolicyConfig.model_validate(policy or {}),
            "validated_at": datetime.now(UTC),
            "expires_at": datetime.now(UTC) + timedelta(days=7),
            **fields,
        }
        return registry().ask(Ask(model=MODEL, place=place, instance=str(instance.id), **wanted))

    def decided(self, task_id: str = "") -> tuple[str, str, str, str] | None:
        """What the ledger has as the decision on the ask: outcome, user, reason, door."""
        statements = said()
        ask = statements.ask_of(str(self.instance(task_id).id))
        item = statements.decided.get(ask.id) if ask is not None else None
        if item is None:
            return None
        found = item.what.decision
        return str(found.outcome), found.user, found.reason, str(found.door)

    def ask_in_required_actions(self) -> None:
        """Ask as a human-in-the-loop task does."""
        from airflow.models.hitl import HITLDetail
        from airflow.utils.session import create_session

        with create_session() as session:
            session.add(
                HITLDetail(
                    ti_id=self.instance().id, options=["Approve", "Reject"], subject="?", params={}, multiple=False
                )
            )

    def answer(self, user: str, option: str, reason: str | None = None, map_index: str = "-1") -> Any:
        body = {"chosen_options": [option], "params_input": {} if reason is None else {"reason": reason}}
        return self.request(user, "PATCH", f"{self.approval}/{map_index}/hitlDetails", body)

    def instance(self, task_id: str = "") -> Any:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            return session.query(TaskInstance).filter_by(run_id=self.run_id, task_id=task_id or self.task_id).one()

    def state(self, task_id: str = "") -> str | None:
        return self.instance(task_id).state

    def rows(self) -> list[tuple[str, str, str | None, dict[str, Any], int | None]]:
        """The rows that the plugin wrote: event, task, owner, extra, try."""
        from airflow.models import Log
        from airflow.utils.session import create_session

        with create_session() as session:
            found = session.query(Log).filter_by(run_id=self.run_id).filter(Log.event.in_(EVENTS)).order_by(Log.id)
            return [(row.event, row.task_id, row.owner, json.loads(row.extra), row.try_number) for row in found]
