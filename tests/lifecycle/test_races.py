"""Several processes, killed processes, frozen processes: one version in Production, one event for each move."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from mlflow import MlflowClient

from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.versions import in_production
from include.lifecycle.rules.decisions import Outcome

from . import workers
from .support import MODEL, aliases, approved, impatient, stages

pytestmark = pytest.mark.long

TRIALS = 6
# one process imports MLflow, which takes seconds; those that race are its forks
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([workers.__name__])


@pytest.fixture(autouse=True, scope="module")
def importable() -> Iterator[None]:
    """Let the fork server find what it imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield


def race(target: Any, uri: str, versions: dict[str, list[int]]) -> Iterator[None]:
    """Run ``target`` in one process for each user; yields while they run."""
    barrier = PROCESSES.Barrier(len(versions))
    running = [PROCESSES.Process(target=target, args=(uri, user, mine, barrier)) for user, mine in versions.items()]
    for process in running:
        process.start()
    try:
        while any(process.is_alive() for process in running):
            yield
            time.sleep(0.005)
    finally:
        for process in running:
            process.kill()
            process.join(30)
    assert [process.exitcode for process in running] == [0] * len(running)


def test_two_promoters_leave_one_version_in_production(registry, add, mlflow_uri):
    add(stage="Production")
    versions = [add(stage="Staging") for _ in range(2 * TRIALS)]
    seen: set[int] = set()
    for _ in race(workers.promote_all, mlflow_uri, {"ana": versions[::2], "bob": versions[1::2]}):
        seen.add(len(in_production(stages(registry))))
    assert seen == {1}, "a reader sees exactly one version in Production at any time"

    promotions = [event for event in registry.history(MODEL) if event.is_promotion]
    assert sorted(event.version for event in promotions) == [1, *versions], "one event for each promotion"
    for before, after in pairwise(promotions):
        assert after.archived == (before.version,)
    assert in_production(stages(registry)) == [promotions[-1].version]
    assert aliases(registry) == {"champion": promotions[-1].version, "previous": promotions[-2].version}
    assert registry.verify(MODEL) == []
    assert not registry.reconcile(MODEL).changed


def test_of_an_approval_and_a_rejection_at_the_same_moment_one_holds(registry, add, mlflow_uri):
    versions = [add(stage="Staging") for _ in range(TRIALS // 2)]
    for _ in race(workers.decide_all, mlflow_uri, {"ana": versions, "bob": versions}):
        pass
    for version in versions:
        info = registry.version(MODEL, version)
        first, *late = [event for event in registry.history(MODEL) if event.version == version][1:]
        outcomes = [first.outcome]
        assert [info.tags["decision.outcome"]] == outcomes
        assert [event.late for event in late] == [True] * len(late)
        assert (outcomes == [Outcome.REJECTED]) == (info.stage == "Staging")


class Paused:
    """A process that stands still in the middle of a promotion."""

    def __init__(self, uri: str, version: int, when: str) -> None:
        self.pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=workers.promote_with_a_pause, args=(uri, version, when, theirs))
        self.process.start()
        assert self.hear() == "paused"

    def hear(self) -> str:
        assert self.pipe.poll(60), "the other process does not answer"
        return str(self.pipe.recv())

    def kill(self) -> None:
        self.process.kill()
        self.process.join(30)

    def wake(self) -> str:
        self.pipe.send("wake up")
        answer = self.hear()
        self.process.join(30)
        return answer


@pytest.fixture
def three(registry, add) -> None:
    for stage in ("Production", "Staging", "Staging"):
        add(stage=stage)


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_of_the_holder_and_a_retry(registry, three, mlflow_uri, when):
    Paused(mlflow_uri, 2, when).kill()
    assert in_production(stages(registry)) == [1 if when == "before" else 2]
    done = impatient(registry).promote(MODEL, 2, approved(run_id="frozen-2"))
    assert (done.from_stage, done.archived) == ("Staging", [1])
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}
    assert aliases(registry) == {"champion": 2, "previous": 1}
    assert [event.version for event in registry.history(MODEL) if event.is_promotion] == [1, 2]


