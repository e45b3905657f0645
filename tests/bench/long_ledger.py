"""What a long promotion ledger costs: a promotion, the models page and a rollback, on a real MLflow server.

    python tests/bench/long_ledger.py [--entries 20000] [--repeats 3] [--json]

The ledger is written as nights write it: a version is validated, staged, asked about, decided and promoted. Each figure
is of a process of its own that has read nothing before, without the time of its imports, as a task or a command is;
``page, again`` is the second view of an API server. The same is measured with a ledger of 100 entries: what of the
time is the length's, the ratio tells.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "plugins")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Param

from include.lifecycle.ledger.entries import BEGIN, END, NEXT, SCHEMAS, Intent, canonical
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.promotion_ledger import RUN_ENTRIES
from include.lifecycle.ledger.statements import ASKED, DECIDED, STATEMENTS, VALIDATED, Ask, Decided, Place
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.untrusted_text import text_digest
from include.lifecycle.views.overview import overview
from tests.bench.servers import mlflow_server
from tests.bench.tables import table
from tests.validations import validation

KEPT = 20
"""Versions that still exist: retention deletes the others."""
BATCH = 100
"""Parameters that MLflow takes at once."""
SHORT = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON as well")
    given = parser.parse_args()
    os.environ["RETRAIN_LEDGER_KEY"] = "a5" * 32
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.disable(logging.WARNING)
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="long-") as folder, mlflow_server("sqlite", Path(folder)) as url:
        for entries in (SHORT, given.entries):
            print(f"writing a ledger of {entries} entries ...", file=sys.stderr, flush=True)
            model = f"entries-{entries}"
            write(ModelRegistry(tracking_uri=url), model, entries, Path(folder) / "mlflow.db")
            found[entries] = measure(url, model, given.repeats)
    short, long = found[SHORT], found[given.entries]
    rows = [[name, f"{short[name]:.2f}", f"{long[name]:.2f}", f"{long[name] / short[name]:.1f}"] for name in long]
    print(table(["s", f"{SHORT} entries", f"{given.entries} entries", "ratio"], rows))
    if given.json:
        print(json.dumps({"repeats": given.repeats, "seconds": found}))
    return 0


def measure(url: str, model: str, repeats: int) -> dict[str, float]:
    """Return the median seconds of each action."""
    seconds: dict[str, list[float]] = {}
    context = multiprocessing.get_context("spawn")
    for _ in range(repeats):
        registry = ModelRegistry(tracking_uri=url)
        version, asked = staged(registry, model)
        live = registry.ledger(model).read().production or 0  # what a rollback goes back to, once another is promoted
        for action, number in (("page", 0), ("promote", version), ("rollback", live)):
            theirs, ours = context.Pipe()
            process = context.Process(target=act, args=(url, model, action, number, asked, ours))
            process.start()
            ours.close()
            for name, spent in theirs.recv().items():
                seconds.setdefault(name, []).append(spent)
            process.join()
    return {name: statistics.median(found) for name, found in seconds.items()}


def act(url: str, model: str, action: str, version: int, asked: str, pipe: Any) -> None:
    """Do one thing in this process, and send how long it took."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.disable(logging.WARNING)
    registry = ModelRegistry(tracking_uri=url)
    registry.client.search_registered_models(max_results=1)  # the connection, and what MLflow imports late
    found: dict[str, float] = {}

    def timed(name: str, do: Callable[[], object]) -> None:
        started = time.perf_counter()
        do()
        found[name] = time.perf_counter() - started

    if action == "page":
        timed("page", lambda: overview(registry, model))
        timed("page, again", lambda: overview(registry, model))
    elif action == "promote":
        timed("promote", lambda: registry.promote(model, version, approval("ana"), ask=asked))
    else:
        timed("rollback", lambda: registry.rollback(model, version, approval("ben")))
    pipe.send(found)


def staged(registry: ModelRegistry, model: str) -> tuple[int, str]:
    """Register a version and bring it to where its approval was given; return it and the ask."""
    version = register(registry.client, model)
    registry.validated(validation(model, version))
    registry.stage(model, version)
    asked = registry.ask(ask(model, version, datetime.now(UTC)))
    registry.decide(model, Decided(ask=asked.id, decision=approval("ana")))
    return version, asked.id


def register(client: MlflowClient, model: str) -> int:
    run = client.search_experiments(max_results=1)[0].experiment_id
    run_id = client.create_run(run).info.run_id
    return int(client.create_model_version(model, f"runs:/{run_id}/model", run_id).version)


def place(version: int) -> Place:
    return Place(dag_id="rossmann_retrain", run_id=f"scheduled__{version}", task_id="await_approval")


