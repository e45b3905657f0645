"""Fixtures shared by all tests. Imports neither Airflow nor MLflow: tests that need them ask for a fixture."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlflow_database import Database, empty_database

# tests send nothing about themselves to anybody
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the test of ``make run`` first: it takes minutes, and the others run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("smoke") is None)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database with all migrations applied: they take seconds, a copy takes none."""
    return empty_database(tmp_path_factory.mktemp("mlflow-template") / "mlflow.db")


@pytest.fixture(scope="session")
def mlflow_database(mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The database that the tests of this process use, and one that is empty but for the experiment "Default"."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # in memory where that is possible: MLflow commits each tag, and waits for the disk each time
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mlflow-test-", dir=memory) as folder:
        database = Database(Path(folder) / "mlflow.db", tmp_path_factory.mktemp("artifacts"))
        database.fill(mlflow_template)
        SqlAlchemyStore(database.uri, str(database.artifacts))
        database.copy(Path(folder) / "empty.db")
        yield database


@pytest.fixture
def mlflow_uri(mlflow_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh MLflow on SQLite, and the environment that points to it.

    The working directory is a folder of the test's own.
    """
    mlflow_database.fill(mlflow_database.file.with_name("empty.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_database.uri)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    # MLflow's own variable: else the first test's working directory is where all artifacts go
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(mlflow_database.artifacts))
    monkeypatch.chdir(tmp_path)
    return mlflow_database.uri


@pytest.fixture
def artifacts(mlflow_database: Database) -> Path:
    """Where that MLflow keeps the artifacts."""
    return mlflow_database.artifacts
