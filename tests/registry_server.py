"""A real MLflow server on a free port of 127.0.0.1, and toy versions in it."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.moves.integrity import logged_model_id
from include.lifecycle.moves.model_registry import ModelRegistry
from model_registry.steps.processes import LAUNCHER
from tests.mlflow_database import Database
from tests.validations import validation

START_TIMEOUT = 180.0

_shared = ExitStack()
_url: str | None = None
_folders: dict[str, Path] = {}


def shared_server(folder: Path, template: Path) -> str:
    """Return the URL of one server for all tests of this process: starting one takes seconds.

    :param folder: where its database and artifacts go
    :param template: a migrated, empty database
    """
    global _url
    if _url is None:
        _url = _shared.enter_context(mlflow_server(folder, template))
        atexit.register(_shared.close)
    return _url


def store_of(url: str) -> str:
    """Return the tracking URI of a server's own database, or the URL where it is no server of these tests.

    What a test prepares and looks at goes there directly: through the server it takes four times the processor time.
    """
    return database_of(url).uri if url in _folders else url


def database_of(url: str) -> Database:
    """Return the database of a server of these tests."""
    return Database(_folders[url] / "mlflow.db", _folders[url] / "artifacts")


def lead_to(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """Let Airflow's connection ``mlflow_default`` lead to a server of these tests; return the URI of its database."""
    parts = urlsplit(url)
    connection = {"conn_type": "http", "host": parts.hostname, "port": parts.port, "schema": "http"}
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(connection))
    # MLflow's own variable for a store beside a server: else artifacts go below the working directory.
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(database_of(url).artifacts))
    return store_of(url)


@contextmanager
def mlflow_server(folder: Path, template: Path | None = None, *options: str, **variables: str) -> Iterator[str]:
    """Run a server for as long as the context lasts and yield its URL.

    :param folder: where its database and artifacts go
    :param template: a migrated, empty database to begin with; None goes on with the one in the folder
    :param options: of the server
    :param variables: of its environment
    """
    if template is not None:
        shutil.copy(template, folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The launcher ends the server with these tests, even when they are killed.
    command = [sys.executable, "-I", str(LAUNCHER), str(os.getpid())]
    command += [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), *options]
    with (folder / "server.log").open("wb") as log:
        # Its job runner starts processes of its own, which these tests do not need.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **variables}
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
    url = f"http://127.0.0.1:{port}"
    _folders[url] = folder
    try:
        _wait(url, server, folder / "server.log")
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start: {log.read_text(errors='replace')[-2000:]}")


def add_version(url: str, model: str, *, passed: bool | None = True, stage: str = "None") -> int:
    """Register a version of a toy model without artifacts and return its number.

    :param passed: what its gate said, None for a version that was never validated
    :param stage: the stage it is moved to, by hand
    """
    client = MlflowClient(tracking_uri=url)
    experiment = client.get_experiment_by_name("toys")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("toys")
    run = client.create_run(experiment_id)
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    version = client.create_model_version(model, source=f"runs:/{run.info.run_id}/model", run_id=run.info.run_id)
    if passed is not None:
        outcome = tag.PASSED if passed else tag.FAILED
        client.set_model_version_tag(model, version.version, tag.VALIDATION_OUTCOME, outcome)
        ModelRegistry(client).validated(validation(model, int(version.version), passed=passed))
    if stage != "None":
        client.transition_model_version_stage(model, version.version, stage)
    return int(version.version)


def copy_version(url: str, model: str, version: int, name: str) -> int:
    """Register a version once more, under another name: the same files, run and evidence, and no decision.

    :param model: where the version is
    :param name: registered model of the copy, made when it is missing
    """
    client = MlflowClient(tracking_uri=url)
    found = client.get_model_version(model, str(version))
    evidence = {key: value for key, value in found.tags.items() if not key.startswith(("decision.", "promotion."))}
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    model_id = logged_model_id(found.source)
    copy = client.create_model_version(name, found.source, found.run_id, tags=evidence, model_id=model_id)
    registry = ModelRegistry(client)
    said = registry.ledger(model).read().statements.validations.get(version)
    if said is not None:
        registry.validated(replace(said.what, model=name, version=int(copy.version)))
    return int(copy.version)


def stage_of(url: str, model: str, version: int) -> str:
    """Return the stage that MLflow shows."""
    return str(MlflowClient(tracking_uri=url).get_model_version(model, str(version)).current_stage)


def tags_of(url: str, model: str, version: int) -> dict[str, str]:
    """Return the tags that MLflow shows."""
    return dict(MlflowClient(tracking_uri=url).get_model_version(model, str(version)).tags)
