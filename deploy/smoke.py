"""Is the running stack whole? One line for each part: ``ok  what``, or ``FAILED what: why, and what to do``.

``make smoke`` runs it in a worker, because a worker reaches every part. It changes nothing, gives what has just been
started a minute, and ends with exit code 1 when a check failed.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import httpx
from celery import Celery
from docker.errors import APIError, ImageNotFound

from deploy.answers import TIMEOUT, CheckFailed, ask, ask_json, client, connection, look
from include.lifecycle.config.files import configured_models
from include.lifecycle.config.load import load_lifecycle_config, read_config
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.keys import KEY_ENV, Keyring
from include.lifecycle.untrusted_text import one_line

PARTS = {
    "PostgreSQL": ("metadatabase", "postgres"),
    "scheduler": ("scheduler", "scheduler"),
    "triggerer": ("triggerer", "triggerer"),
    "dag processor": ("dag_processor", "dag-processor"),
}
"""What Airflow's API calls each part, and its service."""
KINDS = ("maintenance", "monitor", "predict", "retrain", "rollback")
"""The DAGs of a file that is named after its model."""
PING_SECONDS = 5.0
PATIENCE_SECONDS = 45.0
PAUSE_SECONDS = 5.0
REFS = re.compile(rb"[0-9a-f]{4}# service=git-upload-pack|[0-9a-f]{40,64}\t")
"""How a git server's list of revisions begins, a smart one's or that of plain files."""
NOBODY = "nobody-smoke"
FORBIDDEN = (
    ("GET", "/volumes"),
    ("GET", "/networks"),
    ("GET", "/secrets"),
    ("GET", f"/containers/{NOBODY}/archive?path=/etc"),
    ("POST", f"/containers/{NOBODY}/exec"),
)
"""Requests that the engine's filter refuses, and that would change nothing if it did not."""


def main() -> int:
    """Check everything at once and print a line for each; returns the exit code."""
    configs, broken = configured()
    results = broken | settled(checks_of(configs))
    passed = [show(name, *result) for name, result in results.items()]
    return 0 if all(passed) else 1


def configured() -> tuple[list[LifecycleConfig], dict[str, tuple[bool, str]]]:
    """Return the configurations that can be used, and for the others what ``settled`` returns for checks."""
    configs: list[LifecycleConfig] = []
    broken: dict[str, tuple[bool, str]] = {}
    try:
        names = configured_models()
    except BadInputError as error:
        return configs, {"configuration": (False, one_line(str(error)))}
    for name in names:
        try:
            configs.append(load_lifecycle_config(name))
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one is its line, and the others go on
            broken[f"configuration of {name}"] = (False, one_line(str(error)))
    return configs, broken


