"""A newer candidate empties Staging behind it; decisions that were made hold."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from include.lifecycle.errors import ReportedError, TransitionRefusedError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.moves.promotion import Promoter
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.views.messages import confirm

from .support import MODEL, aliases, approved, stages

REJECTED = Decision(Outcome.REJECTED, "bob", "test", "too optimistic", Channel.CLI)


def test_older_candidates_go_back_to_none_with_what_was_decided(registry, add):
    live, waiting, rejected = add(stage="Production"), add(stage="Staging"), add(stage="Staging")
    registry.reject(MODEL, rejected, REJECTED)
    newest = add(stage="Staging")
    moved = registry.supersede(MODEL, dag_id="retrain", run_id="night 3")
    assert [move.version for move in moved] == [waiting, rejected]
    assert confirm(moved[0]) == [f"Model version {waiting} left Staging (superseded: version {newest} reached Staging)"]
    assert stages(registry) == {live: "Production", waiting: "None", rejected: "None", newest: "Staging"}
    decided = Decision.from_tags(registry.version(MODEL, waiting).tags)
    assert (decided.outcome, decided.reason) == (Outcome.SUPERSEDED, f"version {newest} reached Staging")
    kept = Decision.from_tags(registry.version(MODEL, rejected).tags)
    assert (kept.outcome, kept.user, kept.reason) == (Outcome.REJECTED, "bob", "too optimistic")
    last = registry.history(MODEL)[-2:]
    assert [(event.version, event.from_stage, event.to_stage, event.run_id) for event in last] == [
        (waiting, "Staging", "None", "night 3"),
        (rejected, "Staging", "None", "night 3"),
    ]
    assert registry.supersede(MODEL) == []
    assert len(registry.history(MODEL)) == len(registry.history(MODEL)[:-2]) + 2
    assert aliases(registry)["champion"] == live


def test_what_was_superseded_or_rejected_never_goes_live(registry, add):
    waiting, rejected = add(stage="Staging"), add(stage="Staging")
    registry.reject(MODEL, rejected, REJECTED)
    add(stage="Staging")
    registry.supersede(MODEL)
    for version, outcome in ((waiting, "superseded"), (rejected, "rejected")):
        with pytest.raises(TransitionRefusedError):
            registry.promote(MODEL, version, approved())
        with pytest.raises(TransitionRefusedError, match=f"was {outcome}"):
            registry.stage(MODEL, version)


def test_an_older_version_staged_late_is_the_one_that_goes(registry, add):
    late = add()
    newer = add(stage="Staging")
    registry.stage(MODEL, late)
    registry.supersede(MODEL)
    assert stages(registry) == {late: "None", newer: "Staging"}


def test_an_approved_version_that_waits_for_its_promotion_stays(registry, add):
    waits = add(stage="Staging")
    registry.record_decision(MODEL, waits, approved())
    newest = add(stage="Staging")
    assert registry.supersede(MODEL) == []
    assert stages(registry) == {waits: "Staging", newest: "Staging"}
    registry.promote(MODEL, waits, approved())
    assert stages(registry)[waits] == "Production"


def test_an_approved_version_that_a_newer_one_overtook_goes(registry, add):
    older, newer = add(stage="Staging"), add(stage="Staging")
    registry.record_decision(MODEL, older, approved())
    registry.note_wait(MODEL, older, datetime(2026, 3, 4, 14, tzinfo=UTC))
    assert registry.overtaken_by(MODEL, older) is None
    registry.promote(MODEL, newer, approved())
    assert registry.overtaken_by(MODEL, older) == newer
    newest = add(stage="Staging")
    assert [move.version for move in registry.supersede(MODEL)] == [older]
    assert stages(registry) == {older: "None", newer: "Production", newest: "Staging"}
    tags = registry.version(MODEL, older).tags
    assert tags["decision.outcome"] == "superseded"
    assert "promotion.waits_until" not in tags


def test_only_what_came_later_and_is_newer_overtakes(registry, add, by_hand):
    first = add(stage="Production")
    second, third = add(stage="Staging"), add(stage="Staging")
    registry.promote(MODEL, third, approved())
    registry.record_decision(MODEL, second, approved())  # an older one, approved while the newer one is live
    assert registry.overtaken_by(MODEL, second) is None
    registry.rollback(MODEL, first, approved())
    assert registry.overtaken_by(MODEL, second) is None, "a rollback is no newer candidate"
    by_hand(third, "Production", archive=True)
    assert registry.overtaken_by(MODEL, second) == third, "moved by hand after the approval"
    assert registry.overtaken_by(MODEL, add(stage="Staging")) is None


def test_there_is_nothing_to_supersede(registry, add):
    assert registry.supersede(MODEL) == []
    add(stage="Staging")
    assert registry.supersede(MODEL) == []


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Lets somebody else act after a move was checked and before it takes the lock."""

    def overtaken(meanwhile: Callable[[], object]) -> None:
        locked = Promoter._locked

        def slow(self: Promoter, *arguments: Any) -> Any:
            monkeypatch.setattr(Promoter, "_locked", locked)
            meanwhile()
            return locked(self, *arguments)

        monkeypatch.setattr(Promoter, "_locked", slow)

    return overtaken


