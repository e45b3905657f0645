"""The operator that runs one step of a model's pipeline as a local process."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context

from include.lifecycle.config import NotificationConfig
from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.keys import KEY_ENV
from model_registry.contract import (
    GATE_FAILED,
    StepOutput,
    data_environment,
    step_failure,
    step_words,
    typed_environment,
)
from model_registry.hooks import CONNECTION_VARIABLES, MLflowRegistryHook
from model_registry.notifications import Notifications
from model_registry.processes import ChildProcess

PROJECT_ROOT = Path(__file__).resolve().parents[2]

# Airflow's own settings hold its secrets (database, keys, connections): a step needs none of them.
_PRIVATE_PREFIXES = ("AIRFLOW", "_AIRFLOW", KEY_ENV)
"""What a step is not given: Airflow's secrets, and the key of the promotion ledger."""


class PipelineStepOperator(BaseOperator):
    """Run ``python -m MODULE STEP...`` as a local process.

    The step finds its input in the environment: the worker's (without Airflow's own settings), the MLflow
    server of ``mlflow_conn_id``, the data registry of ``data_conn_id``, and ``env``. Its stderr goes to
    the task's log line by line; the last line of its stdout, one JSON object, is the XCom. Exit codes 2
    (bad input) and 3 (gate failed) fail the task without a retry, any other may be retried.

    :param step: the arguments, constants of the DAG's author, e.g. ``["train", "--booster", "xgboost"]``
    :param env: environment variables of the step (templated); the only way for what a user typed
    :param module: the module that is run with ``python -m``
    :param python: interpreter; by default the one that runs Airflow
    :param cwd: working directory, which also comes first on the step's ``PYTHONPATH``; by default the folder
        that holds ``plugins/`` and ``include/``
    :param mlflow_conn_id: connection of the MLflow server
    :param data_conn_id: connection of the data registry; one that does not exist is left out. Its host is
        the git URL, login and password are those of git, and ``{"env": {...}}`` in its extra holds the
        variables of the DVC remote
    """

    template_fields: Sequence[str] = ("env",)
    template_fields_renderers = {"env": "json"}  # noqa: RUF012 -- Airflow reads it from the class
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        step: Sequence[str],
        env: Mapping[str, str] | None = None,
        module: str = "include.rossmann",
        python: str | None = None,
        cwd: str | None = None,
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        data_conn_id: str | None = None,
        notifications: Sequence[NotificationConfig] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step_words(self.task_id, step, module)
        self.env = dict(env or {})
        self.module = module
        self.python = python
        self.cwd = cwd
        self.mlflow_conn_id = mlflow_conn_id
        self.data_conn_id = data_conn_id
        self.notifications = Notifications(notifications, self.task_id)
        self._child: ChildProcess | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step and return its result."""
        cwd = Path(self.cwd) if self.cwd else PROJECT_ROOT
        command = [self.python or sys.executable, "-m", self.module, *self.step]
        self.log.info("Running %s in %s", " ".join(command), cwd)
        output = StepOutput(self.log, self.step[0])
        self._child = ChildProcess(command, environment=self._environment(cwd), cwd=cwd)
        code = self._child.run(output.stdout, output.stderr)
        if code in (0, GATE_FAILED):
            output.record(context, self.mlflow_conn_id, self.notifications)
        if code == 0:
            return output.result()
        raise self._failure(code, output.sentence)

    def on_kill(self) -> None:
        """End the step and everything it started."""
        if self._child is not None:
            self.log.warning("Ending the step %s", self.step[0])
            self._child.terminate()

    def _environment(self, cwd: Path) -> dict[str, str]:
        inherited = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(_PRIVATE_PREFIXES) and name not in (*CONNECTION_VARIABLES, *OF_ANOTHER_RUN)
        }
        path = os.pathsep.join(filter(None, [str(cwd), inherited.get("PYTHONPATH")]))
        return {
            **inherited,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            **MLflowRegistryHook(self.mlflow_conn_id).environment(),
            **data_environment(self.data_conn_id),
            **typed_environment(self.step[0], self.env),
        }

    def _failure(self, code: int, sentence: str) -> Exception:
        said = sentence or f"it ended with exit code {code} and said nothing"
        if code < 0:
            said = sentence or f"it was ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        return step_failure(self.step[0], said, code)
