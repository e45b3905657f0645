"""Races of two processes for Production, through a real MLflow server, watched by a reader that polls.

    python tests/bench/races.py --backend sqlite|postgresql --case promote-promote|promote-rollback
                                [--trials 200] [--no-lock]

Prints in how many trials the reader saw other than one version in Production, how many ended so, and how many
ledger entries were lost or doubled. ``--no-lock`` makes the same moves with MLflow's call alone: what the lock is
for must show there, or the figures with the lock prove nothing. PostgreSQL comes from the system's packages, its
driver from the folder that RETRAIN_BENCH_POSTGRES_DRIVER names.
"""

import argparse
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "plugins")]

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import ReportedError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.versions import VersionCatalog, in_production
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.stages import PRODUCTION
from tests.validations import validation

TRIALS_PER_MODEL = 10
"""Few versions a model: the reader polls fast, and the ledgers go over into another run in the middle of races."""
RUN_ENTRIES = 10
USERS = ("ana", "bob")
POLL = 0.002
"""Seconds between two looks of the reader, which must leave the server to the racers as well."""


@dataclass
class Result:
    trials: int = 0
    seen_wrong: int = 0
    ended_wrong: int = 0
    lost: int = 0
    doubled: int = 0
    broken_ledgers: int = 0
    runs: int = 0
    polls: int = 0
    polls_meanwhile: int = 0
    seconds: list[float] = field(default_factory=list)
    last: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


def main() -> int:
    warnings.filterwarnings("ignore", category=FutureWarning)
    for noisy in ("include", "mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--case", choices=["promote-promote", "promote-rollback"], default="promote-promote")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--no-lock", action="store_true", help="MLflow's call alone, without lock and ledger")
    given = parser.parse_args()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from tests.bench.servers import mlflow_server

    with (
        tempfile.TemporaryDirectory(prefix="races-") as folder,
        mlflow_server(given.backend, Path(folder)) as url,
        Racers(url, locked=not given.no_lock) as racers,
    ):
        result = race(racers, url, given.case, given.trials)
    lock = "without lock" if given.no_lock else "with lock"
    print(f"{given.backend}, {given.case}, {lock}: {result.trials} trials, {result.polls} polls of the reader")
    print(f"  reader saw other than one in Production  {result.seen_wrong} trials")
    print(f"  ended with other than one in Production  {result.ended_wrong} trials")
    if not given.no_lock:
        print(f"  ledger entries lost / doubled            {result.lost} / {result.doubled}")
        print(f"  ledgers that do not verify               {result.broken_ledgers}, in {result.runs} MLflow runs")
    spread = statistics.quantiles(result.seconds, n=20) if len(result.seconds) > 1 else [0.0] * 19
    print(f"  one move, median / 95th percentile       {spread[9] * 1000:.0f} / {spread[18] * 1000:.0f} ms")
    print(
        f"  polls during a race, mean; last was      {result.polls_meanwhile / given.trials:.1f}; {dict(result.last)}"
    )
    for error, count in result.errors.items():
        print(f"  {count} x {error}")
    return int(not given.no_lock and any((result.seen_wrong, result.ended_wrong, result.lost, result.doubled)))


def race(racers: "Racers", url: str, case: str, trials: int) -> Result:
    result, registry = Result(), ModelRegistry(tracking_uri=url, run_entries=RUN_ENTRIES)
    run_id = registry.client.create_run("0").info.run_id
    for number in range(trials):
        model = f"race-{number // TRIALS_PER_MODEL}"
        if number % TRIALS_PER_MODEL == 0:
            registry.client.create_registered_model(model)
            for turn in ("first", "second"):
                registry.promote(model, staged(registry, model, run_id), decision(turn, "setup"))
        live = one_in_production(registry, model)
        former = max(item.version for item in registry.versions(model, "Archived") if item.version != live)
        moves = [("promote", staged(registry, model, run_id))]
        rollback = case == "promote-rollback"
        moves.append(("rollback", former) if rollback else ("promote", staged(registry, model, run_id)))
        known = len(registry.history(model))
        racers.watch(model)
        for user, answer in racers.go(model, moves):
            result.seconds += [answer] if isinstance(answer, float) else []
            result.errors.update([] if isinstance(answer, float) else [f"{user}: {answer}"])
        wanted = Counter((version, user) for user, (_, version) in zip(USERS, moves, strict=True))
        tally(result, racers, VersionCatalog(registry.client).stages(model), wanted)
        if racers.locked:
            events = registry.history(model)[known:]
            made = Counter((event.version, event.user) for event in events if event.is_promotion)
            result.lost += (wanted - made).total()
            result.doubled += (made - wanted).total()
            if (number + 1) % TRIALS_PER_MODEL == 0 or number + 1 == trials:
                result.broken_ledgers += bool(registry.verify(model))
                result.runs += len(registry.ledger(model).read().runs)
        if (number + 1) % 20 == 0:
            print(f"  {number + 1} trials: {result.seen_wrong} seen, {result.ended_wrong} ended", file=sys.stderr)
    return result


