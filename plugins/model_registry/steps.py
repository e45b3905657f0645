"""The operator that runs one step of a model's pipeline as a local process."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseHook, BaseOperator, Context
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include.lifecycle.text import storable
from model_registry.exceptions import StepFailedError, StepRefusedError
from model_registry.hooks import MLflowRegistryHook
from model_registry.processes import ChildProcess

PROJECT_ROOT = Path(__file__).resolve().parents[2]

BAD_INPUT = 2
GATE_FAILED = 3
_REMEDY = {
    BAD_INPUT: "Correct what the sentence names, then clear this task.",
    GATE_FAILED: "Production stays as it was; train again with better data or parameters.",
}
_RETRY_REMEDY = "Airflow tries again if retries are left; the whole log is above."

MAX_VARIABLE = 100_000
"""Bytes of an environment variable that a step is given; Linux takes no more than 128 KiB with its name."""
_SENTENCE = "error: "
_LEVELS = {" WARNING ": "warning", " ERROR ": "error", " CRITICAL ": "error"}
# Airflow's own settings hold its secrets (database, keys, connections): a step needs none of them.
_PRIVATE_PREFIXES = ("AIRFLOW", "_AIRFLOW")


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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(step, str) or not step or not all(isinstance(word, str) and word for word in step):
            raise ValueError(f"{self.task_id}: step must be a list of words such as ['pull'], found {step!r}")
        if any("{{" in word or "{%" in word for word in step):
            raise ValueError(f"{self.task_id}: step is not templated; hand values to the step through env")
        if not module:
            raise ValueError(f"{self.task_id}: module must name a Python module")
        self.step = list(step)
        self.env = dict(env or {})
        self.module = module
        self.python = python
        self.cwd = cwd
        self.mlflow_conn_id = mlflow_conn_id
        self.data_conn_id = data_conn_id
        self._child: ChildProcess | None = None

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Run the step and return its result."""
        cwd = Path(self.cwd) if self.cwd else PROJECT_ROOT
        command = [self.python or sys.executable, "-m", self.module, *self.step]
        self.log.info("Running %s in %s", " ".join(command), cwd)
        output = _Output(self)
        self._child = ChildProcess(command, environment=self._environment(cwd), cwd=cwd)
        code = self._child.run(output.stdout, output.stderr)
        if code == 0:
            return output.result()
        raise self._failure(code, output.sentence)

    def on_kill(self) -> None:
        """End the step and everything it started."""
        if self._child is not None:
            self.log.warning("Ending the step %s", self.step[0])
            self._child.terminate()

    def _environment(self, cwd: Path) -> dict[str, str]:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(_PRIVATE_PREFIXES)}
        path = os.pathsep.join(filter(None, [str(cwd), inherited.get("PYTHONPATH")]))
        return {
            **inherited,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            **MLflowRegistryHook(self.mlflow_conn_id).environment(),
            **data_environment(self.data_conn_id),
            **{name: self._text(name, str(text)) for name, text in self.env.items() if text is not None},
        }

    def _text(self, name: str, text: str) -> str:
        """Return what somebody may have typed as a child process can be given it.

        :raises StepRefusedError: when it is longer than the kernel takes
        """
        if len(text.encode(errors="replace")) > MAX_VARIABLE:
            raise StepRefusedError(
                f"Step {self.step[0]}: {name} is longer than {MAX_VARIABLE} bytes: give a shorter text in the form"
            )
        return storable(text)

    def _failure(self, code: int, sentence: str) -> StepFailedError | StepRefusedError:
        said = sentence or f"it ended with exit code {code} and said nothing"
        if code < 0:
            said = sentence or f"it was ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        message = f"Step {self.step[0]}: {said.rstrip('.')}. {_REMEDY.get(code, _RETRY_REMEDY)}"
        return StepRefusedError(message) if code in _REMEDY else StepFailedError(message)


class _Output:
    """What a step says: its log, the sentence of its error, its result."""

    def __init__(self, operator: PipelineStepOperator) -> None:
        self._log = operator.log
        self._step = operator.step[0]
        self._last = ""
        self.sentence = ""

    def stdout(self, line: str) -> None:
        if self._last:
            self._log.info("%s", self._last)
        self._last = line

    def stderr(self, line: str) -> None:
        if line.startswith(_SENTENCE):
            self.sentence = line.removeprefix(_SENTENCE)
        level = next((level for mark, level in _LEVELS.items() if mark in line[:60]), "info")
        getattr(self._log, level)("%s", line)

    def result(self) -> dict[str, Any]:
        try:
            result = json.loads(self._last)
        except ValueError:
            result = None
        if not isinstance(result, dict):
            raise StepRefusedError(
                f"Step {self._step}: its last line of stdout must be one JSON object, found {self._last[:200]!r}."
            )
        self._log.info("Result: %s", self._last)
        return result


DATA_ENV_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_", "DVC_")
"""Environment variables that the data connection may set: those of DVC's remotes."""


def data_environment(conn_id: str | None) -> dict[str, str]:
    """Return the environment variables that lead a step to the data registry; empty without a connection.

    Every value of the connection's ``env`` and its password are masked in logs.

    :param conn_id: the connection
    :raises ValueError: names an extra or a variable that is not allowed
    """
    if not conn_id:
        return {}
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return {}
    extra = connection.extra_dejson
    if unknown := sorted(set(extra) - {"env"}):
        raise ValueError(f"connection {conn_id!r} has unknown extras {', '.join(unknown)}: known is env")
    variables = extra.get("env") or {}
    if not isinstance(variables, dict):
        raise ValueError(f"connection {conn_id!r}: extra env must be an object of environment variables")
    if refused := sorted(name for name in variables if not str(name).startswith(DATA_ENV_PREFIXES)):
        raise ValueError(
            f"connection {conn_id!r}: extra env may not set {', '.join(refused)}:"
            f" allowed are names that start with {', '.join(DATA_ENV_PREFIXES)}"
        )
    values = {str(name): str(text) for name, text in variables.items()}
    for secret in (*values.values(), connection.password):
        if secret:
            mask_secret(secret)
    host = (connection.host or "").strip()
    if host and "://" not in host and not host.startswith(("git@", "/")):
        port = f":{connection.port}" if connection.port else ""
        host = f"{connection.schema or 'https'}://{host}{port}"
    values |= {
        "RETRAIN_DATA_REGISTRY": host,
        "RETRAIN_GIT_USERNAME": connection.login or "",
        "RETRAIN_GIT_PASSWORD": connection.password or "",
    }
    return {name: text for name, text in values.items() if text}
