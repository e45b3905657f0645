"""Eight real weeks through a real Airflow and MLflow, night by night: what the monitoring starts, and how soon.

    python -m tests.bench.airflow_replay FOLDER [--stores 120] [--weeks 8] [--after 14] [--faults late price]
        [--days 10] [--state DIR]

FOLDER holds the Kaggle files train.csv, store.csv and maybe future.csv (or .csv.xz). A version trained (quick run) on
the days before the last ``--weeks`` is approved. Then each night delivers one day more to the DVC data registry, and
``rossmann_predict`` and ``rossmann_monitor`` are triggered over the REST API, one after the other, each to its end.
Faults are those of ``false_alarms``, seen by model, schedule and actuals alike; they begin ``--after`` days later.

The nights before that are the same for all scenarios, and run once: each scenario starts servers on a copy of their
state. With ``--state`` all of it stays in a folder, and a run that was ended goes on there with the scenarios that have
no result yet. A night takes about 20 s on two busy cores, all scenarios an hour and a half. Servers end with the run,
also when it is killed.

A retrain that the asset event starts is counted (a run of type ``asset_triggered``), then marked failed: it trains
nothing, its request stays open until the configuration's ``request.open_days`` have passed, and the fault stays to the
end. So this does not show that a retrain cures anything. What else is not as shipped: fewer stores, the gate lets any
version through, and no DAG runs by its clock.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from include.lifecycle.environment import environment
from include.lifecycle.ledger.keys import KEY_FILE_ENV
from include.models.rossmann.config import TABLES
from include.retraining.data_source.publish import publish_data
from include.retraining.steps.monitor import ALARMS_TAG, ASKED_TAG, DAY_TAG
from local_stack.airflow_api import WAITING
from local_stack.credentials import ledger_key_file
from local_stack.preparation import DEFAULT_MODEL, complete_file, registry_folder
from local_stack.processes import Processes
from local_stack.progress import Printer
from local_stack.stack import APPROVAL_TASK, PROJECT, Settings, Stack, clean_environment
from local_stack.stack import DAG_ID as RETRAIN
from tests.bench.false_alarms import FAULTS
from tests.bench.sales_weeks import HORIZON, ONE_DAY, Chain
from tests.bench.tables import table
from tests.ports import free_port
from tests.quick_retrain import quick_config
from tests.system.servers import QUICK, handed_over, until

PREDICT, MONITOR = "rossmann_predict", "rossmann_monitor"
EXPERIMENT = "rossmann-forecasting-monitoring"
SCENARIOS = {
    "quiet": "no fault",
    "promo": "promo effect halved",
    "region": "one region closed",
    "price": "prices up 10 %",
    "late": "actuals three days late",
    "store": "a store missing",
}
"""Short names of the faults."""
SEED = 7
PATIENCE_SECONDS = 3600.0
EVENT_SECONDS = 120.0
SCHEDULE = ["Store", "DayOfWeek", "Date", "Open", "Promo", "StateHoliday", "SchoolHoliday"]
WHOLE = ["Open", "Promo", "SchoolHoliday"]
HEAD = ["Scenario", "nights", "alarms before", "noticed after days", "first alarm", "asked", "retrains started",
        "RMSPE of the last 28 days", "s a night"]  # fmt: skip


@dataclass(frozen=True)
class Weeks:
    """What is replayed.

    :param chain: the chosen stores, with all days that are known or scheduled
    :param stores: the store table of these
    :param first: position of the first day that is delivered in a night of its own
    :param nights: how many
    :param since: position of the first day of a fault
    """

    chain: Chain
    stores: pd.DataFrame
    first: int
    nights: int
    since: int

    @classmethod
    def read(cls, folder: Path, stores: int, weeks: int, after: int, days: int | None = None) -> "Weeks":
        """Read the files, of some stores without gaps; with ``days``, nights end so long after a fault's beginning."""
        train, described = _csv(folder, "train"), _csv(folder, "store")
        future = _csv(folder, "future") if list(folder.glob("future.csv*")) else train.iloc[:0]
        length = train["Date"].nunique()
        complete = train.groupby("Store").size().loc[lambda rows: rows == length].index
        drawn = np.random.default_rng(SEED).choice(complete, min(stores, len(complete)), replace=False)
        rows = pd.concat([train, future.fillna({"Open": 1})]).set_index(["Store", "Date"]).loc[np.sort(drawn)]
        grid = rows[["Sales", "Customers", *WHOLE, "StateHoliday"]].unstack()
        values = {name: grid[name].to_numpy(np.float64) for name in ("Sales", "Customers", *WHOLE)}
        values["StateHoliday"] = grid["StateHoliday"].fillna("0").to_numpy(str)
        described = described[described["Store"].isin(drawn)]
        chain = Chain(grid.index.to_numpy(), grid["Open"].columns, values, described.set_index("Store"))
        first, nights = length - 7 * weeks, 7 * weeks
        nights = nights if days is None else min(nights, after + 1 + days)
        return cls(chain, described, first, nights, first + after)

    def with_fault(self, name: str) -> "Weeks":
        """Return the same weeks as they would be with a fault."""
        chain = FAULTS[SCENARIOS[name]](self.chain, self.since, np.random.default_rng(SEED))
        return replace(self, chain=chain)

    def day(self, night: int) -> pd.Timestamp:
        """Return the day of a night, which knows what was delivered before it."""
        return self.chain.days[self.first + night]

    def write(self, night: int, folder: Path) -> None:
        """Write what is delivered by a night: the history, and the schedule of the weeks after its newest day."""
        chain = self.chain
        index = pd.MultiIndex.from_product([chain.stores, chain.days], names=["Store", "Date"])
        rows = pd.DataFrame({name: values.ravel() for name, values in chain.values.items()}, index).reset_index()
        rows = rows[rows["Open"].notna()].assign(DayOfWeek=rows["Date"].dt.day_of_week + 1)
        rows[WHOLE] = rows[WHOLE].astype(np.int64)
        delay = np.ones(len(chain.days), np.int64) if chain.known_after is None else chain.known_after
        arrives = rows["Date"] + pd.to_timedelta(delay[chain.days.get_indexer(rows["Date"])], unit="D")
        known = rows[(arrives <= self.day(night)) & rows["Sales"].notna()]
        known = known.assign(Customers=known["Customers"] * known["Open"])
        known = known.astype({"Sales": np.int64, "Customers": np.int64})
        newest = known["Date"].max()
        ahead = rows[(rows["Date"] > newest) & (rows["Date"] <= newest + HORIZON * ONE_DAY)]
        folder.mkdir(exist_ok=True)
        known[[*SCHEDULE, "Sales", "Customers"]].to_csv(folder / "train.csv", index=False)
        ahead[SCHEDULE].to_csv(folder / "future.csv", index=False)
        self.stores.to_csv(folder / "store.csv", index=False)


