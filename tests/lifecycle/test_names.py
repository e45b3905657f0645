"""Whose MLflow's names are, on a real MLflow with logins."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.runs import EXPERIMENT, RUN_TAG
from include.lifecycle.moves.claim import claim
from include.lifecycle.moves.model_registry import ModelRegistry
from tests.registry_server import mlflow_server

PASSWORD = "a-long-password-of-a-test"
ADMIN = ("admin", PASSWORD)


@pytest.fixture(scope="module")
def guarded(mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow with logins: the pipeline's, and mallory's."""
    folder = tmp_path_factory.mktemp("guarded")
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\nadmin_username = admin\n"
        f"admin_password = {PASSWORD}\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    variables = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "s" * 32}
    with mlflow_server(folder, mlflow_template, "--app-name", "basic-auth", **variables) as url:
        for name in ("pipeline", "mallory"):
            made = {"username": name, "password": PASSWORD}
            requests.post(f"{url}/api/2.0/mlflow/users/create", json=made, auth=ADMIN, timeout=20).raise_for_status()
        yield url


@pytest.fixture
def as_user(guarded: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModelRegistry]:
    def log_in(name: str) -> ModelRegistry:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        return ModelRegistry(tracking_uri=guarded)

    return log_in


def test_the_pipeline_makes_the_names_and_owns_them(as_user: Callable[[str], ModelRegistry]) -> None:
    for _ in range(2):
        lines = claim(as_user("pipeline"), "demand", ["forecasting", "forecasting-predictions"])
    assert [line for line in lines if not line.endswith("belongs to this login")] == []
    assert f"experiment {EXPERIMENT}/demand belongs to this login" in lines
    with pytest.raises(BadInputError, match=r"model 'demand'.*somebody else"):
        claim(as_user("mallory"), "demand", [])


@pytest.mark.parametrize("taken", ["taken-model", f"{EXPERIMENT}/taken-ledger", "taken-experiment"])
def test_a_name_that_somebody_took_first_is_named(as_user: Callable[[str], ModelRegistry], taken: str) -> None:
    kind, model = taken.partition("-")[2], taken.rpartition("/")[2]
    mallory = as_user("mallory")
    if kind == "model":
        mallory.client.create_registered_model(taken)
    elif kind == "experiment":
        mallory.client.create_experiment(taken)
    else:
        own = mallory.client.create_run(mallory.client.create_experiment("of mallory"))
        mallory.client.create_experiment(taken, tags={RUN_TAG: own.info.run_id})
    with pytest.raises(BadInputError, match=f"{taken}' belongs to somebody else"):
        claim(as_user("pipeline"), model, ["taken-experiment"] if kind == "experiment" else [])


def test_where_mlflow_has_no_logins_nobody_owns_anything(mlflow_uri: str) -> None:
    registry = ModelRegistry(MlflowClient(mlflow_uri))
    lines = claim(registry, "demand", ["forecasting"])
    assert lines[0] == "registered model demand is there; this MLflow knows no owners"
    assert registry.ledger("demand").read().ledger_id
