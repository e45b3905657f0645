"""A ledger goes on in another run: one chain, one winner, nothing lost."""

import multiprocessing
import os
import sys
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.ledger import runs
from include.lifecycle.ledger.entries import NEXT
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.moves.model_registry import ModelRegistry

from . import workers
from .support import MODEL, approved

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([workers.__name__])


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_uri)


def use(ledger: PromotionLedger, times: int, first: int = 1) -> None:
    """Take and release the lock; each ``end`` says another version."""
    for number in range(first, first + times):
        with ledger.lock() as held:
            held.end(number)


def kinds(ledger: PromotionLedger) -> str:
    return "".join(entry.kind[0] for entry in ledger.read(fresh=True).entries)


def test_a_full_run_is_followed_by_another_and_the_chain_goes_on(client):
    ledger = PromotionLedger(client, MODEL, run_entries=4)
    use(ledger, 5)
    state = PromotionLedger(client, MODEL).read()
    assert kinds(ledger) == "bebe" + "nbebe" + "nbe"
    assert [entry.number for entry in state.entries] == list(range(12)), "the numbers go on over the border"
    assert len(state.runs) == 3
    assert state.runs[0] == state.ledger_id
    assert (state.run_id, state.first_of_run, state.in_run) == (state.runs[-1], 10, 2)
    assert (state.problems, state.production) == ((), 5)
    assert ledger.verify() == []
    held = [sorted(client.get_run(run_id).data.params) for run_id in state.runs]
    assert held == [["0000000" + n for n in "01234"], [f"{n:08d}" for n in range(5, 10)], ["00000010", "00000011"]]
    names = [client.get_run(run_id).info.run_name for run_id in state.runs]
    assert names == [MODEL, f"{MODEL} from entry 5", f"{MODEL} from entry 10"]


def test_an_older_reader_stops_at_the_border_instead_of_going_on_in_the_closed_run(client):
    ledger = PromotionLedger(client, MODEL, run_entries=2)
    use(ledger, 2)
    entries = ledger.read().entries
    assert [(entry.kind, entry.content["schema"]) for entry in entries] == [
        ("begin", 1), ("end", 1), ("next", 2), ("begin", 1), ("end", 1),
    ]  # fmt: skip


def test_a_ledger_written_before_in_one_run_is_read_and_goes_on_in_another(client):
    use(PromotionLedger(client, MODEL), 4)
    ledger = PromotionLedger(client, MODEL, run_entries=2)
    assert (ledger.read().production, len(ledger.read().runs)) == (4, 1), "more entries than a run holds now"
    use(ledger, 1, first=5)
    assert kinds(ledger) == "bebebebe" + "n" + "be"
    assert ledger.verify() == []


def test_a_process_that_knew_the_run_before_follows(client):
    slow, fast = (PromotionLedger(client, MODEL, run_entries=2) for _ in range(2))
    use(slow, 1)
    stale = slow.read()
    use(fast, 1, first=2)
    assert slow.append(stale.next_number, {"type": "begin", "nonce": "late"}, stale.run_id) is None
    use(slow, 1, first=3)
    assert fast.read().production == 3
    assert fast.verify() == []


def test_a_closed_run_is_read_once_in_a_process(client, monkeypatch):
    ledger = PromotionLedger(client, MODEL, run_entries=2)
    use(ledger, 4)
    asked: list[str] = []
    real = client.get_run
    monkeypatch.setattr(client, "get_run", lambda run_id: asked.append(run_id) or real(run_id))
    state = ledger.read()
    assert asked == [state.runs[-1]]
    assert PromotionLedger(client, MODEL).read() == state
    assert asked == [state.runs[-1]] * 2, "another ledger of the same process as well"
    asked.clear()
    assert ledger.verify() == []
    assert asked == list(state.runs), "a verification reads everything"


def test_the_process_keeps_a_bounded_number_of_closed_runs(client, monkeypatch):
    monkeypatch.setattr(runs, "MAX_CACHED", 2)
    runs._closed.clear()
    ledger = PromotionLedger(client, MODEL, run_entries=2)
    use(ledger, 6)
    assert len(runs._closed) == 2
    assert ledger.read().production == 6