def _csv(folder: Path, name: str) -> pd.DataFrame:
    """Read one of Kaggle's files; the store table has no dates."""
    file = next(path for path in (folder / f"{name}.csv", folder / f"{name}.csv.xz") if path.exists())
    dates = [] if name == "store" else ["Date"]
    return pd.read_csv(file, dtype={"StateHoliday": str}, parse_dates=dates)


@dataclass(frozen=True)
class Result:
    """What a scenario showed.

    :param before: alarms raised before the fault began; of the quiet weeks all
    :param noticed: days from the fault's first day to the first alarm, None: there was none
    :param alarm: that alarm
    :param asked: nights that asked for a retrain
    :param started: runs of the retrain that the asset event started
    :param rmspe: live figure of the newest 28 days in the last night
    :param seconds: of a night, delivery included
    """

    name: str
    nights: int
    before: list[str]
    noticed: int | None
    alarm: str
    asked: list[str]
    started: int
    rmspe: float
    seconds: float

    def cells(self) -> list[str]:
        """A row of the table."""
        noticed = "never" if self.noticed is None else str(self.noticed)
        before, asked = ", ".join(self.before) or "none", str(len(self.asked))
        return [SCENARIOS[self.name], str(self.nights), before, noticed, self.alarm, asked, str(self.started),
                f"{self.rmspe:.4f}", f"{self.seconds:.1f}"]  # fmt: skip


