"""What every step of a pipeline agrees on with the task that runs it, in whatever way that is.

A step is one command. It finds its input in arguments that are constants and in its environment, says what it does on
stderr, and prints its result, one JSON object, as the last line of stdout. Exit code 2 tells bad input and 3 a gate
that was not passed: running it again would find the same. Any other failure may be tried again.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, Context
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from pydantic import TypeAdapter, ValidationError

from include.lifecycle.config.models import NotificationConfig, Occasion
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.ledger.statements import IN_AIRFLOW_ENV, Validation
from include.lifecycle.tags import FAILED, PASSED
from include.lifecycle.untrusted_text import one_line, storable
from model_registry.addresses import extras, http_address
from model_registry.exceptions import StepFailedError, StepRefusedError, as_airflow_errors
from model_registry.hooks import MLflowRegistryHook
from model_registry.notifications import Notifications
from model_registry.steps.monitoring import Found, announce

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
_STATEMENTS: Mapping[str, type[Validation | Reviewed | Found]] = {
    "validation": Validation,
    "review": Reviewed,
    "monitor": Found,
}
"""What a step's result may say of a version, or of a night."""
_LEVELS = {" WARNING ": "warning", " ERROR ": "error", " CRITICAL ": "error"}


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
        result = self.parsed()
        if result is None:
            raise StepRefusedError(
                f"Step {self._step}: its last line of stdout must be one JSON object, found {self._last[:200]!r}."
            )
        self._log.info("Result: %s", self._last)
        return result

    def parsed(self) -> dict[str, Any] | None:
        """Return the result, None when the last line of stdout is no JSON object."""
        try:
            result = json.loads(self._last)
        except ValueError:
            return None
        return result if isinstance(result, dict) else None


class StepTask(BaseOperator):
    """A task that runs one step, in whatever way.

    :param step: the arguments, constants of the DAG's author, e.g. ``["train", "--member", "xgboost"]``
    :param env: environment variables of the step (templated); the only way for what a user typed
    :param module: the module that is run with ``python -m``
    :param model_name: registered model that the step validates, reviews or monitors; it may speak of no other
    :param mlflow_conn_id: connection of the MLflow server
    :param data_conn_id: connection of the data registry; one that does not exist is left out. Its host is
        the git URL, login and password are those of git, and ``{"env": {...}}`` in its extra holds the
        variables of the DVC remote
    :param notifications: the notifiers that are told of what did not pass
    """

    template_fields: Sequence[str] = ("env",)
    template_fields_renderers = {"env": "json"}  # noqa: RUF012 -- Airflow reads it from the class
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        step: Sequence[str],
        env: Mapping[str, str] | None = None,
        module: str,
        model_name: str = "",
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        data_conn_id: str | None = None,
        notifications: Sequence[NotificationConfig] = (),
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
        self.model_name = model_name
        self.mlflow_conn_id = mlflow_conn_id
        self.data_conn_id = data_conn_id
        self.notifications = Notifications(notifications, self.task_id)

    def own_environment(self) -> dict[str, str]:
        """Return what a step is given beside the environment that it inherits: connections, and what was typed.

        :raises StepRefusedError: when a text is longer than the kernel takes
        """
        typed = {name: str(text) for name, text in self.env.items() if text is not None}
        for name, text in typed.items():
            if len(text.encode(errors="replace")) > MAX_VARIABLE:
                raise StepRefusedError(
                    f"Step {self.step[0]}: {name} is longer than {MAX_VARIABLE} bytes: give a shorter text in the form"
                )
        return {
            "PYTHONUNBUFFERED": "1",
            **MLflowRegistryHook(self.mlflow_conn_id).environment(),
            **data_environment(self.data_conn_id),
            **{name: storable(text) for name, text in typed.items()},
            IN_AIRFLOW_ENV: "1",
        }

    def result(self, context: Context, output: "StepOutput", code: int) -> dict[str, Any]:
        """Return the result of a step that ended, once the ledger has what it says.

        :raises StepRefusedError: when its input was bad, a gate was not passed, or its result is none
        :raises StepFailedError: when it failed in another way
        """
        if code in (0, GATE_FAILED):
            self._record(context, output.parsed() or {})
        if code == 0:
            return output.result()
        raise step_failure(self.step[0], self.why(code, output.sentence), code)

    def why(self, code: int, sentence: str) -> str:
        """Return why a step failed.

        :param sentence: what it said itself, empty when it said nothing
        """
        return sentence or f"it ended with exit code {code} and said nothing"

    def _record(self, context: Context, result: Mapping[str, Any]) -> None:
        """Enter in the promotion ledger what the step's gate or review said, where its result tells; announce a night.

        The step has no key to the ledger. A version that its review holds back goes from Staging to None. What it says
        of another model than its task's is refused: that model's team did not ask it.
        """
        step = self.step[0]
        for kind, form in _STATEMENTS.items():
            if (said := result.get(kind)) is None:
                continue
            try:
                statement = _statement(form, said, context["ti"])
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                sentence = one_line(str(error))
                raise StepRefusedError(f"Step {step}: its result holds no {kind}: {sentence}") from error
            if statement.model != self.model_name:
                spoken = f"its result speaks of the model {one_line(statement.model, 60)!r}"
                own = f"is of {self.model_name!r}" if self.model_name else "names no model_name"
                raise StepRefusedError(f"Step {step}: {spoken}, and its task {own}: nothing of it is entered.")
            if isinstance(statement, Found):
                announce(context, statement, self.notifications, self.mlflow_conn_id)
            else:
                self._enter(context, statement)

    def _enter(self, context: Context, statement: Validation | Reviewed) -> None:
        """Enter a statement, and tell people of a version that did not pass."""
        event: Occasion
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        with as_airflow_errors(), hook.registry() as registry:
            if isinstance(statement, Validation):
                event, passed, why = "gate_failed", statement.passed, "; ".join(statement.failed)
                registry.validated(statement)
            else:
                event, passed, why = "held_back", not statement.failed, ", ".join(statement.titles("fail"))
                if (moved := registry.reviewed(statement)) is not None:
                    back = (moved.version, moved.to_stage, moved.event.reason)
                    self.log.warning("Version %d went back to %s: %s", *back)
        if not passed:
            model, version = statement.model, statement.version
            url = hook.version_url(model, version)
            self.notifications.send(context, event, model, version, reason=why, url=url)


def _statement(form: type[Validation | Reviewed | Found], said: object, ti: Any) -> Validation | Reviewed | Found:
    """Return what a result says, each field checked: the ledger keeps it for good, and has to be readable.

    :raises ValueError: names the fields that are not what they should be
    """
    if not isinstance(said, Mapping):
        raise TypeError(f"it should be an object, found {said!r}")
    fields = {**said, "dag_id": ti.dag_id, "run_id": ti.run_id}
    try:
        checked = TypeAdapter(form).validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())) from error
    if not isinstance(checked, Found) and (not checked.model or checked.version < 1):
        raise ValueError("model and version should name a version")
    if isinstance(checked, Validation) and checked.outcome not in (PASSED, FAILED):
        raise ValueError(f"outcome should be {PASSED} or {FAILED}")
    return checked


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


DATA_VARIABLES = ("RETRAIN_DATA_REGISTRY", "RETRAIN_GIT_USERNAME", "RETRAIN_GIT_PASSWORD")
"""Address, user and password or token of the data registry."""

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
    variables = extras(connection, {"env"}).get("env") or {}
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
    address = (_git_address(connection), connection.login or "", connection.password or "")
    values |= dict(zip(DATA_VARIABLES, address, strict=True))
    return {name: text for name, text in values.items() if text}
