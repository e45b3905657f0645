"""A decision that comes after another one: recorded once, changes nothing."""

import pytest

from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome

from .support import MODEL, aliases, approved, stages

REJECTED = Decision(Outcome.REJECTED, "bob", "test", "too optimistic", Channel.CLI)


def late(registry: ModelRegistry) -> list[tuple[int, str, str, str]]:
    found = [event for event in registry.history(MODEL) if event.late]
    assert not any(event.moved for event in found)
    return [(event.version, str(event.outcome), str(event.door), event.user) for event in found]


def test_a_rejection_after_the_promotion(registry, add):
    add(stage="Production")
    before = registry.version(MODEL, 1)
    for _ in range(2):
        assert registry.reject(MODEL, 1, REJECTED).outcome is Outcome.APPROVED
    assert late(registry) == [(1, "rejected", "cli", "bob")], "a second try makes no second event"
    assert registry.history(MODEL)[-1].reason == "too optimistic"
    assert registry.version(MODEL, 1) == before
    assert aliases(registry) == {"champion": 1}
    assert registry.ledger(MODEL).read().production == 1
    registry.reject(MODEL, 1, Decision(Outcome.REJECTED, "eve", "test", "me too", Channel.CLI))
    assert late(registry)[1:] == [(1, "rejected", "cli", "eve")]
    assert registry.verify(MODEL) == []


def test_an_approval_after_the_rejection_is_refused_and_recorded(registry, add):
    add(stage="Staging")
    registry.reject(MODEL, 1, REJECTED)
    for _ in range(2):
        with pytest.raises(TransitionRefusedError, match="the first decision holds"):
            registry.promote(MODEL, 1, approved(run_id="night"))
    assert late(registry) == [(1, "approved", "mark", "ana")]
    assert stages(registry) == {1: "Staging"}
    assert registry.version(MODEL, 1).tags["decision.outcome"] == "rejected"
    assert [event.version for event in registry.history(MODEL) if event.is_promotion] == []


def test_a_second_approval_through_another_door(registry, add):
    add(stage="Staging")
    registry.promote(MODEL, 1, Decision(Outcome.APPROVED, "eve", "test", "ship it", Channel.CLI))
    decision = approved(run_id="night")
    for _ in range(2):
        assert not registry.promote(MODEL, 1, decision).changed
    assert late(registry) == [(1, "approved", "mark", "ana")]
    registry.promote(MODEL, 1, Decision(Outcome.APPROVED, "eve", "test", "ship it", Channel.CLI))
    assert len(late(registry)) == 1, "the one that holds is not late"


def test_a_retry_whose_user_is_known_at_one_try_only_is_the_same_decision(registry, add):
    add(stage="Staging")
    registry.promote(MODEL, 1, approved("ana", run_id="night"))
    registry.promote(MODEL, 1, approved("unknown", run_id="night"))
    add(stage="Staging")
    registry.reject(MODEL, 2, Decision(Outcome.REJECTED, "ana", "audit", "no", Channel.MARK, run_id="night"))
    registry.reject(MODEL, 2, Decision(Outcome.REJECTED, "unknown", "unknown", "no", Channel.MARK, run_id="night"))
    assert late(registry) == []


def test_the_approval_of_a_version_that_came_back_is_not_late(registry, add):
    add(stage="Production")
    add(stage="Production")
    registry.rollback(MODEL, 1, approved("eve", run_id="rollback"))
    assert not registry.promote(MODEL, 1, approved(run_id="run-1")).changed
    assert late(registry) == []


@pytest.mark.parametrize("door", [Channel.EXPIRY, Channel.AUTOMATIC, Channel.OUTSIDE])
def test_a_rule_decides_nothing_late(registry, add, door):
    add(stage="Staging")
    registry.reject(MODEL, 1, REJECTED)
    registry.record_decision(MODEL, 1, Decision(Outcome.EXPIRED, door=door))
    assert late(registry) == []


def test_late_does_not_hide_an_interrupted_promotion(registry, add, by_hand):
    from include.lifecycle.ledger.entries import Intent

    add(stage="Production")
    add(stage="Staging")
    registry.reject(MODEL, 2, REJECTED)
    with registry.ledger(MODEL).lock(Intent(2, "Staging", "Production")) as held:
        held.released = True
    over = {"schema": 1, "type": "begin", "ttl": 1, "over": held.begin.number, "nonce": "x", "prev": held.begin.digest}
    begin = registry.ledger(MODEL).append(held.begin.number + 1, over)
    end = {"schema": 1, "type": "end", "begin": begin.number, "prev": begin.digest, "nonce": "y"}
    registry.ledger(MODEL).append(begin.number + 1, {**end, "production": 1, "events": [], "repairs": []})
    with pytest.raises(TransitionRefusedError):
        registry.promote(MODEL, 2, approved())
    assert len(late(registry)) == 1
    by_hand(2, "Production")
    registry.reconcile(MODEL)
    assert stages(registry) == {1: "Production", 2: "Staging"}, "the late write is still known as one"
