import json
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.config.models import RetentionConfig
from include.lifecycle.errors import BadInputError, LedgerDamagedError, ReportedError
from include.lifecycle.ledger import chain
from include.lifecycle.ledger.entries import MAX_VALUE, NEWEST_SCHEMA, Entry, canonical
from include.lifecycle.ledger.limits import CLIENT_LIMITS, bounded_requests, longest_request, time_to_live
from include.lifecycle.ledger.lock import FencedError
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.ledger.runs import EXPERIMENT, RUN_TAG
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.moves.retention import RetentionRunner

from .support import MODEL, approved, stages


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_uri)


@pytest.fixture
def ledger(client: MlflowClient) -> PromotionLedger:
    return PromotionLedger(client, MODEL, ttl=0.4)


class Wire:
    """A client whose next ``log_param`` is answered as ``fault`` says; the rest goes through."""

    def __init__(self, client: MlflowClient, fault: str) -> None:
        self.client = client
        self.fault: str | None = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def log_param(self, *args: Any, **kwargs: Any) -> None:
        fault, self.fault = self.fault, None
        if fault != "request lost":
            self.client.log_param(*args, **kwargs)
        if fault is not None:
            raise MlflowException("the connection broke")


def test_an_empty_ledger_is_free(ledger):
    state = ledger.read()
    assert (state.entries, state.holder, state.production, state.events) == ((), None, None, [])
    assert ledger.client.get_experiment_by_name(f"{EXPERIMENT}/{MODEL}") is None, "reading creates nothing"


def test_two_processes_find_the_same_ledger(client):
    first, second = PromotionLedger(client, MODEL), PromotionLedger(client, MODEL)
    assert first.runs._create() == second.runs._create()
    pointer = client.get_experiment_by_name(f"{EXPERIMENT}/{MODEL}")
    assert pointer.tags[RUN_TAG] == first.runs.open() == second.runs.open()
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert [run.info.run_id for run in runs] == [first.runs.open()], "the loser deletes its run"
    assert PromotionLedger(client, "other").runs.open() != first.runs.open()


def test_the_lock_excludes_and_is_released(client):
    ledger, other = (PromotionLedger(client, MODEL, ttl=30) for _ in range(2))
    with ledger.lock() as held:
        assert other.read().holder == held.begin
        held.check()
        held.end(7)
    with other.lock() as held:
        assert held.begin.number == 2
        assert held.state.production == 7
    assert other.read().holder is None
    assert other.read().production == 7, "an end without news keeps what is live"


def test_of_two_that_append_the_same_entry_one_wins(ledger, client):
    other = PromotionLedger(client, MODEL)
    content = {"schema": 1, "type": "begin", "ttl": 1, "prev": ledger.read().head}
    assert ledger.append(0, {**content, "nonce": "a"}) is not None
    assert other.append(0, {**content, "nonce": "b"}) is None
    assert ledger.read().entries[0].content["nonce"] == "a"


def test_an_answer_lost_after_the_commit_is_settled_by_reading_back(client):
    ledger = PromotionLedger(Wire(client, "answer lost"), MODEL)  # type: ignore[arg-type]
    with ledger.lock() as held:
        assert held.begin.number == 0
    assert [entry.kind for entry in ledger.read().entries] == ["begin", "end"]


def test_a_request_that_never_arrived_is_an_error_to_retry(client):
    ledger = PromotionLedger(Wire(client, "request lost"), MODEL)  # type: ignore[arg-type]
    with pytest.raises(ReportedError, match=r"an entry .*connection broke") as raised, ledger.lock():
        pass
    assert raised.value.exit_code == 1
    with ledger.lock() as held:
        assert held.begin.number == 0


def test_a_silent_holder_is_taken_over_once_and_fenced_out(ledger, client):
    dead = ledger._acquire(None)
    with PromotionLedger(client, MODEL, ttl=30).lock() as held:
        assert held.begin.content["over"] == dead.begin.number
        with pytest.raises(FencedError):
            dead.check()
        held.end(2)
    with pytest.raises(FencedError):
        dead.end(1)
    assert ledger.read().production == 2
    assert ledger.read().problems == ()


def test_a_waiter_honours_the_time_that_the_holder_declared(client, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.05
        return now

    slow = PromotionLedger(client, MODEL, ttl=1.0)
    hasty = PromotionLedger(client, MODEL, ttl=0.0, monotonic=clock)
    slow._acquire(None)
    with hasty.lock():
        assert now > 1.0


def test_a_holder_gives_up_past_half_its_time(client):
    now = 0.0
    ledger = PromotionLedger(client, MODEL, ttl=10, monotonic=lambda: now)
    with ledger.lock() as held:
        held.check()
        now = 5.1
        with pytest.raises(FencedError):
            held.before_write()
    assert ledger.read().holder is None, "nothing was touched: the lock is free"


def test_after_a_failure_the_lock_is_free_unless_the_registry_was_touched(ledger):
    def fail(touch: bool) -> None:
        with ledger.lock() as held:
            if touch:
                held.before_write()
            raise ZeroDivisionError

    for touch in (False, True):
        with pytest.raises(ZeroDivisionError):
            fail(touch)
        assert (ledger.read().holder is not None) is touch


def test_a_waiter_gives_up_when_others_never_end(client, monkeypatch):
    clock = iter(range(0, 100_000, 100))
    waiter = PromotionLedger(client, MODEL, ttl=1, monotonic=lambda: next(clock))
    numbers = iter(range(1000))

    def always_another() -> LedgerState:
        content = {"type": "begin", "ttl": 1000, "owner": "host:1", "time": "noon"}
        return LedgerState.of("run", (Entry(next(numbers), "", content),))

    monkeypatch.setattr(waiter, "read", always_another)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ReportedError, match="host:1 since noon"):
        waiter._acquire(None)


