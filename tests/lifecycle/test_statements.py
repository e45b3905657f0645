"""What the ledger is told beside moves, on a real MLflow: asks, decisions and validations, and what they permit."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.errors import LedgerDamagedError, TransitionRefusedError
from include.lifecycle.ledger.entries import canonical
from include.lifecycle.ledger.keys import MAC
from include.lifecycle.ledger.lock import FencedError
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.ledger.statements import STATEMENTS, Ask, Decided, Place, Statements, Validation
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import AIRFLOW_LOGIN, Channel, Decision, Outcome, utc_now
from tests.validations import validation

from .support import MODEL, again, approved, forged, stages

PLACE = Place(dag_id="retrain", run_id="night", task_id="approve")
CLI = Decision(Outcome.APPROVED, "eve", "test", "at the command line", Channel.CLI)


def question(version: int, instance: str = "try 1", series: str = "1", **fields: Any) -> Ask:
    return Ask(**{"model": MODEL, "version": version, "place": PLACE, "instance": instance, "series": series, **fields})


def answer(ask: str, outcome: Outcome = Outcome.APPROVED, user: str = "ana", **fields: Any) -> Decided:
    reason = fields.pop("reason", "because")
    decision = Decision(
        outcome, user, AIRFLOW_LOGIN, reason, Channel.REQUIRED_ACTIONS, dag_id="retrain", run_id="night"
    )
    return Decided(ask=ask, decision=decision, **fields)


def said(registry: ModelRegistry) -> Statements:
    return registry.ledger(MODEL).read().statements


def other_of(registry: ModelRegistry, **more: Any) -> ModelRegistry:
    """The registry as another process sees it."""
    return ModelRegistry(tracking_uri=registry.tracking_uri, lock_ttl=30, **more)


@pytest.fixture
def asked(registry: ModelRegistry, add: Callable[..., int]) -> Ask:
    """A version waits in Staging, and a task asks about it."""
    return registry.ask(question(add(stage="Staging")))


# ---- asking ----


def test_what_is_stated_survives_the_ledger(registry):
    ask = question(
        3, digest="a" * 64, policy=PolicyConfig(approvers=("user:ana",)), timezone="Europe/Berlin",
        evidence={"value": "0.09"}, validated_at=utc_now(), expires_at=utc_now(), reason="日本 \" \\",
    )  # fmt: skip
    decided = answer(ask.id, requested_by="")
    validated = validation(MODEL, 3, passed=False, digest="a" * 64, rows=7, dag_id="retrain", run_id="night")
    assert Ask.from_dict(json.loads(canonical(ask.to_dict()))) == ask
    assert Decided.from_dict(json.loads(canonical(decided.to_dict()))) == decided
    assert Validation.from_dict(json.loads(canonical(validated.to_dict()))) == validated


def test_a_later_try_goes_on_with_what_was_asked(registry, asked):
    assert registry.ask(question(1)) == asked
    count = len(registry.ledger(MODEL).read().entries)
    assert registry.ask(question(1)).id == asked.id
    assert len(registry.ledger(MODEL).read().entries) == count, "the same try asks once"
    assert registry.ask(question(1, "try 2", reason="another", digest="b" * 64)) == replace(asked, instance="try 2")
    found = said(registry)
    assert found.ask_of("try 1") == found.ask_of("try 2") == found.last_ask(PLACE) == replace(asked, instance="try 2")
    assert found.ask_of("try 3") is None
    registry.decide(MODEL, answer(asked.id))
    assert registry.ask(question(1, "try 3")).id == asked.id
    assert list(said(registry).decided) == [asked.id]


@pytest.mark.parametrize(
    "change",
    [
        {"series": "2"},
        {"series": ""},
        {"version": 2},
        {"version": 2, "instance": "try 1"},
        {"place": replace(PLACE, run_id="another night")},
        {"place": replace(PLACE, map_index=0)},
        {"purpose": "rollback"},
    ],
)
def test_something_else_is_asked_anew(registry, asked, add, change):
    add(stage="Staging")
    anew = registry.ask(question(**{"version": 1, "instance": "try 2", **change}))
    found = said(registry)
    assert list(found.asks) == [asked.id, anew.id]
    assert found.ask_of(anew.instance).id == anew.id
    if anew.instance != "try 1":
        assert found.ask_of("try 1").id == asked.id
    registry.decide(MODEL, answer(asked.id))
    assert anew.id not in said(registry).decided


def test_tries_without_a_series_ask_each(registry, add):
    add(stage="Staging")
    first, second = (registry.ask(question(1, f"try {number}", series="")) for number in (1, 2))
    assert first.id != second.id


# ---- deciding ----


@pytest.mark.parametrize("first", [Outcome.APPROVED, Outcome.REJECTED, Outcome.EXPIRED])
@pytest.mark.parametrize("second", [Outcome.APPROVED, Outcome.REJECTED])
def test_the_first_decision_on_an_ask_holds_and_a_later_one_is_noted(registry, asked, first, second):
    holds, late = answer(asked.id, first), answer(asked.id, second, "bob")
    for decided in (holds, late, late, holds):  # Airflow may deliver one twice
        registry.decide(MODEL, decided)
    found = said(registry)
    assert found.decided[asked.id].what == holds
    assert [item.what for item in found.late] == [late]
    events = [(event.outcome, event.user, event.late, event.moved, event.ask) for event in registry.history(MODEL)[1:]]
    expected = [] if first is Outcome.APPROVED else [(first, "ana", False, False, asked.id)]
    assert events == [*expected, (second, "bob", True, False, asked.id)]
    standing = registry.ledger(MODEL).read().standing(1)
    assert (standing.outcome if standing else Outcome.APPROVED) is first
    assert registry.verify(MODEL) == []


def test_a_decision_on_what_nobody_asked_has_no_effect(registry, asked):
    registry.decide(MODEL, answer("0" * 16, Outcome.REJECTED))
    assert (said(registry).decided, said(registry).late) == ({}, [])
    assert len(registry.history(MODEL)) == 1
    assert registry.promote(MODEL, 1, CLI).changed
    assert registry.verify(MODEL) == []


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.EXPIRED])
def test_what_was_decided_against_in_airflow_is_promoted_by_nobody(registry, asked, outcome):
    registry.decide(MODEL, answer(asked.id, outcome, "bob"))
    for ask in (asked.id, ""):
        with pytest.raises(TransitionRefusedError):
            registry.promote(MODEL, 1, CLI, ask=ask)
    with pytest.raises(TransitionRefusedError, match=rf"was {outcome} on .* by bob"):
        registry.promote(MODEL, 1, CLI)
    assert stages(registry) == {1: "Staging"}
    found = [(event.outcome, event.user, event.reason, event.late) for event in registry.history(MODEL)[1:]]
    assert found == [(outcome, "bob", "because", False), (Outcome.APPROVED, "eve", "at the command line", True)]
    holds = registry.reject(MODEL, 1, Decision(Outcome.REJECTED, "carl", "test", "no", Channel.CLI))
    assert (holds.outcome, holds.user) == (outcome, "bob")
    anew = registry.ask(question(1, "try 2", series="2"))
    registry.decide(MODEL, answer(anew.id))
    with pytest.raises(TransitionRefusedError, match="the first decision holds"):
        registry.promote(MODEL, 1, approved(), ask=anew.id)


def test_a_rejection_of_what_is_in_production_comes_too_late(registry, asked):
    registry.promote(MODEL, 1, CLI)
    registry.decide(MODEL, answer(asked.id, Outcome.REJECTED))
    last = registry.history(MODEL)[-1]
    assert (last.outcome, last.late, last.moved) == (Outcome.REJECTED, True, False)
    assert registry.ledger(MODEL).read().standing(1).outcome is Outcome.APPROVED
    assert registry.ledger(MODEL).read().production == 1
    assert not registry.reconcile(MODEL).changed


# ---- promoting what was approved ----


def test_an_approval_is_used_once(registry, add, asked, by_hand):
    registry.decide(MODEL, answer(asked.id))
    assert registry.ledger(MODEL).read().approval(1).ask == asked.id
    assert len(registry.history(MODEL)) == 1, "it is no event before it is used"
    done = registry.promote(MODEL, 1, approved(), ask=asked.id)
    assert (done.changed, done.event.ask) == (True, asked.id)
    assert not registry.promote(MODEL, 1, approved(), ask=asked.id).changed, "a retried task"
    assert registry.ledger(MODEL).read().approval(1) is None
    add(stage="Production")
    for stage in ("Archived", "Staging"):
        by_hand(1, stage)
        with pytest.raises(TransitionRefusedError, match=f"used in entry {done.event.entry}"):
            registry.promote(MODEL, 1, approved(), ask=asked.id)
    assert registry.ledger(MODEL).read().production == 2
    assert registry.verify(MODEL) == []


@pytest.mark.parametrize(
    ("outcome", "version", "named", "sentence"),
    [
        (None, 1, None, "was not approved where"),
        (Outcome.REJECTED, 1, None, "was not approved where"),
        (Outcome.EXPIRED, 1, None, "was not approved where"),
        (Outcome.APPROVED, 2, None, "No promotion of version 2 "),
        (Outcome.APPROVED, 1, "f" * 16, "No promotion of version 1 .*'f{16}'"),
    ],
)
def test_only_what_somebody_approved_is_promoted(registry, asked, add, outcome, version, named, sentence):
    add(stage="Staging")
    if outcome is not None:
        registry.decide(MODEL, answer(asked.id, outcome))
    with pytest.raises(TransitionRefusedError, match=sentence):
        registry.promote(MODEL, version, approved(), ask=named or asked.id)
    assert stages(registry) == {1: "Staging", 2: "Staging"}


@pytest.mark.parametrize("now", ["b" * 64, None])
def test_other_artifacts_than_those_that_were_approved_are_not_promoted(registry, add, now):
    add(stage="Staging", **{"artifacts.digest": "a" * 64})
    ask = registry.ask(question(1, digest="a" * 64))
    registry.decide(MODEL, answer(ask.id))
    if now is not None:
        registry.client.set_model_version_tag(MODEL, "1", "artifacts.digest", now)
    else:
        registry.client.delete_model_version_tag(MODEL, "1", "artifacts.digest")
    with pytest.raises(TransitionRefusedError, match="were aaaaaaaaaaaa then"):
        registry.promote(MODEL, 1, approved(), ask=ask.id)
    assert stages(registry) == {1: "Staging"}


def test_an_approval_does_not_stand_in_for_the_gate(registry, asked):
    registry.decide(MODEL, answer(asked.id))
    registry.validated(validation(MODEL, 1, passed=False))
    with pytest.raises(TransitionRefusedError, match="a retrain is required"):
        registry.promote(MODEL, 1, approved(), ask=asked.id)


def test_a_rollback_that_was_approved_is_made_once(registry, add):
    for _ in range(2):
        add(stage="Production")
    ask = registry.ask(question(1, purpose="rollback"))
    with pytest.raises(TransitionRefusedError, match="was not approved where"):
        registry.rollback(MODEL, 1, approved(), ask=ask.id)
    registry.decide(MODEL, answer(ask.id))
    assert registry.rollback(MODEL, 1, approved(), ask=ask.id).event.ask == ask.id
    registry.rollback(MODEL, 2, CLI)
    with pytest.raises(TransitionRefusedError, match="its approval was used"):
        registry.rollback(MODEL, 1, approved(), ask=ask.id)
    assert registry.ledger(MODEL).read().production == 2


@pytest.mark.parametrize(("outcome", "stays"), [(Outcome.APPROVED, True), (Outcome.REJECTED, False)])
def test_only_an_approved_version_that_waits_for_its_promotion_is_not_superseded(registry, asked, add, outcome, stays):
    registry.decide(MODEL, answer(asked.id, outcome))
    newest = add(stage="Staging")
    assert [move.version for move in registry.supersede(MODEL)] == ([] if stays else [1])
    assert stages(registry) == {1: "Staging" if stays else "None", newest: "Staging"}
    if stays:
        assert registry.promote(MODEL, 1, approved(), ask=asked.id).changed


def test_an_approved_version_that_a_newer_one_overtook_is_superseded(registry, asked, add):
    registry.decide(MODEL, answer(asked.id))
    newer = add(stage="Production")
    assert registry.overtaken_by(MODEL, 1) == newer
    add(stage="Staging")
    assert [move.version for move in registry.supersede(MODEL)] == [1]
    with pytest.raises(TransitionRefusedError):
        registry.promote(MODEL, 1, approved(), ask=asked.id)


def test_a_version_of_a_ledger_that_knew_no_validations_can_be_promoted(registry, add):
    for outcome in ("passed", "failed"):
        version = add(passed=None, **{"validation.outcome": outcome})
        registry.transition(MODEL, version, "Staging", Decision(Outcome.APPROVED), require_validation=False)
    assert said(registry).validations == {}
    registry.client.set_model_version_tag(MODEL, "2", "validation.outcome", "passed")
    with pytest.raises(TransitionRefusedError, match="knows no validation"):
        registry.promote(MODEL, 2, approved())
    registry.client.set_model_version_tag(MODEL, "1", "validation.outcome", "failed")
    assert registry.promote(MODEL, 1, approved()).changed, "its move to Staging showed what counted then"


# ---- whoever holds the lock ----


def test_statements_are_entered_while_somebody_holds_the_lock(registry, asked, add):
    other = other_of(registry)
    ledger = registry.ledger(MODEL)
    with ledger.lock() as held:
        other.validated(validation(MODEL, 9))
        held.before_write()
        other.decide(MODEL, answer(asked.id))
        assert ledger.read().holder.number == held.begin.number
        end = held.end(7)
    assert (end.number, end.content["begin"]) == (held.begin.number + 3, held.begin.number)
    assert (ledger.read().holder, ledger.read().production) == (None, 7)
    assert [entry.kind for entry in ledger.read().entries[held.begin.number :]] == [
        "begin", "validated", "decided", "end",
    ]  # fmt: skip
    assert registry.verify(MODEL) == []
    assert said(registry).decided.keys() == {asked.id}


def test_a_holder_that_was_taken_over_cannot_end_behind_a_statement(registry, asked):
    held = registry.ledger(MODEL)._acquire(None)
    hasty = ModelRegistry(registry.client, lock_ttl=100_000)
    hasty.ledger(MODEL).monotonic = iter(range(0, 10**9, 10**4)).__next__
    hasty.validated(validation(MODEL, 9))
    with hasty.ledger(MODEL).lock() as second:
        hasty.validated(validation(MODEL, 9))
        with pytest.raises(FencedError):
            held.end(1)
        second.end(2)
    assert registry.ledger(MODEL).read().production == 2
    assert registry.verify(MODEL) == []


@pytest.mark.parametrize("run_entries", [2000, 6])
def test_many_statements_at_once_while_promotions_go_on(registry, add, run_entries):
    asks = [registry.ask(question(add(stage="Staging"), f"try {number}", str(number))) for number in range(3)]

    def state(number: int) -> None:
        other = other_of(registry, run_entries=run_entries)
        for turn in range(8):
            other.validated(validation(MODEL, 100 * number + turn))
        for ask in asks:
            other.decide(MODEL, answer(ask.id, user=f"user {number}"))

    with ThreadPoolExecutor(4) as pool:
        stating = [pool.submit(state, number) for number in range(1, 5)]
        small = other_of(registry, run_entries=run_entries)
        for version in (1, 2, 3):
            small.promote(MODEL, version, CLI)
        small.rollback(MODEL, 1, CLI)
        for future in stating:
            future.result(120)
    fresh = other_of(registry)
    assert fresh.verify(MODEL) == []
    found, ledger = said(fresh), fresh.ledger(MODEL).read()
    assert {100 * number + turn for number in range(1, 5) for turn in range(8)} <= found.validations.keys()
    assert found.decided.keys() == {ask.id for ask in asks}
    assert len(found.late) == 3 * 3, "of four that decide on each, one is the first"
    assert [entry.number for entry in ledger.entries] == list(range(len(ledger.entries)))
    assert [event.version for event in ledger.events if event.is_promotion] == [1, 2, 3, 1]
    assert (len(ledger.runs) > 1) is (run_entries == 6)
    assert not fresh.reconcile(MODEL).changed


def test_statements_go_on_in_another_run(registry, add):
    small = other_of(registry, run_entries=3)
    ask = small.ask(question(add(stage="Staging")))
    for number in range(2, 10):
        small.validated(validation(MODEL, number))
    small.decide(MODEL, answer(ask.id))
    state = other_of(registry).ledger(MODEL).read()
    held = [len(registry.client.get_run(run_id).data.params) for run_id in state.runs]
    assert held == [4, 4, 4, 4, 1], "as many as a run holds, and the one that names the next"
    assert sorted(state.statements.validations) == list(range(1, 10))
    assert small.promote(MODEL, 1, approved(), ask=ask.id).changed
    assert small.verify(MODEL) == []


# ---- a ledger with a key ----


@pytest.fixture
def signed(key: str, registry: ModelRegistry, add: Callable[..., int]) -> Ask:
    """Version 1 passed, waits in Staging and is asked about (entry 3), version 2 failed (entry 4); all of it signed."""
    ask = registry.ask(question(add(stage="Staging")))
    add(passed=False)
    return ask


def test_every_statement_is_signed(registry, signed):
    registry.decide(MODEL, answer(signed.id))
    registry.reviewed(Reviewed(model=MODEL, version=signed.version, verdict="pass"))
    entries = again(registry).read().entries
    assert {entry.kind for entry in entries} > set(STATEMENTS)
    assert all(MAC in entry.content for entry in entries)
    assert registry.verify(MODEL) == []


@pytest.mark.parametrize("pretended", [{}, {"key": "0" * 8, "mac": "0" * 64}])
def test_what_somebody_without_the_key_states_counts_for_nothing(registry, add, signed, write, pretended):
    other = question(2, "try x", "x")
    stated = [
        ("validated", validation(MODEL, 2).to_dict()),
        ("validated", validation(MODEL, 1, passed=False).to_dict()),
        ("reviewed", Reviewed(model=MODEL, version=2, verdict="fail").to_dict()),
        ("asked", other.to_dict()),
        ("asked", question(2, id=signed.id).to_dict()),
        ("decided", answer(signed.id, Outcome.REJECTED).to_dict()),
        ("decided", answer(other.id).to_dict()),
        ("decided", {"ask": signed.id}),
    ]
    before, first = said(registry), registry.ledger(MODEL).read().next_number
    for number, (kind, what) in enumerate(stated, first):
        state = registry.ledger(MODEL).read()
        write(number, forged(state, type=kind, what=what, **pretended) | {"schema": 3})
    fresh = other_of(registry)
    assert said(fresh) == before
    assert fresh.verify(MODEL) == [
        f"entry {number} was not signed with the ledger's key and counts for nothing"
        for number in range(first, first + len(stated))
    ]
    with pytest.raises(TransitionRefusedError, match="a retrain is required"):
        fresh.stage(MODEL, 2)
    with pytest.raises(TransitionRefusedError, match="was not approved"):
        fresh.promote(MODEL, 1, approved(), ask=signed.id)
    fresh.decide(MODEL, answer(signed.id))
    assert fresh.promote(MODEL, 1, approved(), ask=signed.id).changed
    assert len(fresh.verify(MODEL)) == len(stated)


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (3, lambda what: what | {"version": 2}),
        (4, lambda what: what | {"outcome": "passed", "failed": []}),
        (5, lambda what: what | {"decision": what["decision"] | {"outcome": "approved"}}),
    ],
)
def test_a_statement_that_somebody_edited_counts_for_nothing(registry, signed, edit, number, change):
    registry.decide(MODEL, answer(signed.id, Outcome.REJECTED))
    edit(number, lambda raw: canonical({**json.loads(raw), "what": change(json.loads(raw)["what"])}))
    fresh = other_of(registry)
    assert f"entry {number} was not signed with the ledger's key and counts for nothing" in fresh.verify(MODEL)
    assert (signed.id in said(fresh).asks) is (number != 3)
    assert (2 in said(fresh).validations) is (number != 4)
    assert said(fresh).decided.keys() == ({signed.id} if number == 4 else set())
    with pytest.raises(TransitionRefusedError):
        fresh.promote(MODEL, 1, approved(), ask=signed.id)
    with pytest.raises(TransitionRefusedError):
        fresh.stage(MODEL, 2)
    assert fresh.ask(question(1, "try 2", "2")).id in said(fresh).asks, "what is true is entered behind it"


def test_a_statement_that_cannot_be_read_is_named_and_nothing_is_promoted(registry, asked):
    ledger = registry.ledger(MODEL)
    state = ledger.read()
    for number, (kind, what) in enumerate(
        (("decided", {"ask": asked.id}), ("asked", []), ("validated", {"version": 1})), state.next_number
    ):
        content = forged(ledger.read(), type=kind, what=what) | {"schema": 3}
        registry.client.log_param(state.run_id, f"{number:08d}", canonical(content))
    numbers = range(state.next_number, state.next_number + 3)
    assert registry.verify(MODEL)[:1] == [f"entry {numbers[0]} cannot be read"]
    assert {f"entry {number} cannot be read" for number in numbers} <= set(registry.verify(MODEL))
    with pytest.raises(LedgerDamagedError):
        registry.promote(MODEL, 1, CLI)


@pytest.mark.parametrize("rollback", [False, True])
def test_an_approval_serves_the_purpose_that_was_asked_for(registry, asked, add, rollback):
    purpose = "promotion" if rollback else "rollback"
    version = add(stage="Production") if rollback else 1
    ask = registry.ask(replace(question(version), purpose=purpose, id="f" * 16))
    registry.decide(MODEL, answer(ask.id))
    with pytest.raises(TransitionRefusedError, match="was asked for in"):
        (registry.rollback if rollback else registry.promote)(
            MODEL, version if not rollback else 1, approved(), ask=ask.id
        )


def test_a_rollback_that_was_rejected_says_nothing_about_the_version(registry, add):
    first, second = add(stage="Production"), add(stage="Production")
    ask = registry.ask(replace(question(first), purpose="rollback"))
    registry.decide(MODEL, answer(ask.id, Outcome.REJECTED))
    event = registry.history(MODEL)[-1]
    assert (event.version, event.outcome, event.moved, event.late) == (first, Outcome.REJECTED, False, False)
    standing = registry.ledger(MODEL).read().standing(first)
    assert standing is not None
    assert standing.outcome is Outcome.APPROVED
    assert registry.rollback(MODEL, first, approved()).archived == [second]


@pytest.mark.parametrize("reason", ['"' * 2000, "\n" * 1999 + "x", "日" * 2000])
def test_every_reason_that_airflow_takes_fits_an_entry(registry, asked, reason):
    registry.decide(MODEL, answer(asked.id, Outcome.REJECTED, reason=reason))
    assert registry.history(MODEL)[-1].reason == reason
    assert registry.verify(MODEL) == []


def test_a_rejection_at_the_command_line_comes_after_an_approval_in_airflow(registry, asked):
    registry.decide(MODEL, answer(asked.id))
    holds = registry.reject(MODEL, 1, replace(CLI, outcome=Outcome.REJECTED))
    assert holds.outcome is Outcome.APPROVED
    assert registry.history(MODEL)[-1].late
    assert registry.promote(MODEL, 1, approved(), ask=asked.id).changed
