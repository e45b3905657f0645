"""What the tests of the life cycle share."""

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
