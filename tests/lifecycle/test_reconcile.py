import pytest

from include.lifecycle.ledger.entries import Intent
from include.lifecycle.rules.decisions import Channel
from include.lifecycle.views.messages import confirm_reconciliation

from .support import MODEL, aliases, approved, stages


@pytest.fixture
def three(registry, add, prepared) -> None:
    """Version 1 was live, 2 is, 3 waits in Staging."""
    prepared("three", lambda: [add(stage=stage) for stage in ("Production", "Production", "Staging")])


def interrupt(registry, version: int, from_stage: str = "Staging") -> None:
    """Leave a promotion begun and never ended, and the lock taken over since."""
    ledger = registry.ledger(MODEL)
    with ledger.lock(Intent(version, from_stage, "Production")) as held:
        held.released = True
    over = {"schema": 1, "type": "begin", "ttl": 1, "over": held.begin.number, "nonce": "x", "prev": held.begin.digest}
    begin = ledger.append(held.begin.number + 1, over)
    end = {"schema": 1, "type": "end", "begin": begin.number, "prev": begin.digest, "nonce": "y"}
    ledger.append(begin.number + 1, {**end, "production": held.state.production, "events": [], "repairs": []})


def moves(registry) -> list[tuple[int, str, str, str]]:
    return [(event.version, event.from_stage, event.to_stage, str(event.door)) for event in registry.history(MODEL)]


def test_nothing_to_do_writes_nothing(registry, three):
    entries = registry.ledger(MODEL).read().next_number
    done = registry.reconcile(MODEL)
    assert not done.changed
    assert confirm_reconciliation(done) == [
        "Nothing to repair: version 2 is in Production as the promotion ledger says"
    ]
    assert registry.ledger(MODEL).read().next_number == entries


def test_a_model_without_versions_has_nothing_to_repair(registry):
    assert confirm_reconciliation(registry.reconcile(MODEL)) == [
        "Nothing to repair: no version is in Production as the promotion ledger says"
    ]


def test_a_model_in_use_before_its_ledger_is_entered_from_outside(registry, add, by_hand):
    for _ in range(3):
        add()
    by_hand(1, "Production")
    by_hand(2, "Production")
    by_hand(3, "Staging")
    done = registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}, "MLflow loads the highest number"
    assert moves(registry) == [(2, "unknown", "Production", "outside")]
    assert aliases(registry) == {"champion": 2}
    assert registry.history(MODEL)[0].user == "unknown"
    assert "in Production before its ledger began" in confirm_reconciliation(done)[1]
    assert not registry.reconcile(MODEL).changed


@pytest.mark.parametrize("archive", [True, False])
def test_a_move_by_hand_is_entered_from_outside(registry, three, by_hand, archive):
    by_hand(3, "Production", archive)
    registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Archived", 3: "Production"}
    event = registry.history(MODEL)[-1]
    assert (event.version, event.from_stage, event.archived) == (3, "Staging", (2,))
    assert (event.door, event.user, event.user_source) == (Channel.OUTSIDE, "unknown", "unknown")
    assert aliases(registry) == {"champion": 3, "previous": 2}
    registry.rollback(MODEL, 2, approved())
    assert stages(registry)[2] == "Production"


def test_a_lower_number_moved_beside_production_was_never_loaded_and_leaves_it(registry, three, by_hand):
    by_hand(1, "Production")
    before = moves(registry)
    done = registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}
    assert moves(registry) == before
    assert confirm_reconciliation(done)[0].startswith("Repaired: version 2 moved from Production to Production")


@pytest.mark.parametrize("stage", ["Archived", "None", "Staging"])
def test_production_is_never_left_empty(registry, three, by_hand, stage):
    by_hand(2, stage)
    done = registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}
    assert (
        f"version 2 moved from {stage} to Production: it was moved to {stage} by hand"
        in confirm_reconciliation(done)[0]
    )


def test_a_deleted_champion_is_entered(registry, three):
    registry.client.delete_model_version(MODEL, "2")
    done = registry.reconcile(MODEL)
    assert done.production is None
    assert moves(registry)[-1] == (2, "Production", "Deleted", "outside")
    assert not registry.reconcile(MODEL).changed
    registry.promote(MODEL, 3, approved())
    assert registry.history(MODEL)[-1].archived == ()
    assert aliases(registry) == {"champion": 3, "previous": 1}


@pytest.mark.parametrize("archive", [True, False])
def test_the_trace_of_an_interrupted_promotion_is_put_back(registry, three, by_hand, archive):
    interrupt(registry, 3)
    by_hand(3, "Production", archive)
    before = moves(registry)
    done = registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}
    assert moves(registry) == before
    assert [repair.version for repair in done.repairs] == [2, 3]
    assert not registry.reconcile(MODEL).changed
    assert registry.promote(MODEL, 3, approved()).archived == [2]


def test_a_repair_that_was_interrupted_is_completed(registry, three, by_hand):
    interrupt(registry, 3)
    by_hand(3, "Archived")
    registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}


def test_an_interrupted_first_promotion_leaves_production_empty(registry, add, by_hand):
    add(stage="Staging")
    interrupt(registry, 1)
    by_hand(1, "Production")
    registry.client.set_registered_model_alias(MODEL, "champion", "1")
    assert registry.reconcile(MODEL).production is None
    assert stages(registry) == {1: "Staging"}
    assert aliases(registry) == {}


def test_an_interrupted_rollback_leaves_the_former_champion_archived(registry, three, by_hand):
    interrupt(registry, 1, "Archived")
    by_hand(1, "Production", archive=True)
    registry.reconcile(MODEL)
    assert stages(registry) == {1: "Archived", 2: "Production", 3: "Staging"}


def test_a_promotion_repairs_what_it_finds(registry, three, add, by_hand):
    by_hand(1, "Production", archive=True)
    done = registry.promote(MODEL, 3, approved())
    assert done.archived == [1]
    assert moves(registry)[-2:] == [(1, "Archived", "Production", "outside"), (3, "Staging", "Production", "mark")]
    assert stages(registry) == {1: "Archived", 2: "Archived", 3: "Production"}
    assert aliases(registry) == {"champion": 3, "previous": 1}


def test_promoting_what_was_moved_by_hand_is_entered_once_from_outside(registry, three, by_hand):
    by_hand(3, "Production", archive=True)
    done = registry.promote(MODEL, 3, approved())
    assert not done.changed
    assert (done.event.door, done.event.user) == (Channel.OUTSIDE, "unknown")
    assert len([move for move in moves(registry) if move[0] == 3]) == 2


def test_wrong_aliases_are_put_right(registry, three):
    registry.client.set_registered_model_alias(MODEL, "champion", "3")
    registry.client.delete_registered_model_alias(MODEL, "previous")
    done = registry.reconcile(MODEL)
    assert aliases(registry) == {"champion": 2, "previous": 1}
    assert confirm_reconciliation(done)[:2] == [
        "Alias champion now points to version 2",
        "Alias previous now points to version 1",
    ]


def test_moves_by_hand_away_from_staging_are_left_alone(registry, three, by_hand):
    by_hand(3, "None")
    assert not registry.reconcile(MODEL).changed
    assert stages(registry)[3] == "None"
