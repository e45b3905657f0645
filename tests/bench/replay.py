"""Replay sixty generated nights against a real MLflow server, and check the ledger against this script's own record.

    python tests/bench/replay.py [--nights 60] [--seed 7] [--state-dir FOLDER] [--serve]

Approvals, rejections, failed gates, expiries, supersedings, rollbacks and moves by hand in MLflow, by the same calls
that Airflow's tasks and the command line make. The clock of the life cycle is this script's: sixty nights pass in a
minute. The state stays in the folder; ``--serve`` keeps the server running, to look at the page of the models on it.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "plugins")]

from include.lifecycle import tags as tag
from include.lifecycle.ledger.events import Event
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from tests.validations import validation

MODEL, DAG_ID, GATE = "rossmann-ensemble", "rossmann_retrain", 0.10
WEIGHTS = {"approve": 40, "reject": 14, "leave": 18, "expire": 6, "gate": 12, "by hand": 6, "empty by hand": 4}
ROLLBACK_SHARE = 0.18
PEOPLE = (
    ("anna", "required_actions", Channel.REQUIRED_ACTIONS),
    ("ben", "audit", Channel.MARK),
    ("mira", "required_actions", Channel.REQUIRED_ACTIONS),
    ("deploy", "operating system, unverified", Channel.CLI),
)
APPROVALS = (
    "Below the gate on every fold, weights plausible",
    "Better in the weeks before Christmas",
    "Same error as live, and three weeks newer data",
    "Checked the ten worst stores: no outlier left",
    "Error on promotion days down by a tenth",
)
REJECTIONS = (
    "Store 817 is off by a factor of two since its refurbishment",
    "CatBoost has a weight of 0.97: look at the other two first",
    "No better than live, and the holidays of May are worse",
)
ROLLBACKS = ("Sunday forecasts at zero in Saxony", "Live error doubled since the promotion", "Wrong holiday calendar")


class Clock:
    """The time of the nights."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)  # no two events at the same moment
        return self.now


