"""What breaks while the stack retrains or waits: every run ends as if nothing had happened, with one version.

    python -m pytest -m docker -s tests/system/test_compose_faults.py

An hour; a worker is killed by ``test_compose.py``. The table at the end says what the operator saw, how long it took
until every service was well again and until the approval waited.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import requests
from compose_stack import MODEL, ComposeStack, containers, docker, say

from include.lifecycle.errors import ModelNotFoundError
from include.lifecycle.registry.versions import VersionInfo
from local_stack.stack import APPROVAL_TASK, DAG_ID
from tests.answers import answer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

AWAY_SECONDS = 30.0
CUT_SECONDS = 120.0
PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
Strike = Callable[[ComposeStack, str], None]


def kill(service: str) -> Strike:
    """The service is killed, and comes back after half a minute."""

    def strike(stack: ComposeStack, _: str) -> None:
        name = stack.container(service)
        docker("kill", name)
        time.sleep(AWAY_SECONDS)
        docker("start", name)

    return strike


def kill_step(_: ComposeStack, run_id: str) -> None:
    """The container that trains is killed."""
    docker("kill", containers(run=run_id, task="train_lightgbm")[0])


def cut_network(stack: ComposeStack, _: str) -> None:
    """Nobody reaches MLflow for two minutes, and it reaches nobody."""
    mlflow, networks = stack.container("mlflow"), [f"{stack.project}_backend", f"{stack.project}-pipeline"]
    for network in networks:
        docker("network", "disconnect", network, mlflow)
    time.sleep(CUT_SECONDS)
    for network in networks:
        docker("network", "connect", "--alias", "mlflow", network, mlflow)


def restart_engine(stack: ComposeStack, _: str) -> None:
    """The Docker engine stops, and with it every container; it is started again as it was."""
    engine = next(process for process in psutil.process_iter(["name"]) if process.info["name"] == "dockerd")
    command = engine.cmdline()
    engine.send_signal(signal.SIGTERM)
    psutil.wait_procs([engine], timeout=120)
    time.sleep(10)
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:  # nobody else starts it
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip


def go_down_and_up(stack: ComposeStack, run_id: str) -> None:
    """``make down`` and ``make up`` in the middle of it: nothing of the stack is left in between."""
    stack.down()
    assert stack.services() == {}
    assert containers(run=run_id) == []
    stack.up()


def healthy(stack: ComposeStack) -> bool:
    """Tell whether every part of Airflow, and MLflow, answers that it is well."""
    health = stack.api.health()
    mlflow = requests.get(f"{stack.mlflow_url}/health", timeout=10)
    return all(health.get(part) == "healthy" for part in PARTS) and mlflow.ok


def unwell(stack: ComposeStack) -> str:
    """Return what the health page says of what is not well."""
    health = stack.api.health()
    if not health:
        return "Airflow's web UI does not answer"
    found = [f"{part} {health.get(part)}" for part in PARTS if health.get(part) != "healthy"]
    with suppress(requests.RequestException):
        if requests.get(f"{stack.mlflow_url}/health", timeout=5).ok:
            return ", ".join(found)
    return ", ".join([*found, "MLflow does not answer"])


@dataclass(frozen=True)
class Row:
    """A fault and what came of it."""

    fault: str
    during: str
    seen: str
    well_after: float
    waits_after: float | None
    versions: int

    def __str__(self) -> str:
        waits = "-" if self.waits_after is None else f"{self.waits_after:.0f}"
        return f"| {self.fault} | {self.during} | {self.seen} | {self.well_after:.0f} | {waits} | {self.versions} |"


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    say("| fault | during | the operator sees | well after s | approval waits after s | versions |")
    say("|---|---|---|---|---|---|")
    for row in rows:
        say(str(row))


def tries(stack: ComposeStack, run_id: str) -> str:
    """Return how each attempt that had to be repeated ended, in the words of its log."""
    found = []
    for task in stack.api.tasks(DAG_ID, run_id):
        for number in range(1, task.try_number):
            said = stack.api.error_of(DAG_ID, run_id, replace(task, try_number=number))
            found.append(f"{task.task_id} try {number}: {said[:200]}")
    return "; ".join(found) or "nothing"


DURING_TRAINING: list[tuple[str, Strike]] = [
    ("container of a step killed", kill_step),
    ("Redis killed, back after 30 s", kill("redis")),
    ("PostgreSQL killed, back after 30 s", kill("postgres")),
    ("MLflow killed, back after 30 s", kill("mlflow")),
    ("network to MLflow cut for 2 min", cut_network),
    ("Docker engine restarted", restart_engine),
    ("make down, make up", go_down_and_up),
]


@pytest.mark.parametrize(("fault", "strike"), DURING_TRAINING, ids=[fault for fault, _ in DURING_TRAINING])
def test_a_fault_while_it_trains(compose: ComposeStack, table: list[Row], fault: str, strike: Strike) -> None:
    before = [info.version for info in versions(compose)]
    run_id = compose.retrain()
    compose.wait("training", lambda: containers(run=run_id, task="train_lightgbm"))
    started = time.monotonic()
    strike(compose, run_id)
    compose.wait("health", lambda: healthy(compose))
    well = time.monotonic() - started
    compose.until_waiting(run_id)
    waits = time.monotonic() - started
    made = len(versions(compose)) - len(before)
    table.append(Row(fault, "training", tries(compose, run_id), well, waits, made))
    say(str(table[-1]))
    assert made == 1
    assert containers(run=run_id) == []
    reject(compose, run_id)


def versions(stack: ComposeStack) -> list[VersionInfo]:
    """Return the versions, the newest first; none before the first one is registered."""
    with suppress(ModelNotFoundError):
        return stack.registry().versions(MODEL)
    return []


def reject(stack: ComposeStack, run_id: str) -> None:
    """End the run by a person's decision, which shows that the wait works."""
    stack.as_user("anna").mark(DAG_ID, run_id, APPROVAL_TASK, "failed", "only a test")
    assert stack.until_end(run_id) == "failed"
    assert versions(stack)[0].tags["decision.outcome"] == "rejected"


