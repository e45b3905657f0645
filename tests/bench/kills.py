"""A move that is interrupted at every call it makes to MLflow, then made again: what comes out.

    python tests/bench/kills.py [--what promote|rollback|decide] [--fault kill|readonly|lost|all]
                                [--backend sqlite|postgresql]

``kill``: a process of its own is killed with signal 9 before each call. ``readonly``: from each call on MLflow's
database takes no write. ``lost``: the answer to each writing request is dropped after the server committed it.
The same move is then made again (after ``lost`` only where the first try failed), on a clock that lets the dead
holder's time to live pass quickly, and the outcome compared with that of a move that nothing interrupted.
``decide`` is a move with what comes before it in Airflow: the ask of the waiting task and the decision on it.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "plugins")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.errors import ReportedError
from include.lifecycle.ledger.limits import CLIENT_LIMITS
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.versions import in_production
from tests.bench.mortal import RUN_ENTRIES, Counted, decision, move, move_and_die
from tests.bench.proxy import DroppingProxy
from tests.bench.servers import mlflow_server, read_only
from tests.validations import validation

HASTE = 300
"""A minute passes in a fifth of a second on the clock of whoever comes after a dead holder."""


@dataclass
class Case:
    """A model with a champion and one before it, and the version that is to come into Production."""

    registry: ModelRegistry
    model: str
    what: str
    run_id: str
    former: int = 0
    version: int = 0
    number: int = 0

    def prepare(self) -> str:
        """Choose the next version; return the run that decides about it."""
        stages = self.registry.catalog.stages(self.model)
        (self.former,) = in_production(stages)
        if self.what == "rollback":
            self.version = max(number for number, stage in stages.items() if stage == "Archived")
        else:
            self.version = staged(self.registry, self.model, self.run_id)
        self.number += 1
        return f"night-{self.number}"

    def state(self) -> str:
        """Return what is in Production, the champion by alias, and whether somebody holds the lock."""
        live = in_production(self.registry.catalog.stages(self.model))
        alias = self.registry.catalog.aliases(self.model).get("champion")
        names = {self.former: "old", self.version: "new"}
        holds = self.registry.ledger(self.model).read().holder
        shown = "+".join(names.get(version, str(version)) for version in live) or "none"
        return f"{shown:4} {names.get(alias or 0, alias)!s:5} {'held' if holds else 'free'}"

    def again(self, run_id: str) -> None:
        hasty = ModelRegistry(self.registry.client, lock_ttl=1_000_000, run_entries=RUN_ENTRIES)
        hasty.ledger(self.model).monotonic = lambda: time.monotonic() * HASTE
        move(hasty, self.what, self.model, self.version, run_id)

    def differences(self, run_id: str) -> list[str]:
        """Return what is not as after a move that nothing interrupted."""
        registry, info = self.registry, self.registry.version(self.model, self.version)
        live = in_production(registry.catalog.stages(self.model))
        events = [event for event in registry.history(self.model) if event.run_id == run_id]
        events = [registry.ledger(self.model).texts.complete(event) for event in events]
        asked, said = decision(run_id, self.what), registry.ledger(self.model).read().statements
        asks = [ask for ask in said.asks.values() if ask.place.run_id == run_id]
        # what a rollback threw out is nobody's next one
        previous = {} if self.what == "rollback" else {"previous": self.former}
        wrong = {
            f"in Production: {live}": live != [self.version],
            "the former one is not archived": registry.version(self.model, self.former).stage != "Archived",
            "aliases": registry.catalog.aliases(self.model) != {"champion": self.version, **previous},
            "decision tags": info.tags.get(tag.DECISION_REASON) != asked.reason,
            "description": info.description.count("Life cycle:") != 1,
            f"{len(events)} events": len(events) != 1,
            "event": [(event.reason, event.archived) for event in events] != [(asked.reason, (self.former,))],
            f"ledger: {registry.verify(self.model)}": bool(registry.verify(self.model)),
            "asks and decisions": self.what == "decide" and [ask.id in said.decided for ask in asks] != [True],
            "decided twice": bool(said.late),
            "lock": registry.ledger(self.model).read().holder is not None,
            "reconcile found something": registry.reconcile(self.model).changed,
        }
        return [name for name, found in wrong.items() if found]


def main() -> int:
    warnings.filterwarnings("ignore", category=FutureWarning)
    for noisy in ("include", "mlflow", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", choices=["promote", "rollback", "decide"], default="promote")
    parser.add_argument("--fault", choices=["kill", "readonly", "lost", "all"], default="all")
    parser.add_argument("--backend", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    os.environ.update(CLIENT_LIMITS)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, mlflow_server(given.backend, Path(folder)) as url:
        faults = {"kill": kill, "readonly": readonly, "lost": lost}
        for name, fault in faults.items():
            if given.fault in (name, "all"):
                case = new_case(url, given.what, f"{name}-{given.what}")
                print(f"\n{given.backend}, {given.what}, {name}")
                print(f"{'':3} {'interrupted before':36} {'live alias lock':15} {'made again':12} entries  differences")
                for row in fault(case, url, Path(folder)):
                    wrong += not row.endswith("none")
                    print(row, flush=True)
    print(f"\n{wrong} outcomes differ")
    return int(wrong > 0)


def kill(case: Case, url: str, folder: Path) -> Iterator[str]:
    """Kill a process of its own before each call."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.bench.mortal"])
    for at, name in enumerate(names_of_calls(case, url)):
        run_id = case.prepare()
        arguments = (url, case.what, case.model, case.version, run_id, at)
        process = context.Process(target=move_and_die, args=arguments)
        process.start()
        process.join(120)
        if process.exitcode not in (-9, 0):
            raise SystemExit(f"the process ended with {process.exitcode}")
        yield report(case, at, name, run_id, lambda run_id=run_id: case.again(run_id))


