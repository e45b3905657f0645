"""Reviews in the promotion ledger, on a real MLflow: what they hold back, and what may not be promoted without one."""

import json
from collections.abc import Callable

import pytest

from include.lifecycle import tags as tag
from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.ledger.chain import Trust, read_part
from include.lifecycle.ledger.reviewed import MAX_ITEMS, Reviewed, ReviewedItem
from include.lifecycle.ledger.statements import ASKED, STATEMENTS, Ask, Place
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Outcome
from include.lifecycle.views.review import render_review, verdict_line

from .support import MODEL, approved, stages

PLACE = Place(dag_id="retrain", run_id="night", task_id="approve")
PAGE = "c" * 64


def reviewed(version: int, verdict: str = "pass", **fields: object) -> Reviewed:
    said = {
        "model": MODEL,
        "version": version,
        "verdict": verdict,
        "headline": "Better: RMSPE 0.09 against 0.10.",
        "rows": "42 rows that neither has seen.",
        "items": (ReviewedItem("Bias overall", verdict, "All predictions are +3.0% off."),),  # type: ignore[arg-type]
        "page": PAGE,
        "artifact": ("run", "review/review.html"),
        "dag_id": "retrain",
        "run_id": "night",
        **fields,
    }
    return Reviewed(**said)  # type: ignore[arg-type]


def ask(version: int) -> Ask:
    return Ask(model=MODEL, version=version, place=PLACE, instance="try 1", series="1")


def test_a_review_survives_the_ledger(registry: ModelRegistry, add: Callable[..., int]) -> None:
    version = add(stage="Staging")
    said = reviewed(version, "warn", live=3)
    assert registry.reviewed(said) is None
    state = registry.ledger(MODEL).read()
    assert state.review(version) == said
    assert state.problems == ()
    assert stages(registry)[version] == "Staging", "a warning holds nothing back"
    assert registry.version(MODEL, version).tags[tag.REVIEW_OUTCOME] == "warn"
    assert {"review": "warn", "review_page": PAGE}.items() <= state.evidence(version, {}).items()
    assert state.review(version + 1) is None


def test_a_review_that_holds_back_brings_the_version_back_to_none(
    registry: ModelRegistry, add: Callable[..., int]
) -> None:
    version = add(stage="Staging")
    moved = registry.reviewed(reviewed(version, "fail"))
    assert moved is not None
    assert (moved.from_stage, moved.to_stage) == ("Staging", "None")
    assert (moved.event.outcome, moved.event.door) == (Outcome.REJECTED, Channel.AUTOMATIC)
    assert moved.event.reason == "held back by its review: Bias overall"
    tags = registry.version(MODEL, version).tags
    assert (tags[tag.REVIEW_OUTCOME], tags[tag.RETRAIN_REQUIRED]) == ("fail", "true")
    assert registry.reviewed(reviewed(version, "fail")) is None, "a retried task moves nothing twice"
    with pytest.raises(TransitionRefusedError):
        registry.stage(MODEL, version)
    with pytest.raises(TransitionRefusedError):
        registry.promote(MODEL, version, approved())
    assert registry.ledger(MODEL).verify() == []


def test_nobody_promotes_what_a_review_held_back(registry: ModelRegistry, add: Callable[..., int]) -> None:
    """Also where the process that entered it died before it moved the version."""
    version = add(stage="Staging")
    registry.ledger(MODEL).state("reviewed", reviewed(version, "fail").to_dict())
    with pytest.raises(TransitionRefusedError, match="Bias overall"):
        registry.promote(MODEL, version, approved())
    assert stages(registry)[version] == "Staging"
    registry.reviewed(reviewed(version, "warn"))
    registry.promote(MODEL, version, approved())
    assert stages(registry)[version] == "Production", "the last word of a review counts"


