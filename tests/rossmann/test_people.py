"""What a person may do at the command line, under the model's policy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.errors import BadInputError, PolicyNotMetError
from include.lifecycle.registry import ModelRegistry
from include.rossmann import people
from include.rossmann.config import RossmannConfig, load_config
from include.rossmann.steps.validate import wanted_version
from tests.validations import validation

MODEL = "rossmann-ensemble"


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    registry = ModelRegistry(tracking_uri=mlflow_uri)
    registry.client.create_registered_model(MODEL)
    return registry


@pytest.fixture
def staged(registry: ModelRegistry) -> int:
    return add(registry)


def add(registry: ModelRegistry, *, age: timedelta = timedelta(0), live: bool = False) -> int:
    client: MlflowClient = registry.client
    run = client.create_run("0")
    found = client.create_model_version(MODEL, f"runs:/{run.info.run_id}/model", run.info.run_id)
    version = int(found.version)
    registry.validated(validation(MODEL, version, at=datetime.now(UTC) - age))
    registry.stage(MODEL, version)
    if live:
        registry.promote(MODEL, version, Decision(Outcome.APPROVED, door=Door.MARK))
    return version


def test_without_a_number_a_step_takes_the_newest_of_its_stage(registry: ModelRegistry) -> None:
    with pytest.raises(BadInputError, match="no version in None: give --version"):
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


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    """A configuration with other policies, and without digests of artifacts, which these versions lack."""

    def make(approval: dict[str, Any] | None = None, rollback: dict[str, Any] | None = None) -> RossmannConfig:
        content = load_config().model_dump(mode="json")
        lifecycle = content["lifecycle"]
        lifecycle["approval"]["policy"] |= {"review_required": False, **(approval or {})}
        lifecycle["rollback"]["policy"] |= rollback or {}
        lifecycle["integrity"] = "when_recorded"
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return load_config(path)

    return make


def test_the_default_policy_takes_a_reason(registry: ModelRegistry, staged: int, configured: Any) -> None:
    assert people.promote(configured(), staged, "looks right")[0] == f"Model version {staged} is now in Production"
    assert "is already in Production" in people.promote(configured(), staged, "again")[0]


@pytest.mark.parametrize("reason", ["", " ", "...", "\u3164\u115f", "\u200b\u2800"])
def test_without_a_reason_nothing_is_promoted(
    registry: ModelRegistry, staged: int, configured: Any, reason: str
) -> None:
    with pytest.raises(BadInputError, match="reason"):
        people.promote(configured(), staged, reason)
    assert registry.production(MODEL) is None


@pytest.mark.parametrize("rules", [{"approvers": ["user:anna"]}, {"four_eyes": True}])
def test_nobody_is_verified_at_the_command_line(
    registry: ModelRegistry, staged: int, configured: Any, rules: dict[str, Any]
) -> None:
    with pytest.raises(PolicyNotMetError, match=r"that \S+ approved is not verified: .* logged in to Airflow"):
        people.promote(configured(rules), staged, "looks right")
    assert registry.production(MODEL) is None
    assert registry.version(MODEL, staged).stage == "Staging"


def test_old_evidence_is_refused(registry: ModelRegistry, configured: Any) -> None:
    config = configured({"evidence_max_age_days": 2})
    old, new = add(registry, age=timedelta(days=3)), add(registry, age=timedelta(days=1))
    with pytest.raises(PolicyNotMetError, match="3 days old, at most 2 days"):
        people.promote(config, old, "looks right")
    registry.client.set_model_version_tag(MODEL, str(old), tag.VALIDATION_TIME, datetime.now(UTC).isoformat())
    with pytest.raises(PolicyNotMetError, match="3 days old, at most 2 days"):
        people.promote(config, old, "whatever the tag says")
    people.promote(config, new, "looks right")


def test_a_command_does_not_wait_for_the_end_of_a_blackout(
    registry: ModelRegistry, staged: int, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.lifecycle.policy.utc_now", lambda: datetime(2026, 3, 4, 12, tzinfo=UTC))
    config = configured({"blackouts": [{"start": "10:00", "end": "14:00"}]})
    with pytest.raises(
        BadInputError, match=r"A blackout is in force until 2026-03-04 14:00 \(Europe/Berlin\): promote"
    ):
        people.promote(config, staged, "looks right")
    assert registry.production(MODEL) is None


def test_a_rollback_has_its_policy_and_no_blackout(registry: ModelRegistry, configured: Any) -> None:
    first, second = add(registry, live=True), add(registry, live=True)
    strict = configured(rollback={"approvers": ["user:anna"]})
    with pytest.raises(PolicyNotMetError, match="Approvers are user:anna"):
        people.rollback(strict, first, "second is bad")
    assert registry.resolve(MODEL, "Production").version == second
    with pytest.raises(PolicyNotMetError, match="Approvers are user:ben"):
        people.rollback(configured({"approvers": ["user:ben"]}), first, "second is bad")
    blacked_out = configured({"blackouts": [{"start": "00:00", "end": "23:59"}]})
    assert people.rollback(blacked_out, first, "second is bad")[0] == f"Model version {first} is now in Production"


def test_anybody_may_reject(registry: ModelRegistry, staged: int, configured: Any) -> None:
    people.reject(configured({"approvers": ["user:anna"], "four_eyes": True}), staged, "too low")
    assert registry.version(MODEL, staged).tags["decision.outcome"] == "rejected"


def test_init_makes_every_name_of_the_model(registry: ModelRegistry) -> None:
    people.init(load_config())
    made = {experiment.name for experiment in registry.client.search_experiments()}
    own = {f"rossmann-forecasting{part}" for part in ("", "-predictions", "-monitoring")}
    assert own < made - {"Default"}
    assert len(made - {"Default"} - own) == 2, "the ledger's own"
