"""What the tasks of a registered model have in common: arguments, checks, the registry, whom they tell."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow.sdk import BaseOperator, BaseOperatorLink, Context
from airflow.sdk.exceptions import AirflowFailException

from include.lifecycle.config.models import NotificationConfig, Occasion
from include.lifecycle.stages import PRODUCTION
from model_registry.assets import emit_promotion
from model_registry.exceptions import LifecycleRefusedError, as_airflow_errors
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications

if TYPE_CHECKING:
    from include.lifecycle.moves.integrity import IntegrityMode
    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.moves.promotion import Transition

Method = TypeVar("Method", bound=Callable[..., Any])


class ModelTask(BaseOperator):
    """A task about a registered model.

    :param model_name: registered model (templated)
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server (templated)
    """

    template_fields: Sequence[str] = ("model_name", "mlflow_conn_id")
    operator_extra_links: tuple[BaseOperatorLink, ...] = (ModelVersionLink(),)
    ui_color = "#d6eaf8"
    version: Any = 0

    def __init__(
        self,
        *,
        model_name: str,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.check_given(model_name=model_name)
        self.model_name = model_name
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.version_url = ""

    def check_given(self, **arguments: object) -> None:
        """Check arguments that the DAG's author gave.

        :raises ValueError: when one is empty
        """
        for name, value in arguments.items():
            if value is None or value == "":
                raise ValueError(f"{self.task_id}: {name} must not be empty")

    @property
    def hook(self) -> MLflowRegistryHook:
        """The hook of the connection, whose name is rendered by then."""
        return MLflowRegistryHook(self.mlflow_conn_id)

    @contextmanager
    def registry(self, integrity: "IntegrityMode" = "when_recorded") -> Iterator["ModelRegistry"]:
        """Yield the model registry; what goes wrong there tells Airflow whether to try again."""
        with as_airflow_errors(), self.hook.registry(integrity=integrity) as registry:
            yield registry

    def rendered_model(self) -> str:
        """Return the rendered name of the model.

        :raises LifecycleRefusedError: when it is empty
        """
        return self._rendered("model_name", self.model_name)

    def rendered_version(self) -> int:
        """Return the rendered version number.

        :raises LifecycleRefusedError: when it is not one
        """
        text = self._rendered("version", self.version)
        if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
            raise LifecycleRefusedError(f"{self.task_id}: version must be a number, found {text[:40]!r}")
        return int(text)

    def rendered(self) -> tuple[str, int]:
        """Return rendered model and version, to whose page the task's link leads from now on."""
        model, version = self.rendered_model(), self.rendered_version()
        self.version_url = self.hook.version_url(model, version)
        return model, version

    def _rendered(self, name: str, value: object) -> str:
        text = str(value if value is not None else "").strip()
        if not text or text == "None":
            raise LifecycleRefusedError(
                f"{self.task_id}: {name} is empty: the task it comes from left no result, as when it was marked success"
                " by hand. Clear that task so that it runs"
            )
        return text

    def tell(self, context: Context, occasion: Occasion, result: Mapping[str, Any]) -> None:
        """Tell people what a task's result says of its version."""
        known = {name: str(result[name]) for name in ("user", "reason") if result.get(name)}
        self.notifications.send(context, occasion, result["model"], result["version"], url=self.version_url, **known)

    def moved(self, context: Context, occasion: Occasion, moves: "Sequence[Transition]") -> dict[str, Any]:
        """Log moves, make event and notification where the first brought its version into Production; return that one.

        :param occasion: of the notification; a version that was there already is none
        """
        from include.lifecycle.views.messages import confirm

        for sentence in (sentence for move in moves for sentence in confirm(move)):
            self.log.info("%s", sentence)
        done, result = moves[0], moves[0].to_dict()
        if done.to_stage == PRODUCTION:
            emit_promotion(context, done.event, self.mlflow_conn_id)
            if done.changed:
                self.tell(context, occasion, result)
        return result


def tells_refusals(method: Method) -> Method:
    """Decorate a method of a ``ModelTask`` that puts a version into Production: people are told what it refuses."""

    @functools.wraps(method)
    def telling(self: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, context, *args, **kwargs)
        except AirflowFailException as error:
            if getattr(self, "stage", PRODUCTION) == PRODUCTION:
                told = {"model": str(self.model_name), "version": self.version, "reason": str(error)}
                self.tell(context, "refused", told)
            raise

    return cast("Method", telling)


def xcom_field(task_id: str, field: str) -> str:
    """Return the template of one field of the dictionary that a task returned.

    It renders to an empty text when the task left none, as when somebody marked it success by hand; the
    operators refuse an empty value with a sentence, where a failing template would end in a traceback.

    :param task_id: the task whose result is read
    :param field: name in the dictionary
    """
    return f"{{{{ (ti.xcom_pull(task_ids={task_id!r}) or {{}}).get({field!r}, '') }}}}"
