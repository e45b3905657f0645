"""The operator that runs one step of a model's pipeline as a local process."""

import os
import sys
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.ledger.keys import KEY_ENV
from model_registry.hooks import CONNECTION_VARIABLES
from model_registry.steps.contract import DATA_VARIABLES, StepOutput, StepTask
from model_registry.steps.processes import ChildProcess

PROJECT_ROOT = Path(__file__).resolve().parents[3]

# Airflow's own settings hold its secrets (database, keys, connections): a step needs none of them.
_PRIVATE_PREFIXES = ("AIRFLOW", "_AIRFLOW", KEY_ENV)
"""What a step is not given: Airflow's secrets, and the key of the promotion ledger."""


class PipelineStepOperator(StepTask):
    """Run ``python -m MODULE STEP...`` as a local process.

    The step finds its input in the environment: the worker's (without Airflow's own settings), the MLflow
    server of ``mlflow_conn_id``, the data registry of ``data_conn_id``, and ``env``. Its stderr goes to
    the task's log line by line; the last line of its stdout, one JSON object, is the XCom. Exit codes 2
    (bad input) and 3 (gate failed) fail the task without a retry, any other may be retried.

    :param python: interpreter; by default the one that runs Airflow
    :param cwd: working directory, which also comes first on the step's ``PYTHONPATH``; by default the folder
        that holds ``plugins/`` and ``include/``
    :param kwargs: of ``StepTask``
    """

    def __init__(self, *, python: str | None = None, cwd: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.python = python
        self.cwd = cwd
        self._child: ChildProcess | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step and return its result."""
        cwd = Path(self.cwd) if self.cwd else PROJECT_ROOT
        command = [self.python or sys.executable, "-m", self.module, *self.step]
        self.log.info("Running %s in %s", " ".join(command), cwd)
        output = StepOutput(self.log, self.step[0])
        self._child = ChildProcess(command, environment=self._environment(cwd), cwd=cwd)
        code = self._child.run(output.stdout, output.stderr)
        return self.result(context, output, code)

    def on_kill(self) -> None:
        """End the step and everything it started."""
        if self._child is not None:
            self.log.warning("Ending the step %s", self.step[0])
            self._child.terminate()

    def _environment(self, cwd: Path) -> dict[str, str]:
        own = self.own_environment()
        # a connection that names an address replaces the worker's login too: it is not for that address
        replaced = (*CONNECTION_VARIABLES, *OF_ANOTHER_RUN, *(DATA_VARIABLES if DATA_VARIABLES[0] in own else ()))
        inherited = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(_PRIVATE_PREFIXES) and name not in replaced
        }
        path = os.pathsep.join(filter(None, [str(cwd), inherited.get("PYTHONPATH")]))
        return {**inherited, "PYTHONPATH": path, **own}

    def why(self, code: int, sentence: str) -> str:
        """Return why the step failed: what it said, or the signal that ended it."""
        if code < 0 and not sentence:
            return f"it was ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        return super().why(code, sentence)
