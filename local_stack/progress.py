"""What a person sees while a retrain runs: one line per change, and on a terminal one that ticks."""

import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

from local_stack.airflow_api import WAITING, AirflowApi, RunState, TaskState

_WORDS = {
    "success": "done",
    "failed": "FAILED",
    "skipped": "skipped",
    "upstream_failed": "not run: something before it failed",
    "up_for_retry": "failed, will be tried again",
    "running": "running",
    "restarting": "starting again",
}
# States between two that matter; a line for each would bury the rest.
_SILENT = frozenset({None, "scheduled", "queued", "removed"})


class Outcome(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    WAITING = "waiting"
    SUCCESS = "success"
    FAILED = "failed"


def duration(seconds: float) -> str:
    """Return a duration as people read it: ``42 s``, ``3:07``, ``1:02:03``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Printer:
    """Prints lines; on a terminal it keeps one more line at the bottom that is rewritten.

    :param stream: where to; standard output by default
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._shown = ""
        self._start = time.monotonic()

    def line(self, text: str = "") -> None:
        """Print a line for good."""
        self.status("")
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def step(self, text: str) -> None:
        """Print a line with the time since the start."""
        self.line(f"{duration(time.monotonic() - self._start):>7}  {text}")

    def status(self, text: str) -> None:
        """Show what goes on now; on anything but a terminal this does nothing."""
        if self._live and text != self._shown:
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()
            self._shown = text


@dataclass
class RunProgress:
    """Follows one run and prints the changes of its tasks.

    :param approval_task: the task that waits for a person
    """

    api: AirflowApi
    dag_id: str
    run_id: str
    printer: Printer
    approval_task: str
    tasks: dict[str, TaskState] = field(default_factory=dict)
    run: RunState | None = None

    def update(self) -> Outcome:
        """Ask Airflow, print what changed, and return where the run stands."""
        # The run first: tasks that change in between are then newer than the run, never older.
        self.run = self.api.run(self.dag_id, self.run_id)
        for task in sorted(self.api.tasks(self.dag_id, self.run_id), key=_order):
            before = self.tasks.get(task.task_id)
            self.tasks[task.task_id] = task
            if before is None or (before.state, before.try_number) != (task.state, task.try_number):
                self._print(task)
        self.printer.status(self._ticker())
        if self.run.state in ("success", "failed"):
            return Outcome(self.run.state)
        waiting = self.tasks.get(self.approval_task)
        return Outcome.WAITING if waiting and waiting.state in WAITING else Outcome.RUNNING

    def failures(self) -> list[TaskState]:
        """Return the failed tasks, the first to fail first."""
        failed = [task for task in self.tasks.values() if task.state == "failed"]
        return sorted(failed, key=lambda task: task.ended or datetime.now(UTC))

    def _print(self, task: TaskState) -> None:
        if task.state in _SILENT:
            return
        words = _WORDS.get(task.state or "", (task.state or "").replace("_", " "))
        if task.state in WAITING:
            words = "waits for a person" if task.task_id == self.approval_task else "waits"
        elif task.state in ("success", "failed", "up_for_retry") and task.started and task.ended:
            words += f" after {duration((task.ended - task.started).total_seconds())}"
        if task.state == "running" and task.try_number > 1:
            # A task that was interrupted with its stack starts again without using up one of its retries.
            words += f" (attempt {task.try_number} of {max(task.try_number, task.max_tries + 1)})"
        if task.state in ("failed", "up_for_retry"):
            words += f": {self.api.error_of(self.dag_id, self.run_id, task)}"
        self.printer.step(f"{task.task_id:<16} {words}")

    def _ticker(self) -> str:
        now = datetime.now(UTC)
        running = [task for task in self.tasks.values() if task.state == "running" and task.started]
        return ", ".join(
            f"{task.task_id} {duration((now - task.started).total_seconds())}" for task in running if task.started
        )


def _order(task: TaskState) -> tuple[bool, str, str]:
    """Tasks that started come first, in the order in which they did."""
    return task.started is None, task.started.isoformat() if task.started else "", task.task_id
