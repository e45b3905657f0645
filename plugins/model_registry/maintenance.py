"""Operators of a registry's upkeep: reconciliation and retention."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context

from include.lifecycle.config import RetentionConfig
from include.lifecycle.decisions import AIRFLOW_RUN_UNVERIFIED, UNKNOWN, Decision, Door, Outcome
from model_registry.assets import emit_promotion, promotions_of
from model_registry.exceptions import told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.policies import requested_by
from model_registry.values import constant, rendered_text


class ModelReconcileOperator(BaseOperator):
    """Repair stages and aliases of a model from its promotion ledger, and enter what was moved from outside.

    A promotion that has no event of ``production_asset(model_name)`` yet, such as one by command line or by hand in
    MLflow, gets it here.

    :param model_name: registered model (templated)
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name",)
    ui_color = "#e8e8f8"

    def __init__(
        self, *, model_name: str, mlflow_conn_id: str = MLflowRegistryHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**promotions_of(model_name, kwargs))
        constant(self.task_id, "model_name", model_name)
        self.model_name = model_name
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Reconcile and return what was done."""
        from include.lifecycle.messages import confirm_reconciliation

        model = rendered_text(self.task_id, "model_name", self.model_name)
        with told_to_airflow(), MLflowRegistryHook(self.mlflow_conn_id).registry() as registry:
            done = registry.reconcile(model)
            live = next((event for event in reversed(registry.history(model)) if event.is_promotion), None)
            problems = registry.verify(model)
        for sentence in confirm_reconciliation(done):
            self.log.info("%s", sentence)
        for problem in problems:
            self.log.error("Promotion ledger of %s: %s", model, problem)
        if live is not None and live.version == done.production:
            emit_promotion(context, live, self.mlflow_conn_id)
        return {"model": model, "production": done.production, "changed": done.changed, "problems": problems}


class ModelRetentionOperator(BaseOperator):
    """Say which versions of a model are kept and why and, where the run's form says so, delete the others.

    :param model_name: registered model (templated)
    :param config: what is kept
    :param delete_param: parameter of the run, true to delete; anything else changes nothing
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name",)
    ui_color = "#e8e8f8"

    def __init__(
        self,
        *,
        model_name: str,
        config: RetentionConfig,
        delete_param: str = "delete",
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        constant(self.task_id, "model_name", model_name)
        self.model_name = model_name
        self.config = config
        self.delete_param = delete_param
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge every version, delete what may go, and return the numbers."""
        from include.lifecycle.retention import RETENTION_REASON, report

        ti = context["ti"]
        model = rendered_text(self.task_id, "model_name", self.model_name)
        delete = (context.get("params") or {}).get(self.delete_param) is True
        user = requested_by(context) or UNKNOWN
        decision = Decision(
            Outcome.SUPERSEDED,
            user=user,
            user_source=AIRFLOW_RUN_UNVERIFIED if user != UNKNOWN else UNKNOWN,
            reason=RETENTION_REASON,
            door=Door.AUTOMATIC,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
        )
        with told_to_airflow(), MLflowRegistryHook(self.mlflow_conn_id).registry() as registry:
            done = registry.retention(model, self.config, decision, delete=delete)
        for sentence in report(done, delete=delete):
            self.log.info("%s", sentence)
        return {
            "model": model,
            "kept": [verdict.info.version for verdict in done.verdicts if verdict.kept],
            "may_go": [verdict.info.version for verdict in done.verdicts if not verdict.kept],
            "deleted": list(done.deleted),
        }