def test_kill_9_of_the_holder_and_another_promotion(registry, three, mlflow_uri):
    Paused(mlflow_uri, 2, "after").kill()
    assert impatient(registry).promote(MODEL, 3, approved()).archived == [1], "the interrupted one never was"
    assert stages(registry) == {1: "Archived", 2: "Staging", 3: "Production"}
    assert [event.version for event in registry.history(MODEL) if event.is_promotion] == [1, 3]
    assert registry.promote(MODEL, 2, approved()).archived == [3], "it is still waiting and can be approved"


def test_kill_9_of_the_holder_and_a_reconciliation(registry, three, mlflow_uri):
    Paused(mlflow_uri, 2, "after").kill()
    impatient(registry).reconcile(MODEL)
    assert stages(registry) == {1: "Production", 2: "Staging", 3: "Staging"}
    assert aliases(registry) == {"champion": 1}


def test_a_holder_that_wakes_up_and_writes_late_puts_it_right(registry, three, mlflow_uri):
    frozen = Paused(mlflow_uri, 2, "before")
    impatient(registry).promote(MODEL, 3, approved())
    assert stages(registry) == {1: "Archived", 2: "Staging", 3: "Production"}
    assert "FencedError: Another process took over the promotion of 'demand'" in frozen.wake()
    assert stages(registry) == {1: "Archived", 2: "Staging", 3: "Production"}
    assert aliases(registry) == {"champion": 3, "previous": 1}
    assert [event.version for event in registry.history(MODEL) if event.is_promotion] == [1, 3]
    assert registry.verify(MODEL) == []


# ---- killed after each write, simulated: a dead process sends nothing more ----

WRITES = (
    "log_param",
    "transition_model_version_stage",
    "set_registered_model_alias",
    "set_model_version_tag",
    "update_model_version",
    "create_experiment",
    "create_run",
)


class KilledError(BaseException):
    pass


class Mortal:
    """A client that dies after a number of writes."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self.client = client
        self.left = writes
        self.made: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                raise KilledError
            done = found(*args, **kwargs)
            if name in WRITES:
                self.left -= 1
                self.made.append(name)
            return done

        return call


def killed_after(client: MlflowClient, writes: int, version: int) -> bool:
    """Promote, killed after some writes; return whether it was done before."""
    dying = ModelRegistry(Mortal(client, writes))  # type: ignore[arg-type]
    try:
        dying.promote(MODEL, version, approved(run_id="night", reason="better"))
    except KilledError:
        return False
    return True


def test_killed_after_any_write_and_retried_the_outcome_is_the_same(registry, add, mlflow_uri):
    client = MlflowClient(tracking_uri=mlflow_uri)
    champion, writes, done = add(stage="Production"), 0, False
    while not done:
        version = add(stage="Staging")
        done = killed_after(client, writes, version)
        retried = impatient(registry).promote(MODEL, version, approved(run_id="night", reason="better"))
        assert retried.event.archived == (champion,), f"killed after {writes} writes"
        found = stages(registry)
        assert (found[champion], found[version]) == ("Archived", "Production")
        assert in_production(found) == [version]
        assert aliases(registry) == {"champion": version, "previous": champion}
        info = registry.version(MODEL, version)
        assert info.tags["decision.outcome"] == "approved"
        assert info.description.count("Life cycle:") == 1
        events = [event for event in registry.history(MODEL) if event.version == version and event.is_promotion]
        assert [(event.from_stage, event.user) for event in events] == [("Staging", "ana")]
        assert not ModelRegistry(client).reconcile(MODEL).changed
        champion, writes = version, writes + 1
    assert writes > 10
    assert registry.verify(MODEL) == []
