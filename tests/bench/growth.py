"""What breaks first when the stack grows, measured on a running one.

    python tests/bench/growth.py --env-file .env [--project retrain] [--workers 1,2,4,8] [--clients 1,4,16,64]

With each number of workers: connections of PostgreSQL and Redis, memory of each service and CPU, while nothing happens
and while runs of a light DAG keep the workers busy. Then, with the number of workers that was there before: how many
requests a second MLflow and Airflow's API serve to 1, 4, 16 and 64 clients at once, and what that takes. Prints
Markdown, with the number of workers and of clients at which each limit would be reached if it went on in a line.

The runs of the light DAG stay in Airflow's history. The number of workers is put back at the end. Nothing else should
use the stack, or much of this machine, meanwhile: the clients run on it too.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT)]

import psutil
import requests
from docker.errors import DockerException

from local_stack.airflow_api import AirflowApi
from local_stack.errors import ApiError
from tests.bench.clients import REQUEST_SECONDS, Target, latencies, put_load
from tests.bench.meter import Meter, Peak, Stack
from tests.bench.tables import print_limits, table
from tests.compose_files import compose_command, read_settings

LIGHT_DAG = "rossmann_maintenance"
PATIENCE_SECONDS = 900.0
HOST_RESERVE = 0.1
"""Part of the host's memory below which no more workers are started."""
FAILURES = (DockerException, ApiError, requests.RequestException, subprocess.SubprocessError, OSError, ValueError)
PING = """
import os
from celery import Celery
app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
print(len(app.control.ping(timeout=3)))
"""
HASH = """
import time
from werkzeug.security import check_password_hash, generate_password_hash
known = generate_password_hash("x")
started = time.perf_counter()
for _ in range(5): check_password_hash(known, "x")
print((time.perf_counter() - started) / 5)
"""


def main() -> int:
    given = arguments()
    values = read_env(given.env_file)
    project = given.project or values.get("COMPOSE_PROJECT_NAME", "retrain")
    stack = Stack(project)
    before = len(stack.containers("worker"))
    if not before:
        raise SystemExit(f"no worker runs in the compose project {project}: start the stack first")
    urls = {name: getattr(given, name) or published(values, name) for name in ("airflow", "mlflow")}
    api = AirflowApi(urls["airflow"], "admin", values["AIRFLOW_ADMIN_PASSWORD"])
    print(f"# {project} on {os.cpu_count()} cores and {gigabytes(psutil.virtual_memory().total)}\n", flush=True)
    if given.workers:
        grow = Growth(stack, scaler(given, values, project), api, given)
        try:
            for count in given.workers:
                if not grow.step(count):
                    break
        finally:
            guarded(f"going back to {before} workers", lambda: grow.scale(before))
        guarded("the tables of the workers", grow.report)
    if given.clients:
        guarded("the load", lambda: load(stack, targets(urls, values, api), given))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    numbers: dict[str, Any] = {"type": whole_numbers, "metavar": "N,N,..."}
    parser.add_argument("--env-file", type=Path, default=PROJECT / ".env", help="the settings of the stack")
    parser.add_argument("--project", help="compose project; by default the one that the settings name")
    parser.add_argument("--compose-file", type=Path, default=PROJECT / "docker-compose.yaml")
    parser.add_argument("--workers", default=[1, 2, 4, 8], help="numbers of workers; empty: none of this", **numbers)
    parser.add_argument("--clients", default=[1, 4, 16, 64], help="numbers of clients; empty: none of this", **numbers)
    parser.add_argument(
        "--settle", type=float, default=20, help="seconds between a new number of workers and measuring"
    )
    parser.add_argument("--idle", type=float, default=30, help="seconds for which idleness is measured")
    parser.add_argument("--runs", type=int, default=4, help=f"runs of {LIGHT_DAG} for each worker; 0: none")
    parser.add_argument("--seconds", type=float, default=15, help="seconds of load for each number of clients")
    parser.add_argument("--airflow", help="URL; by default the published port")
    parser.add_argument("--mlflow", help="URL; by default the published port")
    return parser.parse_args()


def whole_numbers(text: str) -> list[int]:
    found = sorted({int(word) for word in text.split(",") if word.strip()})
    if found and found[0] < 1:
        raise argparse.ArgumentTypeError("expected numbers from 1 on")
    return found


def read_env(file: Path) -> dict[str, str]:
    """Return the variables of an env file."""
    try:
        return read_settings(file)
    except OSError as error:
        raise SystemExit(f"cannot read {file}: {error.strerror}. Name the stack's with --env-file") from error


def published(values: Mapping[str, str], name: str) -> str:
    """Return the URL under which a server is published on this machine."""
    listen = values.get("LISTEN") or "127.0.0.1"
    port = values.get(f"{name.upper()}_PORT") or {"airflow": "8080", "mlflow": "5000"}[name]
    return f"http://{'127.0.0.1' if listen == '0.0.0.0' else listen}:{port}"


