"""What the tests of the life cycle share."""

import time
from typing import Any

from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome

MODEL = "demand"
OLD = "ab" * 32
"""A ledger key."""


def approved(user: str = "ana", reason: str = "looks right", run_id: str | None = None, **more: Any) -> Decision:
    return Decision(Outcome.APPROVED, user, "test", reason, Channel.MARK, dag_id="retrain", run_id=run_id, **more)


def stages(registry: ModelRegistry) -> dict[int, str]:
    return registry.catalog.stages(MODEL)


def aliases(registry: ModelRegistry) -> dict[str, int]:
    return registry.catalog.aliases(MODEL)


def impatient(registry: ModelRegistry) -> ModelRegistry:
    """Return a registry on whose clock a minute, the time to live of a lock, passes in a fifth of a second."""
    hasty = ModelRegistry(registry.client, lock_ttl=100_000)
    hasty.ledger(MODEL).monotonic = lambda: time.monotonic() * 300
    return hasty


def again(registry: ModelRegistry, keyring: Keyring | None = None) -> PromotionLedger:
    """The ledger as another process reads it."""
    return PromotionLedger(registry.client, MODEL, ttl=30, keyring=keyring)


def forged(state: Any, **fields: Any) -> dict[str, Any]:
    """What a process without the key would write as the next entry."""
    return {"schema": 1, "prev": state.head, "nonce": "x", "time": "2026-01-01T00:00:00+00:00", **fields}
