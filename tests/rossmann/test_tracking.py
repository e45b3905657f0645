"""The connection to MLflow: one address for runs and registry, nothing of another program's run."""

import os
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Param

from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.errors import BadInputError
from include.lifecycle.registry.client import connect
from tests.ports import free_port
from tests.rossmann.command_line import run
from tests.rossmann.data.git_server import serving


def test_the_environment_names_what_the_client_uses(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f' "{mlflow_uri.replace("sqlite", "SQLITE")}"\n')
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"{mlflow_uri} ")
    client = connect()
    assert (client.tracking_uri, client._registry_uri) == (mlflow_uri, mlflow_uri)
    assert (os.environ["MLFLOW_TRACKING_URI"], mlflow.get_registry_uri()) == (mlflow_uri, mlflow_uri)


@pytest.mark.parametrize("registry", ["http://me:s3cret@elsewhere:5000", "sqlite:///other.db", "databricks-uc"])
def test_a_registry_elsewhere_is_refused(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, registry: str) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    with pytest.raises(BadInputError, match="MLFLOW_REGISTRY_URI") as refused:
        connect()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("uri", ["mysql://me:s3cret@db/mlflow", "postgresql+nothing://me:s3cret@db/mlflow"])
def test_a_database_without_its_driver(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(BadInputError, match="driver is not installed") as refused:
        connect()
    assert "s3cret" not in str(refused.value)


def test_another_programs_run_is_left_alone(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = MlflowClient(mlflow_uri)
    foreign = before.create_run(before.create_experiment("foreign", f"{tmp_path}/foreign"))
    experiment = before.create_experiment("ours", f"{tmp_path}/ours")
    stale = {
        "MLFLOW_RUN_ID": foreign.info.run_id,
        "MLFLOW_EXPERIMENT_ID": foreign.info.experiment_id,
        "MLFLOW_EXPERIMENT_NAME": "foreign",
        "MLFLOW_RUN_CONTEXT": '{"mlflow.user": "somebody"}',
        "MLFLOW_ACTIVE_MODEL_ID": "m-of-another-run",
        "_MLFLOW_ACTIVE_MODEL_ID": "m-of-another-run",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "perhaps",
    }
    assert set(stale) == set(OF_ANOTHER_RUN)
    for name, value in stale.items():
        monkeypatch.setenv(name, value)
    client = connect()
    assert not set(OF_ANOTHER_RUN) & set(os.environ)
    run_id = client.create_run(experiment).info.run_id
    client.log_batch(run_id, params=[Param("written", "at once")])
    assert client.get_run(run_id).data.params == {"written": "at once"}
    with mlflow.start_run(run_id=run_id) as run:
        mlflow.log_metric("ours", 1.0)
        assert run.info.run_id == run_id
    assert client.get_run(foreign.info.run_id).data.metrics == {}
    assert set(client.get_run(run_id).data.metrics) == {"ours"}


@pytest.mark.parametrize("gateway", [False, True])
def test_a_server_that_does_not_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gateway: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    with serving(Gateway) if gateway else nullcontext(f"http://127.0.0.1:{free_port()}") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url.replace("//", "//me:s3cret@"))
        done = run("history")
    assert done.returncode == 1
    assert f"error: MLflow does not answer at {url}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


class Gateway(BaseHTTPRequestHandler):
    """Stands before an MLflow that is away."""

    def do_GET(self) -> None:
        self.send_error(504)

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("uri", ["./mlruns", "localhost:5000", "file:///srv/mlruns", "databricks"])
def test_an_address_that_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    with pytest.raises(BadInputError, match="MLFLOW_TRACKING_URI"):
        connect()
