"""A run that validated a version asks about that version, whatever its XComs say meanwhile."""

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from include.lifecycle.moves.model_registry import ModelRegistry
from model_registry.approval import sensors
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.exceptions import LifecycleRefusedError
from tests.plugins.asking import APPROVAL, ledger
from tests.registry_server import add_version
from tests.validations import validation


@pytest.fixture
def versions(mlflow: str, model: str, task: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Two versions in Staging; nobody says whose they are."""
    monkeypatch.setattr(sensors, "upsert_hitl_detail", lambda **_: None)
    task.task_id = APPROVAL
    other, own = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    return other, own


def validated(mlflow: str, model: str, version: int, dag_id: str, run_id: str, *, passed: bool = True) -> None:
    said = validation(model, version, passed=passed, dag_id=dag_id, run_id=run_id)
    ModelRegistry(tracking_uri=mlflow).validated(said)


def asks(model: str, task: Any, version: int, *, deferrable: bool = True) -> None:
    ModelApprovalSensor(task_id=APPROVAL, model_name=model, version=version, deferrable=deferrable).execute(
        task.context
    )


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("passed", [True, False])
def test_an_edited_xcom_asks_about_nothing(
    mlflow: str, model: str, versions: tuple[int, int], task: Any, passed: bool, deferrable: bool
) -> None:
    other, own = versions
    validated(mlflow, model, own, task.dag_id, task.run_id, passed=passed)
    with pytest.raises(LifecycleRefusedError, match=f"validated version {own} .* version {other}: ") as raised:
        asks(model, task, other, deferrable=deferrable)
    assert isinstance(raised.value, AirflowFailException)
    assert ledger(model).statements.asks == {}


def test_an_xcom_that_is_edited_while_it_waits_ends_the_wait(
    mlflow: str, model: str, versions: tuple[int, int], task: Any
) -> None:
    other, own = versions
    validated(mlflow, model, own, task.dag_id, task.run_id)
    with pytest.raises(TaskDeferred):
        asks(model, task, own)
    edited = ModelApprovalSensor(task_id=APPROVAL, model_name=model, version=other)
    with pytest.raises(LifecycleRefusedError, match="somebody edited its XComs"):
        edited.execute_complete(task.context, {"look": True})
    assert [asked.version for asked in ledger(model).statements.asks.values()] == [own]


def test_the_version_that_the_run_validated_is_asked_about(
    mlflow: str, model: str, versions: tuple[int, int], task: Any
) -> None:
    _, own = versions
    validated(mlflow, model, own, task.dag_id, task.run_id)
    with pytest.raises(TaskDeferred):
        asks(model, task, own)
    assert [asked.version for asked in ledger(model).statements.asks.values()] == [own]


def test_a_run_that_registered_again_asks_about_what_it_validated_last(
    mlflow: str, model: str, versions: tuple[int, int], task: Any
) -> None:
    for version in versions:
        validated(mlflow, model, version, task.dag_id, task.run_id)
    with pytest.raises(LifecycleRefusedError, match="somebody edited its XComs"):
        asks(model, task, versions[0])
    with pytest.raises(TaskDeferred):
        asks(model, task, versions[1])


@pytest.mark.parametrize(("dag_id", "run_id"), [(None, "another run"), ("another", None), ("another", "another run")])
def test_what_another_run_validated_binds_no_other(
    mlflow: str, model: str, versions: tuple[int, int], task: Any, dag_id: str | None, run_id: str | None
) -> None:
    other, own = versions
    validated(mlflow, model, own, dag_id or task.dag_id, run_id or task.run_id)
    with pytest.raises(TaskDeferred):
        asks(model, task, other)
