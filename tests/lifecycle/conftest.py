"""A registry with versions in it, and doors to break it."""

from collections.abc import Callable

import pytest

from include.lifecycle import tags as tag
from include.lifecycle.registry import ModelRegistry

from .support import MODEL, approved


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    """A registry with the model ``demand`` and no version."""
    registry = ModelRegistry(tracking_uri=mlflow_uri, lock_ttl=30)
    registry.client.create_registered_model(MODEL)
    return registry


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
