"""Operators of a registry's upkeep: reconciliation and retention."""

from typing import Any

from airflow.sdk import Context

from include.lifecycle.config.models import RetentionConfig
from include.lifecycle.rules.decisions import AIRFLOW_RUN_UNVERIFIED, UNKNOWN, Channel, Decision, Outcome
from model_registry.approval.policies import requested_by
from model_registry.assets import emit_promotion, promotions_of
from model_registry.tasks import ModelTask


class ModelReconcileOperator(ModelTask):
    """Repair stages and aliases of a model from its promotion ledger, and enter what was moved from outside.

    A promotion that has no event of ``production_asset(model_name)`` yet, such as one by command line or by hand in
    MLflow, gets it here.

    :param kwargs: of ``ModelTask``
    """

    operator_extra_links = ()
    ui_color = "#e8e8f8"

    def __init__(self, *, model_name: str, **kwargs: Any) -> None:
        super().__init__(model_name=model_name, **promotions_of(model_name, kwargs))

    def execute(self, context: Context) -> dict[str, Any]:
        """Reconcile and return what was done."""
        from include.lifecycle.views.messages import confirm_reconciliation

        model = self.rendered_model()
        with self.registry() as registry:
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


class ModelRetentionOperator(ModelTask):
    """Say which versions of a model are kept and why and, where the run's form says so, delete the others.

    The parameter ``delete`` of the run is true to delete; anything else changes nothing.

    :param config: what is kept
    :param kwargs: of ``ModelTask``
    """

    operator_extra_links = ()
    ui_color = "#e8e8f8"

    def __init__(self, *, config: RetentionConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge every version, delete what may go, and return the numbers."""
        from include.lifecycle.moves.retention import RETENTION_REASON, report

        ti = context["ti"]
        model = self.rendered_model()
        delete = (context.get("params") or {}).get("delete") is True
        user = requested_by(context) or UNKNOWN
        decision = Decision(
            Outcome.SUPERSEDED,
            user=user,
            user_source=AIRFLOW_RUN_UNVERIFIED if user != UNKNOWN else UNKNOWN,
            reason=RETENTION_REASON,
            door=Channel.AUTOMATIC,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
        )
        with self.registry() as registry:
            done = registry.retention(model, self.config, decision, delete=delete)
        for sentence in report(done, delete=delete):
            self.log.info("%s", sentence)
        return {
            "model": model,
            "kept": [verdict.info.version for verdict in done.verdicts if verdict.kept],
            "may_go": [verdict.info.version for verdict in done.verdicts if not verdict.kept],
            "deleted": list(done.deleted),
        }
