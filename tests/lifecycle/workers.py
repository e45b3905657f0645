"""What the race tests run in processes of their own."""

import sys
from multiprocessing.connection import Connection
from typing import Any

from mlflow import MlflowClient

from include.lifecycle.errors import ReportedError
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome

from .support import MODEL, approved


def promote_all(uri: str, user: str, versions: list[int], barrier: Any) -> None:
    """Promote each version at the same moment as the other processes promote theirs."""
    registry = ModelRegistry(tracking_uri=uri, lock_ttl=60)
    for version in versions:
        barrier.wait(120)
        registry.promote(MODEL, version, approved(user, run_id=f"{user}-{version}"))


def decide_all(uri: str, user: str, versions: list[int], barrier: Any) -> None:
    """Promote or, as the user ``bob``, reject each version at the same moment as the other process."""
    registry = ModelRegistry(tracking_uri=uri, lock_ttl=60)
    for version in versions:
        barrier.wait(120)
        try:
            if user == "bob":
                registry.reject(MODEL, version, Decision(Outcome.REJECTED, user, "test", "no", Channel.CLI))
            else:
                registry.promote(MODEL, version, approved(user))
        except ReportedError as error:
            sys.stderr.write(f"{error}\n")


class Pausing:
    """A client that stops before or after the stage transition until somebody writes to the pipe."""

    def __init__(self, client: MlflowClient, when: str, pipe: Connection) -> None:
        self.client = client
        self.when = when
        self.pipe = pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def transition_model_version_stage(self, *args: Any, **kwargs: Any) -> Any:
        if self.when == "before":
            self.pause()
        done = self.client.transition_model_version_stage(*args, **kwargs)
        if self.when == "after":
            self.pause()
        return done

    def pause(self) -> None:
        self.when = "done"
        self.pipe.send("paused")
        self.pipe.recv()


def promote_with_a_pause(uri: str, version: int, when: str, pipe: Connection) -> None:
    """Promote a version, standing still before or after the stage transition; send the error, if any."""
    registry = ModelRegistry(Pausing(MlflowClient(tracking_uri=uri), when, pipe))  # type: ignore[arg-type]
    try:
        registry.promote(MODEL, version, approved("frozen", run_id=f"frozen-{version}"))
        pipe.send("promoted")
    except ReportedError as error:
        pipe.send(f"{type(error).__name__}: {error}")


def take_the_lock(uri: str, number: int, times: int, run_entries: int, barrier: Any) -> None:
    """Take and release the lock, in runs so short that every time goes over a border."""
    ledger = PromotionLedger(MlflowClient(tracking_uri=uri), MODEL, ttl=60, run_entries=run_entries)
    barrier.wait(120)
    for turn in range(times):
        with ledger.lock() as held:
            held.end(100 * number + turn)
