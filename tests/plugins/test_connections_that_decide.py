"""Where a decision must not come from: a connection that people can edit, an API server that takes none."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from airflow.models.connection import Connection
from airflow.sdk.exceptions import TaskDeferred

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.keys import KEY_ENV, Keyring
from model_registry.approval import sensors
from model_registry.approval.asking import desk_objection
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.exceptions import LifecycleRefusedError, PolicyRefusedError
from model_registry.hooks import MLflowRegistryHook
from model_registry.operators.rollback import ModelRollbackOperator
from model_registry.operators.stage import ModelStageOperator
from tests.plugins.asking import approve
from tests.registry_server import add_version, stage_of

ONLY_ANNA = PolicyConfig(approvers=("user:anna",))
FOUR_EYES = PolicyConfig(four_eyes=True)


@pytest.fixture
def in_the_database(mlflow_url: str, airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A connection that leads to MLflow and lies in Airflow's database."""
    from airflow.utils.session import create_session

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    host, port = mlflow_url.removeprefix("http://").split(":")
    with create_session() as session:
        session.add(Connection("mlflow_in_db", "http", host=host, port=int(port), schema="http"))
    yield "mlflow_in_db"
    with create_session() as session:
        session.query(Connection).filter_by(conn_id="mlflow_in_db").delete()


def test_a_connection_of_the_environment_cannot_be_edited(mlflow: str) -> None:
    assert not MLflowRegistryHook().is_editable
    assert MLflowRegistryHook().objection(ONLY_ANNA) == ""


@pytest.mark.parametrize(
    ("policy", "objects"), [(None, False), (PolicyConfig(), False), (ONLY_ANNA, True), (FOUR_EYES, True)]
)
def test_what_is_decided_through_a_connection_in_the_database(
    in_the_database: str, policy: PolicyConfig | None, objects: bool
) -> None:
    hook = MLflowRegistryHook(in_the_database)
    assert hook.server.uri.startswith("http://127.0.0.1:"), "it is found"
    assert hook.is_editable
    assert ("AIRFLOW_CONN_MLFLOW_IN_DB" in hook.objection(policy)) == objects


def test_neither_promotion_nor_rollback_goes_through_it(
    mlflow: str, in_the_database: str, model: str, task: Any
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    approve(task, model, version)
    arguments = {"model_name": model, "version": version, "mlflow_conn_id": in_the_database, "policy": ONLY_ANNA}
    promote = ModelStageOperator(task_id="promote", stage="Production", approval_task_id="await_approval", **arguments)
    with pytest.raises(PolicyRefusedError, match="lies in Airflow's database"):
        promote.execute(task.context)
    with pytest.raises(LifecycleRefusedError, match="lies in Airflow's database"):
        ModelRollbackOperator(task_id="rollback", **arguments).execute(task.context)
    assert stage_of(mlflow, model, version) == "Staging"


class Desk(BaseHTTPRequestHandler):
    """An API server, with what it says at the plugin's address."""

    answer: bytes | None = None

    def do_GET(self) -> None:
        self.send_response(200 if self.answer is not None else 404)
        self.end_headers()
        self.wfile.write(self.answer or b"<html>")

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def api_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Desk]]:
    class Answers(Desk):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/execution/"
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", url)
        yield Answers
        server.shutdown()


KEY = "ab" * 32


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "without the plugin"),
        (b"<html>Airflow", "without the plugin"),
        (b'{"ledger_keys": []}', "another ledger key"),
        (b'{"ledger_keys": ["00000000"]}', "another ledger key"),
    ],
)
def test_the_waiting_task_says_that_nothing_counts(
    api_server: type[Desk], monkeypatch: pytest.MonkeyPatch, answer: bytes | None, says: str
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    api_server.answer = answer
    assert says in desk_objection()


def test_it_says_nothing_where_all_is_well_or_nothing_is_known(
    api_server: type[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    api_server.answer = json.dumps({"ledger_keys": Keyring.from_environment().ids}).encode()
    assert desk_objection() == ""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:9/execution/")
    assert desk_objection() == ""


def test_a_reviewer_is_told(
    api_server: type[Desk], mlflow: str, model: str, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(sensors, "upsert_hitl_detail", lambda **detail: shown.append(detail))
    version = add_version(mlflow, model, stage="Staging")
    with pytest.raises(TaskDeferred):
        ModelApprovalSensor(task_id="await_approval", model_name=model, version=version).execute(task.context)
    assert shown[0]["body"].startswith("**Nobody can approve it here.** Airflow&#39;s API server") or shown[0][
        "body"
    ].startswith("**Nobody can approve it here.** Airflow&#x27;s API server")
