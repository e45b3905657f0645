"""One small retrain through every step, on a real data registry (git and DVC) and a real MLflow (SQLite)."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from include.models.rossmann.config import TABLES, load_config
from include.models.rossmann.data.sample import SampleData, generate
from include.retraining.data_source.publish import publish_data
from include.retraining.run import Origin
from tests.rossmann.fixtures import (  # noqa: F401 (fixtures of the forecast's tests)
    forecaster_folder,
    history,
    matrix,
    members,
    panel,
    stores,
)
from tests.rossmann.steps import ensemble, features, pull, register, train, validate

ORIGIN = Origin("rossmann_retrain", "scheduled__2026-01-01T02:00:00+00:00", "a note")


@dataclass(frozen=True)
class Retrain:
    """What the shared retrain left behind."""

    config_file: Path
    data_registry: Path
    data: SampleData
    run_id: str
    version: int
    results: dict[str, dict[str, object]]


def write_config(path: Path, **lifecycle: object) -> Path:
    """Write a configuration whose boosters train in a second, with another ``lifecycle`` section."""
    content = load_config().model_dump(mode="json")
    content["lifecycle"]["gate"]["threshold"] = 0.5
    content["lifecycle"]["approval"]["policy"]["review_required"] = False
    content["lifecycle"] |= lifecycle
    for booster, parameters in {
        "lightgbm": {"num_leaves": 15},
        "xgboost": {"max_depth": 4},
        "catboost": {"depth": 4},
    }.items():
        content["boosters"][booster] = {"rounds": 15, "threads": 1, "params": {"learning_rate": 0.2, **parameters}}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def retrain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared retrain has its configuration, data registry and MLflow."""
    return tmp_path_factory.mktemp("retrain")


@pytest.fixture(scope="session")
def shared_retrain(retrain_folder: Path) -> Retrain:
    """A retrain from pull to register; its environment is set by the fixture ``retrain``, for one test at a time."""
    with pytest.MonkeyPatch.context() as patch:
        return _retrain(retrain_folder, patch)


def _retrain(folder: Path, patch: pytest.MonkeyPatch) -> Retrain:
    data = generate(stores=8, months=20)
    publish_data(TABLES, folder / "registry", data)
    place = Retrain(write_config(folder / "rossmann.yaml"), folder / "registry", data, "", 0, {})
    use(patch, place, folder / "mlflow.db")
    config = load_config()
    for name in (config.lifecycle.experiment, f"{config.lifecycle.experiment}-predictions"):
        MlflowClient().create_experiment(name, artifact_location=(folder / "artifacts").as_uri())
    results: dict[str, dict[str, object]] = {"pull": pull(config, ORIGIN)}
    run_id = str(results["pull"]["run_id"])
    results["features"] = features(config, run_id)
    for booster in config.boosters:
        results[booster] = train(config, run_id, booster)
    results["ensemble"] = ensemble(config, run_id)
    results["register"] = register(config, run_id)
    version = results["register"]["version"]
    assert isinstance(version, int)
    return replace(place, run_id=run_id, version=version, results=results)


@pytest.fixture(scope="session")
def validated_database(
    shared_retrain: Retrain,
    retrain_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """MLflow's database after the shared retrain's version was validated as well."""
    database = Path(shutil.copy(retrain_folder / "mlflow.db", tmp_path_factory.mktemp("validated")))
    with pytest.MonkeyPatch.context() as patch:
        use(patch, shared_retrain, database)
        validate(load_config(), run_id=shared_retrain.run_id)
    return database


def use(patch: pytest.MonkeyPatch, retrain: Retrain, database: Path) -> None:
    """Let the environment name a retrain's configuration and data, and a database of MLflow."""
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    patch.setenv("RETRAIN_CONFIG", str(retrain.config_file))
    patch.setenv("RETRAIN_DATA_REGISTRY", str(retrain.data_registry))
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@pytest.fixture
def retrain(
    shared_retrain: Retrain,
    retrain_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Retrain:
    """The shared retrain in an MLflow of the test's own: what a test does there, no other sees."""
    use(monkeypatch, shared_retrain, Path(shutil.copy(retrain_folder / "mlflow.db", tmp_path_factory.mktemp("own"))))
    return shared_retrain


@pytest.fixture
def validated(
    shared_retrain: Retrain,
    validated_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Retrain:
    """The shared retrain, its version validated, in an MLflow of the test's own."""
    use(monkeypatch, shared_retrain, Path(shutil.copy(validated_database, tmp_path_factory.mktemp("own"))))
    return shared_retrain
