"""A ledger whose entries carry a key, on a real MLflow: what somebody without the key writes there decides nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from include.lifecycle.errors import BadInputError, LedgerDamagedError, TransitionRefusedError
from include.lifecycle.ledger.anchors import head_of
from include.lifecycle.ledger.entries import canonical
from include.lifecycle.ledger.keys import KEY_ENV, KEY_FILE_ENV, MAC, Keyring
from include.lifecycle.ledger.lock import FencedError
from include.lifecycle.ledger.runs import LedgerRuns
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Decision, Outcome
from tests.validations import validation

from .support import MODEL, OLD, again, aliases, approved, forged, impatient, stages

NEW = "cd" * 32


@pytest.fixture
def two(key: str, registry: ModelRegistry, add: Callable[..., int], prepared: Any) -> ModelRegistry:
    """Version 2 replaced version 1, version 3 waits; all of it signed."""
    prepared("three, signed", lambda: [add(stage=stage) for stage in ("Production", "Production", "Staging")])
    return registry


def test_every_entry_is_signed_and_the_ledger_verifies(two: ModelRegistry) -> None:
    state = again(two).read()
    assert all(MAC in entry.content for entry in state.entries)
    assert two.verify(MODEL) == []
    assert [event.version for event in two.history(MODEL) if event.is_promotion] == [1, 2]
    assert OLD not in json.dumps([entry.raw for entry in state.entries])


def test_the_last_entry_edited_is_seen_and_decides_nothing(two: ModelRegistry, edit: Any) -> None:
    two.rollback(MODEL, 1, approved("eve"))
    last = again(two).read().entries[-1].number
    edit(last, lambda raw: raw.replace('"user":"eve"', '"user":"ana"'))
    ledger = ModelRegistry(two.client, lock_ttl=30)
    assert ledger.verify(MODEL) == [f"entry {last} was not signed with the ledger's key and counts for nothing"]
    assert "ana" not in {event.user for event in ledger.history(MODEL) if event.archived == (2,)}


@pytest.mark.parametrize("change", ["event", "space", "key id", "mac"])
def test_an_entry_edited_in_the_middle_counts_for_nothing(two: ModelRegistry, edit: Any, change: str) -> None:
    def tamper(raw: str) -> str:
        content = json.loads(raw)
        if change == "event":
            content["events"][0]["user"] = "mallory"
        elif change == "key id":
            content["key"] = "00000000"
        elif change == "mac":
            content["mac"] = "0" * 64
        return raw + " " if change == "space" else canonical(content)

    edit(4, tamper)
    registry = ModelRegistry(two.client, lock_ttl=30)
    found = registry.verify(MODEL)
    assert "entry 4 was not signed with the ledger's key and counts for nothing" in found
    assert any("does not follow" in sentence for sentence in found)
    assert "mallory" not in {event.user for event in registry.history(MODEL)}
    with pytest.raises(LedgerDamagedError):
        registry.promote(MODEL, 3, approved())
    assert registry.rollback(MODEL, 1, approved("eve")).changed, "rollback works meanwhile"


def test_one_removed_is_missing(two: ModelRegistry, edit: Any) -> None:
    edit(3, lambda _: None)
    assert "entry 3 is missing" in ModelRegistry(two.client, lock_ttl=30).verify(MODEL)


def test_the_end_cut_is_found_by_an_anchor(two: ModelRegistry, edit: Any) -> None:
    anchor = head_of(again(two).read())
    for number in (anchor.entry, anchor.entry - 1):
        edit(number, lambda _: None)
    registry = ModelRegistry(two.client, lock_ttl=30)
    assert registry.verify(MODEL) == []
    assert "the ledger was cut" in registry.verify(MODEL, [anchor])[0]


def test_foreign_entries_block_nothing(two: ModelRegistry, write: Any) -> None:
    state = again(two).read()
    take = forged(state, type="begin", ttl=1e9, owner="mallory", over=None, intent=None)
    write(state.next_number, take)
    write(state.next_number + 1, {"type": "next", "schema": 2, "run": "elsewhere", "prev": "x"})
    write(state.next_number + 2, {"schema": 99, "type": "begin"})
    write(99_999_999, take)
    registry = ModelRegistry(two.client, lock_ttl=30)
    assert registry.promote(MODEL, 3, approved("ana")).archived == [2]
    assert registry.rollback(MODEL, 1, approved("eve")).archived == [3]
    assert stages(registry) == {1: "Production", 2: "Archived", 3: "Archived"}
    assert aliases(registry)["champion"] == 1
    assert len(registry.verify(MODEL)) == 4
    assert not registry.reconcile(MODEL).changed


def test_a_forged_promotion_is_no_promotion(two: ModelRegistry, write: Any) -> None:
    state = again(two).read()
    event = {**state.events[-2].to_dict(), "version": 3, "user": "ana", "to": "Production"}
    write(state.next_number, forged(state, type="end", begin=0, production=3, events=[event], repairs=[]))
    registry = ModelRegistry(two.client, lock_ttl=30)
    assert registry.ledger(MODEL).read().production == 2
    assert registry.history(MODEL) == two.history(MODEL)
    assert registry.production(MODEL).version == 2


def test_an_entry_of_another_ledger_or_place_is_foreign(two: ModelRegistry, write: Any, key: str) -> None:
    state = again(two).read()
    content = forged(state, type="begin", ttl=1e9, owner="m", over=None, intent=None)
    keyring = Keyring.from_environment()
    write(state.next_number, keyring.sign(content, "another model", state.next_number))
    write(state.next_number + 1, dict(state.entries[-1].content))
    assert again(two).read().foreign == {state.next_number, state.next_number + 1}
    assert again(two).read().holder is None


def test_the_end_of_a_promotion_is_entered_behind_what_somebody_put_there(two: ModelRegistry, write: Any) -> None:
    ledger = again(two)
    with ledger.lock() as held:
        write(held.begin.number + 1, forged(held.state, type="end", begin=held.begin.number, production=3, events=[]))
        entry = held.end(2)
    assert entry.number == held.begin.number + 2
    assert (ledger.read().production, ledger.read().holder) == (2, None)


def test_a_holder_that_was_taken_over_cannot_end(two: ModelRegistry) -> None:
    ledger = again(two)
    held = ledger._acquire(None)
    assert impatient(two).promote(MODEL, 3, approved()).changed
    with pytest.raises(FencedError):
        held.end(2)


# ---- keys ----


def test_a_key_is_changed_by_putting_the_new_one_first(two: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, f"{NEW}, {OLD}")
    registry = ModelRegistry(two.client, lock_ttl=30)
    assert registry.promote(MODEL, 3, approved()).changed
    assert registry.verify(MODEL) == []
    used = [entry.content["key"] for entry in registry.ledger(MODEL).read().entries]
    assert len(set(used)) == 2
    assert used[-1] != used[0]
    monkeypatch.setenv(KEY_ENV, NEW)
    assert len(again(two).read().entries) == 2, "without the old key nothing before is believed"


def test_a_lost_key_costs_what_it_signed_and_no_new_version(
    two: ModelRegistry, add: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add()
    monkeypatch.setenv(KEY_ENV, NEW)
    registry = ModelRegistry(two.client, lock_ttl=30)
    assert registry.history(MODEL) == []
    with pytest.raises(BadInputError, match="nothing that was written without a key"):
        LedgerRuns(two.client, MODEL, Keyring.from_environment()).seal()
    with pytest.raises(TransitionRefusedError, match="validation"):
        registry.promote(MODEL, 3, approved())
    registry.validated(validation(MODEL, version))
    registry.stage(MODEL, version)
    assert registry.promote(MODEL, version, approved("ana")).archived == [2]
    with pytest.raises(BadInputError):
        registry.rollback(MODEL, 1, approved("eve"))


def test_who_has_no_key_reads_and_writes_nothing(two: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV)
    registry = ModelRegistry(two.client, lock_ttl=30)
    assert [event.version for event in registry.history(MODEL) if event.is_promotion] == [1, 2]
    with pytest.raises(BadInputError, match=f"carry a key.* {KEY_ENV}"):
        registry.promote(MODEL, 3, approved())
    assert stages(registry)[3] == "Staging"


@pytest.mark.parametrize("wrong", ["short", "x" * 64, f"{OLD},12", "{}"])
def test_what_is_no_key_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, wrong: str) -> None:
    monkeypatch.setenv(KEY_ENV, wrong)
    with pytest.raises(BadInputError, match=KEY_ENV) as raised:
        Keyring.from_environment()
    assert wrong.split(",")[-1] not in str(raised.value) or wrong == "12"
    monkeypatch.delenv(KEY_ENV)
    for content, sentence in ((wrong, "not 64 hexadecimal"), ("\n", "is empty"), (None, "cannot be read")):
        file = tmp_path / f"key-{sentence[:5].strip()}"
        if content is not None:
            file.write_text(content)
        monkeypatch.setenv(KEY_FILE_ENV, str(file))
        with pytest.raises(BadInputError, match=sentence):
            Keyring.from_environment()


def test_a_key_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    file = tmp_path / "key"
    file.write_text(f"{NEW}\n{OLD}\n")
    monkeypatch.setenv(KEY_FILE_ENV, str(file))
    assert Keyring.from_environment().keys == (bytes.fromhex(NEW), bytes.fromhex(OLD))
    assert NEW not in repr(Keyring.from_environment())
    monkeypatch.delenv(KEY_FILE_ENV)
    assert not Keyring.from_environment()


# ---- a ledger from before ----


@pytest.fixture
def earlier(registry: ModelRegistry, add: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """A ledger over three runs that was written without a key, in an environment that has one since."""
    monkeypatch.delenv(KEY_ENV, raising=False)
    monkeypatch.delenv(KEY_FILE_ENV, raising=False)
    small = ModelRegistry(registry.client, lock_ttl=30, run_entries=4)
    for _ in range(2):
        version = add()
        small.stage(MODEL, version)
        small.promote(MODEL, version, approved(run_id=f"night-{version}"))
    small.stage(MODEL, add())
    monkeypatch.setenv(KEY_ENV, OLD)
    return ModelRegistry(registry.client, lock_ttl=30)


def test_it_is_sealed_once_and_goes_on(earlier: ModelRegistry) -> None:
    with pytest.raises(BadInputError, match="Nothing is entered"):
        earlier.promote(MODEL, 3, approved())
    with pytest.raises(BadInputError, match="Nothing is entered"):
        earlier.rollback(MODEL, 1, approved())
    assert [event.version for event in earlier.history(MODEL) if event.is_promotion] == [1, 2], "it can be read"
    seal = earlier.ledger(MODEL).runs.seal()
    registry = ModelRegistry(earlier.client, lock_ttl=30)
    assert registry.verify(MODEL) == []
    assert registry.promote(MODEL, 3, approved()).archived == [2]
    state = registry.ledger(MODEL).read()
    assert [MAC in entry.content for entry in state.entries] == [n > seal.entry for n in range(len(state.entries))]
    assert registry.verify(MODEL) == []
    with pytest.raises(BadInputError, match="without a key"):
        registry.ledger(MODEL).runs.seal()


def test_what_was_sealed_cannot_be_edited_or_added_to(earlier: ModelRegistry, edit: Any) -> None:
    seal = earlier.ledger(MODEL).runs.seal()
    state = again(earlier).read()
    write_into = earlier.client
    write_into.log_param(
        state.run_id, f"{state.next_number:08d}", canonical(forged(state, type="begin", ttl=1, intent=None))
    )
    assert again(earlier).read().foreign == {seal.entry + 1}
    edit(seal.entry, lambda raw: raw.replace('"reason":"', '"reason":"not '))
    found = ModelRegistry(earlier.client, lock_ttl=30).verify(MODEL)
    assert f"entry {seal.entry} and those before it are not what was sealed" in found


def test_a_seal_that_nobody_with_the_key_made_is_none(earlier: ModelRegistry) -> None:
    state = again(earlier).read()
    pointer = earlier.client.get_experiment_by_name(f"promotion-ledger/{MODEL}")
    for tag in (
        json.dumps({"number": 5, "digest": state.head}),
        json.dumps(Keyring((bytes(32),)).sign({"number": 5, "digest": state.head}, "seal", MODEL, state.ledger_id)),
        "[" * 4000,
        "7",
    ):
        earlier.client.set_experiment_tag(pointer.experiment_id, "promotion_ledger.seal", tag)
        assert again(earlier).read().unsealed


def test_a_ledger_that_was_changed_is_not_taken_on_trust(earlier: ModelRegistry, edit: Any) -> None:
    edit(2, lambda raw: raw.replace('"user":"unknown"', '"user":"ana"'))
    with pytest.raises(BadInputError, match="not taken on trust"):
        ModelRegistry(earlier.client, lock_ttl=30).ledger(MODEL).runs.seal()


def test_an_entry_that_pretends_to_be_signed_does_not_make_it_a_new_ledger(earlier: ModelRegistry) -> None:
    state = again(earlier).read()
    pretended = canonical(forged(state, type="begin", ttl=1, intent=None, key="0" * 8, mac="0" * 64))
    earlier.client.log_param(state.run_id, f"{state.next_number:08d}", pretended)
    assert again(earlier).read().unsealed
    with pytest.raises(BadInputError, match="Nothing is entered"):
        ModelRegistry(earlier.client, lock_ttl=30).rollback(MODEL, 1, approved())


def test_without_a_key_there_is_nothing_to_seal(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    monkeypatch.delenv(KEY_FILE_ENV, raising=False)
    with pytest.raises(BadInputError, match="no ledger key"):
        registry.ledger(MODEL).runs.seal()


def test_a_decision_is_entered_in_a_signed_ledger_too(two: ModelRegistry) -> None:
    two.reject(MODEL, 3, Decision(Outcome.REJECTED, "bob", "test", "no"))
    assert two.history(MODEL)[-1].outcome is Outcome.REJECTED
    assert two.verify(MODEL) == []
