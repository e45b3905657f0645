"""A ledger that somebody with MLflow's database or rights on its experiments changed: what is found, and what goes on.

Whoever does that has no key. The tags of versions keep anchors that the key signed, and so does Airflow.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.lifecycle import tags as tag
from include.lifecycle.errors import BadInputError, LedgerDamagedError, LedgerGoneError, ReportedError
from include.lifecycle.ledger.anchors import ANCHORS_ENV, Anchor, append, head_of, sign, signed
from include.lifecycle.ledger.entries import ACCEPTED, canonical
from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.ledger.runs import EXPERIMENT, RUN_TAG, LedgerRuns
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.views.overview import overview
from tests.validations import validation

from .support import MODEL, OLD, again, approved, impatient, stages

POINTER = f"{EXPERIMENT}/{MODEL}"


@pytest.fixture
def live(key: str, registry: ModelRegistry, add: Callable[..., int]) -> ModelRegistry:
    """Version 2 replaced version 1, version 3 waits; all of it signed."""
    for stage in ("Production", "Production", "Staging"):
        add(stage=stage)
    return ModelRegistry(registry.client, lock_ttl=300)


def edit_middle(live: ModelRegistry, edit: Any) -> str:
    edit(4, lambda raw: raw.replace('"type"', '"TYPE"'))
    return "does not follow"


def edit_last(live: ModelRegistry, edit: Any) -> str:
    """The promotion of version 2, edited when it was the last."""
    last = last_promotion(live)
    for number in range(last + 1, head_of(again(live).read()).entry + 1):
        edit(number, lambda _: None)
    edit(last, lambda raw: raw.replace('"user":"ana"', '"user":"eve"'))
    return "not signed"


def insert(live: ModelRegistry, edit: Any) -> str:
    state = again(live).read()
    content = {"schema": 1, "type": "end", "begin": 0, "prev": state.head, "production": 3, "events": [], "nonce": "x"}
    live.client.log_param(state.run_id, f"{state.next_number:08d}", canonical(content))
    return "not signed"


def remove(live: ModelRegistry, edit: Any) -> str:
    edit(4, lambda _: None)
    return "is missing"


def cut(live: ModelRegistry, edit: Any) -> str:
    """Everything from the promotion of version 2 on."""
    for number in range(last_promotion(live) - 1, head_of(again(live).read()).entry + 1):
        edit(number, lambda _: None)
    return "was cut"


def replace(live: ModelRegistry, edit: Any) -> str:
    """All entries gone, and another ledger in their place that nobody with the key wrote."""
    for entry in again(live).read().entries:
        edit(entry.number, lambda _: None)
    content = {"schema": 1, "type": "end", "begin": 0, "prev": "", "production": 3, "events": [], "nonce": "x"}
    live.client.log_param(again(live).runs.open(), "00000000", canonical(content))
    return "there once"


TAMPERED = (edit_middle, edit_last, insert, remove, cut, replace)


def last_promotion(live: ModelRegistry) -> int:
    return next(event.entry for event in reversed(live.history(MODEL)) if event.is_promotion) or 0


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_what_is_said_of_a_ledger_that_somebody_changed(live: ModelRegistry, edit: Any, tamper: Any) -> None:
    sentence = tamper(live, edit)
    registry = impatient(live)
    found = registry.verify(MODEL)
    assert any(sentence in problem for problem in found), found
    shown = overview(registry, MODEL).ledger.problems
    assert any(sentence in problem for problem in shown), shown
    if tamper is insert:  # what nobody with the key wrote blocks nobody
        assert registry.promote(MODEL, 3, approved()).changed
        return
    with pytest.raises((LedgerDamagedError, LedgerGoneError, BadInputError)):
        registry.promote(MODEL, 3, approved())
    assert stages(live)[2] == "Production"
    if tamper is not replace:
        registry.rollback(MODEL, 1, approved("eve"))
        assert stages(live) == {1: "Production", 2: stages(live)[2], 3: "Staging"}


@pytest.mark.parametrize("tamper", [edit_middle, edit_last, remove, cut], ids=lambda tamper: tamper.__name__)
def test_a_damaged_ledger_goes_on_once_somebody_accepts_it(live: ModelRegistry, edit: Any, tamper: Any) -> None:
    tamper(live, edit)
    ledger = again(live)
    known = max(ledger.anchors())
    entry = ledger.accept("ana", "operating system", "compared with the backup")
    assert entry.content["problems"]
    assert entry.number > known.entry
    registry = impatient(live)
    assert registry.verify(MODEL) == []
    registry.reconcile(MODEL)
    registry.validated(_validated(3))
    if stages(live)[3] != "Staging":
        registry.stage(MODEL, 3)
    assert registry.promote(MODEL, 3, approved()).changed
    assert registry.verify(MODEL) == []
    shown = overview(registry, MODEL).ledger
    assert (shown.problems, "compared with the backup" in shown.accepted) == ((), True)


def test_what_was_accepted_and_is_changed_later_is_found(live: ModelRegistry, edit: Any) -> None:
    edit_middle(live, edit)
    again(live).accept("ana", "operating system", "known")
    edit(2, lambda _: None)
    found = again(live).verify()
    assert any("accepted was changed since" in problem for problem in found), found
    with pytest.raises(LedgerDamagedError):
        ModelRegistry(live.client).promote(MODEL, 3, approved())


def test_a_whole_ledger_is_not_accepted(live: ModelRegistry) -> None:
    before = again(live).read().next_number
    with pytest.raises(BadInputError, match="nothing to accept"):
        again(live).accept("ana", "operating system", "for fun")
    assert again(live).read().next_number == before


def test_nobody_accepts_without_the_key(live: ModelRegistry, edit: Any) -> None:
    edit_middle(live, edit)
    with pytest.raises(BadInputError, match="carry a key"):
        PromotionLedger(live.client, MODEL, keyring=Keyring()).accept("eve", "operating system", "trust me")
    state = again(live).read()
    content = {"schema": 4, "type": ACCEPTED, "prev": state.head, "nonce": "x", "time": "2026-01-01T00:00:00+00:00"}
    content |= {"user": "eve", "user_source": "x", "reason": "trust me", "whole": "", "problems": []}
    live.client.log_param(state.run_id, f"{state.next_number:08d}", canonical(content))
    with pytest.raises(LedgerDamagedError):
        ModelRegistry(live.client).promote(MODEL, 3, approved())


@pytest.mark.parametrize("how", ["renamed", "tag", "renamed and taken"])
def test_a_name_that_leads_elsewhere_is_led_back(live: ModelRegistry, how: str) -> None:
    pointer = live.client.get_experiment_by_name(POINTER)
    assert pointer is not None
    right = pointer.tags[RUN_TAG]
    empty = live.client.create_run("0").info.run_id
    if how == "tag":
        live.client.set_experiment_tag(pointer.experiment_id, RUN_TAG, empty)
    else:
        live.client.rename_experiment(pointer.experiment_id, "holiday pictures")
    if how == "renamed and taken":
        live.client.create_experiment(POINTER, tags={RUN_TAG: empty})
    registry = impatient(live)
    assert any("was cut" in problem for problem in registry.verify(MODEL))
    registry.reconcile(MODEL)
    assert registry.ledger(MODEL).read().ledger_id == right
    assert registry.verify(MODEL) == []
    assert registry.promote(MODEL, 3, approved()).archived == [2]


def test_of_two_ledgers_a_person_chooses(live: ModelRegistry) -> None:
    pointer = live.client.get_experiment_by_name(POINTER)
    assert pointer is not None
    live.client.rename_experiment(pointer.experiment_id, "holiday pictures")
    runs = again(live).runs
    second = runs.create(0)
    ledger = again(live)
    content = {"schema": 1, "type": "end", "begin": 0, "prev": "", "production": None, "events": [], "nonce": "x"}
    live.client.log_param(second, "00000000", canonical(ledger.keyring.sign(content, MODEL, 0)))
    with pytest.raises(BadInputError, match="2 promotion ledgers"):
        ModelRegistry(live.client).reconcile(MODEL)


@pytest.mark.parametrize("how", ["entries", "run"])
def test_a_lost_ledger_is_followed_by_one_that_carries_its_head(live: ModelRegistry, edit: Any, how: str) -> None:
    state = again(live).read()
    head = head_of(state)
    assert head is not None
    if how == "entries":
        for entry in state.entries:
            edit(entry.number, lambda _: None)
    else:
        _delete_for_good(live, state.ledger_id)
    with pytest.raises(LedgerGoneError, match="accept-ledger --after"):
        ModelRegistry(live.client).reconcile(MODEL)
    entry = again(live).accept("ana", "operating system", "the disk died", head)
    assert (entry.number, entry.content["prev"]) == (head.entry + 1, head.digest)
    registry = impatient(live)
    assert registry.verify(MODEL) == []
    registry.reconcile(MODEL)
    assert registry.ledger(MODEL).read().production == 2, "found where it was"
    registry.validated(_validated(3))
    assert registry.promote(MODEL, 3, approved()).archived == [2]
    assert registry.rollback(MODEL, 2, approved()).changed
    assert registry.verify(MODEL, [head]) == []


def test_a_new_ledger_is_not_begun_where_there_was_one(live: ModelRegistry, edit: Any) -> None:
    for entry in again(live).read().entries:
        edit(entry.number, lambda _: None)
    with pytest.raises(LedgerGoneError):
        ModelRegistry(live.client).validated(_validated(3))
    assert again(live).read().entries == ()


def test_an_anchor_that_nobody_with_the_key_signed_says_nothing(live: ModelRegistry) -> None:
    made_up = json.dumps({"entry": 9_999, "digest": "f" * 64, "key": "00000000", "mac": "0" * 64})
    for text in (made_up, "[]", "null", "{", sign(Keyring((b"x" * 32,)), MODEL, Anchor(9_999, "f" * 64))):
        live.client.set_model_version_tag(MODEL, "1", tag.LEDGER_ANCHOR, text)
        assert live.verify(MODEL) == []
    other = sign(Keyring.from_environment(), "another model", Anchor(9_999, "f" * 64))
    live.client.set_model_version_tag(MODEL, "1", tag.LEDGER_ANCHOR, other)
    assert live.verify(MODEL) == []


def test_a_promotion_leaves_an_anchor_on_its_version(live: ModelRegistry) -> None:
    entry = live.promote(MODEL, 3, approved()).event.entry
    (found,) = signed(Keyring.from_environment(), MODEL, [live.version(MODEL, 3).tags[tag.LEDGER_ANCHOR]])
    entries = {item.number: item.digest for item in again(live).read().entries}
    assert found == (entry - 1, entries[entry - 1])
    assert OLD not in live.version(MODEL, 3).tags[tag.LEDGER_ANCHOR]


@pytest.mark.parametrize("where", ["witness", "file"])
def test_anchors_outside_mlflow_are_compared_without_being_named(
    live: ModelRegistry, edit: Any, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = head_of(again(live).read())
    assert head is not None
    for number in (head.entry, head.entry - 1):
        edit(number, lambda _: None)
    witness = None
    if where == "witness":
        witness = lambda model: [head]  # noqa: E731
    else:
        monkeypatch.setenv(ANCHORS_ENV, str(tmp_path / "anchors"))
        append(tmp_path / "anchors", MODEL, "x", head)
    registry = ModelRegistry(live.client, lock_ttl=300, witness=witness)
    assert any("was cut" in problem for problem in registry.verify(MODEL))
    with pytest.raises(ReportedError, match="was cut"):
        registry.promote(MODEL, 3, approved())


def _validated(version: int) -> Any:
    return validation(MODEL, version)


def _delete_for_good(live: ModelRegistry, run_id: str) -> None:
    """What ``mlflow gc`` does."""
    live.client.delete_run(run_id)
    live.client._tracking_client.store._hard_delete_run(run_id)


# ---- what others write meanwhile is no damage ----


@pytest.fixture
def meanwhile(live: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets another process promote version 3 once, as soon as the ledger was read."""

    def arrange(registry: ModelRegistry = live) -> None:
        read = LedgerRuns.read
        done: list[int] = []

        def read_and_promote(runs: LedgerRuns, **how: Any) -> Any:
            state = read(runs, **how)
            if not done:
                done.append(3)
                registry.promote(MODEL, 3, approved("bob", run_id="meanwhile"))
            return state

        monkeypatch.setattr(LedgerRuns, "read", read_and_promote)

    return arrange