def readonly(case: Case, url: str, folder: Path) -> Iterator[str]:
    """From each call on, let MLflow's database take no write."""
    with read_only(folder) as refusing:
        for at, name in enumerate(names_of_calls(case, url)[:-1]):
            run_id, error = case.prepare(), ""

            def before(client: Counted, number: int, at: int = at) -> None:
                if number == at:
                    client.client = MlflowClient(tracking_uri=refusing)

            client: Any = Counted(MlflowClient(tracking_uri=url), before)
            try:
                move(ModelRegistry(client, run_entries=RUN_ENTRIES), case.what, case.model, case.version, run_id)
            except (ReportedError, MlflowException) as found:
                error = type(found).__name__
            if error not in ("", "ReportedError", "MlflowException"):
                raise SystemExit(f"a read-only database must be worth another try, found {error}")
            yield report(case, at, name, run_id, lambda run_id=run_id: case.again(run_id))


def lost(case: Case, url: str, folder: Path) -> Iterator[str]:
    """Drop the answer to each writing request, after the server has committed."""
    with DroppingProxy(url) as proxy:
        at = -1
        while True:
            at += 1
            run_id = case.prepare()
            proxy.drop(at)
            registry = ModelRegistry(tracking_uri=proxy.url, run_entries=RUN_ENTRIES)
            again: Callable[[], None] | None = None
            try:
                move(registry, case.what, case.model, case.version, run_id)
            except (ReportedError, MlflowException):
                again = lambda run_id=run_id: case.again(run_id)  # noqa: E731
            if proxy.dropped is None:
                return
            yield report(case, at, proxy.dropped, run_id, again)


def report(case: Case, at: int, name: str, run_id: str, again: Callable[[], None] | None) -> str:
    state, known, started = case.state(), case.registry.ledger(case.model).read().next_number, time.monotonic()
    if again is not None:
        again()
    needed = f"{time.monotonic() - started:.1f} s" if again is not None else "not needed"
    added = case.registry.ledger(case.model).read().next_number - known
    differences = case.differences(run_id)
    return f"{at:3} {name:36} {state:15} {needed:12} +{added:<7} {', '.join(differences) or 'none'}"


def names_of_calls(case: Case, url: str) -> list[str]:
    """Make a move that nothing interrupts; return the calls that it made, and one for the end."""
    client: Any = Counted(MlflowClient(tracking_uri=url), lambda client, number: None)
    run_id = case.prepare()
    move(ModelRegistry(client, run_entries=RUN_ENTRIES), case.what, case.model, case.version, run_id)
    if found := case.differences(run_id):
        raise SystemExit(f"a move that nothing interrupted left {found}")
    return [*client.calls, "(nothing: it is done)"]


def new_case(url: str, what: str, model: str) -> Case:
    registry = ModelRegistry(tracking_uri=url, run_entries=RUN_ENTRIES)
    run_id = registry.client.create_run("0").info.run_id
    registry.client.create_registered_model(model)
    for number in range(2):
        registry.promote(model, staged(registry, model, run_id), decision(f"setup-{number}"))
    return Case(registry, model, what, run_id)


def staged(registry: ModelRegistry, model: str, run_id: str) -> int:
    found = registry.client.create_model_version(model, f"runs:/{run_id}/model", run_id)
    registry.validated(validation(model, int(found.version)))
    registry.client.transition_model_version_stage(model, found.version, "Staging")
    return int(found.version)


if __name__ == "__main__":
    sys.exit(main())
