"""Fixtures shared by all tests. Imports neither Airflow nor MLflow: tests that need them ask for a fixture."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# tests send nothing about themselves to anybody
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the test of ``make run`` first: it takes minutes, and the others run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("smoke") is None)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database with all migrations applied: they take seconds, a copy takes none."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    path = tmp_path_factory.mktemp("mlflow-template") / "mlflow.db"
    engine = create_engine(f"sqlite:///{path}")
    _initialize_tables(engine)
    engine.dispose()
    return path


@pytest.fixture
def mlflow_uri(mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh MLflow on SQLite, and the environment that points to it.

    The working directory is a folder of the test's own: artifacts of a SQLite MLflow go to ``./mlruns``.
    """
    # in memory where that is possible: MLflow commits each tag, and waits for the disk each time
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mlflow-test-", dir=memory) as folder:
        database = shutil.copy(mlflow_template, Path(folder) / "mlflow.db")
        uri = f"sqlite:///{database}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield uri
