"""The last task of a release: it is green only when the promotion before it did promote."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context

from include.lifecycle.config import NotificationConfig
from include.lifecycle.stages import PRODUCTION
from model_registry.exceptions import PromotionSkippedError, told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, nothing, tells
from model_registry.values import constant, rendered_text, rendered_version


class ConfirmPromotionOperator(BaseOperator):
    """Fail, and tag the version, when the task that promotes was marked success by hand and promoted nothing.

    Give it no trigger rule of its own: behind a promotion that failed or was skipped it must not run, so that the
    run is red or green as the promotion was.

    :param model_name: registered model (templated)
    :param version: version that should be in Production (templated)
    :param promote_task_id: the task that promotes
    :param notifications: the notifiers that are told when it fails
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name", "version")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#d6eaf8"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        promote_task_id: str,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("model_name", model_name), ("version", version), ("promote_task_id", promote_task_id)):
            constant(self.task_id, name, value)
        self.model_name = model_name
        self.version = version
        self.promote_task_id = promote_task_id
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.version_url = ""

    @tells(nothing)
    def execute(self, context: Context) -> None:
        """Check that the version is in Production, or that the promotion brought it there and it was replaced since.

        :raises PromotionSkippedError: when neither is so
        """
        from include.lifecycle.tags import PROMOTION_SKIPPED

        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        self.version_url = hook.version_url(model, version)
        with told_to_airflow(), hook.registry() as registry:
            if registry.version(model, version).stage == PRODUCTION:
                self.log.info("Version %d of %s is in Production", version, model)
                return
            done = context["ti"].xcom_pull(task_ids=self.promote_task_id)
            if isinstance(done, dict) and done.get("version") == version:
                self.log.info("Version %d of %s was promoted, and replaced since", version, model)
                return
            sentence = (
                f"Version {version} of {model!r} was approved and is not promoted: {self.promote_task_id} was marked"
                f" success without running. Clear {self.promote_task_id} to promote it."
            )
            registry.client.set_model_version_tag(model, str(version), PROMOTION_SKIPPED, sentence)
        raise PromotionSkippedError(sentence)
