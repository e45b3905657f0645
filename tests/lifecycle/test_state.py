"""What a ledger's entries say together: the same, whether they are added one by one, in parts or at once."""

from collections.abc import Callable
from dataclasses import fields

import pytest

from include.lifecycle.ledger import chain, runs
from include.lifecycle.ledger.state import Account, LedgerState
from include.lifecycle.ledger.statements import Ask, Decided, Place
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome

from .support import MODEL

ANA = Decision(Outcome.APPROVED, "ana", "audit", "fine", Channel.MARK)


@pytest.fixture
def nights(registry: ModelRegistry, add: Callable[..., int]) -> LedgerState:
    """The ledger of a few nights, in several runs."""
    registry = ModelRegistry(registry.client, run_entries=5)
    for number in range(4):
        version = add()
        registry.stage(MODEL, version)
        place = Place(dag_id="retrain", run_id=f"night-{number}", task_id="await_approval")
        ask = registry.ask(Ask(model=MODEL, version=version, place=place, instance=str(number)))
        outcome = Outcome.REJECTED if number == 2 else Outcome.APPROVED
        decision = Decision(outcome, "ana", "audit", "fine", Channel.MARK)
        registry.decide(MODEL, Decided(ask=ask.id, decision=decision))
        registry.decide(MODEL, Decided(ask=ask.id, decision=decision))
        if outcome is Outcome.APPROVED:
            registry.promote(MODEL, version, ANA, ask=ask.id)
    registry.rollback(MODEL, 1, ANA)
    state = registry.ledger(MODEL).read()
    assert len(state.runs) > 3
    return state


def account_of(state: LedgerState) -> Account:
    """Return what a state has of its entries alone."""
    return Account(**{item.name: getattr(state, item.name) for item in fields(Account)})


def test_entries_say_the_same_however_they_are_added(nights: LedgerState) -> None:
    at_once = Account().add(nights.entries)
    one_by_one = Account()
    for entry in nights.entries:
        kept, before = one_by_one, len(one_by_one.events)
        one_by_one = one_by_one.copy().add([entry])
        assert len(kept.events) == before, "a copy changes nothing in what it was made of"
    assert at_once == one_by_one == account_of(nights)
    assert at_once.production == 1
    assert at_once.champions == [1, 2, 4, 1]
    assert at_once.stages == {1: "Production", 2: "Archived", 3: "Staging", 4: "Archived"}
    assert at_once.standings[3].outcome is Outcome.REJECTED
    assert len(at_once.statements.late) == 4
    assert at_once.begun == {}
    assert at_once.holder is None


def test_a_closed_part_that_is_read_again_is_counted_anew(
    registry: ModelRegistry, nights: LedgerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ModelRegistry(registry.client, run_entries=5).ledger(MODEL)
    first = ledger.read()
    counted: list[int] = []
    add = Account.add

    def noted(account: Account, entries: object) -> Account:
        entries = list(entries)  # type: ignore[call-overload]
        counted.extend(entry.number for entry in entries)
        return add(account, entries)

    monkeypatch.setattr(Account, "add", noted)
    assert account_of(ledger.read()) == account_of(first)
    assert min(counted) >= first.first_of_run, "closed runs are counted once in a process"
    counted.clear()
    assert account_of(ledger.read(fresh=True)) == account_of(first)
    assert min(counted) == 0


def test_an_entry_is_checked_once_and_another_in_its_place_again(nights: LedgerState) -> None:
    raw = {f"{entry.number:08d}": entry.raw for entry in nights.entries if entry.number < 3}
    trust = chain.Trust(MODEL)
    whole = chain.read_part(nights.ledger_id, raw, trust)
    misses = chain._read.cache_info().misses
    assert chain.read_part(nights.ledger_id, raw, trust) == whole
    assert chain._read.cache_info().misses == misses
    edited = raw | {"00000001": raw["00000001"].replace('"type"', '"TYPE"')}
    assert edited != raw
    assert chain.read_part(nights.ledger_id, edited, trust).problems


def test_another_ledger_in_the_same_process_has_its_own_account(nights: LedgerState) -> None:
    parts, account = runs._accounts[nights.ledger_id, chain.Trust(MODEL)]
    assert len(parts) == len(nights.runs) - 1
    assert account.events
    assert runs._account((), chain.Trust(MODEL)) == Account()
    assert runs._account(parts[:1], chain.Trust("another")) != account