def settled(checks: Mapping[str, Callable[[], str]]) -> dict[str, tuple[bool, str]]:
    """Run all checks at once, and again those that failed: what has just been started needs a while.

    :return: for each, whether it passed and what it said
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    results: dict[str, tuple[bool, str]] = dict.fromkeys(checks, (False, ""))
    with ThreadPoolExecutor(len(checks)) as pool:
        while failed := [name for name, (passed, _) in results.items() if not passed]:
            results |= zip(failed, pool.map(run, [checks[name] for name in failed]), strict=True)
            away = [name for name in failed if not results[name][0]]
            if not away or time.monotonic() > deadline:
                break
            sys.stderr.write(f"waiting for: {', '.join(away)}\n")
            time.sleep(PAUSE_SECONDS)
    return results


def checks_of(configs: Sequence[LifecycleConfig]) -> dict[str, Callable[[], str]]:
    """Return the checks by name, in the order in which an operator reads them.

    :param configs: of the models: they name the connections, and whether steps run in containers
    """
    checks: dict[str, Callable[[], str]] = {name: partial(part, *names) for name, names in PARTS.items()}
    checks |= {"Redis": redis, "workers": workers, "DAGs": dags, "decisions": desk}
    connections = {config.connections.mlflow for config in configs}
    checks |= {f"MLflow at {conn_id}": partial(mlflow, conn_id) for conn_id in sorted(connections)}
    checks |= {f"artifacts of {config.name}": partial(artifacts, config) for config in configs}
    checks |= {f"data registry of {config.name}": partial(data_registry, config) for config in configs}
    in_containers = [config for config in configs if config.runner == "docker"]
    checks |= {f"engine and image of {config.name}": partial(engine, config) for config in in_containers}
    # an engine behind TLS has no filter in front; one that models share is asked once
    filtered = {config.containers.engine: config for config in in_containers if config.containers.tls is None}
    checks |= {f"engine's filter of {config.name}": partial(engine_filter, config) for config in filtered.values()}
    return checks


def run(check: Callable[[], str]) -> tuple[bool, str]:
    """Return whether a check passed, and what it found."""
    try:
        return True, check()
    except (CheckFailed, BadInputError) as error:
        return False, one_line(str(error))
    except Exception as error:  # noqa: BLE001 -- a check that breaks is a failed one, and the others go on
        return False, f"the check itself broke ({type(error).__name__}: {one_line(str(error))}): {look('worker')}"


def show(name: str, passed: bool, found: str) -> bool:
    """Print the line of a check and return whether it passed."""
    sys.stdout.write(f"ok  {name}: {found}\n" if passed else f"FAILED {name}: {found}\n")
    return passed


def api_server() -> httpx.Client:
    """Return a client of Airflow's API server, without a login: a worker has none."""
    url = os.environ.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL")
    if not url:
        raise CheckFailed("AIRFLOW__CORE__EXECUTION_API_SERVER_URL is not set: it belongs into docker-compose.yaml")
    return client({"host": url.rstrip("/").removesuffix("/execution"), "extra": {}}, login=False)


def part(name: str, service: str) -> str:
    """Check a part of Airflow as its API sees it."""
    with api_server() as server:
        found = ask_json(server, "/api/v2/monitor/health", "apiserver").get(name) or {}
    status = found.get("status") or "absent"
    beat = next((f", last heartbeat {time}" for key, time in found.items() if key.endswith("heartbeat") and time), "")
    if status != "healthy":
        raise CheckFailed(f"Airflow says it is {status}{beat}: {look(service)}")
    return f"{status}{beat}"


def known_dags() -> tuple[dict[str, bool], list[tuple[str, str]]]:
    """Return the DAGs that Airflow knows, and whether they are paused; files it cannot read, with their error."""
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.execute(select(DagModel.dag_id, DagModel.is_paused).where(DagModel.is_stale.is_(False)))
        errors = session.execute(select(ParseImportError.filename, ParseImportError.stacktrace))
        known = {dag_id: bool(paused) for dag_id, paused in found}
        return known, [(str(file), str(trace)) for file, trace in errors]


def dags() -> str:
    """Check that Airflow knows the DAG of every file, and that none of them is broken."""
    folder = Path(os.environ.get("AIRFLOW__CORE__DAGS_FOLDER") or "dags")
    names = {file.stem: [file.stem] for file in folder.glob("*.py")}
    names |= {model: [f"{model}_{kind}" for kind in KINDS] for model in configured_models() if model in names}
    expected = sorted(dag_id for found in names.values() for dag_id in found)
    known, errors = known_dags()
    for file, trace in errors[:1]:
        last = trace.strip().splitlines()[-1]
        raise CheckFailed(f"{file} cannot be read ({last}): mend the file and build the image anew")
    if missing := [dag_id for dag_id in expected if dag_id not in known]:
        raise CheckFailed(f"Airflow does not know {', '.join(missing)}: {look('dag-processor')}")
    return ", ".join(f"{dag_id} (paused)" if known[dag_id] else dag_id for dag_id in expected)


