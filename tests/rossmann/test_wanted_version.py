"""Which version a step is about."""

import pytest

from include.lifecycle.errors import BadInputError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.retraining.steps.validate import wanted_version
from tests.validations import validation

MODEL = "demand"


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    registry = ModelRegistry(tracking_uri=mlflow_uri)
    registry.client.create_registered_model(MODEL)
    return registry


def test_without_a_number_a_step_takes_the_newest_of_its_stage(registry: ModelRegistry) -> None:
    with pytest.raises(BadInputError, match="in None: give --version"):
        wanted_version(registry, MODEL, None, None, "None")
    created = [registry.client.create_model_version(MODEL, f"runs:/{run}/model", run) for run in new_runs(registry, 3)]
    oldest, middle, newest = (int(found.version) for found in created)
    assert wanted_version(registry, MODEL, None, None, "None").version == newest
    for version in (middle, newest):
        registry.validated(validation(MODEL, version))
    registry.stage(MODEL, newest)
    assert wanted_version(registry, MODEL, None, None, "None").version == middle
    assert wanted_version(registry, MODEL, None, None, "Staging").version == newest
    assert wanted_version(registry, MODEL, None, oldest, "Staging").version == oldest
    assert wanted_version(registry, MODEL, created[0].run_id, None, "Staging").version == oldest


def new_runs(registry: ModelRegistry, count: int) -> list[str]:
    return [registry.client.create_run("0").info.run_id for _ in range(count)]