def test_only_a_rule_brings_a_version_back(registry: ModelRegistry, add: Callable[..., int]) -> None:
    """A person's rejection leaves the version in Staging; so does a rule where no review holds it back."""
    from dataclasses import replace

    version = add(stage="Staging")
    by_rule = replace(approved(), outcome=Outcome.REJECTED, door=Channel.AUTOMATIC)
    with pytest.raises(TransitionRefusedError):
        registry.transition(MODEL, version, "None", by_rule)
    registry.ledger(MODEL).state("reviewed", reviewed(version, "fail").to_dict())
    with pytest.raises(TransitionRefusedError):
        registry.transition(MODEL, version, "None", replace(by_rule, door=Channel.CLI))


def test_a_promotion_that_needs_a_review(registry: ModelRegistry, add: Callable[..., int]) -> None:
    version = add(stage="Staging")
    with pytest.raises(TransitionRefusedError, match="was not reviewed"):
        registry.promote(MODEL, version, approved(), require_review=True)
    registry.reviewed(reviewed(version, digest="d" * 64))
    with pytest.raises(TransitionRefusedError, match="not what was reviewed"):
        registry.promote(MODEL, version, approved(), require_review=True)
    registry.reviewed(reviewed(version))
    registry.promote(MODEL, version, approved(), require_review=True)
    assert stages(registry)[version] == "Production"


def test_a_review_that_cannot_be_read_is_no_review(registry: ModelRegistry, add: Callable[..., int]) -> None:
    version = add(stage="Staging")
    ledger = registry.ledger(MODEL)
    content = {**reviewed(version).to_dict(), "verdict": "splendid"}
    ledger.state("reviewed", content)
    state = ledger.read(fresh=True)
    assert state.review(version) is None
    assert state.problems


def test_software_that_knows_no_reviews_writes_nothing_more() -> None:
    """Entries of an unknown schema stop an older release: it would promote what a review held back."""
    assert STATEMENTS["reviewed"] > max(STATEMENTS[kind] for kind in (ASKED, "validated", "decided"))


def test_long_reviews_fit_an_entry(registry: ModelRegistry, add: Callable[..., int]) -> None:
    version = add(stage="Staging")
    items = tuple(ReviewedItem("t" * 500, "warn", '"\\' * 500) for _ in range(50))
    registry.reviewed(reviewed(version, "warn", items=items, headline="h" * 5000, rows="r" * 5000))
    found = registry.ledger(MODEL).read().review(version)
    assert found is not None
    assert len(found.items) <= MAX_ITEMS


def test_what_an_approver_reads_first(registry: ModelRegistry, add: Callable[..., int]) -> None:
    version = add(stage="Staging")
    items = (
        ReviewedItem("Absolute gate", "pass", "0.09 is below 0.10."),
        ReviewedItem("Bias <b>overall</b>", "warn", "[+3 %](http://evil.example) | off"),
    )
    said = reviewed(version, "warn", items=items)
    registry.reviewed(said)
    assert verdict_line(said) == "1 warning: Bias <b>overall</b>"
    text = render_review(registry, MODEL, version, review=said, page_url="https://airflow.example/review")
    assert text.startswith("**1 warning: Bias &")
    assert "https://airflow.example/review" in text
    assert "evil.example" in text
    assert "](http://evil" not in text
    assert "Metric |" not in text, "each training's own holdout is not shown where both were compared on the same rows"
    assert verdict_line(reviewed(1)) == "No warning"
    assert verdict_line(reviewed(1, "fail")).startswith("Held back")


def test_a_forged_review_is_foreign(registry: ModelRegistry, add: Callable[..., int]) -> None:
    from include.lifecycle.ledger.entries import canonical
    from include.lifecycle.ledger.keys import Keyring

    content = {"schema": 5, "type": "reviewed", "prev": "0", "nonce": "x", "what": reviewed(1).to_dict()}
    part = read_part("run", {"00000000": canonical(content)}, Trust(MODEL, Keyring((b"k" * 32,))))
    assert part.entries == ()
    assert part.foreign == {0}
    assert json.loads(canonical(content))["what"]["verdict"] == "pass"
