"""Time from a click to Production, and what waiting approvals cost, on a real Airflow and MLflow.

    python tests/bench/waiting.py [--clicks 10] [--waits 100] [--minutes 2]

Prints, as medians, the time from the mark and from the answer in Required Actions to Production, that of a rollback
from its trigger form to Production, then memory of the triggerer and requests to MLflow and to Airflow's API with no,
one and many approvals waiting. Times depend on the machine: compare them with those of the same run.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "plugins"), str(PROJECT / "tests" / "system")]

import psutil
import yaml
from test_rollback_dag import DAG_ID as ROLLBACK
from test_rollback_dag import MODEL, champion

from include.lifecycle.ledger.keys import KEY_FILE_ENV
from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.credentials import ledger_key_file
from local_stack.processes import Processes
from local_stack.progress import Printer
from local_stack.stack import Settings, Stack, clean_environment
from tests.answers import answer
from tests.ports import free_port
from tests.quick_retrain import publish, quick_config
from tests.registry_server import add_version, stage_of

APPROVAL = "await_approval"
BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
READING_SECONDS = 5.0
PATIENCE_SECONDS = 1800.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clicks", type=int, default=10, help="how often each click is measured")
    parser.add_argument("--waits", type=int, default=100, help="how many approvals wait at last")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long each cost is measured")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waiting-") as folder:
        config = Path(folder) / "rossmann.yaml"
        config.write_text(yaml.safe_dump(quick_config()))
        environment = clean_environment({**os.environ, "RETRAIN_CONFIG": str(config)})
        folders = {"dags": "dags", "doors": "tests/system/dags", "waits": "tests/bench/dags"}
        environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(
            [{"name": name, "classpath": BUNDLE, "kwargs": {"path": str(PROJECT / path)}}
             for name, path in folders.items()]
        )  # fmt: skip
        with Processes(Path(folder) / "state", environment, PROJECT) as processes:
            stack = Stack(Settings(processes.state_dir, free_port(), free_port()), processes, Printer())
            publish(stack)
            stack.start()
            os.environ[KEY_FILE_ENV] = str(ledger_key_file(processes.state_dir))
            clicks(stack, given.clicks, Path(folder))
            costs(stack, given.waits, given.minutes)
    return 0


def clicks(stack: Stack, count: int, folder: Path) -> None:
    """Measure the way from a click to Production."""
    for dag_id in ("doors", ROLLBACK):
        until(f"{dag_id} known", lambda dag_id=dag_id: stack.api.dag(dag_id))
        stack.api.unpause(dag_id)
    marks = [
        approved(stack, f"mark-{n}", lambda run_id: stack.api.mark("doors", run_id, APPROVAL, "success", "fine"))
        for n in range(count)
    ]
    show("mark success to Production", marks)
    answers = [
        approved(stack, f"answer-{n}", lambda run_id: answer(stack.api, "doors", run_id, APPROVAL, "Approve", "fine"))
        for n in range(count)
    ]
    show("answer in Required Actions to Production", answers)
    versions = champion(stack, folder), champion(stack, folder)
    show("trigger of the rollback to Production", [rolled_back(stack, versions[n % 2]) for n in range(count)])


def approved(stack: Stack, model: str, decide: Callable[[str], None]) -> float:
    """Return the seconds from the decision about a new version to Production."""
    version = add_version(stack.mlflow.url, model)
    run_id = stack.api.trigger("doors", {"model": model, "version": version})
    until("the wait", lambda: stack.api.task("doors", run_id, APPROVAL).state == "deferred")
    time.sleep(READING_SECONDS)
    started = time.monotonic()
    decide(run_id)
    until("Production", lambda: stage_of(stack.mlflow.url, model, version) == "Production", 0.1)
    seconds = time.monotonic() - started
    until("the end", lambda: stack.api.run("doors", run_id).state == "success")
    return seconds


def rolled_back(stack: Stack, version: int) -> float:
    """Return the seconds from the form of a rollback to Production."""
    registry = ModelRegistry(tracking_uri=stack.mlflow.url)
    started = time.monotonic()
    run_id = stack.api.trigger(ROLLBACK, {"reason": "measured", "version": version})
    until("Production", lambda: registry.production(MODEL).version == version, 0.1)
    seconds = time.monotonic() - started
    until("the end", lambda: stack.api.run(ROLLBACK, run_id).state == "success")
    return seconds


def costs(stack: Stack, waits: int, minutes: float) -> None:
    """Measure what waiting approvals cost."""
    until("waits known", lambda: stack.api.dag("waits"))
    print(
        f"{'waiting':>8} {'triggerer MB':>13} {'CPU':>6} {'MLflow requests/min':>20} {'Airflow API requests/min':>25}"
    )
    waiting = 0
    for wanted in (0, 1, waits):
        runs = []
        while waiting < wanted:
            waiting += 1
            version = add_version(stack.mlflow.url, f"wait-{waiting}", stage="Staging")
            runs.append(stack.api.trigger("waits", {"model": f"wait-{waiting}", "version": version}))
        for run_id in runs:
            until("the wait", lambda run_id=run_id: stack.api.task("waits", run_id, APPROVAL).state == "deferred")
        time.sleep(30)
        before, cpu, started = requests(stack), triggerer(stack)[1], time.monotonic()
        time.sleep(minutes * 60)
        passed = time.monotonic() - started
        memory, spent = triggerer(stack)
        mlflow, airflow = ((after - known) / passed * 60 for after, known in zip(requests(stack), before, strict=True))
        busy = (spent - cpu) / passed
        print(f"{waiting:7} {memory / 1e6:13.0f} {busy:6.1%} {mlflow:20.1f} {airflow:25.1f}", flush=True)


def requests(stack: Stack) -> tuple[int, int]:
    """Return how many requests MLflow and Airflow's API server have logged; nobody else asks here meanwhile."""
    logs = stack.processes.log_dir
    return tuple((logs / f"{name}.log").read_text(errors="replace").count("HTTP/1.1") for name in
                 ("mlflow", "airflow-api-server"))  # type: ignore[return-value] # fmt: skip


def triggerer(stack: Stack) -> tuple[int, float]:
    """Return memory in bytes (proportional set size) and seconds of CPU of the triggerer and its children."""
    leader = psutil.Process(stack.processes.servers["airflow-triggerer"].process.pid)
    family = [leader, *leader.children(recursive=True)]
    times = [process.cpu_times() for process in family]
    return sum(process.memory_full_info().pss for process in family), sum(time.user + time.system for time in times)


def until(what: str, ask: Callable[[], object], pause: float = 0.5) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ask():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {PATIENCE_SECONDS:.0f} s")
        time.sleep(pause)


def show(what: str, seconds: list[float]) -> None:
    print(
        f"{what:42} median {statistics.median(seconds):5.1f} s of {len(seconds)},"
        f" {min(seconds):.1f} to {max(seconds):.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
