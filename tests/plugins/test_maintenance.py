"""The operators of the weekly upkeep on a real MLflow server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.lifecycle.config.models import RetentionConfig
from include.lifecycle.moves import retention
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Decision, Outcome
from model_registry.exceptions import LifecycleRefusedError
from model_registry.operators.maintenance import ModelReconcileOperator, ModelRetentionOperator
from tests.registry_server import add_version, stage_of


def keep(model: str) -> ModelRetentionOperator:
    return ModelRetentionOperator(task_id="retention", model_name=model, config=RetentionConfig(keep_champions=1))


def test_the_upkeep_repairs_and_enters_what_was_moved_by_hand(mlflow: str, model: str, task: Any) -> None:
    registry = ModelRegistry(tracking_uri=mlflow)
    first = add_version(mlflow, model, stage="Staging")
    registry.promote(model, first, Decision(Outcome.APPROVED))
    second = add_version(mlflow, model, stage="Production")
    result = ModelReconcileOperator(task_id="reconcile", model_name=model).execute(task.context)
    assert result == {"model": model, "production": second, "changed": True, "problems": []}
    assert stage_of(mlflow, model, first) == "Archived"
    assert not ModelReconcileOperator(task_id="reconcile", model_name=model).execute(task.context)["changed"]


@pytest.mark.parametrize("value", [False, None, "true", 1, "false"])
def test_only_true_deletes(mlflow: str, model: str, task: Any, monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    monkeypatch.setattr(retention, "utc_now", lambda: datetime.now(UTC) + timedelta(days=60))
    version = add_version(mlflow, model)
    result = keep(model).execute({**task.context, "params": {"delete": value}})  # type: ignore[arg-type]
    assert (result["may_go"], result["deleted"]) == ([version], [])
    assert stage_of(mlflow, model, version) == "None"


def test_what_may_go_goes_when_told(mlflow: str, model: str, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "utc_now", lambda: datetime.now(UTC) + timedelta(days=60))
    stays, goes = add_version(mlflow, model, stage="Staging"), add_version(mlflow, model)
    result = keep(model).execute({**task.context, "params": {"delete": True}})  # type: ignore[arg-type]
    assert (result["kept"], result["deleted"]) == ([stays], [goes])
    event = ModelRegistry(tracking_uri=mlflow).history(model)[-1]
    assert (event.to_stage, event.user, event.run_id) == ("Deleted", "unknown", task.run_id)


def test_a_model_that_does_not_exist_fails_without_a_retry(mlflow: str, model: str, task: Any) -> None:
    with pytest.raises(LifecycleRefusedError, match="no registered model"):
        keep(model).execute(task.context)