@pytest.fixture(scope="module")
def waiting(compose: ComposeStack) -> str:
    """A retrain that waits through every fault of the tests that ask for it."""
    run_id = compose.retrain()
    compose.until_waiting(run_id)
    return run_id


@pytest.mark.parametrize("service", ["redis", "postgres", "mlflow", "apiserver", "scheduler", "triggerer", "worker"])
def test_a_fault_while_it_waits(compose: ComposeStack, table: list[Row], waiting: str, service: str) -> None:
    name = compose.container(service)
    started = time.monotonic()
    docker("kill", name)
    time.sleep(AWAY_SECONDS)
    seen = unwell(compose)
    docker("start", name)
    compose.wait("health", lambda: healthy(compose))
    well = time.monotonic() - started - AWAY_SECONDS
    time.sleep(10)
    assert compose.state(waiting, APPROVAL_TASK) == "deferred"
    table.append(Row(f"{service} killed, back after 30 s", "wait", seen or "nothing", well, None, 0))
    say(str(table[-1]))


def test_the_engine_restarts_while_it_waits_and_then_it_is_approved(
    compose: ComposeStack, table: list[Row], waiting: str
) -> None:
    started = time.monotonic()
    restart_engine(compose, waiting)
    compose.wait("health", lambda: healthy(compose))
    table.append(Row("Docker engine restarted", "wait", "no web UI", time.monotonic() - started, None, 0))
    assert compose.state(waiting, APPROVAL_TASK) == "deferred"
    decided = time.monotonic()
    answer(compose.as_user("anna"), DAG_ID, waiting, APPROVAL_TASK, "Approve", "waited through it all")
    assert compose.until_end(waiting) == "success"
    say(f"approved after all of it: in Production {time.monotonic() - decided:.0f} s later")
    live = compose.registry().production(MODEL)
    assert live.tags["decision.user"] == "anna"
    assert compose.registry().verify(MODEL) == []


FULL_DISK = """
services:
  worker:
    tmpfs: ["/opt/airflow/logs:size=16m,uid=10001,mode=0755"]
"""


def test_the_disk_of_a_worker_is_full(compose: ComposeStack, table: list[Row], tmp_path: Path) -> None:
    override = tmp_path / "full.yaml"
    override.write_text(FULL_DISK)
    plain = list(compose.command)
    compose.command[compose.command.index("--env-file") : 0] = ["-f", str(override)]
    compose.up()
    try:
        run_id = compose.retrain()
        compose.wait("training", lambda: containers(run=run_id, task="train_lightgbm"))
        worker = compose.hosts(run_id)["train_lightgbm"]
        before, started = len(versions(compose)), time.monotonic()
        docker("exec", worker, "sh", "-c", "head -c 20m /dev/zero >/opt/airflow/logs/fill", check=False)
        time.sleep(CUT_SECONDS)
        docker("exec", worker, "rm", "/opt/airflow/logs/fill")
        compose.until_waiting(run_id)
        waits = time.monotonic() - started
        made = len(versions(compose)) - before
        table.append(Row("disk of a worker full for 2 min", "training", tries(compose, run_id), 0, waits, made))
        say(str(table[-1]))
        assert made == 1
        reject(compose, run_id)
    finally:
        compose.command = plain
