"""What ``make run`` does once the servers are up: retrain, show progress, wait for a person or be one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from include.local_stack.airflow_api import RunState, TaskState
from include.local_stack.errors import ApiError, RunFailedError
from include.local_stack.progress import Outcome, RunProgress
from include.local_stack.stack import APPROVAL_TASK, DAG_ID, Stack

PREDICTIONS = "predictions.csv"
_NOTE = "Approved by make run APPROVE=1"
# An API server that is busy for a while is no reason to stop; one that stays away is.
_PATIENCE_SECONDS = 90.0
Answer = TypeVar("Answer")


class Session:
    """One ``make run``.

    :param stack: the started stack
    :param quick: value of the form's quick switch for a new run
    """

    def __init__(self, stack: Stack, *, quick: bool = False) -> None:
        self.stack = stack
        self.quick = quick
        self.printer = stack.printer
        self._silent_since: float | None = None

    def approve_and_predict(self) -> Path:
        """Retrain, approve as a person does, wait for Production and predict.

        :return: the file with the predictions
        :raises RunFailedError: names the task, its error and its log
        """
        progress = self._begin()
        self._follow(progress, lambda outcome: outcome is not Outcome.RUNNING)
        if progress.tasks and self._waits(progress):
            self.printer.step(f"Approving: marking {APPROVAL_TASK} success, as a person does in the UI")
            self.stack.api.mark(DAG_ID, progress.run_id, APPROVAL_TASK, "success", _NOTE)
            self._follow(progress, lambda outcome: outcome in (Outcome.SUCCESS, Outcome.FAILED))
        self._require_success(progress)
        output = self.stack.processes.state_dir / PREDICTIONS
        self.printer.step("Predicting with the Production version")
        said = self.stack.command("predict", "--stage", "Production", "--output", str(output))
        self.printer.line()
        for line in [*self._confirmation(progress.run_id), *_sentences(said)]:
            self.printer.line(line)
        return output

    def watch(self) -> None:
        """Retrain and follow this and every later run until the process is interrupted."""
        followed: dict[str, RunProgress] = {}
        told: dict[str, Outcome] = {}
        first = self._begin()
        followed[first.run_id] = first
        while True:
            self.stack.processes.check()
            nothing: list[RunState] = []
            for run in self._patiently(self._active, nothing):
                if run.run_id not in followed:
                    self.printer.line(f"\nAirflow started another run: {run.run_id}")
                    followed[run.run_id] = self._progress(run.run_id)
            for progress in list(followed.values()):
                outcome = self._patiently(progress.update, Outcome.RUNNING)
                if outcome is not told.get(progress.run_id):
                    told[progress.run_id] = outcome
                    self._tell(progress, outcome)
                if outcome in (Outcome.SUCCESS, Outcome.FAILED):
                    # Kept by name so that its last state is not told twice; asked no more.
                    del followed[progress.run_id]
            time.sleep(2)

    def _begin(self) -> RunProgress:
        run_id, new = self.stack.start_retrain(quick=self.quick)
        if new:
            self.printer.step(f"Started the retrain {run_id}")
        else:
            self.printer.step(f"No new retrain: going on with {run_id}, which is under way or waits for a decision")
        self.printer.line(f"         {self.stack.api.run_url(DAG_ID, run_id)}")
        return self._progress(run_id)

    def _progress(self, run_id: str) -> RunProgress:
        return RunProgress(self.stack.api, DAG_ID, run_id, self.printer, APPROVAL_TASK)

    def _active(self) -> list[RunState]:
        return self.stack.api.active_runs(DAG_ID)

    def _patiently(self, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
        try:
            answer = ask()
        except ApiError:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            if now - self._silent_since > _PATIENCE_SECONDS:
                raise
            return otherwise
        self._silent_since = None
        return answer

    def _follow(self, progress: RunProgress, until: Callable[[Outcome], bool]) -> Outcome:
        while True:
            self.stack.processes.check()
            outcome = self._patiently(progress.update, Outcome.RUNNING)
            if until(outcome):
                self.printer.status("")
                return outcome
            time.sleep(2)

    def _waits(self, progress: RunProgress) -> bool:
        return progress.tasks[APPROVAL_TASK].state not in ("success", "failed", "skipped", "upstream_failed")

    def _require_success(self, progress: RunProgress) -> None:
        failures = progress.failures()
        promoted = progress.tasks.get("promote")
        if progress.run and progress.run.state == "success" and promoted and promoted.state == "success":
            return
        if not failures:
            raise RunFailedError(f"the run {progress.run_id} ended without a promotion: see {self._url(progress)}")
        raise RunFailedError(self._reason(progress.run_id, failures[0]))

    def _reason(self, run_id: str, task: TaskState) -> str:
        error = self.stack.api.error_of(DAG_ID, run_id, task)
        return f"the task {task.task_id} failed: {error}\nLog: {self._log(run_id, task)}"

    def _log(self, run_id: str, task: TaskState) -> Path:
        folder = self.stack.airflow.logs / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={task.task_id}"
        return folder / f"attempt={max(task.try_number, 1)}.log"

    def _url(self, progress: RunProgress) -> str:
        return self.stack.api.run_url(DAG_ID, progress.run_id)

    def _confirmation(self, run_id: str) -> list[str]:
        """Return what ``promote`` said, such as "Model version 7 is now in Production"."""
        task = self.stack.api.task(DAG_ID, run_id, "promote")
        entries = self.stack.api.log(DAG_ID, run_id, "promote", max(task.try_number, 1))
        said = [str(entry["event"]).strip() for entry in entries]
        return [line for line in said if line.startswith(("Model version", "Previous Production"))]

    def _tell(self, progress: RunProgress, outcome: Outcome) -> None:
        if outcome is Outcome.WAITING:
            for line in how_to_approve(self.stack.airflow.url, progress.run_id):
                self.printer.line(line)
        elif outcome is Outcome.SUCCESS:
            self.printer.line()
            for line in self._confirmation(progress.run_id) or [f"The run {progress.run_id} succeeded"]:
                self.printer.line(line)
            self.printer.line("Both servers keep running; Ctrl-C stops them.")
        elif outcome is Outcome.FAILED:
            self.printer.line()
            self.printer.line(f"The run {progress.run_id} failed; Production is as it was.")
            for task in progress.failures()[:1]:
                self.printer.line(self._reason(progress.run_id, task))
            self.printer.line(f"Look at it, clear the task to try again: {self._url(progress)}")


def _sentences(output: str) -> list[str]:
    """Return the lines for people among what a command printed; its last line may be JSON for programs."""
    return [line for line in output.splitlines() if line.strip() and not line.lstrip().startswith("{")]


def how_to_approve(airflow_url: str, run_id: str) -> list[str]:
    """Return what to click to approve a waiting run, in the words of Airflow's UI.

    :param airflow_url: address of Airflow
    :param run_id: the run
    """
    task = f"{airflow_url}/dags/{DAG_ID}/runs/{quote(run_id)}/tasks/{APPROVAL_TASK}"
    return [
        "",
        "A new version is in Staging and waits for your decision. Open the task in Airflow:",
        f"    {task}",
        "and there either",
        "  * tab Required Action: read the figures, write a reason, click Approve or Reject; or",
        '  * top right, "Mark Task Instance as..." (the two ticks): Success, open Note, write why, click Confirm.',
        "Promotion to Production follows by itself. Ctrl-C stops the servers; the version keeps waiting, and the",
        "next `make run` goes on here.",
        "",
    ]
