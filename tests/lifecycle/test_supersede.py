"""A newer candidate empties Staging behind it; decisions that were made hold."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.messages import confirm
from include.lifecycle.registry import ModelRegistry

from .support import MODEL, aliases, approved, stages

REJECTED = Decision(Outcome.REJECTED, "bob", "test", "too optimistic", Door.CLI)


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


def test_there_is_nothing_to_supersede(registry, add):
    assert registry.supersede(MODEL) == []
    add(stage="Staging")
    assert registry.supersede(MODEL) == []


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
