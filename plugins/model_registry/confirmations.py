"""The last task of a release: it is green only when the promotion before it did promote."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context

from include.lifecycle.config import NotificationConfig
from include.lifecycle.stages import PRODUCTION
from model_registry.approvals import place_of
from model_registry.exceptions import PromotionSkippedError, told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, nothing, tells
from model_registry.values import constant, rendered_text


class ConfirmPromotionOperator(BaseOperator):
    """Fail, and tag the version, when the task that promotes was marked success by hand and promoted nothing.

    What was asked and what was promoted, it reads from the promotion ledger; no XCom tells it.

    Give it no trigger rule of its own: behind a promotion that failed or was skipped it must not run, so that the
    run is red or green as the promotion was.

    :param model_name: registered model (templated)
    :param approval_task_id: the task that asked for the approval
    :param promote_task_id: the task that promotes
    :param notifications: the notifiers that are told when it fails
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name", "mlflow_conn_id")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#d6eaf8"

    def __init__(
        self,
        *,
        model_name: str,
        approval_task_id: str,
        promote_task_id: str,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (
            ("model_name", model_name),
            ("approval_task_id", approval_task_id),
            ("promote_task_id", promote_task_id),
        ):
            constant(self.task_id, name, value)
        self.model_name = model_name
        self.version = 0
        self.approval_task_id = approval_task_id
        self.promote_task_id = promote_task_id
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.version_url = ""

    @tells(nothing)
    def execute(self, context: Context) -> None:
        """Check that what was approved was promoted, or came into Production in another way.

        :raises PromotionSkippedError: when neither is so
        """
        from include.lifecycle.tags import PROMOTION_SKIPPED

        model = rendered_text(self.task_id, "model_name", self.model_name)
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        with told_to_airflow(), hook.registry() as registry:
            state = registry.ledger(model).read()
            ask = state.statements.last_ask(place_of(context, self.approval_task_id))
            if ask is None:
                raise PromotionSkippedError(
                    f"{self.approval_task_id} asked nobody about a version of {model!r}: nothing was promoted by this"
                    f" run. Clear {self.approval_task_id}, then decide."
                )
            self.version, self.version_url = ask.version, hook.version_url(model, ask.version)
            if (used := state.used(ask.id)) is not None:
                self.log.info("Version %d of %s was promoted: entry %s", ask.version, model, used.entry)
                return
            if registry.version(model, ask.version).stage == PRODUCTION:
                self.log.info("Version %d of %s is in Production", ask.version, model)
                return
            sentence = (
                f"Version {ask.version} of {model!r} is not promoted: {self.promote_task_id} was marked success without"
                f" running. Clear {self.promote_task_id} to promote it."
            )
            registry.client.set_model_version_tag(model, str(ask.version), PROMOTION_SKIPPED, sentence)
        raise PromotionSkippedError(sentence)
