"""The stack of docker-compose.yaml under a project name of its own, for the tests that need a Docker engine.

Needs docker compose and the images of ``make images``; POSTGRES_IMAGE and REDIS_IMAGE name others than the public ones.
To look at a stack that failed: with RETRAIN_KEEP_STACK=1 it is not removed, and RETRAIN_TEST_STACK=FILE (its settings)
runs tests on it again.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from mlflow import MlflowClient
from servers import tells_the_end

from include.lifecycle.config.files import configured_models, text_variable
from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.airflow_api import AirflowApi
from local_stack.errors import ApiError
from local_stack.stack import APPROVAL_TASK, DAG_ID, PROJECT
from tests.compose_files import compose_command, read_settings
from tests.ports import free_port
from tests.quick_retrain import quick_config

MODEL = "rossmann-ensemble"
ROLLBACK = "rossmann_rollback"
PREDICT = "rossmann_predict"
LABEL = "model-registry"
PERSONS = {"vera": "Viewer", "olga": "Op", "anna": "Approver", "adam": "Admin"}
WORKERS = 2
AIRFLOW_SERVICES = ("init", "apiserver", "scheduler", "dag-processor", "triggerer", "worker")
OVERRIDE = "override.yaml"
QUICK = {
    # What runs on a worker that was killed is tried again after this time, and not after two minutes.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
_GIVEN = ("POSTGRES_IMAGE", "REDIS_IMAGE")


def say(line: str) -> None:
    print(f"compose: {line}", flush=True)


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {arguments}: {done.stderr[-2000:]}"
    return done.stdout.strip()


def logs(container: str) -> str:
    """What a container printed, on both streams."""
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def settings(folder: Path) -> Path:
    """Write the settings of a new stack, with free ports, a project name of its own and little patience."""
    file = folder / "env"
    subprocess.run([sys.executable, str(PROJECT / "deploy/make_env.py"), str(file)], check=True)
    ports = {name: str(free_port()) for name in ("AIRFLOW_PORT", "MLFLOW_PORT")}
    given = {name: os.environ[name] for name in _GIVEN if name in os.environ}
    hosts = {
        "COMPOSE_PROJECT_NAME": f"retrain-test-{os.getpid()}",
        "AIRFLOW_URL": f"http://127.0.0.1:{ports['AIRFLOW_PORT']}",
        "MLFLOW_URL": f"http://127.0.0.1:{ports['MLFLOW_PORT']}",
        "MLFLOW_HOSTS": f"127.0.0.1:{ports['MLFLOW_PORT']}",
    }
    values = {**read_settings(file), **ports, **given, **hosts}
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    texts = {text_variable(model): json.dumps(quick_config(model)) for model in configured_models()}
    impatient = {"environment": {**texts, **QUICK}}
    override = {"services": dict.fromkeys(AIRFLOW_SERVICES, impatient)}
    (folder / OVERRIDE).write_text(json.dumps(override))
    return file


class ComposeStack:
    """A stack, running or not.

    :param file: its settings
    """

    def __init__(self, file: Path) -> None:
        self.file, self.values = file, read_settings(file)
        self.project = self.values["COMPOSE_PROJECT_NAME"]
        self.command = compose_command(
            PROJECT / "docker-compose.yaml", self.file, self.project, self.file.with_name(OVERRIDE)
        )
        self.url, self.mlflow_url = (
            f"http://127.0.0.1:{self.values[name]}" for name in ("AIRFLOW_PORT", "MLFLOW_PORT")
        )
        self.passwords = {"admin": self.values["AIRFLOW_ADMIN_PASSWORD"]}
        self.api = self.as_user("admin")

    @property
    def secrets(self) -> dict[str, str]:
        """Every secret of its settings, by name."""
        found = re.compile("PASSWORD|SECRET|KEY")
        return {name: value for name, value in self.values.items() if found.search(name)}

    @property
    def mlflow_login(self) -> dict[str, str]:
        """Environment of an MLflow client that is its administrator."""
        return {
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.values["MLFLOW_ADMIN_PASSWORD"],
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "RETRAIN_LEDGER_KEY": self.values.get("RETRAIN_LEDGER_KEY", ""),
        }

    def as_user(self, name: str) -> AirflowApi:
        return AirflowApi(self.url, name, self.passwords[name])

    def compose(self, *arguments: str, check: bool = True, **variables: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, check=False, cwd=PROJECT,
            env={**os.environ, **variables},
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def script(self, name: str, *arguments: str, check: bool = True, **variables: str) -> str:
        """Run a script of deploy, as make does."""
        command = [str(PROJECT / "deploy" / name), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=PROJECT,
            env={**os.environ, "COMPOSE": " ".join(self.command), **variables},
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def up(self, **variables: str) -> None:
        self.script("stack.sh", "up", WORKERS_UP=str(WORKERS), **variables)
        self.wait("the DAGs", lambda: self.api.dag(DAG_ID) and self.api.dag(ROLLBACK))

    def down(self, *arguments: str) -> None:
        """Stop it as ``make down`` does; with ``-v`` its volumes go too."""
        self.script("stack.sh", "down", *arguments)

    def make_users(self) -> None:
        """Make PERSONS, as ``make users`` does."""
        said = self.script("stack.sh", "users", *(f"{name}:{role}" for name, role in PERSONS.items()))
        words = [line.split() for line in said.splitlines()]
        self.passwords = {name: password for name, role, password in words if PERSONS.get(name) == role}
        assert set(self.passwords) == set(PERSONS), said

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

    def retrain(self, **values: Any) -> str:
        """Trigger a quick retrain and return its run."""
        self.api.unpause(DAG_ID)
        return self.api.trigger(DAG_ID, {"quick": True, **values})

    def state(self, run_id: str, task_id: str) -> str | None:
        return self.api.task(DAG_ID, run_id, task_id).state

    def until_waiting(self, run_id: str, seconds: float = 1200.0) -> None:
        self.wait("the approval", lambda: self.state(run_id, APPROVAL_TASK) == "deferred", seconds)
        task = self.api.task(DAG_ID, run_id, APPROVAL_TASK)
        self.wait("the scheduler", lambda: tells_the_end(logs(self.container("scheduler")), task))

    def until_end(self, run_id: str, dag_id: str = DAG_ID) -> str:
        def state() -> str:
            found = self.api.run(dag_id, run_id).state
            return found if found in ("success", "failed") else ""

        return str(self.wait(f"the end of {dag_id}", state))

    def hosts(self, run_id: str) -> dict[str, str]:
        """Which worker ran which task."""
        found = self.api.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task["hostname"] for task in found if task["hostname"]}

    def services(self) -> dict[str, list[str]]:
        """The containers of each service."""
        form = '{{.Label "com.docker.compose.service"}} {{.Names}}'
        lines = docker("ps", "-a", "--filter", f"label=com.docker.compose.project={self.project}", "--format", form)
        found: dict[str, list[str]] = {}
        for line in lines.splitlines():
            service, name = line.split()
            found.setdefault(service, []).append(name)
        return found

    def container(self, service: str) -> str:
        return self.services()[service][0]


def containers(**labels: str) -> list[str]:
    """The containers of steps, running or not, by the labels of their task instance."""
    filters = [f"--filter=label={LABEL}.{name}={value}" for name, value in labels.items()]
    return docker("ps", "-aq", "--no-trunc", *filters).split()
