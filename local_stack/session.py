"""What ``make run`` does once the servers are up: retrain, show progress, wait for a person or be one."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from local_stack.airflow_api import RunState, TaskState
from local_stack.errors import ApiError, RunFailedError
from local_stack.progress import Outcome, RunProgress
from local_stack.stack import APPROVAL_TASK, Stack

PREDICTIONS = "predictions.csv"
_NOTE = "Approved by make run APPROVE=1"
# An API server that is busy for a while is no reason to stop; one that stays away is.
_PATIENCE_SECONDS = 90.0
Answer = TypeVar("Answer")


class Session:
    """One ``make run``."""

    def __init__(self, stack: Stack, *, quick: bool = False) -> None:
        self.stack = stack
        self.quick = quick
        self.printer = stack.printer
        self._silent_since: float | None = None

    def approve_and_predict(self) -> list[Path]:
        """Retrain each model, approve as a person does, wait for Production and predict.

        :return: the files with the predictions
        :raises RunFailedError: names the task, its error and its log
        """
        begun = {name: self._begin(f"{name}_retrain") for name in self.stack.settings.models}
        return [self._approve_and_predict(name, progress) for name, progress in begun.items()]

    def _approve_and_predict(self, model: str, progress: RunProgress) -> Path:
        self._follow(progress, lambda outcome: outcome is not Outcome.RUNNING)
        if progress.tasks and self._waits(progress):
            self.printer.step(f"Approving: marking {APPROVAL_TASK} success, as a person does in the UI")
            self.stack.api.mark(progress.dag_id, progress.run_id, APPROVAL_TASK, "success", _NOTE)
            self._follow(progress, lambda outcome: outcome in (Outcome.SUCCESS, Outcome.FAILED))
        self._require_success(progress)
        first = model == self.stack.settings.models[0]
        output = self.stack.processes.state_dir / (PREDICTIONS if first else f"{model}-{PREDICTIONS}")
        self.printer.step("Predicting with the Production version")
        said = self.stack.command("predict", "--stage", "Production", "--output", str(output), model=model)
        self.printer.line()
        for line in [*self._confirmation(progress), *_sentences(said)]:
            self.printer.line(line)
        return output

    def watch(self) -> None:
        """Retrain and follow this and every later run until the process is interrupted."""
        followed: dict[tuple[str, str], RunProgress] = {}
        told: dict[tuple[str, str], Outcome] = {}
        for dag_id in self.stack.settings.dag_ids:
            first = self._begin(dag_id)
            followed[dag_id, first.run_id] = first
        while True:
            self.stack.processes.check()
            nothing: list[RunState] = []
            for dag_id in self.stack.settings.dag_ids:
                for run in self._patiently(partial(self.stack.api.active_runs, dag_id), nothing):
                    if (dag_id, run.run_id) not in followed:
                        self.printer.line(f"\nAirflow started another run of {dag_id}: {run.run_id}")
                        followed[dag_id, run.run_id] = self._progress(dag_id, run.run_id)
            for key, progress in list(followed.items()):
                outcome = self._patiently(progress.update, Outcome.RUNNING)
                if outcome is not told.get(key):
                    told[key] = outcome
                    self._tell(progress, outcome)
                if outcome in (Outcome.SUCCESS, Outcome.FAILED):
                    # Kept by name so that its last state is not told twice; asked no more.
                    del followed[key]
            time.sleep(2)

    def _begin(self, dag_id: str) -> RunProgress:
        run_id, new = self.stack.start_retrain(dag_id, quick=self.quick)
        if new:
            self.printer.step(f"Started the retrain {run_id} of {dag_id}")
        else:
            self.printer.step(f"No new retrain: going on with {run_id}, which is under way or waits for a decision")
        self.printer.line(f"         {self.stack.api.run_url(dag_id, run_id)}")
        return self._progress(dag_id, run_id)

    def _progress(self, dag_id: str, run_id: str) -> RunProgress:
        return RunProgress(self.stack.api, dag_id, run_id, self.printer, APPROVAL_TASK)

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
        raise RunFailedError(self._reason(progress, failures[0]))

    def _reason(self, progress: RunProgress, task: TaskState) -> str:
        error = self.stack.api.error_of(progress.dag_id, progress.run_id, task)
        run = self.stack.airflow.logs / f"dag_id={progress.dag_id}" / f"run_id={progress.run_id}"
        log = run / f"task_id={task.task_id}" / f"attempt={max(task.try_number, 1)}.log"
        return f"the task {task.task_id} failed: {error}\nLog: {log}"

    def _url(self, progress: RunProgress) -> str:
        return self.stack.api.run_url(progress.dag_id, progress.run_id)

    def _confirmation(self, progress: RunProgress) -> list[str]:
        """Return what ``promote`` said, such as "Model version 7 is now in Production"."""
        task = self.stack.api.task(progress.dag_id, progress.run_id, "promote")
        entries = self.stack.api.log(progress.dag_id, progress.run_id, "promote", max(task.try_number, 1))
        said = [str(entry["event"]).strip() for entry in entries]
        return [line for line in said if line.startswith(("Model version", "Previous Production"))]

    def _tell(self, progress: RunProgress, outcome: Outcome) -> None:
        if outcome is Outcome.WAITING:
            for line in how_to_approve(self.stack.airflow.url, progress.dag_id, progress.run_id):
                self.printer.line(line)
        elif outcome is Outcome.SUCCESS:
            self.printer.line()
            for line in self._confirmation(progress) or [f"The run {progress.run_id} succeeded"]:
                self.printer.line(line)
            self.printer.line("Both servers keep running; Ctrl-C stops them.")
        elif outcome is Outcome.FAILED:
            self.printer.line()
            self.printer.line(f"The run {progress.run_id} failed; Production is as it was.")
            for task in progress.failures()[:1]:
                self.printer.line(self._reason(progress, task))
            self.printer.line(f"Look at it, clear the task to try again: {self._url(progress)}")


def _sentences(output: str) -> list[str]:
    """Return the lines for people among what a command printed; its last line may be JSON for programs."""
    return [line for line in output.splitlines() if line.strip() and not line.lstrip().startswith("{")]


def how_to_approve(airflow_url: str, dag_id: str, run_id: str) -> list[str]:
    """Return what to click to approve a waiting run, in the words of Airflow's UI."""
    task = f"{airflow_url}/dags/{dag_id}/runs/{quote(run_id)}/tasks/{APPROVAL_TASK}"
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
