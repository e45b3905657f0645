"""What every step of a pipeline agrees on with the task that runs it, in whatever way that is.

A step is one command. It finds its input in arguments that are constants and in its environment, says what it does on
stderr, and prints its result, one JSON object, as the last line of stdout. Exit code 2 tells bad input and 3 a gate
that was not passed: running it again would find the same. Any other failure may be tried again.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include.lifecycle.config import Occasion
from include.lifecycle.reviewed import Reviewed
from include.lifecycle.statements import IN_AIRFLOW_ENV, Validation
from include.lifecycle.tags import FAILED, PASSED
from include.lifecycle.text import one_line, storable
from model_registry.addresses import extras, http_address
from model_registry.exceptions import StepFailedError, StepRefusedError, told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.monitoring import Found, announce
from model_registry.notifications import Notifications

if TYPE_CHECKING:
    from airflow.sdk import Connection

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


def step_words(task_id: str, step: Sequence[str], module: str) -> list[str]:
    """Check a step's arguments, which the DAG's author gave.

    :raises ValueError: when they are no list of constant words, or there is no module
    """
    if isinstance(step, str) or not step or not all(isinstance(word, str) and word for word in step):
        raise ValueError(f"{task_id}: step must be a list of words such as ['pull'], found {step!r}")
    if any("{{" in word or "{%" in word for word in step):
        raise ValueError(f"{task_id}: step is not templated; hand values to the step through env")
    if not module:
        raise ValueError(f"{task_id}: module must name a Python module")
    return list(step)


def typed_environment(step: str, env: Mapping[str, Any]) -> dict[str, str]:
    """Return what somebody may have typed as the environment of another process can hold it.

    :param step: name of the step, for the sentence
    :param env: variables; those that are None are left out
    :raises StepRefusedError: when one is longer than the kernel takes
    """
    typed = {name: str(text) for name, text in env.items() if text is not None}
    for name, text in typed.items():
        if len(text.encode(errors="replace")) > MAX_VARIABLE:
            raise StepRefusedError(
                f"Step {step}: {name} is longer than {MAX_VARIABLE} bytes: give a shorter text in the form"
            )
    return {**{name: storable(text) for name, text in typed.items()}, IN_AIRFLOW_ENV: "1"}


def step_failure(step: str, said: str, code: int | None = None) -> StepFailedError | StepRefusedError:
    """Return the error of a step that failed: what it said, and what to do.

    :param step: name of the step
    :param said: one sentence
    :param code: its exit code, where it had one
    """
    message = f"Step {step}: {said.rstrip('.')}. {_REMEDY.get(code or 0, _RETRY_REMEDY)}"
    return StepRefusedError(message) if code in _REMEDY else StepFailedError(message)


class StepOutput:
    """What a step says: its log, the sentence of its error, its result.

    :param log: the task's log
    :param step: name of the step
    """

    def __init__(self, log: Any, step: str) -> None:
        self._log = log
        self._step = step
        self._last = ""
        self.sentence = ""

    def record(self, context: Context, mlflow_conn_id: str, notifications: Notifications) -> None:
        """Enter in the promotion ledger what the step's gate or review said, where its result tells.

        The step has no key to the ledger. A version that its review holds back goes from Staging to None.

        :param context: context of the task that ran the step
        :param mlflow_conn_id: connection of the MLflow server
        :param notifications: are told of what did not pass
        """
        result = self._parsed() or {}
        for kind, read in (("validation", _validation), ("review", _review)):
            if (said := result.get(kind)) is not None:
                statement = self._record(kind, read, said, context, mlflow_conn_id)
                _tell(notifications, context, statement, mlflow_conn_id)
        if (night := result.get("monitor")) is not None:
            try:
                found = Found.of(night)
            except ValueError as error:
                raise StepRefusedError(f"Step {self._step}: {error}") from error
            announce(context, found, notifications, mlflow_conn_id)

    def _record(
        self,
        kind: str,
        read: Callable[[object, str, str], Validation | Reviewed],
        said: object,
        context: Context,
        mlflow_conn_id: str,
    ) -> Validation | Reviewed:
        ti = context["ti"]
        try:
            statement = read(said, ti.dag_id, ti.run_id)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            sentence = one_line(str(error))
            raise StepRefusedError(f"Step {self._step}: its result holds no {kind}: {sentence}") from error
        with told_to_airflow(), MLflowRegistryHook(mlflow_conn_id).registry() as registry:
            if isinstance(statement, Validation):
                registry.validated(statement)
            elif (moved := registry.reviewed(statement)) is not None:
                self._log.warning("Version %d went back to %s: %s", moved.version, moved.to_stage, moved.event.reason)
        return statement

    def stdout(self, line: str) -> None:
        """Take a line of stdout; the last one is the result."""
        if self._last:
            self._log.info("%s", self._last)
        self._last = line

    def stderr(self, line: str) -> None:
        """Take a line of stderr and log it at its own level."""
        if line.startswith(_SENTENCE):
            self.sentence = line.removeprefix(_SENTENCE)
        level = next((level for mark, level in _LEVELS.items() if mark in f" {line[:60]}"), "info")
        getattr(self._log, level)("%s", line)

    def result(self) -> dict[str, Any]:
        """Return the result.

        :raises StepRefusedError: when the last line of stdout is no JSON object
        """
        result = self._parsed()
        if result is None:
            raise StepRefusedError(
                f"Step {self._step}: its last line of stdout must be one JSON object, found {self._last[:200]!r}."
            )
        self._log.info("Result: %s", self._last)
        return result

    def _parsed(self) -> dict[str, Any] | None:
        try:
            result = json.loads(self._last)
        except ValueError:
            return None
        return result if isinstance(result, dict) else None


def _tell(
    notifications: Notifications, context: Context, statement: Validation | Reviewed, mlflow_conn_id: str
) -> None:
    """Tell people of a version that did not pass."""
    event: Occasion
    if isinstance(statement, Validation):
        event, passed, why = "gate_failed", statement.passed, "; ".join(statement.failed)
    else:
        event, passed, why = "held_back", not statement.failed, ", ".join(statement.titles("fail"))
    if not passed:
        url = MLflowRegistryHook(mlflow_conn_id).version_url(statement.model, statement.version)
        notifications.send(context, event, statement.model, statement.version, reason=why, url=url)


def _review(said: object, dag_id: str, run_id: str) -> Reviewed:
    """Return what a result says of a version's review, checked like a validation."""
    review = Reviewed.from_dict(_fields(Reviewed, said, dag_id, run_id))
    if not review.model or review.version < 1:
        raise ValueError("model and version should name a version")
    return review