def test_a_copy_of_a_server_that_went_on_by_itself_is_another_one(client, mlflow_database, tmp_path):
    use(PromotionLedger(client, MODEL, run_entries=2), 1)
    copied = MlflowClient(tracking_uri=f"sqlite:///{mlflow_database.copy(tmp_path / 'copy.db')}")
    ledgers = [PromotionLedger(here, MODEL, run_entries=2) for here in (client, copied)]
    use(ledgers[0], 3, first=11)
    use(ledgers[1], 3, first=21)
    for _ in range(2):
        assert [ledger.read().production for ledger in ledgers] == [13, 23]


@pytest.mark.long
def test_processes_that_race_over_borders_leave_one_chain(client, mlflow_uri, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    PromotionLedger(client, MODEL).runs.open()
    barrier = PROCESSES.Barrier(4)
    running = [
        PROCESSES.Process(target=workers.take_the_lock, args=(mlflow_uri, number, 6, 2, barrier)) for number in range(4)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(300)
    assert [process.exitcode for process in running] == [0] * 4
    ledger = PromotionLedger(client, MODEL)
    state = ledger.read()
    assert ledger.verify() == []
    ends = [entry for entry in state.entries if entry.kind == "end"]
    assert sorted(entry.content["production"] for entry in ends) == sorted(
        100 * number + turn for number in range(4) for turn in range(6)
    ), "each of the 24 locks is in the chain once"
    assert len(state.runs) == 24, "every border has one successor"
    experiment = client.get_experiment_by_name(runs.EXPERIMENT)
    active = {run.info.run_id for run in client.search_runs([experiment.experiment_id], max_results=1000)}
    assert active == set(state.runs), "whoever was slower deleted the run it had made"


class Border:
    """A client that fails around the entry that names the next run."""

    def __init__(self, client: MlflowClient, fault: str) -> None:
        self.client = client
        self.fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def log_param(self, run_id: str, key: str, value: str, **more: Any) -> None:
        if f'"type":"{NEXT}"' not in value or not self.fault:
            return self.client.log_param(run_id, key, value, **more)
        fault, self.fault = self.fault, ""
        if fault == "answer lost":
            self.client.log_param(run_id, key, value, **more)
        if fault == "killed":
            raise KeyboardInterrupt
        raise MlflowException("the connection broke")


@pytest.mark.parametrize(("fault", "error"), [("killed", KeyboardInterrupt), ("request lost", ReportedError)])
def test_killed_between_the_new_run_and_the_entry_that_names_it(client, fault, error):
    use(PromotionLedger(client, MODEL), 1)
    with pytest.raises(error):
        use(PromotionLedger(Border(client, fault), MODEL, run_entries=2), 1)  # type: ignore[arg-type]
    ledger = PromotionLedger(client, MODEL, run_entries=2)
    use(ledger, 1, first=2)
    assert (kinds(ledger), ledger.verify()) == ("benbe", [])


def test_the_answer_to_the_entry_that_names_the_next_run_is_lost(client):
    use(PromotionLedger(client, MODEL), 1)
    ledger = PromotionLedger(Border(client, "answer lost"), MODEL, run_entries=2)  # type: ignore[arg-type]
    use(ledger, 1, first=2)
    assert (kinds(ledger), ledger.verify()) == ("benbe", [])


def test_a_run_that_was_deleted_says_how_to_restore_it(client):
    ledger = PromotionLedger(client, MODEL, run_entries=2)
    use(ledger, 3)
    for run_id in ledger.read().runs:
        client.delete_run(run_id)
        assert f"mlflow runs restore --run-id {run_id}" in ledger.verify()[0]
        client.restore_run(run_id)
    last = ledger.read().run_id
    client.delete_run(last)
    with pytest.raises(BadInputError, match=last):
        ledger.read()
    client.restore_run(last)
    assert ledger.verify() == []


def test_promotions_and_their_history_over_borders(mlflow_uri, add, registry):
    small = ModelRegistry(tracking_uri=mlflow_uri, run_entries=3)
    for _ in range(3):
        version = add()
        small.stage(MODEL, version)
        small.promote(MODEL, version, approved(run_id=f"night-{version}"))
    small.rollback(MODEL, 1, approved("eve", run_id="rollback"))
    assert [event.version for event in registry.history(MODEL) if event.is_promotion] == [1, 2, 3, 1]
    assert not small.promote(MODEL, 1, approved("eve", run_id="rollback")).changed, "found behind two borders"
    assert len(registry.ledger(MODEL).read().runs) == 5
    assert not registry.reconcile(MODEL).changed


def test_a_run_holds_at_least_a_begin_and_an_end(client):
    with pytest.raises(ValueError, match="run_entries is 1"):
        PromotionLedger(client, MODEL, run_entries=1)