def install(clock: Callable[[], datetime]) -> None:
    """Put a clock in the place of the life cycle's own, in every module that has it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("include.lifecycle.") and hasattr(module, "utc_now"):
            module.utc_now = clock  # type: ignore[attr-defined]


@dataclass
class Record:
    """What this script knows by itself: nothing in it is read from the ledger.

    :param moves: version, from, to, outcome, user and archived versions of each event that it expects
    :param live: from when on which version was in Production
    """

    moves: list[tuple[Any, ...]] = field(default_factory=list)
    live: list[tuple[datetime, int]] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)

    @property
    def champion(self) -> int | None:
        return self.live[-1][1] if self.live else None

    @property
    def former(self) -> list[int]:
        return [version for _, version in self.live if version != self.champion]

    def live_at(self, when: datetime) -> int | None:
        return next((version for since, version in reversed(self.live) if since <= when), None)

    def promoted(self, at: datetime, version: int, from_stage: str, user: str) -> None:
        archived = (self.champion,) if self.champion is not None else ()
        self.moves.append((version, from_stage, "Production", "approved", user, archived))
        self.live.append((at, version))


class Replay:
    """Nights of one model.

    :param registry: a real one
    :param start: the first night
    :param seed: of everything that is drawn
    """

    def __init__(self, registry: ModelRegistry, start: datetime, seed: int) -> None:
        self.registry, self.client = registry, registry.client
        self.random = random.Random(seed)
        self.clock = Clock(start)
        self.record = Record()
        self.staged: list[int] = []
        self.by_hand: int | None = None
        self.decided: set[int] = set()
        install(self.clock)
        self.client.create_registered_model(MODEL)
        self.experiment = self.client.create_experiment("rossmann-forecasting")

    def plan(self, nights: int) -> list[str]:
        """Return what happens in each night: the first makes a champion, the last leaves a candidate that waits."""
        drawn = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=nights)
        return ["approve", *drawn[1:-1], "leave"]

    def run(self, plan: list[str]) -> Record:
        first = self.clock.now
        for number, what in enumerate(plan):
            self.clock.now = first + timedelta(days=number, minutes=self.random.randrange(40))
            self.night(what)
            if number < len(plan) - 1 and self.record.former and self.random.random() < ROLLBACK_SHARE:
                self.rollback()
        return self.record

    def night(self, what: str) -> None:
        self.reconcile()
        version = self.register(passed=what != "gate")
        self.record.did[what] += 1
        if what == "gate":
            return
        self.stage(version)
        self.clock.now += timedelta(hours=self.random.uniform(4, 13))
        person = self.random.choice(PEOPLE)
        if what == "approve":
            decision = self.decision(Outcome.APPROVED, person, self.random.choice(APPROVALS))
            done = self.registry.promote(MODEL, version, decision)
            self.record.promoted(done.event.time, version, "Staging", person[0])
            self.staged.remove(version)
        elif what == "reject":
            decision = self.decision(Outcome.REJECTED, person, self.random.choice(REJECTIONS))
            self.registry.reject(MODEL, version, decision)
            self.stays(version, "rejected", person[0])
        elif what == "expire":
            self.clock.now += timedelta(hours=8)
            nobody = ("unknown", "unknown", Channel.EXPIRY)
            decision = self.decision(Outcome.EXPIRED, nobody, "nobody decided in time")
            self.registry.record_decision(MODEL, version, decision)
            self.stays(version, "expired", "unknown")
        elif what == "by hand":
            self.move_by_hand(version, "Production")
            self.staged.remove(version)
            self.by_hand = version
        elif what == "empty by hand" and self.record.champion is not None:
            self.move_by_hand(self.record.champion, "Archived")

    def stays(self, version: int, outcome: str, user: str) -> None:
        self.record.moves.append((version, "Staging", "Staging", outcome, user, ()))
        self.decided.add(version)

    def reconcile(self) -> None:
        """What the next run, or a task every hour, does: by then the ledger notices what was moved by hand."""
        done = self.registry.reconcile(MODEL)
        if self.by_hand is not None:
            self.record.promoted(done.events[0].time, self.by_hand, "Staging", "unknown")
            self.by_hand = None

    def register(self, *, passed: bool) -> int:
        value = self.random.uniform(0.086, 0.0995) if passed else self.random.uniform(0.1005, 0.13)
        run = self.client.create_run(self.experiment)
        metrics = {"holdout_rmspe": value, "cv_rmspe_mean": value + 0.021, "cv_rmspe_std": 0.018}
        metrics |= {f"holdout_rmspe_{name}": value + self.random.uniform(0, 0.006) for name in ("lightgbm", "xgboost")}
        for name, figure in metrics.items():
            self.client.log_metric(run.info.run_id, name, figure)
        data_version, at = f"{self.random.getrandbits(128):032x}", self.clock()
        tags = {
            tag.VALIDATION_METRIC: "rmspe",
            tag.VALIDATION_VALUE: str(value),
            tag.VALIDATION_THRESHOLD: str(GATE),
            tag.VALIDATION_TIME: at.isoformat(),
            tag.VALIDATION_OUTCOME: tag.PASSED if passed else tag.FAILED,
            tag.DATA_VERSION: data_version,
            tag.CODE_COMMIT: f"{self.random.getrandbits(160):040x}",
            tag.AIRFLOW_DAG_ID: DAG_ID,
            tag.AIRFLOW_RUN_ID: self.run_id(),
        }
        source = f"runs:/{run.info.run_id}/model"
        version = int(self.client.create_model_version(MODEL, source, run.info.run_id, tags=tags).version)
        figures = {"value": str(value), "threshold": str(GATE), "data_version": data_version, "at": at}
        self.registry.validated(validation(MODEL, version, passed=passed, **figures))
        return version

    def stage(self, version: int) -> None:
        gate = ("unknown", "unknown", Channel.AUTOMATIC)
        self.registry.stage(MODEL, version, self.decision(Outcome.APPROVED, gate, "gate passed"))
        self.record.moves.append((version, "None", "Staging", "approved", "unknown", ()))
        for older in self.staged:
            reason = f"version {version} is newer"
            self.registry.transition(MODEL, older, "None", self.decision(Outcome.SUPERSEDED, gate, reason))
            self.record.moves.append((older, "Staging", "None", "superseded", "unknown", ()))
            self.record.did["supersede"] += 1
        self.staged = [version]

    def rollback(self) -> None:
        if self.by_hand is not None:
            return  # somebody's move is not noticed yet: the operator would see another live version
        self.clock.now += timedelta(hours=self.random.uniform(1, 6))
        self.reconcile()
        target = self.record.former[-1]
        person = self.random.choice(PEOPLE)
        decision = self.decision(Outcome.APPROVED, person, self.random.choice(ROLLBACKS))
        done = self.registry.rollback(MODEL, target, decision)
        self.record.promoted(done.event.time, target, "Archived", person[0])
        self.record.did["rollback"] += 1

    def move_by_hand(self, version: int, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.client.transition_model_version_stage(
                MODEL, str(version), stage, archive_existing_versions=stage == "Production"
            )

    def decision(self, outcome: Outcome, who: tuple[str, str, Channel], reason: str) -> Decision:
        user, source, door = who
        run_id = None if door is Channel.CLI else self.run_id()
        return Decision(outcome, user, source, reason, door, self.clock(), DAG_ID if run_id else None, run_id)

    def run_id(self) -> str:
        return f"scheduled__{self.clock.now:%Y-%m-%d}T00:00:00+00:00"


def live_at(registry: ModelRegistry, when: datetime) -> int | None:
    """Return what the ledger says was live at a time."""
    events = [event for event in registry.history(MODEL) if event.is_promotion and event.time <= when]
    return events[-1].version if events else None


def as_move(event: Event) -> tuple[Any, ...]:
    """Return an event as the script's record has it."""
    return event.version, event.from_stage, event.to_stage, str(event.outcome), event.user, event.archived