def test_a_promotion_while_another_is_checked_is_no_cut_end(live: ModelRegistry, add: Any, meanwhile: Any) -> None:
    four = add(stage="Staging")
    meanwhile()
    again(live).require_intact(again(live).read())
    live.promote(MODEL, four, approved("ana", run_id="later"))
    assert [event.version for event in live.history(MODEL) if event.is_promotion] == [1, 2, 3, four]


def test_a_promotion_while_the_ledger_is_verified_is_no_cut_end(live: ModelRegistry, meanwhile: Any) -> None:
    meanwhile()
    assert live.verify(MODEL) == []


def test_a_promotion_while_the_page_is_made_is_no_cut_end(live: ModelRegistry, meanwhile: Any) -> None:
    meanwhile()
    assert overview(live, MODEL).ledger.problems == ()


def test_a_promotion_meanwhile_is_nothing_to_accept(live: ModelRegistry, meanwhile: Any) -> None:
    meanwhile()
    with pytest.raises(BadInputError, match="nothing to accept"):
        again(live).accept("ana", "test", "because")


def test_the_first_promotion_of_a_model_while_another_begins_is_no_lost_ledger(
    key: str, registry: ModelRegistry, add: Callable[..., int]
) -> None:
    empty = again(registry).read()
    version = add(stage="Production")
    ledger = again(registry)
    read, calls = ledger.runs.read, iter((empty, empty))
    ledger.runs.read = lambda **how: next(calls, None) or read(**how)  # type: ignore[method-assign]
    assert ledger.writable().production == version
