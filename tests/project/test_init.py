"""What the service ``init`` does in MLflow: each model has its turn, whatever is wrong with another."""

import logging
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deploy import init
from include.lifecycle.config.files import SHIPPED

OWN = {f"rossmann-forecasting{part}" for part in ("", "-predictions", "-monitoring")}


@pytest.fixture
def client(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> MlflowClient:
    monkeypatch.setattr(init, "MLFLOW", mlflow_uri)
    for name in ("USERNAME", "PASSWORD"):  # put back after the test
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    caplog.set_level(logging.INFO, "init")
    return MlflowClient(mlflow_uri)


def experiments(client: MlflowClient) -> set[str]:
    return {found.name for found in client.search_experiments()}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the errors, one sentence each."""
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not [sentence for sentence in found if "\n" in sentence or not sentence.startswith("error: ")]
    return found


def test_every_model_has_its_names(client: MlflowClient, caplog: pytest.LogCaptureFixture) -> None:
    init.mlflow_names("pipeline", "x")
    assert said(caplog) == []
    assert experiments(client) >= OWN | {"customer-churn", "customer-churn-monitoring"}
    assert {found.name for found in client.search_registered_models()} == {"customer-churn", "rossmann-ensemble"}


def test_a_broken_configuration_ends_nothing(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "churn.yaml").write_text("lifecycle: {model: [a\n", encoding="utf-8")
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path))
    init.mlflow_names("pipeline", "x")
    (sentence,) = said(caplog)
    assert sentence.startswith("error: the model churn lacks names in MLflow: the configuration ")
    assert experiments(client) >= OWN


def test_what_mlflow_refuses_for_one_ends_nothing(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = init.names_of

    def names_of(model: str) -> list[str]:
        if model == "churn":
            raise MlflowException("away\nfor now")
        return real(model)

    monkeypatch.setattr(init, "names_of", names_of)
    init.mlflow_names("pipeline", "x")
    assert said(caplog) == ["error: the model churn lacks names in MLflow: away for now"]
    assert experiments(client) >= OWN


def test_configurations_that_are_not_there_keep_no_stack_from_starting(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_CONFIG", str(SHIPPED / "nowhere"))
    init.mlflow_names("pipeline", "x")
    assert len(said(caplog)) == 1
    assert "RETRAIN_CONFIG names" in said(caplog)[0]
    assert experiments(client) == {"Default"}


def test_the_menus_are_shown_at_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    manager, shown = MagicMock(), []
    made = nullcontext(SimpleNamespace(sm=manager))
    monkeypatch.setattr("airflow.providers.fab.auth_manager.cli_commands.utils.get_application_builder", lambda: made)
    monkeypatch.setattr(init, "show_menus", shown.append)
    init.users()
    assert shown == [manager]


@pytest.mark.parametrize(("status", "remedy"), [(401, "that .env"), (403, "admin"), (500, "500")])
def test_a_login_that_mlflow_does_not_make_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, status: int, remedy: str
) -> None:
    monkeypatch.setenv("MLFLOW_ADMIN_PASSWORD", "x")
    monkeypatch.setattr(httpx, "request", lambda *_, **__: httpx.Response(status))
    with pytest.raises(SystemExit, match=f"^error: MLflow .*{remedy}"):
        init.mlflow_login("pipeline", "x")