def _fields(kind: type[Validation | Reviewed], said: object, dag_id: str, run_id: str) -> dict[str, Any]:
    """Return the fields of a statement, each checked: the ledger keeps it for good, and has to be readable.

    :raises ValueError: names the fields that are not what they should be
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(said, Mapping):
        raise TypeError(f"it should be an object, found {said!r}")
    fields = {**said, "dag_id": dag_id, "run_id": run_id}
    try:
        TypeAdapter(kind).validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())) from error
    return fields


def _validation(said: object, dag_id: str, run_id: str) -> Validation:
    """Return what a result says of a version, each field checked.

    :raises ValueError: names the fields that are not what they should be
    """
    validation = Validation.from_dict(_fields(Validation, said, dag_id, run_id))
    if not validation.model or validation.version < 1 or validation.outcome not in (PASSED, FAILED):
        raise ValueError(f"model, version and outcome should name a version and {PASSED} or {FAILED}")
    return validation


def _git_address(connection: "Connection") -> str:
    """Return the git URL or folder that a connection names, empty when it names none.

    :raises ValueError: names the connection, and what is wrong with it
    """
    host, schema = (connection.host or "").strip(), (connection.schema or "").strip("/")
    if "://" in host or host.startswith(("git@", "/")):
        return host
    if connection.conn_type == "file" and not host:
        return f"/{schema}" if schema else ""
    if connection.conn_type in ("ssh", "git") and host:
        user = f"{connection.login}@" if connection.login and connection.conn_type == "ssh" else ""
        if re.match(r"[\w.-]+:[^\d/]", host):  # as git itself writes it: host:path
            return f"{user}{host}"
        name, _, path = f"{host}/{schema}".rstrip("/").partition("/")
        if not path:
            raise ValueError(f"connection {connection.conn_id!r} names no repository: its path goes behind the host")
        return f"{connection.conn_type}://{user}{name}{f':{connection.port}' if connection.port else ''}/{path}"
    return http_address(connection, "https") if host else ""


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
    extra = extras(connection)
    if unknown := sorted(set(extra) - {"env"}):
        raise ValueError(f"connection {conn_id!r} has unknown extras {', '.join(unknown)}: known is env")
    variables = extra.get("env") or {}
    if isinstance(variables, str):  # a URI has no other form
        with contextlib.suppress(ValueError):
            variables = json.loads(variables)
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
    host = _git_address(connection)
    values |= {
        "RETRAIN_DATA_REGISTRY": host,
        "RETRAIN_GIT_USERNAME": connection.login or "",
        "RETRAIN_GIT_PASSWORD": connection.password or "",
    }
    return {name: text for name, text in values.items() if text}
