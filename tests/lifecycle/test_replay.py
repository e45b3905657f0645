"""A short replay: the ledger agrees with the record of the script that drove it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules import decisions
from tests.bench import replay

PLAN = ["approve", "gate", "approve", "leave", "reject", "expire", "by hand", "approve", "empty by hand", "leave"]


@pytest.fixture
def clock() -> Iterator[None]:
    """Gives the life cycle its own clock back."""
    yield
    replay.install(real)


real = decisions.utc_now


def test_nights_of_every_kind(mlflow_uri: str, clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "ROLLBACK_SHARE", 0.4)
    registry, start = ModelRegistry(tracking_uri=mlflow_uri), datetime(2026, 3, 1, 1, tzinfo=UTC)
    record = replay.Replay(registry, start, seed=5).run(PLAN)
    assert replay.check(registry, record, start, len(PLAN), seed=3) == []
    assert record.did["rollback"]
    assert record.did["supersede"]
    record.live = [(since, version + 1) for since, version in record.live]
    assert "live at" in replay.check(registry, record, start, len(PLAN), seed=3)[0], "the check checks"