def scaler(given: argparse.Namespace, values: Mapping[str, str], project: str) -> Callable[[int], None]:
    """Return what sets the number of workers, and touches nothing else."""
    command = compose_command(given.compose_file, given.env_file, project)
    # a variable of this shell would be stronger than the file
    environment = {**os.environ, **values, "COMPOSE_PROJECT_NAME": project}

    def scale(count: int) -> None:
        done = subprocess.run(
            [*command, "up", "-d", "--no-recreate", "--no-deps", "--scale", f"worker={count}", "worker"],
            capture_output=True, text=True, check=False, env=environment, cwd=PROJECT,
        )  # fmt: skip
        if done.returncode:
            raise OSError(f"compose did not start {count} workers: {done.stderr[-500:]}")

    return scale


@dataclass
class Growth:
    """The measurements with each number of workers."""

    stack: Stack
    scale: Callable[[int], None]
    api: AirflowApi
    given: argparse.Namespace
    idle: dict[int, Peak] = field(default_factory=dict)
    busy: dict[int, Peak] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    def step(self, count: int) -> bool:
        """Measure with ``count`` workers; returns whether to go on."""
        memory = psutil.virtual_memory()
        if self.idle and memory.available < HOST_RESERVE * memory.total:
            say(f"not to {count} workers: the host has {gigabytes(memory.available)} left")
            return False
        say(f"{count} workers ...")
        try:
            self.scale(count)
            self._until_ready(count)
            time.sleep(self.given.settle)
            with Meter(self.stack) as meter:
                time.sleep(self.given.idle)
            self.idle[count] = meter.peak
            if self.given.runs:
                say(f"{count} workers: {count * self.given.runs} runs of {LIGHT_DAG} ...")
                with Meter(self.stack) as meter:
                    self.seconds[count] = self._runs(count * self.given.runs)
                self.busy[count] = meter.peak
        except FAILURES as error:
            say(f"{count} workers: {type(error).__name__}: {error}")
            return False
        return True

    def _until_ready(self, count: int) -> None:
        deadline, answered = time.monotonic() + PATIENCE_SECONDS, 0
        while answered != count:
            if time.monotonic() > deadline:
                raise OSError(f"{answered} of {count} workers answer after {PATIENCE_SECONDS:.0f} s")
            try:
                answered = int(self.stack.run("worker", ["python", "-c", PING]).split()[-1])
            except (DockerException, ValueError, IndexError):
                time.sleep(3)

    def _runs(self, count: int) -> float:
        """Have the workers run the light DAG, and return the seconds until the last run ended."""
        paused = bool((self.api.dag(LIGHT_DAG) or {}).get("is_paused"))
        self.api.unpause(LIGHT_DAG)
        started = time.monotonic()
        try:
            waited_for = {self.api.trigger(LIGHT_DAG, {}, note="tests/bench/growth.py") for _ in range(count)}
            while {run.run_id for run in self.api.active_runs(LIGHT_DAG)} & waited_for:
                if time.monotonic() - started > PATIENCE_SECONDS:
                    raise OSError(f"the runs did not end within {PATIENCE_SECONDS:.0f} s")
                time.sleep(2)
        finally:
            if paused:
                self.api.request("PATCH", f"/dags/{LIGHT_DAG}", json={"is_paused": True})
        return time.monotonic() - started

    def report(self) -> None:
        """Print the tables, and which limit is reached first."""
        limits, room, redis_room = self.stack.limits(), self.stack.room(), self.stack.redis_room()
        host = psutil.virtual_memory().total
        print(f"## Workers\n\nPostgreSQL takes {room} connections, Redis {redis_room} clients.\n")
        self._connections()
        self._memory(limits)
        for name, found in (("idle", self.idle), ("busy", self.busy)):
            rows = [
                ("connections of PostgreSQL", {n: peak.connections for n, peak in found.items()}, room),
                ("clients of Redis", {n: peak.redis for n, peak in found.items()}, redis_room),
                ("memory of the host, MB", {n: (host - peak.available) / 1e6 for n, peak in found.items()}, host / 1e6),
                *(
                    (f"memory of {service}, MB", series(found, service), limit / 1e6)
                    for service, limit in sorted(limits.items())
                ),
            ]
            if name == "idle":  # a batch of runs takes all cores, however many workers share it
                cores = {n: peak.busy for n, peak in found.items()}
                rows.append(("busy cores of the host", cores, float(os.cpu_count() or 1)))
            print_limits(f"What is reached first, {name}", "workers", rows)

    def _connections(self) -> None:
        users = names(peak.users for peak in (*self.idle.values(), *self.busy.values()))
        services = names(peak.clients for peak in (*self.idle.values(), *self.busy.values()))
        rows = [
            [str(n), state, str(peak.connections), *(str(peak.users.get(name, 0)) for name in users),
             *(str(peak.clients.get(name, 0)) for name in services), str(peak.redis),
             f"{self.seconds[n]:.0f}" if state == "busy" and n in self.seconds else "-"]
            for state, found in (("idle", self.idle), ("busy", self.busy)) for n, peak in found.items()
        ]  # fmt: skip
        head = ["workers", "", "connections", *(f"user {name}" for name in users), *services, "Redis clients", "s"]
        print(table(head, rows))

    def _memory(self, limits: Mapping[str, int]) -> None:
        services = names(peak.memory for peak in (*self.idle.values(), *self.busy.values()))
        for what, cell in (
            (
                "Memory, MB, largest container of each service",
                lambda peak, name: f"{peak.memory.get(name, 0) / 1e6:.0f}",
            ),
            ("CPU, cores", lambda peak, name: f"{peak.cpu.get(name, 0.0):.2f}"),
        ):
            rows = [
                [str(n), state, *(cell(peak, name) for name in services),
                 f"{peak.together / 1e6:.0f}" if what.startswith("M") else f"{peak.busy:.2f}"]
                for state, found in (("idle", self.idle), ("busy", self.busy)) for n, peak in found.items()
            ]  # fmt: skip
            if what.startswith("M"):
                rows.append(["limit", "", *(f"{limits.get(name, 0) / 1e6:.0f}" for name in services), "-"])
            print(f"{what}:\n")
            print(table(["workers", "", *services, "together" if what.startswith("M") else "host"], rows))