def ask(model: str, version: int, at: datetime) -> Ask:
    return Ask(
        model=model, version=version, place=place(version), instance=f"{version:032x}", evidence=EVIDENCE, at=at
    )  # fmt: skip


def approval(user: str) -> Decision:
    return Decision(Outcome.APPROVED, user, "required_actions", "better in the last weeks", Channel.REQUIRED_ACTIONS)


EVIDENCE = {"outcome": "passed", "metric": "rmspe", "value": "0.0957", "threshold": "0.1", "data_version": "3f" * 20}


def write(registry: ModelRegistry, model: str, entries: int, database: Path) -> None:
    """Write a ledger in few requests, and the newest of its versions."""
    client, ledger = registry.client, registry.ledger(model)
    client.create_registered_model(model)
    said, number, run_id = contents(model), 0, ledger.runs.open()
    head, batch, first, held = text_digest(run_id), [], 0, False
    while number < entries or held:
        if number - first >= RUN_ENTRIES and not held:
            successor = ledger.runs.create(number + 1)
            content: dict[str, Any] = {"schema": SCHEMAS[NEXT], "type": NEXT, "time": "", "run": successor}
        else:
            content = next(said)
        content |= {"prev": head, "nonce": f"{number:016x}"}
        if content["type"] == END:
            content["begin"] = number - 1
        raw = canonical(ledger.keyring.sign(content, model, number))
        head = text_digest(raw)
        held = content["type"] == BEGIN
        batch.append(Param(f"{number:08d}", raw))
        number += 1
        if len(batch) == BATCH or content["type"] == NEXT or number >= entries:
            client.log_batch(run_id, params=batch)
            batch = []
        if content["type"] == NEXT:
            run_id, first = content["run"], number
    keep_newest(registry, model, database)
    problems = registry.verify(model)
    if problems:
        raise SystemExit(f"the ledger does not verify: {problems[:3]}")


def keep_newest(registry: ModelRegistry, model: str, database: Path) -> None:
    """Register the newest versions, with the numbers and stages that the ledger says."""
    state = registry.ledger(model).read()
    newest = max(event.version for event in state.events)
    first = max(1, newest - KEPT)
    register(registry.client, model)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE model_versions SET version = ? WHERE name = ?", (first, model))
    for _ in range(first, newest):
        register(registry.client, model)
    for version in range(first, newest + 1):
        stage = "Production" if version == state.production else state.stage_of(version) or "None"
        if stage != "None":
            registry.client.transition_model_version_stage(model, str(version), stage)


def contents(model: str) -> Iterator[dict[str, Any]]:
    """Yield what nights say, for ever; each night is one version, and every third is rejected."""
    at, version, live = datetime(2020, 1, 1, tzinfo=UTC), 0, None
    while True:
        version += 1
        at += timedelta(days=1)
        figures: dict[str, Any] = {"dag_id": "rossmann_retrain", "run_id": f"scheduled__{version}", "at": at}
        yield statement(VALIDATED, validation(model, version, **figures).to_dict())
        yield from move(model, version, ("None", "Staging"), at, live)
        asked = ask(model, version, at)
        yield statement(ASKED, asked.to_dict())
        approved = version % 3 > 0 or version == 1
        decision = Decision(Outcome.APPROVED if approved else Outcome.REJECTED, "ana", "required_actions", at=at)
        yield statement(DECIDED, Decided(ask=asked.id, decision=decision).to_dict())
        if approved:
            yield from move(model, version, ("Staging", "Production"), at, live, asked.id)
            live = version


def statement(kind: str, what: dict[str, Any]) -> dict[str, Any]:
    return {"schema": STATEMENTS[kind], "type": kind, "what": what}


def move(
    model: str, version: int, stages: tuple[str, str], at: datetime, live: int | None, asked: str = ""
) -> Iterator[dict[str, Any]]:
    intent = Intent(version, *stages, "rossmann_retrain", f"scheduled__{version}")
    begin = {"type": BEGIN, "owner": "worker:1", "time": at.isoformat(), "ttl": 60.0, "over": None}
    yield {"schema": SCHEMAS[BEGIN], **begin, "intent": intent.to_dict()}
    decision = Decision(Outcome.APPROVED, "ana", "required_actions", "better in the last weeks", at=at)
    event = replace(Event.of(model, version, *stages, decision), time=at, evidence=EVIDENCE, ask=asked)
    if asked:
        event, live = replace(event, archived=() if live is None else (live,)), version
    end = {"type": END, "time": at.isoformat(), "production": live, "events": [event.to_dict()]}
    yield {"schema": SCHEMAS[END], **end, "repairs": [], "repairs_left_out": 0}


if __name__ == "__main__":
    sys.exit(main())
