"""A registry with versions in it, and doors to break it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from include.lifecycle import tags as tag
from include.lifecycle.ledger.entries import canonical
from include.lifecycle.ledger.keys import KEY_ENV, KEY_FILE_ENV
from include.lifecycle.moves.model_registry import ModelRegistry
from tests.mlflow_database import Database, Prepared
from tests.validations import validation

from .support import MODEL, OLD, approved


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    """A registry with the model ``demand`` and no version."""
    # no test waits for it to pass; a busy machine may stand still for some seconds
    registry = ModelRegistry(tracking_uri=mlflow_uri, lock_ttl=300)
    registry.client.create_registered_model(MODEL)
    return registry


@pytest.fixture(scope="session")
def prepared(mlflow_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Does what many tests begin with once."""
    return Prepared(mlflow_database, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def add(registry: ModelRegistry) -> Callable[..., int]:
    """Registers a version; ``passed`` sets the gate's outcome, ``stage`` brings it there by the life cycle."""

    def add(
        passed: bool | None = True, stage: str = "None", metrics: dict[str, float] | None = None, **tags: str
    ) -> int:
        client = registry.client
        run = client.create_run("0")
        for key, value in (metrics or {}).items():
            client.log_metric(run.info.run_id, key, value)
        if passed is not None:
            tags[tag.VALIDATION_OUTCOME] = tag.PASSED if passed else tag.FAILED
        version = int(
            client.create_model_version(MODEL, f"runs:/{run.info.run_id}/model", run.info.run_id, tags=tags).version
        )
        if passed is not None:
            registry.validated(validation(MODEL, version, passed=passed))
        if stage in ("Staging", "Production"):
            registry.stage(MODEL, version)
        if stage == "Production":
            registry.promote(MODEL, version, approved(run_id=f"run-{version}"))
        return version

    return add


@pytest.fixture
def by_hand(registry: ModelRegistry) -> Callable[..., None]:
    """Moves a version as somebody does in MLflow's UI."""

    def move(version: int, stage: str, archive: bool = False) -> None:
        with pytest.warns(FutureWarning):
            registry.client.transition_model_version_stage(
                MODEL, str(version), stage, archive_existing_versions=archive
            )

    return move


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a process that has the key."""
    monkeypatch.delenv(KEY_FILE_ENV, raising=False)
    monkeypatch.setenv(KEY_ENV, OLD)
    return OLD


@pytest.fixture
def write(registry: ModelRegistry) -> Callable[[int, dict[str, Any]], None]:
    """Writes an entry as somebody who may write into the run and lacks the key."""

    def write(number: int, content: dict[str, Any]) -> None:
        registry.client.log_param(registry.ledger(MODEL).runs.open(), f"{number:08d}", canonical(content))

    return write


@pytest.fixture
def edit(mlflow_uri: str) -> Callable[[int, Callable[[str], str | None]], None]:
    """Changes the text of an entry in MLflow's database, None removes it."""

    def edit(number: int, change: Callable[[str], str | None]) -> None:
        engine = create_engine(mlflow_uri)
        with engine.begin() as connection:
            where = {"key": f"{number:08d}"}
            raw = connection.execute(text("SELECT value FROM params WHERE key = :key"), where).scalar_one()
            changed = change(raw)
            if changed is None:
                connection.execute(text("DELETE FROM params WHERE key = :key"), where)
            else:
                connection.execute(
                    text("UPDATE params SET value = :value WHERE key = :key"), {**where, "value": changed}
                )
        engine.dispose()

    return edit