class Servers:
    """The stack on which nights pass.

    :param root: everything of the replay is below it
    """

    def __init__(self, root: Path) -> None:
        self.state, self.common, self.data = root / "state", root / "common", root / "delivery"
        self.config, self.ports = root / "rossmann.yaml", (free_port(), free_port())
        content = quick_config()
        content["forecast"]["quick_rounds_scale"] = 0.2
        content["lifecycle"]["gate"]["threshold"] = 1.0
        content["prediction"]["place"] = str(self.state / "predictions")
        # no run beside those that are triggered, however late it gets
        content["prediction"]["schedule"] = content["lifecycle"]["schedule"]
        content["monitor"]["cron"] = content["lifecycle"]["schedule"]["cron"]
        self.config.write_text(yaml.safe_dump(content))

    def deliver(self, weeks: Weeks, night: int) -> None:
        """Bring the data registry to what is known in a night."""
        weeks.write(night, self.data)
        publish_data(TABLES, self.state / "data_registry", self.data, message=f"{weeks.day(night):%Y-%m-%d}")

    @contextmanager
    def started(self) -> Iterator[Stack]:
        """Start servers on the state; they end with the context."""
        key = {KEY_FILE_ENV: str(ledger_key_file(self.state))}
        variables = clean_environment({**os.environ, "RETRAIN_CONFIG": str(self.config), **key})
        with Processes(self.state, variables, PROJECT) as processes:
            stack = Stack(Settings(self.state, *self.ports), processes, Printer(sys.stderr))
            stack.airflow = replace(stack.airflow, settings=QUICK)
            stack.start()
            yield stack

    def prepare(self, weeks: Weeks) -> None:
        """Train and approve a version, let the nights before the fault pass, and keep the state."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        self.deliver(weeks, 0)
        complete_file(registry_folder(self.state, DEFAULT_MODEL)).touch()
        with self.started() as stack:
            approve_first(stack)
            for dag_id in (PREDICT, MONITOR):
                stack.api.unpause(dag_id)
            self.pass_nights(stack, weeks, range(weeks.since - weeks.first))
        copy(self.state, self.common)

    def scenario(self, weeks: Weeks, name: str) -> Result:
        """Return what the nights from the beginning of a fault on show."""
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.common, self.state, symlinks=True)
        with self.started() as stack:
            nights = range(weeks.since - weeks.first, weeks.nights)
            seconds = self.pass_nights(stack, weeks.with_fault(name), nights)
            return result(stack, weeks, name, seconds)

    def pass_nights(self, stack: Stack, weeks: Weeks, nights: range) -> float:
        """Let nights pass; return the seconds that one took."""
        started = time.monotonic()
        for night in nights:
            begun, day = time.monotonic(), f"{weeks.day(night):%Y-%m-%d}"
            self.deliver(weeks, night)
            succeed(stack, PREDICT, {})
            succeed(stack, MONITOR, {"day": day})
            mute(stack)
            say(f"  {day}: {time.monotonic() - begun:.1f} s")
        return (time.monotonic() - started) / max(len(nights), 1)


def copy(state: Path, kept: Path) -> None:
    """Keep a state; half a copy never has the name."""
    partial = kept.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(state, partial, symlinks=True)
    partial.rename(kept)


def approve_first(stack: Stack) -> None:
    """Train a version and bring it into Production."""
    stack.api.unpause(RETRAIN)
    run_id = stack.api.trigger(RETRAIN, {"quick": True})

    def asks() -> bool:
        if (state := stack.api.run(RETRAIN, run_id).state) not in ("queued", "running"):
            raise SystemExit(f"{RETRAIN} is {state}: {why(stack, RETRAIN, run_id)}")
        task = stack.api.task(RETRAIN, run_id, APPROVAL_TASK)
        return task.state in WAITING and handed_over(stack.processes, task)

    until(stack.processes, "the first version", asks, PATIENCE_SECONDS)
    stack.api.mark(RETRAIN, run_id, APPROVAL_TASK, "success", "first version of the replay")
    ended(stack, RETRAIN, run_id)


def succeed(stack: Stack, dag_id: str, conf: dict[str, Any]) -> None:
    """Trigger a DAG and wait for its end."""
    ended(stack, dag_id, stack.api.trigger(dag_id, conf))


def ended(stack: Stack, dag_id: str, run_id: str) -> None:
    """Wait for the end of a run, which has to be a success."""

    def end() -> str:
        state = stack.api.run(dag_id, run_id).state
        return state if state in ("success", "failed") else ""

    if until(stack.processes, f"the end of {dag_id} {run_id}", end, PATIENCE_SECONDS) == "failed":
        raise SystemExit(f"{dag_id} failed: {why(stack, dag_id, run_id)}")


def why(stack: Stack, dag_id: str, run_id: str) -> str:
    """Return the sentences of the tasks that failed."""
    failed = [task for task in stack.api.tasks(dag_id, run_id) if task.state == "failed"]
    return "; ".join(f"{task.task_id}: {stack.api.error_of(dag_id, run_id, task)}" for task in failed)


def mute(stack: Stack) -> None:
    """End the retrains that are under way."""
    for run in stack.api.active_runs(RETRAIN):
        stack.api.request("PATCH", f"/dags/{RETRAIN}/dagRuns/{quote(run.run_id, safe='')}", json={"state": "failed"})


def started_by_event(stack: Stack) -> int:
    """Return how many retrains the asset event started."""
    runs = stack.api.request("GET", f"/dags/{RETRAIN}/dagRuns", params={"limit": 100})["dag_runs"]
    return sum(run["run_type"] == "asset_triggered" for run in runs)


def result(stack: Stack, weeks: Weeks, name: str, seconds: float) -> Result:
    """Read from Airflow and MLflow what the nights showed."""
    # a proxy of the environment must not see requests to 127.0.0.1
    with environment(dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")):
        client = MlflowClient(stack.mlflow.url)
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        runs = list(client.search_runs([experiment], "attributes.status = 'FINISHED'"))
    runs.sort(key=lambda run: run.data.tags[DAY_TAG])
    raised, since = list(alarms(runs)), weeks.chain.days[weeks.since]
    owed = [] if name == "quiet" else [(day, alarm) for day, alarm in raised if day >= since]
    asked = [run.data.tags[DAY_TAG] for run in runs if run.data.tags[ASKED_TAG]]
    deadline = time.monotonic() + EVENT_SECONDS
    while started_by_event(stack) < len(asked) and time.monotonic() < deadline:
        time.sleep(1)
    mute(stack)
    return Result(
        name=name,
        nights=len(runs),
        before=[f"{alarm} ({day:%m-%d})" for day, alarm in raised if (day, alarm) not in owed],
        noticed=(owed[0][0] - since).days if owed else None,
        alarm=owed[0][1] if owed else "",
        asked=asked,
        started=started_by_event(stack),
        rmspe=runs[-1].data.metrics.get("live_rmspe_28", float("nan")),
        seconds=seconds,
    )


def alarms(runs: Iterable[Run]) -> Iterator[tuple[pd.Timestamp, str]]:
    """Yield night and name of each alarm that was raised."""
    known: list[str] = []
    for run in runs:
        names = [name for name in run.data.tags[ALARMS_TAG].split(", ") if name]
        yield from ((pd.Timestamp(run.data.tags[DAY_TAG]), name) for name in names if name not in known)
        known = names


def say(text: str) -> None:
    """Show how far it is, beside the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def replayed(root: Path, options: argparse.Namespace) -> list[Result]:
    """Return the results of all scenarios, those that lie below ``root`` already as they are."""
    given = (options.stores, options.weeks, options.after, options.days)
    weeks, servers, found = Weeks.read(options.folder, *given), Servers(root), list[Result]()
    for name in options.faults:
        file = root / f"{name}-{weeks.nights}.json"
        if not file.exists():
            if not servers.common.exists():
                servers.prepare(weeks)
            say(f"{SCENARIOS[name]}, from {weeks.chain.days[weeks.since]:%Y-%m-%d} on")
            file.write_text(json.dumps(asdict(servers.scenario(weeks, name))))
        found.append(Result(**json.loads(file.read_text())))
        say(str(found[-1]))
    return found


def main() -> None:
    """Print a table and the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stores", type=int, default=120)
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--after", type=int, default=14, help="days before a fault begins")
    parser.add_argument("--days", type=int, help="how many days a fault is watched; by default to the end of the weeks")
    parser.add_argument("--faults", nargs="*", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--state", type=Path, help="folder to keep, and to go on with")
    options = parser.parse_args()
    if not 0 < options.after < 7 * options.weeks:
        parser.error("a fault begins within the weeks: --after has to be at least 1 and less than their days")
    warnings.filterwarnings("ignore", "All-NaN slice")
    with tempfile.TemporaryDirectory(prefix="airflow-replay-") as folder:
        root = (options.state or Path(folder)) / f"{options.stores}-{options.weeks}-{options.after}"
        root.mkdir(parents=True, exist_ok=True)
        found = replayed(root.resolve(), options)
    sys.stdout.write(table(HEAD, [one.cells() for one in found]) + "\n")
    sys.stdout.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