def desk() -> str:
    """Check the plugin in the API server, which enters in the promotion ledger who decided, and that it has the key."""
    with api_server() as server:
        answer = ask(server, "/model-registry/desk", "apiserver")
    # Airflow answers an address that it does not know with the page of its own interface.
    if answer.status_code == 404 or "json" not in answer.headers.get("content-type", ""):
        raise CheckFailed(
            "the API server has not loaded the plugin, so marks and answers approve nothing: run airflow plugins there"
        )
    if not answer.is_success:
        said = one_line(answer.text, 200)
        raise CheckFailed(f"it answers with HTTP status {answer.status_code} ({said}): {look('apiserver')}")
    there, here = answer.json().get("ledger_keys"), Keyring.from_environment().ids
    if there != here:
        raise CheckFailed(
            f"API server and worker have other ledger keys ({there} and {here}): give both the same {KEY_ENV}"
        )
    return f"taken by the API server, ledger key {here[0]}" if here else "taken by the API server, no ledger key"


def celery() -> Any:
    """Return Celery's application, with the broker that the worker has."""
    broker = os.environ.get("AIRFLOW__CELERY__BROKER_URL")
    if not broker:
        raise CheckFailed("AIRFLOW__CELERY__BROKER_URL is not set: it belongs into docker-compose.yaml")
    app = Celery("smoke", broker=broker, set_as_current=False)
    app.conf.broker_transport_options = {"socket_connect_timeout": 5, "socket_timeout": TIMEOUT}
    return app


def redis() -> str:
    """Check Redis, as Celery reaches it."""
    with celery() as app, app.connection_for_write() as broker:
        try:
            broker.ensure_connection(max_retries=1, interval_start=0.5, timeout=TIMEOUT)
        except Exception as error:
            said = f"{type(error).__name__}: {one_line(str(error), 120)}"
            raise CheckFailed(f"it does not answer ({said}): {look('redis')}") from error
    return "answers"


def workers() -> str:
    """Check that Celery workers answer."""
    with celery() as app:
        try:
            names = sorted(name for answer in app.control.ping(timeout=PING_SECONDS) for name in answer)
        except Exception as error:
            raise CheckFailed(f"they cannot be asked ({type(error).__name__}): {look('redis')}") from error
    if not names:
        raise CheckFailed(f"none answers, so no task runs: {look('worker')}")
    return f"{len(names)} answer"


def mlflow(conn_id: str) -> str:
    """Check MLflow with the login of the pipeline, and that without one it gives nothing away."""
    path, one = "/api/2.0/mlflow/registered-models/search", {"max_results": 1}
    found = connection(conn_id)
    with client(found) as server:
        ask_json(server, path, "mlflow", params=one)
    with client(found, login=False) as server:
        status = ask(server, path, "mlflow", params=one).status_code
    if status != 401:
        raise CheckFailed(f"it answers anybody (HTTP status {status}): start it with --app-name basic-auth")
    return f"knows {found.get('login') or 'the token'}, asks others for a login"


def artifacts(config: LifecycleConfig) -> str:
    """Check that the files of a model's version in Production, or else the newest, are where MLflow says."""
    api, model = "/api/2.0/mlflow", config.model
    with client(connection(config.connections.mlflow)) as server:
        query = {"filter": f"name='{model}'", "max_results": 1000}
        versions = ask_json(server, f"{api}/model-versions/search", "mlflow", params=query).get("model_versions", [])
        versions.sort(key=lambda found: (found.get("current_stage") == "Production", int(found["version"])))
        listing: dict[str, str] = {}
        if versions:
            named = {"name": model, "version": versions[-1]["version"]}
            uri = ask_json(server, f"{api}/model-versions/get-download-uri", "mlflow", params=named)["artifact_uri"]
            listing["path"] = urlsplit(uri).path.strip("/")
            if urlsplit(uri).scheme != "mlflow-artifacts":
                return f"version {named['version']} lies outside of MLflow, at {urlsplit(uri).scheme}"
        files = ask_json(server, f"{api}-artifacts/artifacts", "mlflow", params=listing).get("files", [])
    if not versions:
        return f"listed through MLflow, no version yet of {model}"
    if not files:
        raise CheckFailed(f"version {versions[-1]['version']} of {model} has no files: restore the volume of mlflow")
    return f"version {versions[-1]['version']} of {model} has its files"