def check(registry: ModelRegistry, record: Record, start: datetime, nights: int, seed: int) -> list[str]:
    """Compare the ledger with the record: prints ten dates, returns what differs."""
    drawn = random.Random(seed + 1)
    dates = [start - timedelta(hours=1)]
    dates += sorted(start + timedelta(days=drawn.uniform(0, nights)) for _ in range(9))
    differing: list[str] = []
    print(f"{'date (UTC)':<18}{'ledger':>8}{'record':>8}")
    for when in dates:
        found, expected = live_at(registry, when), record.live_at(when)
        print(f"{when:%Y-%m-%d %H:%M}{found or '-':>10}{expected or '-':>8}")
        if found != expected:
            differing.append(f"live at {when}: the ledger says {found}, the record {expected}")
    events = [as_move(event) for event in registry.history(MODEL)]
    if events != record.moves:
        shorter = min(len(events), len(record.moves))
        first = next((index for index in range(shorter) if events[index] != record.moves[index]), shorter)
        differing.append(
            f"event {first}: the ledger has {events[first : first + 1]}, the record {record.moves[first : first + 1]}"
        )
    in_production = [item.version for item in registry.versions(MODEL, "Production")]
    if in_production != [record.champion]:
        differing.append(f"in Production: {in_production}, the record {record.champion}")
    return [*differing, *registry.verify(MODEL)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--state-dir", type=Path, help="an empty folder; by default a new one")
    parser.add_argument("--serve", action="store_true", help="keep the MLflow server running until Ctrl-C")
    options = parser.parse_args()
    folder = (options.state_dir or Path(tempfile.mkdtemp(prefix="replay-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty: name another folder")

    from tests.mlflow_database import empty_database
    from tests.registry_server import mlflow_server

    logging.getLogger("mlflow").setLevel(logging.WARNING)

    start = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0) - timedelta(days=options.nights)
    with mlflow_server(folder, empty_database(folder / "template.db")) as url:
        registry, began = ModelRegistry(tracking_uri=url), time.monotonic()
        replay = Replay(registry, start, options.seed)
        record = replay.run(replay.plan(options.nights))
        spent = time.monotonic() - began
        did = ", ".join(f"{count} {name}" for name, count in sorted(record.did.items()))
        print(f"{options.nights} nights in {spent:.0f} s: {did}")
        entries = len(registry.ledger(MODEL).read().entries)
        print(f"{len(record.moves)} events in {entries} ledger entries, {len(record.live)} times in Production")
        differing = check(registry, record, start, options.nights, options.seed)
        print("\n".join(differing) or "The ledger verifies and agrees with the record in every event and date.")
        print(f"State: {folder}")
        if options.serve:
            print(f"MLflow: {url} (Ctrl-C ends it)", flush=True)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                pass
    if differing:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
