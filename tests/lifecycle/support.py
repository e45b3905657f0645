"""What the tests of the life cycle share."""

import time
from typing import Any

from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.registry import ModelRegistry

MODEL = "demand"


def approved(user: str = "ana", reason: str = "looks right", run_id: str | None = None, **more: Any) -> Decision:
    return Decision(Outcome.APPROVED, user, "test", reason, Door.MARK, dag_id="retrain", run_id=run_id, **more)


def stages(registry: ModelRegistry) -> dict[int, str]:
    return registry.catalog.stages(MODEL)


def aliases(registry: ModelRegistry) -> dict[str, int]:
    return registry.catalog.aliases(MODEL)


def impatient(registry: ModelRegistry) -> ModelRegistry:
    """Return a registry on whose clock a minute, the time to live of a lock, passes in a fifth of a second."""
    hasty = ModelRegistry(registry.client, lock_ttl=100_000)
    hasty.ledger(MODEL).monotonic = lambda: time.monotonic() * 300
    return hasty
