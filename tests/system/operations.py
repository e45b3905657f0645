"""What an operator does and sees: runs, tasks, sentences in logs, stages in the registry, the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml
from mlflow import MlflowClient
from servers import handed_over, until

from include.lifecycle.ledger.events import Event
from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.airflow_api import WAITING, TaskState
from local_stack.stack import APPROVAL_TASK, DAG_ID, PROJECT, Stack

MODEL = "rossmann-ensemble"
WAIT_SECONDS = 900.0
SEEN: list[str] = []
"""What the operator saw, for the end of the tests' output."""
FIRST_REASON = "Holdout error <b>well</b> below the gate, weights plausible"


class Configuration:
    """The configuration file that the servers under test read; tasks started after a change see it.

    :param path: where it lies (RETRAIN_CONFIG)
    :param content: what it holds at first
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self._write(content)

    def _write(self, content: Mapping[str, Any]) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(yaml.safe_dump(dict(content)))
        partial.replace(self.path)

    def change(self, section: str, field: str, **values: Any) -> None:
        """Change values of ``section.field`` until ``restore``."""
        content = json.loads(json.dumps(self.content))
        content[section][field] |= values
        self._write(content)

    def restore(self) -> None:
        self._write(self.content)


class Operations:
    """An operator of the stack under test.

    :param stack: the started stack
    :param config: the configuration it reads
    :param seen: collects what the operator saw, a line for each case
    """

    def __init__(self, stack: Stack, config: Configuration, seen: list[str]) -> None:
        self.stack, self.config, self.seen = stack, config, seen
        self.api = stack.api
        self.registry = MlflowClient(stack.mlflow.url)

    # Airflow

    def trigger(self, **conf: Any) -> str:
        self.api.unpause(DAG_ID)
        return self.api.trigger(DAG_ID, {"quick": True, **conf})

    def task(self, run_id: str, task_id: str, dag_id: str = DAG_ID) -> TaskState:
        return self.api.task(dag_id, run_id, task_id)

    def states(self, run_id: str, dag_id: str = DAG_ID) -> dict[str, str | None]:
        return {task.task_id: task.state for task in self.api.tasks(dag_id, run_id)}

    def wait(self, what: str, ask: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        """Ask until the answer is true; servers that end meanwhile end the wait."""
        return until(self.stack.processes, what, ask, seconds)

    def until_task(self, run_id: str, task_id: str, states: Iterable[str], dag_id: str = DAG_ID) -> TaskState:
        """Wait until a task is in one of the states; a run that fails before ends the wait with the reason."""
        wanted = frozenset(states)

        def ask() -> TaskState | None:
            task = self.task(run_id, task_id, dag_id)
            if task.state in wanted:
                return task
            run = self.api.run(dag_id, run_id)
            assert run.state in ("queued", "running"), f"{run_id} is {run.state}: {self.why(run_id, dag_id)}"
            return None

        return self.wait(f"{task_id} of {run_id} in {sorted(wanted)}", ask)

    def until_waiting(self, run_id: str, dag_id: str = DAG_ID) -> None:
        """Wait until the run waits for a person."""
        task = self.until_task(run_id, APPROVAL_TASK, WAITING, dag_id)
        self.wait(f"{dag_id} {run_id} has asked", lambda: handed_over(self.stack.processes, task))

    def until_end(self, run_id: str, dag_id: str = DAG_ID, seconds: float = WAIT_SECONDS) -> str:
        return self.wait(
            f"the end of {run_id}",
            lambda: state if (state := self.api.run(dag_id, run_id).state) in ("success", "failed") else "",
            seconds,
        )

    def approve(self, run_id: str, note: str) -> None:
        self.api.mark(DAG_ID, run_id, APPROVAL_TASK, "success", note)

    def sentence(self, run_id: str, task_id: str, dag_id: str = DAG_ID) -> str:
        """The one line with which a task failed."""
        return self.api.error_of(dag_id, run_id, self.task(run_id, task_id, dag_id))

    def log_text(self, run_id: str, task_id: str, try_number: int | None = None) -> str:
        number = try_number or max(self.task(run_id, task_id).try_number, 1)
        return "\n".join(str(entry["event"]) for entry in self.api.log(DAG_ID, run_id, task_id, number))

    def why(self, run_id: str, dag_id: str = DAG_ID) -> str:
        failed = [task_id for task_id, state in self.states(run_id, dag_id).items() if state == "failed"]
        return "; ".join(f"{task_id}: {self.sentence(run_id, task_id, dag_id)}" for task_id in failed)

    def saw(self, case: str, line: str) -> None:
        """Keep what the operator saw; it is one line."""
        assert "\n" not in line
        assert line.strip()
        self.seen.append(f"{case}: {line}")

    def step_process(self, *arguments: str) -> psutil.Process:
        """Wait for the process of a step, such as ``train --member xgboost``, of this stack."""

        def ask() -> psutil.Process | None:
            for process in psutil.process_iter(["cmdline", "environ"]):
                command = process.info["cmdline"] or []
                environment = process.info["environ"] or {}
                ours = environment.get("MLFLOW_TRACKING_URI") == self.stack.mlflow.url
                if ours and "include.models.rossmann" in command and command[-len(arguments) :] == list(arguments):
                    return process
            return None

        return self.wait(f"the process of {' '.join(arguments)}", ask)

    # MLflow

    def stages(self) -> dict[int, str]:
        found = self.registry.search_model_versions(f"name='{MODEL}'")
        return {int(version.version): version.current_stage for version in found}

    def production(self) -> int | None:
        live = [number for number, stage in self.stages().items() if stage == "Production"]
        assert len(live) <= 1, f"{live} are in Production at once"
        return live[0] if live else None

    def tags(self, version: int) -> dict[str, str]:
        return dict(self.registry.get_model_version(MODEL, str(version)).tags)

    def champion(self) -> int:
        return int(self.registry.get_model_version_by_alias(MODEL, "champion").version)

    def versions_of(self, run_id: str) -> list[int]:
        found = self.registry.search_model_versions(f"name='{MODEL}' and tags.`airflow.run_id`='{run_id}'")
        return [int(version.version) for version in found]

    def version_of(self, run_id: str) -> int:
        versions = self.versions_of(run_id)
        assert len(versions) == 1, f"{run_id} has the versions {versions}"
        return versions[0]

    # Command line

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **self.stack.processes.environment,
            "MLFLOW_TRACKING_URI": self.stack.mlflow.url,
            "RETRAIN_DATA_REGISTRY": str(self.stack.registry),
        }
        return subprocess.run(
            [sys.executable, "-m", "include.models.rossmann", *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def run_cli(self, *arguments: str) -> str:
        done = self.cli(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
        return done.stdout

    def predict(self, output: Path) -> int:
        """Predict with Production and return the version that the command named."""
        said = self.run_cli("predict", "--stage", "Production", "--output", os.fspath(output))
        return int(json.loads(said.strip().splitlines()[-1])["version"])

    def promotions(self) -> list[Event]:
        """The moves to Production, the oldest first."""
        return [event for event in ModelRegistry(self.registry).history(MODEL) if event.is_promotion]
