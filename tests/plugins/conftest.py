"""Fixtures of the plugin's tests: an Airflow with its database, a real MLflow server, a task's context."""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.airflow_home import prepare
from tests.mlflow_database import Database, Prepared
from tests.plugins.gates import Gate, gate_before

prepare()


@pytest.fixture(scope="session")
def mlflow_url(mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of one MLflow server for all tests."""
    from tests.registry_server import shared_server

    return shared_server(tmp_path_factory.mktemp("mlflow-server"), mlflow_template)


@pytest.fixture
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of the models is read anew each time, and begins with nothing that other tests read."""
    monkeypatch.setattr("model_registry.web.lane.REMEMBERED_SECONDS", 0.0)
    monkeypatch.setattr("model_registry.web.server._cards", defaultdict(dict))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define an Airflow connection of type http."""

    def define(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "http", **fields}))

    return define


@pytest.fixture(scope="session")
def mlflow_database(mlflow_url: str) -> Database:
    """The database of the server."""
    from tests.registry_server import database_of

    return database_of(mlflow_url)


@pytest.fixture
def mlflow(mlflow_url: str, mlflow_database: Database, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a test prepares and looks at with its own client: the database of the server, emptied for it.

    The connection ``mlflow_default`` leads to the server itself.
    """
    from tests.registry_server import lead_to

    mlflow_database.fill(mlflow_template)
    return lead_to(monkeypatch, mlflow_url)


@pytest.fixture
def gate(mlflow: str, mlflow_url: str, connect: Callable[..., None]) -> Iterator[Gate]:
    """The gate before the server that ``mlflow_b`` leads to: the same server, with the same models, by another way."""
    with gate_before(mlflow_url) as gate:
        host, port = gate.address
        connect("mlflow_b", host=host, port=port, login="bob", password="pw-of-b")
        yield gate


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of the API server to MLflow waits longer than a test: who waits for it is never done."""
    from model_registry import hooks

    monkeypatch.setitem(hooks.LIMITS_OF_A_PERSON, "MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture
def beside(gate: Gate) -> Iterator[Callable[..., Future[Any]]]:
    """Call something in another thread; at the end the gate is opened, for who still waits before it."""
    with ThreadPoolExecutor(4) as threads:
        yield threads.submit
        gate.open()


@pytest.fixture(scope="session")
def prepared(mlflow_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Does what many tests begin with once."""
    return Prepared(mlflow_database, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own."""
    return f"{request.node.name[:60]}-{uuid.uuid4().hex[:8]}".replace("[", "-").replace("]", "").replace("/", "-")


@dataclass
class Task:
    """What an operator sees of its task instance: XComs and states of the run."""

    task_id: str = "promote"
    dag_id: str = "retrain"
    run_id: str = "manual__2026-01-01T00:00:00+00:00"
    try_number: int = 1
    max_tries: int = 0
    map_index: int = -1
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    states: dict[str, str] = field(default_factory=dict)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    dag_run: Any = field(
        default_factory=lambda: SimpleNamespace(
            run_type="scheduled",
            triggering_user_name=None,
            consumed_asset_events=[],
            start_date=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[self.task_id, key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.xcoms.get((task_ids, key))

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return {self.run_id: {name: state for name, state in self.states.items() if name in task_ids}}

    def get_first_reschedule_date(self, context: Any) -> None:
        return None

    @property
    def result(self) -> Any:
        return self.xcom_pull(self.task_id)

    @property
    def context(self) -> Any:
        return {"ti": self, "run_id": self.run_id, "dag_run": self.dag_run}


@pytest.fixture
def task() -> Task:
    """A task instance in a run of its own."""
    return Task()


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's own database, empty."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def application(airflow_db: None) -> Iterator[Any]:
    """A client of Airflow's own API application."""
    from tests.plugins.api_server import api_client

    with api_client() as client:
        yield client


@pytest.fixture
def no_anchors(airflow_db: None) -> None:
    """Airflow has seen no ledger before."""
    from airflow.models import Log
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    from model_registry.witness import DECIDED

    with create_session(scoped=False) as session:
        session.execute(delete(Log).where(Log.event == DECIDED))


@pytest.fixture
def api_client(application: Any, mlflow: str, no_anchors: None) -> Any:
    """The client, where nothing was decided yet."""
    return application


@pytest.fixture
def run(api_client: Any) -> Any:
    """A run of the example whose approval waits."""
    from tests.plugins.api_server import Run

    return Run(api_client)