def test_an_entry_that_mlflow_would_cut_is_refused(ledger):
    assert len(canonical({"x": "é" * (MAX_VALUE - 8)})) == MAX_VALUE
    with pytest.raises(BadInputError, match=r"6001 .* 6000"):
        ledger.append(0, {"x": "é" * (MAX_VALUE - 7)})


def test_what_is_stored_is_read_back_letter_by_letter(ledger):
    text = "é 🎉 \x00\n\t\\ \" ' ; -- 日本"
    ledger.runs.open()
    ledger.append(0, {"schema": 1, "type": "begin", "nonce": text, "ttl": 1, "prev": ledger.read().head})
    entry = ledger.read().entries[0]
    assert entry.content["nonce"] == text
    assert ledger.read().problems == ()


# ---- integrity ----


@pytest.fixture
def params(registry, add) -> dict[str, str]:
    add(stage="Production")
    add(stage="Production")
    ledger = registry.ledger(MODEL)
    return dict(registry.client.get_run(ledger.runs.open()).data.params) | {"run": ledger.runs.open()}


def problems(params: dict[str, str]) -> list[str]:
    return [problem for _, problem in chain.read_part(params["run"], params, chain.Trust(MODEL)).problems]


def test_a_changed_entry_is_found(params):
    assert problems(params) == []
    assert problems({**params, "run": "another run"}) == [
        "entry 0 does not follow from the one before: one of them was changed"
    ]
    changed = {**params, "00000004": params["00000004"].replace('"user":"ana"', '"user":"eve"')}
    assert changed != params
    assert problems(changed) == ["entry 5 does not follow from the one before: one of them was changed"]


def test_a_missing_entry_is_found(params):
    missing = {key: value for key, value in params.items() if key not in ("00000002", "00000003")}
    assert problems(missing) == [
        "entries 2 to 3 are missing",
        "entry 4 does not follow from the one before: one of them was changed",
    ]
    assert problems({**params, "00000002": "cut"})[0] == "entry 2 cannot be read"


def test_a_damaged_ledger_is_not_followed_and_a_rollback_stays_possible(registry, add, params, caplog, monkeypatch):
    real = registry.client.get_run

    def damaged(run_id: str) -> Any:
        run = real(run_id)
        if "00000002" in run.data.params:
            run.data.params["00000002"] = "{}"
        return run

    monkeypatch.setattr(registry.client, "get_run", damaged)
    assert registry.verify(MODEL)
    staged = add(stage="Staging")
    retention = RetentionRunner(registry.client, registry.ledger(MODEL), RetentionConfig())
    for follow in (
        lambda: registry.promote(MODEL, staged, approved()),
        lambda: registry.reconcile(MODEL),
        lambda: retention.run(approved(), delete=True),
    ):
        with pytest.raises(LedgerDamagedError, match=r"entry 2 .*rollback works"):
            follow()
    assert stages(registry) == {1: "Archived", 2: "Production", staged: "Staging"}
    assert registry.rollback(MODEL, 1, approved()).changed
    assert stages(registry) == {1: "Production", 2: "Archived", staged: "Staging"}
    assert "entry 2 cannot be read" in caplog.text


def test_an_entry_of_a_newer_schema_stops_promotions(params):
    newer = json.dumps({**json.loads(params["00000007"]), "schema": NEWEST_SCHEMA + 1})
    with pytest.raises(BadInputError, match=f"Ledger entry 7 has schema {NEWEST_SCHEMA + 1}"):
        chain.read_part(params["run"], {**params, "00000007": newer}, chain.Trust(MODEL))


def test_a_deleted_ledger_says_how_to_restore_it(registry, params):
    registry.client.delete_run(params["run"])
    with pytest.raises(BadInputError, match=f"restore --run-id {params['run']}"):
        registry.history(MODEL)
    registry.client.restore_run(params["run"])
    assert registry.history(MODEL)
    pointer = registry.client.get_experiment_by_name(f"{EXPERIMENT}/{MODEL}")
    registry.client.delete_experiment(pointer.experiment_id)
    with pytest.raises(BadInputError, match=f"experiment id {pointer.experiment_id}"):
        PromotionLedger(registry.client, MODEL).read()


def test_the_history_survives_the_model(registry, params):
    registry.client.delete_registered_model(MODEL)
    assert [event.version for event in registry.history(MODEL)] == [1, 1, 2, 2]


# ---- request limits ----


def test_requests_are_bounded_while_the_lock_is_held(ledger, monkeypatch):
    for name in CLIENT_LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert longest_request() > 1200
    with ledger.lock():
        assert longest_request() < 70
    assert longest_request() > 1200
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "45")
    with bounded_requests():
        assert longest_request() > 270, "what the environment says is kept, the time to live follows it"
        assert time_to_live("https://mlflow") == 2 * longest_request()
        assert time_to_live("sqlite:///x") == 60