def test_a_promotion_that_a_superseding_overtakes_is_refused_at_once_and_noted_as_late(registry, add, overtaken):
    candidate = add(stage="Staging")
    add(stage="Staging")
    overtaken(lambda: registry.supersede(MODEL))
    with pytest.raises(TransitionRefusedError, match="None and cannot move"):
        registry.promote(MODEL, candidate, approved())
    assert stages(registry)[candidate] == "None"
    last = registry.history(MODEL)[-1]
    assert (last.version, last.outcome, last.late) == (candidate, Outcome.APPROVED, True)


def test_a_promotion_that_a_rejection_overtakes_is_refused_and_noted_as_late(registry, add, overtaken):
    candidate = add(stage="Staging")
    overtaken(lambda: registry.reject(MODEL, candidate, REJECTED))
    with pytest.raises(TransitionRefusedError, match="was rejected"):
        registry.promote(MODEL, candidate, approved())
    assert stages(registry)[candidate] == "Staging"
    assert [(event.outcome, event.late) for event in registry.history(MODEL)[-2:]] == [
        (Outcome.REJECTED, False),
        (Outcome.APPROVED, True),
    ]


def test_a_move_that_is_still_possible_from_elsewhere_may_be_tried_again(registry, add, by_hand, overtaken):
    first = add(stage="Production")
    add(stage="Production")
    overtaken(lambda: by_hand(first, "Staging"))
    with pytest.raises(ReportedError, match="from Archived to Staging") as raised:
        registry.rollback(MODEL, first, approved())
    assert raised.value.exit_code == 1
    assert registry.rollback(MODEL, first, approved()).to_stage == "Production"


@pytest.mark.parametrize("trial", range(5))
def test_a_promotion_and_a_superseding_at_the_same_moment(registry, add, trial):
    """Either the promotion wins and the version stays live, or it is superseded and the promotion refused."""
    candidate = add(stage="Staging")
    newest = add(stage="Staging")
    other = ModelRegistry(tracking_uri=registry.tracking_uri, lock_ttl=30)
    with ThreadPoolExecutor(2) as pool:
        promotion = pool.submit(other.promote, MODEL, candidate, approved())
        pool.submit(registry.supersede, MODEL).result()
    found = stages(registry)
    assert found[newest] == "Staging"
    if promotion.exception() is None:
        assert found[candidate] == "Production"
    else:
        assert isinstance(promotion.exception(), TransitionRefusedError)
        assert found[candidate] == "None"
    assert registry.reconcile(MODEL).changed is False
