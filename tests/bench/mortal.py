"""A process that promotes, rolls back, or asks, decides and promotes, and dies at a chosen call to MLflow."""

import json
import os
import signal
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient

from include.lifecycle.ledger.statements import Ask, Decided, Place, as_reason
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.moves.promotion import Transition
from include.lifecycle.rules.decisions import Channel, Decision, Outcome

RUN_ENTRIES = 2
"""So few that every move goes over the border between two runs of the ledger as well."""
REASON = "better on Sundays, " * 200
"""Longer than an entry holds: the move keeps an artifact as well."""

AT = datetime(2026, 1, 1, tzinfo=UTC)

LEDGER_READS = ("get_run", "get_experiment_by_name")
"""Not counted: how often they are made depends on what the process has read before, and they change nothing."""

Before = Callable[["Counted", int], None]


class Counted:
    """A client that tells of each call before it is made.

    :param client: makes the calls
    :param before: gets this client and the number of each
    """

    def __init__(self, client: MlflowClient, before: Before) -> None:
        self.client = client
        self.before = before
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if not callable(found) or name in LEDGER_READS:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(_named(name, args))
            self.before(self, len(self.calls) - 1)
            return getattr(self.client, name)(*args, **kwargs)

        return call


def _named(name: str, args: tuple[Any, ...]) -> str:
    """Return what a call does, the kind of a ledger's entry and the tag or alias with it."""
    if name == "log_param":
        return f"ledger: {json.loads(args[2])['type']}"
    if name in ("set_registered_model_alias", "set_model_version_tag"):
        return f"{name} {args[1] if name.endswith('alias') else args[2]}"
    return name


def decision(run_id: str, what: str = "promote") -> Decision:
    reason = as_reason(REASON) if what == "decide" else REASON
    return Decision(Outcome.APPROVED, "ana", "benchmark", reason, Channel.CLI, at=AT, dag_id="kills", run_id=run_id)


def move(registry: ModelRegistry, what: str, model: str, version: int, run_id: str) -> Transition:
    """Make a move: as somebody at the command line, or as sensor, API server and operator do one after the other."""
    if what == "decide":
        place = Place(dag_id="kills", run_id=run_id, task_id="await_approval")
        ask = registry.ask(Ask(model=model, version=version, place=place, instance=run_id))
        # the letter, which is delivered again, has the same id
        decided = Decided(ask=ask.id, decision=decision(run_id, what), requested_by="", id=f"{model}-{run_id}")
        registry.decide(model, decided)
        found = registry.ledger(model).read().statements.decided[ask.id].what.decision
        return registry.promote(model, version, found, ask=ask.id)
    make = registry.rollback if what == "rollback" else registry.promote
    return make(model, version, decision(run_id))


def move_and_die(url: str, what: str, model: str, version: int, run_id: str, at: int) -> None:
    """Make a move and kill this process, as ``kill -9`` does, before the call number ``at``."""
    warnings.filterwarnings("ignore", category=FutureWarning)

    def before(client: Counted, number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    dying: Any = Counted(MlflowClient(tracking_uri=url), before)
    move(ModelRegistry(dying, run_entries=RUN_ENTRIES), what, model, version, run_id)
