"""What a person may do at the command line, under the model's policy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.cli import people
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.errors import BadInputError, PolicyNotMetError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from tests.validations import validation

from .support import MODEL


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
        registry.promote(MODEL, version, Decision(Outcome.APPROVED, door=Channel.MARK))
    return version


@pytest.fixture
def configured() -> Any:
    """A configuration with other policies."""

    def make(approval: dict[str, Any] | None = None, rollback: dict[str, Any] | None = None) -> LifecycleConfig:
        sections = {"approval": {"policy": approval or {}}, "rollback": {"policy": rollback or {}}}
        gate = {"metric": "rmspe", "threshold": 0.1}
        return LifecycleConfig.model_validate(
            {"model": MODEL, "experiment": "demand", "owner": "planning", "gate": gate, **sections}
        )

    return make


def test_the_default_policy_takes_a_reason(registry: ModelRegistry, staged: int, configured: Any) -> None:
    assert (
        people.Person(configured()).promote(staged, "looks right")[0] == f"Model version {staged} is now in Production"
    )
    assert "is already in Production" in people.Person(configured()).promote(staged, "again")[0]


@pytest.mark.parametrize("reason", ["", " ", "...", "\u3164\u115f", "\u200b\u2800"])
def test_without_a_reason_nothing_is_promoted(
    registry: ModelRegistry, staged: int, configured: Any, reason: str
) -> None:
    with pytest.raises(BadInputError, match="reason"):
        people.Person(configured()).promote(staged, reason)
    assert registry.production(MODEL) is None


@pytest.mark.parametrize("rules", [{"approvers": ["user:anna"]}, {"four_eyes": True}])
def test_nobody_is_verified_at_the_command_line(
    registry: ModelRegistry, staged: int, configured: Any, rules: dict[str, Any]
) -> None:
    with pytest.raises(PolicyNotMetError, match=r"not verified: .*Airflow"):
        people.Person(configured(rules)).promote(staged, "looks right")
    assert registry.production(MODEL) is None
    assert registry.version(MODEL, staged).stage == "Staging"


def test_old_evidence_is_refused(registry: ModelRegistry, configured: Any) -> None:
    config = configured({"evidence_max_age_days": 2})
    old, new = add(registry, age=timedelta(days=3)), add(registry, age=timedelta(days=1))
    with pytest.raises(PolicyNotMetError, match="3 days old, at most 2 "):
        people.Person(config).promote(old, "looks right")
    registry.client.set_model_version_tag(MODEL, str(old), tag.VALIDATION_TIME, datetime.now(UTC).isoformat())
    with pytest.raises(PolicyNotMetError, match="3 days old, at most 2 "):
        people.Person(config).promote(old, "whatever the tag says")
    people.Person(config).promote(new, "looks right")


def test_a_command_does_not_wait_for_the_end_of_a_blackout(
    registry: ModelRegistry, staged: int, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.lifecycle.rules.policy.utc_now", lambda: datetime(2026, 3, 4, 12, tzinfo=UTC))
    config = configured({"blackouts": [{"start": "10:00", "end": "14:00"}]})
    with pytest.raises(BadInputError, match=r"2026-03-04 14:00 \(Europe/Berlin\)"):
        people.Person(config).promote(staged, "looks right")
    assert registry.production(MODEL) is None


def test_a_rollback_has_its_policy_and_no_blackout(registry: ModelRegistry, configured: Any) -> None:
    first, second = add(registry, live=True), add(registry, live=True)
    strict = configured(rollback={"approvers": ["user:anna"]})
    with pytest.raises(PolicyNotMetError, match="Approvers are user:anna"):
        people.Person(strict).rollback(first, "second is bad")
    assert registry.resolve(MODEL, "Production").version == second
    with pytest.raises(PolicyNotMetError, match="Approvers are user:ben"):
        people.Person(configured({"approvers": ["user:ben"]})).rollback(first, "second is bad")
    blacked_out = configured({"blackouts": [{"start": "00:00", "end": "23:59"}]})
    assert (
        people.Person(blacked_out).rollback(first, "second is bad")[0] == f"Model version {first} is now in Production"
    )


def test_anybody_may_reject(registry: ModelRegistry, staged: int, configured: Any) -> None:
    people.Person(configured({"approvers": ["user:anna"], "four_eyes": True})).reject(staged, "too low")
    assert registry.version(MODEL, staged).tags["decision.outcome"] == "rejected"


def test_init_makes_every_name_of_the_model(registry: ModelRegistry, configured: Any) -> None:
    people.Person(configured()).init()
    made = {experiment.name for experiment in registry.client.search_experiments()}
    own = {f"demand{part}" for part in ("", "-predictions", "-monitoring")}
    assert own < made - {"Default"}
    assert len(made - {"Default"} - own) == 2, "the ledger's own"