def tally(result: Result, racers: "Racers", stages: dict[int, str], moved: Counter[tuple[int, str]]) -> None:
    """Count what the reader saw during a trial, and how it ended."""
    polls, meanwhile, wrong = racers.seen()
    result.trials += 1
    result.polls += polls
    result.polls_meanwhile += meanwhile
    result.seen_wrong += wrong > 0
    result.ended_wrong += len(in_production(stages)) != 1
    result.last.update(user for version, user in moved if stages[version] == PRODUCTION)


def staged(registry: ModelRegistry, model: str, run_id: str) -> int:
    """Register a version that passed its gate and put it into Staging, by hand: that is quick."""
    found = registry.client.create_model_version(model, f"runs:/{run_id}/model", run_id)
    registry.validated(validation(model, int(found.version)))
    registry.client.transition_model_version_stage(model, found.version, "Staging")
    return int(found.version)


def one_in_production(registry: ModelRegistry, model: str) -> int:
    """Return the version in Production; what a race without the lock left is put right first."""
    live = in_production(VersionCatalog(registry.client).stages(model))
    if len(live) != 1:
        registry.client.transition_model_version_stage(model, str(max(live, default=1)), "Production", True)
        live = in_production(VersionCatalog(registry.client).stages(model))
    return live[0]


def decision(user: str, run_id: str) -> Decision:
    return Decision(Outcome.APPROVED, user, "benchmark", "race", Channel.CLI, dag_id="races", run_id=run_id)


class Racers:
    """Two processes that move versions at the same moment, and one that reads all the time."""

    def __init__(self, url: str, *, locked: bool) -> None:
        self.locked = locked
        context = multiprocessing.get_context("spawn")
        # kept: a semaphore that nobody here refers to is gone before the children have opened it
        self.barrier = context.Barrier(len(USERS))
        self.pipes: dict[str, Any] = {}
        self.processes = []
        for user in (*USERS, "reader"):
            self.pipes[user], theirs = context.Pipe()
            mover: tuple[Any, ...] = (url, user, locked, self.barrier, theirs)
            target, arguments = (read, (url, theirs)) if user == "reader" else (move, mover)
            self.processes.append(context.Process(target=target, args=arguments, daemon=True))

    def __enter__(self) -> "Racers":
        for process in self.processes:
            process.start()
        for pipe in self.pipes.values():
            pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def watch(self, model: str) -> None:
        """Let the reader look at a model; returns once it has looked."""
        self.pipes["reader"].send(model)
        self.pipes["reader"].recv()

    def go(self, model: str, moves: list[tuple[str, int]]) -> list[tuple[str, float | str]]:
        """Make both moves at the same moment; return how long each took, or its error."""
        for user, (what, version) in zip(USERS, moves, strict=True):
            self.pipes[user].send((model, what, version))
        return [(user, self.pipes[user].recv()) for user in USERS]

    def seen(self) -> tuple[int, int, int]:
        """Return how often the reader looked, how often before this call, and how often it saw other than one."""
        self.pipes["reader"].send(None)
        return self.pipes["reader"].recv()  # type: ignore[no-any-return]


def move(url: str, user: str, locked: bool, barrier: Any, pipe: Connection) -> None:
    """Move versions as the pipe says, each at the same moment as the other process."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.disable(logging.WARNING)
    registry = ModelRegistry(tracking_uri=url, run_entries=RUN_ENTRIES)
    registry.client.search_registered_models(max_results=1)
    pipe.send("ready")
    while True:
        model, what, version = pipe.recv()
        barrier.wait(60)
        started = time.perf_counter()
        try:
            if not locked:
                registry.client.transition_model_version_stage(model, str(version), "Production", True)
            elif what == "rollback":
                registry.rollback(model, version, decision(user, f"{what}-{version}"))
            else:
                registry.promote(model, version, decision(user, f"{what}-{version}"))
            pipe.send(time.perf_counter() - started)
        except (ReportedError, MlflowException) as error:
            pipe.send(f"{type(error).__name__}: {str(error)[:200]}")


def read(url: str, pipe: Connection) -> None:
    """Look at a model from the moment that the pipe names it until it says None."""
    catalog = VersionCatalog(MlflowClient(tracking_uri=url))
    pipe.send("ready")
    while True:
        model, polls, wrong, stop = pipe.recv(), 0, 0, False
        while not stop:
            # asked before the last look: that one sees what the race left
            stop = pipe.poll()
            live = in_production(catalog.stages(model))
            polls += 1
            wrong += len(live) != 1
            time.sleep(POLL)
            if polls == 1:
                pipe.send("looked")
        pipe.recv()
        pipe.send((polls, polls - 2, wrong))


if __name__ == "__main__":
    sys.exit(main())