def targets(urls: Mapping[str, str], values: Mapping[str, str], api: AirflowApi) -> list[Target]:
    login = {"username": "admin", "password": values["AIRFLOW_ADMIN_PASSWORD"]}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{urls['airflow']}/auth/token", json=login, timeout=REQUEST_SECONDS)
        answer.raise_for_status()
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    search = f"{urls['mlflow']}/api/2.0/mlflow/registered-models/search?max_results=100"
    pipeline = ("pipeline", values["MLFLOW_PIPELINE_PASSWORD"])
    return [
        Target("MLflow /health, no login", "mlflow", f"{urls['mlflow']}/health"),
        Target("MLflow, model search, login", "mlflow", search, auth=pipeline),
        Target("Airflow monitor/health, no login", "apiserver", f"{urls['airflow']}/api/v2/monitor/health"),
        Target("Airflow /dags, token", "apiserver", f"{urls['airflow']}/api/v2/dags", headers=bearer),
    ]


def load(stack: Stack, asked: Sequence[Target], given: argparse.Namespace) -> None:
    """Put load on each target with each number of clients, and print what came of it."""
    try:
        cost = float(stack.run("mlflow", ["python", "-c", HASH]).split()[-1])
        checks = f"MLflow checks a password in {cost * 1000:.0f} ms of a core, at each request unless it has a cache.\n"
    except FAILURES as error:
        checks = f"The cost of a password check could not be measured: {error}\n"
    limits, room, rows = stack.limits(), stack.room(), []
    used: dict[str, dict[int, Peak]] = {}
    for target in asked:
        for clients in given.clients:
            say(f"{target.name}: {clients} clients ...")
            try:
                with Meter(stack) as meter:
                    seen = put_load(target, clients, given.seconds)
            except FAILURES as error:
                say(f"{target.name}, {clients} clients: {type(error).__name__}: {error}")
                break
            peak = meter.peak
            used.setdefault(target.name, {})[clients] = peak
            rows.append([target.name, str(clients), f"{seen.rate:.1f}", *latencies(seen.seconds),
                         f"{len(seen.errors)}{' ' + max(seen.errors, key=seen.errors.count) if seen.errors else ''}",
                         f"{peak.cpu.get(target.service, 0.0):.2f}", f"{peak.memory.get(target.service, 0) / 1e6:.0f}",
                         str(peak.connections), f"{seen.own_cpu:.2f}"])  # fmt: skip
    print(f"## Clients\n\n{checks}")
    head = ["asked", "clients", "requests/s", "median ms", "95 % ms", "errors", "server's cores", "server's MB",
            "PostgreSQL connections", "clients' cores"]  # fmt: skip
    print(table(head, rows))
    extrapolated: list[tuple[str, Mapping[int, float], float]] = []
    for target in asked:
        found, limit = used.get(target.name, {}), limits.get(target.service)
        connections = {n: float(peak.connections) for n, peak in found.items()}
        extrapolated.append((f"{target.name}: connections of PostgreSQL", connections, room))
        if limit:
            extrapolated.append((f"{target.name}: memory, MB", series(found, target.service), limit / 1e6))
    print_limits("What is reached first", "clients", extrapolated)


def series(found: Mapping[int, Peak], service: str) -> dict[int, float]:
    return {n: peak.memory[service] / 1e6 for n, peak in found.items() if service in peak.memory}


def names(counted: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for found in counted for name in found})


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def guarded(what: str, act: Callable[[], None]) -> None:
    """Do something whose failure takes nothing else with it."""
    say(f"{what} ...")
    try:
        act()
    except FAILURES as error:
        say(f"{what} failed: {type(error).__name__}: {error}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
