"""A second model beside the first, in the same Airflow: no time, AUC, a team of its own, from nothing to a rollback."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from operations import Operations

from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.airflow_api import AirflowApi
from local_stack.errors import ApiError
from local_stack.stack import APPROVAL_TASK, Stack
from tests.registry_server import add_version

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

MODEL = "customer-churn"
RETRAIN, PREDICT, MONITOR, ROLLBACK = (f"churn_{kind}" for kind in ("retrain", "predict", "monitor", "rollback"))


@pytest.fixture
def registry(stack: Stack) -> ModelRegistry:
    return ModelRegistry(MlflowClient(stack.mlflow.url))


@pytest.fixture
def as_person(stack: Stack) -> Callable[[str], AirflowApi]:
    """Return Airflow's API with the login of a user."""
    return lambda user: AirflowApi(stack.airflow.url, user, stack.credentials.password)


def retrained(operator: Operations, person: AirflowApi, note: str) -> str:
    """Trigger a retrain, wait until it asks, let somebody approve, and return the run."""
    operator.api.unpause(RETRAIN)
    run_id = operator.api.trigger(RETRAIN, {"quick": True})
    operator.until_waiting(run_id, RETRAIN)
    person.mark(RETRAIN, run_id, APPROVAL_TASK, "success", note)
    assert operator.until_end(run_id, RETRAIN) == "success", operator.why(run_id, RETRAIN)
    return run_id


def done(operator: Operations, dag_id: str, conf: dict[str, object]) -> str:
    """Trigger a DAG and wait for its success."""
    operator.api.unpause(dag_id)
    run_id = operator.api.trigger(dag_id, conf)
    assert operator.until_end(run_id, dag_id) == "success", operator.why(run_id, dag_id)
    return run_id


def test_a_second_model_lives_beside_the_first(
    stack: Stack, operator: Operations, registry: ModelRegistry, as_person: Callable[[str], AirflowApi]
) -> None:
    omar, olga = as_person("omar"), as_person("olga")
    operator.api.unpause(RETRAIN)
    run_id = operator.api.trigger(RETRAIN, {"quick": True})
    operator.until_waiting(run_id, RETRAIN)
    with pytest.raises(ApiError, match="approver"):  # another team's
        olga.mark(RETRAIN, run_id, APPROVAL_TASK, "success", "I like it")
    assert registry.production(MODEL) is None
    omar.mark(RETRAIN, run_id, APPROVAL_TASK, "success", "AUC is well above the gate")
    assert operator.until_end(run_id, RETRAIN) == "success", operator.why(run_id, RETRAIN)
    live = registry.production(MODEL)
    assert live is not None
    assert (live.version, live.tags["validation.metric"]) == (1, "auc")
    assert float(live.tags["validation.value"]) > float(live.tags["validation.threshold"])
    (event,) = registry.history(MODEL)[-1:]
    assert (event.user, event.reason) == ("omar", "AUC is well above the gate")

    done(operator, PREDICT, {})
    place = Path(operator.config.path.parent) / "predictions" / MODEL
    (file,) = place.rglob("*.parquet")
    table = pd.read_parquet(file)
    assert table["Left"].between(0, 1).all()
    assert (set(table["ModelVersion"]), table["ForecastOrigin"].notna().sum()) == ({1}, 0)

    stack.command("sample", str(stack.registries["churn"]), "--more", "300", model="churn")  # those are known now
    done(operator, MONITOR, {})
    retrained(operator, omar, "more customers")
    assert [info.version for info in registry.versions(MODEL) if info.stage == "Production"] == [2]
    assert registry.version(MODEL, 1).stage == "Archived"

    operator.api.unpause(ROLLBACK)
    with pytest.raises(ApiError, match="approver"):
        olga.trigger(ROLLBACK, {"reason": "I liked the first one"})
    assert registry.version(MODEL, 2).stage == "Production"
    back = omar.trigger(ROLLBACK, {"reason": "the second one is worse"})
    assert operator.until_end(back, ROLLBACK) == "success", operator.why(back, ROLLBACK)
    assert registry.version(MODEL, 1).stage == "Production"
    assert registry.verify(MODEL) == []


def test_both_are_on_the_page(stack: Stack, operator: Operations, registry: ModelRegistry) -> None:
    both = {"rossmann-ensemble", MODEL}
    for missing in both - {found.name for found in registry.client.search_registered_models()}:
        add_version(stack.mlflow.url, missing)
    login = {"username": stack.credentials.user, "password": stack.credentials.password}
    token = requests.post(f"{stack.airflow.url}/auth/token", json=login, timeout=60).json()["access_token"]
    address, headers = f"{stack.airflow.url}/model-registry/api/models", {"Authorization": f"Bearer {token}"}
    operator.wait("both on the page", lambda: both <= models_of(requests.get(address, headers=headers, timeout=60)))


def models_of(answer: requests.Response) -> set[str]:
    """Return the models of which the page has a card."""
    return {item["model"] for item in answer.json()["models"]}