def data_registry(config: LifecycleConfig) -> str:
    """Check that git can read a model's data registry."""
    conn_id = config.connections.data or ""
    found = connection(conn_id) if f"AIRFLOW_CONN_{conn_id.upper()}" in os.environ else {"extra": {}}
    url = found.get("host") or (read_config(config.name)[0].get("data") or {}).get("registry") or ""
    if not url:
        raise CheckFailed("none is named: set DATA_REGISTRY in .env")
    if urlsplit(url).scheme in ("http", "https"):
        reached = {**found, "host": url.rstrip("/"), "extra": {}}
        with client(reached) as server:
            query = {"service": "git-upload-pack"}  # a server of plain files gives the same file whatever is asked
            answer = ask(server, "/info/refs", "data", params=query)
        host = server.base_url.netloc.decode()
        if answer.status_code in (401, 403):
            raise CheckFailed(f"{host} refuses the login ({answer.status_code}): correct the connection {conn_id}")
        if not answer.is_success or not REFS.match(answer.content):
            raise CheckFailed(f"there is no git repository at {host} ({answer.status_code}): correct DATA_REGISTRY")
        return f"a git repository at {host}"
    command = ["git", "ls-remote", "--exit-code", "--", url]
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
    try:
        subprocess.run(
            command, env=quiet, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=3 * TIMEOUT
        )
    except FileNotFoundError:
        return "not looked at: this image has no git, and only the steps' needs it"
    except (OSError, subprocess.SubprocessError) as error:
        raise CheckFailed(f"git cannot read it ({type(error).__name__}): correct DATA_REGISTRY, or its keys") from error
    return "git reads it"


def engine_client(config: LifecycleConfig) -> Any:
    """Return a client of the Docker engine, as the tasks reach it."""
    tls = config.containers.tls
    secured = docker.TLSConfig(client_cert=(tls.client_cert, tls.client_key), ca_cert=tls.ca_cert) if tls else None
    base = config.containers.engine or os.environ.get("DOCKER_HOST")
    try:
        return docker.APIClient(base_url=base, tls=secured, timeout=TIMEOUT)
    except Exception as error:
        remedy = "make DOCKER_GID in .env the group of /var/run/docker.sock"
        raise CheckFailed(f"{base} does not answer ({type(error).__name__}): {remedy}, or {look('engine')}") from error


def engine(config: LifecycleConfig) -> str:
    """Check the Docker engine, and that it has the image of the steps."""
    image = config.containers.image
    with contextlib.closing(engine_client(config)) as cli:
        version = cli.version()["Version"]
        try:
            labels = cli.inspect_image(image)["Config"].get("Labels") or {}
        except ImageNotFound:
            remedy = f"make images, or docker pull {image} on its host"
            raise CheckFailed(f"Docker {version} has no image {image}: {remedy}") from None
        except APIError as error:
            raise CheckFailed(
                f"Docker {version} refuses to show {image} ({error.status_code}): {look('engine')}"
            ) from error
    commits = labels.get("org.opencontainers.image.revision"), os.environ.get("RETRAIN_CODE_COMMIT")
    built = f", built from {commits[0][:12]}" if commits[0] else ""
    other = f" while this worker is from {commits[1][:12]}" if built and commits[1] and commits[0] != commits[1] else ""
    return f"Docker {version} has {image}{built}{other}"


def engine_filter(config: LifecycleConfig) -> str:
    """Check that the engine refuses the workers what they do not need."""
    with contextlib.closing(engine_client(config)) as cli:
        for method, path in FORBIDDEN:
            status = cli.request(method, f"{cli.base_url}{path}", timeout=TIMEOUT).status_code
            if status != 403:
                raise CheckFailed(
                    f"the engine answers {method} {path.partition('?')[0]} with {status} instead of 403:"
                    " workers must reach the service engine and not the engine itself, so correct DOCKER_HOST"
                )
    return f"refuses what it should, {len(FORBIDDEN)} requests"


if __name__ == "__main__":
    sys.exit(main())
