"""The stack of docker-compose.yaml for real: two workers, steps in containers, faults, roles, backup and restore.

Needs a Docker engine, docker compose and the images of ``make images``; POSTGRES_IMAGE and REDIS_IMAGE name others than
the public ones. The tests go on where the one before ended.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient

from include.lifecycle.environment import environment
from include.lifecycle.registry import ModelRegistry
from include.local_stack.airflow_api import AirflowApi
from include.local_stack.errors import ApiError
from include.local_stack.ports import free_port
from include.local_stack.stack import APPROVAL_TASK, DAG_ID, PROJECT

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

MODEL = "rossmann-ensemble"
ROLLBACK = "rossmann_rollback"
LABEL = "model-registry"
PERSONS = {"vera": "Viewer", "olga": "Op", "anna": "Approver", "adam": "Admin"}
PASSWORD = "pw-of-a-person"
USERS = """
import json, sys
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    for name, role in json.loads(sys.argv[1]).items():
        assert builder.sm.add_user(name, name, "x", name + "@x.invalid", builder.sm.find_role(role), sys.argv[2]), name
"""


class Stack:
    """The stack under a project name of its own.

    :param folder: for its settings
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.project = folder / "env", f"retrain-test-{os.getpid()}"
        subprocess.run([sys.executable, str(PROJECT / "include/deploy/make_env.py"), str(self.file)], check=True)
        lines = dict(
            line.split("=", 1) for line in self.file.read_text().splitlines() if "=" in line and line[0] != "#"
        )
        self.ports = {name: str(free_port()) for name in ("AIRFLOW_PORT", "MLFLOW_PORT")}
        hosts = f"127.0.0.1:{self.ports['MLFLOW_PORT']}"
        given = {name: os.environ[name] for name in ("POSTGRES_IMAGE", "REDIS_IMAGE") if name in os.environ}
        self.values = {**lines, **self.ports, **given, "COMPOSE_PROJECT_NAME": self.project, "MLFLOW_HOSTS": hosts}
        self.file.write_text("".join(f"{name}={value}\n" for name, value in self.values.items()))
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        program = ["docker", "compose"] if plugin else ["docker-compose"]
        self.command = [*program, "--project-directory", str(PROJECT), "-f", str(PROJECT / "docker-compose.yaml")]
        self.command += ["--env-file", str(self.file), "-p", self.project]
        self.url, self.mlflow_url = (f"http://127.0.0.1:{self.ports[name]}" for name in ("AIRFLOW_PORT", "MLFLOW_PORT"))
        self.api = self.as_user("admin", self.values["AIRFLOW_ADMIN_PASSWORD"])

    def as_user(self, name: str, password: str = PASSWORD) -> AirflowApi:
        return AirflowApi(self.url, name, password)

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False, cwd=PROJECT)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def script(self, name: str, *arguments: str) -> str:
        variables = {**os.environ, "COMPOSE": " ".join(self.command)}
        command = [str(PROJECT / "include/deploy" / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, env=variables)
        assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def up(self) -> None:
        self.compose("up", "-d", "--scale", "worker=2")
        self.wait("the DAGs", lambda: self.api.dag(DAG_ID) and self.api.dag(ROLLBACK))

    def wait(self, what: str, ask: Callable[[], Any], seconds: float = 900.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := ask():
                    return found
            except (ApiError, requests.RequestException):  # a server that is being restarted
                pass
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
            time.sleep(1)

    def registry(self) -> ModelRegistry:
        return ModelRegistry(MlflowClient(self.mlflow_url))

    def retrain(self) -> str:
        """Trigger a quick retrain and return its run."""
        self.api.unpause(DAG_ID)
        return self.api.trigger(DAG_ID, {"quick": True})

    def state(self, run_id: str, task_id: str) -> str | None:
        return self.api.task(DAG_ID, run_id, task_id).state

    def until_waiting(self, run_id: str) -> None:
        self.wait("the approval", lambda: self.state(run_id, APPROVAL_TASK) == "deferred", 1200)
        time.sleep(5)

    def until_end(self, run_id: str, dag_id: str = DAG_ID) -> str:
        return str(
            self.wait(
                "the end",
                lambda: state if (state := self.api.run(dag_id, run_id).state) in ("success", "failed") else "",
            )
        )

    def hosts(self, run_id: str) -> set[str]:
        found = self.api.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["hostname"] for task in found if task["hostname"]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    assert shutil.which("docker"), "these tests need Docker"
    made = Stack(tmp_path_factory.mktemp("compose"))
    login = {
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": made.values["MLFLOW_ADMIN_PASSWORD"],
        "MLFLOW_TRACKING_URI": made.mlflow_url,
    }
    try:
        started = time.monotonic()
        made.up()
        say(f"up in {time.monotonic() - started:.0f} s")
        made.compose("exec", "-T", "apiserver", "python", "-c", USERS, json.dumps(PERSONS), PASSWORD)
        with environment(login):
            yield made
    finally:
        if os.environ.get("RETRAIN_KEEP_STACK") is None:
            made.compose("down", "-v", check=False)


def say(line: str) -> None:
    print(f"compose: {line}", flush=True)


def containers(stack: Stack, **labels: str) -> list[str]:
    filters = [f"--filter=label={LABEL}.{name}={value}" for name, value in labels.items()]
    done = subprocess.run(["docker", "ps", "-aq", *filters], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.fixture(scope="module")
def first(stack: Stack) -> str:
    """A retrain in containers that an approver brought to Production."""
    started = time.monotonic()
    run_id = stack.retrain()
    stack.until_waiting(run_id)
    say(f"data to approval in {time.monotonic() - started:.0f} s, on {len(stack.hosts(run_id))} workers")
    with pytest.raises(ApiError, match="is not among the approvers"):
        stack.as_user("olga").mark(DAG_ID, run_id, APPROVAL_TASK, "success", "me")
    stack.as_user("anna").mark(DAG_ID, run_id, APPROVAL_TASK, "success", "looks right")
    assert stack.until_end(run_id) == "success"
    return run_id


def test_data_to_production_on_two_workers_without_a_shared_disk(stack: Stack, first: str) -> None:
    live = stack.registry().production(MODEL)
    assert (live.version, live.tags["decision.user"], live.tags["decision.reason"]) == (1, "anna", "looks right")
    assert len(stack.hosts(first)) == 2
    assert containers(stack, run=first) == []


def test_a_worker_that_is_killed_while_it_trains(stack: Stack, first: str) -> None:
    run_id = stack.retrain()
    stack.wait("training", lambda: containers(stack, run=run_id, task="train_lightgbm"))
    worker = stack.wait("its worker", lambda: next(
        (task["hostname"] for task in stack.api.request(
            "GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]
         if task["task_id"] == "train_lightgbm" and task["hostname"]), None))  # fmt: skip
    started = time.monotonic()
    subprocess.run(["docker", "kill", worker], check=True, capture_output=True)
    time.sleep(10)
    stack.up()
    stack.until_waiting(run_id)
    say(f"a worker killed while training: the approval waits {time.monotonic() - started:.0f} s later")
    assert containers(stack, run=run_id) == []
    assert [info.version for info in stack.registry().versions(MODEL)] == [2, 1]
    stack.as_user("anna").respond(DAG_ID, run_id, APPROVAL_TASK, "Approve", {"reason": "as good"})
    assert stack.until_end(run_id) == "success"
    assert stack.registry().production(MODEL).version == 2


ALLOWED = {
    # see the DAG, trigger it, mark the approval, the page of the models
    None: (False, False, False, False),
    "vera": (True, False, False, True),
    "olga": (True, True, False, True),
    "anna": (True, True, True, True),
    "adam": (True, True, True, True),
}


def test_the_role_matrix(stack: Stack, first: str) -> None:
    run_id = stack.retrain()
    stack.until_waiting(run_id)
    for name, expected in ALLOWED.items():
        session = requests.Session()
        session.trust_env = False
        if name is not None:
            answer = session.post(f"{stack.url}/auth/token", json={"username": name, "password": PASSWORD}, timeout=60)
            session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        path = f"{stack.url}/api/v2/dags/{DAG_ID}"
        task = f"{path}/dagRuns/{run_id}/taskInstances/{APPROVAL_TASK}"
        maintenance = f"{stack.url}/api/v2/dags/rossmann_maintenance/dagRuns"
        mark = {"new_state": "success", "note": "x"}
        answers = (
            session.get(path, timeout=60),
            session.post(maintenance, json={"logical_date": None}, timeout=60),
            # who may is asked without doing it
            session.patch(f"{task}/dry_run" if expected[2] else task, json=mark, timeout=60),
            session.get(f"{stack.url}/model-registry/api/models", timeout=60),
        )
        found = tuple(answer.ok for answer in answers)
        say(f"{name or 'anonymous'}: {[answer.status_code for answer in answers]}")
        assert found == expected, name
    anonymous = requests.get(f"{stack.mlflow_url}/api/2.0/mlflow/registered-models/search", timeout=60)
    assert anonymous.status_code == 401
    stack.as_user("anna").mark(DAG_ID, run_id, APPROVAL_TASK, "failed", "only a test")
    assert stack.until_end(run_id) == "failed"


def test_backup_destroy_restore(stack: Stack, first: str, tmp_path: Path) -> None:
    before = stack.registry().verify(MODEL), [event.digest for event in stack.registry().history(MODEL)]
    started = time.monotonic()
    stack.script("backup.sh", str(tmp_path / "backup"))
    saved = time.monotonic()
    stack.compose("down", "-v")
    stack.script("restore.sh", str(tmp_path / "backup"))
    stack.up()
    say(f"backup in {saved - started:.0f} s, destroyed, restored and up after {time.monotonic() - saved:.0f} s")
    stack.wait("MLflow", lambda: stack.registry().production(MODEL).version == 2)
    registry = stack.registry()
    assert (registry.verify(MODEL), [event.digest for event in registry.history(MODEL)]) == before
    assert stack.api.run(DAG_ID, first).state == "success"


def test_a_rollback(stack: Stack, first: str) -> None:
    stack.api.unpause(ROLLBACK)
    started = time.monotonic()
    run_id = stack.api.trigger(ROLLBACK, {"reason": "the other was better"})
    stack.wait("the rollback", lambda: stack.registry().production(MODEL).version == 1)
    say(f"rolled back in {time.monotonic() - started:.0f} s")
    assert stack.until_end(run_id, ROLLBACK) == "success"


def test_no_secret_is_in_a_log(stack: Stack, first: str) -> None:
    logs = stack.compose("logs", "--no-color")
    assert "airflow" in logs
    secret = {name for name in stack.values if any(word in name for word in ("PASSWORD", "SECRET", "KEY"))}
    assert [name for name in secret if stack.values[name] in logs] == []
