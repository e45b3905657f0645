"""What was live when, and what a rollback would go back to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import live_at, previous_champion, terms
from include.lifecycle.rules.decisions import Outcome

from .support import MODEL, aliases, approved

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(
    hour: float, version: int, from_stage: str = "Staging", to_stage: str = "Production", *archived: int
) -> Event:
    made = Event(NOON + timedelta(hours=hour), MODEL, version, from_stage, to_stage, Outcome.APPROVED)
    return replace(made, archived=archived)


def live(events: list[Event], hour: float) -> int | None:
    found = live_at(events, NOON + timedelta(hours=hour))
    return found.version if found is not None else None


EVENTS = [
    event(-1, 1, "None", "Staging"),
    event(0, 1),
    event(0.5, 2, "Staging", "Staging"),
    event(1, 2, "Staging", "Production", 1),
    event(2, 1, "Archived", "Production", 2),
]


def test_live_is_who_came_last():
    assert [live(EVENTS, hour) for hour in (-1, -0.01, 0, 0.99, 1, 1.5, 2, 9999)] == [None, None, 1, 1, 2, 2, 1, 1]
    assert live_at(EVENTS, NOON + timedelta(hours=3)) is EVENTS[-1], "the term that is meant, not an earlier one"
    assert live([], 0) is None


def test_a_deleted_champion_is_live_no_more():
    events = [*EVENTS, event(3, 1, "Production", "Deleted"), event(5, 3)]
    assert [live(events, hour) for hour in (2.9, 3, 4.9, 5)] == [1, None, None, 3]
    assert [(term.version, term.until) for term in terms(events)][-2:] == [(1, NOON + timedelta(hours=3)), (3, None)]


def test_the_order_of_the_ledger_holds_where_clocks_disagree():
    events = [event(0, 1), event(2, 2, "Staging", "Production", 1), event(1, 3, "Staging", "Production", 2)]
    assert [live(events, hour) for hour in (0.5, 1.5, 2)] == [1, 1, 3], "3 came after 2 whatever its host's clock said"


def test_a_time_needs_a_timezone():
    with pytest.raises(ValueError, match="needs a timezone"):
        live_at(EVENTS, datetime(2026, 3, 1))
    assert live_at(EVENTS, datetime.fromisoformat("2026-03-01T14:30+01:00")).version == 2


def test_live_at_asks_the_registry(registry, add):
    before = datetime.now(UTC)
    add(stage="Production")
    between = datetime.now(UTC)
    add(stage="Production")
    assert registry.live_at(MODEL, before) is None
    assert registry.live_at(MODEL, between).version == 1
    found = registry.live_at(MODEL, datetime.now(UTC))
    assert (found.version, found.user, found.run_id) == (2, "ana", "run-2")


def test_a_promotion_is_dated_when_it_moves_not_when_it_begins_to_wait(registry, add, monkeypatch):
    add(stage="Production")
    version = add(stage="Staging")
    ledger = registry.ledger(MODEL)
    real, released = ledger._begin, []

    def slow(*args):
        released.append(datetime.now(UTC))
        return real(*args)

    monkeypatch.setattr(ledger, "_begin", slow)
    assert registry.promote(MODEL, version, approved()).event.time > released[-1]


def test_a_rollback_goes_back_to_the_champion_before():
    three = [event(0, 1), event(1, 2, "Staging", "Production", 1), event(2, 3, "Staging", "Production", 2)]
    found = previous_champion(three, 3, {1, 2, 3})
    assert (found.version, found.until) == (2, NOON + timedelta(hours=2))
    assert previous_champion(three, 3, {1, 3}).version == 1, "2 was deleted"
    assert previous_champion(three[:1], 1, {1}) is None
    assert previous_champion([], None, {1}) is None


def test_the_next_rollback_does_not_go_back_to_what_was_rolled_back():
    events = [event(hour, version, "Staging", "Production", version - 1) for hour, version in enumerate((1, 2, 3))]
    back = [*events, event(4, 2, "Archived", "Production", 3)]
    assert previous_champion(back, 2, {1, 2, 3}).version == 1
    both = [*back, event(5, 1, "Archived", "Production", 2)]
    assert previous_champion(both, 1, {1, 2, 3}) is None
    after = [*back, event(6, 4, "Staging", "Production", 2)]
    assert previous_champion(after, 4, {1, 2, 3, 4}).version == 2


def test_every_door_agrees_on_the_champion_before(registry, add):
    first, second = add(stage="Production"), add(stage="Production")
    third = add(stage="Production")
    assert aliases(registry) == {"champion": third, "previous": second}
    registry.rollback(MODEL, second, approved("eve"))
    assert registry.previous_champion(MODEL).version == first, "not the one that the rollback threw out"
    assert aliases(registry) == {"champion": second, "previous": first}
    registry.rollback(MODEL, first, approved("eve"))
    assert registry.previous_champion(MODEL) is None
    assert aliases(registry) == {"champion": first}
    assert not registry.reconcile(MODEL).changed
    assert registry.rollback(MODEL, third, approved("eve")).archived == [first], "named, it can be taken"
