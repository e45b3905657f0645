import logging
from dataclasses import replace

import pytest

from include.lifecycle.errors import BadInputError, ModelNotFoundError, TransitionRefusedError, VersionNotFoundError
from include.lifecycle.ledger.events import EVIDENCE
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.views.messages import confirm, confirm_decision, describe
from tests.validations import validation

from .support import MODEL, aliases, approved, stages

REJECTED = Decision(Outcome.REJECTED, "bob", "test", "too optimistic", Channel.CLI)
SUPERSEDED = Decision(Outcome.SUPERSEDED, reason="version 2 is newer")


# ---- reading ----


def test_a_registry_is_cheap_until_it_is_used():
    registry = ModelRegistry(tracking_uri="http://127.0.0.1:1")
    assert registry._client is None
    with pytest.raises(ValueError, match="not both"):
        ModelRegistry(registry.client, tracking_uri="http://127.0.0.1:1")


def test_versions_come_newest_first(registry, add):
    for _ in range(3):
        add()
    registry.stage(MODEL, 2)
    assert [info.version for info in registry.versions(MODEL)] == [3, 2, 1]
    assert [info.version for info in registry.versions(MODEL, "staging")] == [2]
    assert registry.production(MODEL) is None


def test_an_error_says_what_exists(registry, add):
    with pytest.raises(VersionNotFoundError, match=r"version 1: .*none yet"):
        registry.version(MODEL, 1)
    add(stage="Production")
    with pytest.raises(VersionNotFoundError, match="version 9: only version 1 "):
        registry.version(MODEL, 9)
    add(stage="Production")
    add()
    with pytest.raises(VersionNotFoundError, match="version 9: versions 1, 2 and 3 "):
        registry.promote(MODEL, 9, approved())
    with pytest.raises(VersionNotFoundError, match=r"Staging: .*1 \(Archived\), 2 \(Production\), 3 \(None\)"):
        registry.resolve(MODEL, "Staging")
    for call in (registry.versions, registry.history, registry.reconcile, registry.candidate):
        with pytest.raises(ModelNotFoundError, match="'demnd': registered are demand"):
            call("demnd")
    with pytest.raises(BadInputError, match=r"'prod': .*Staging, Production"):
        registry.resolve(MODEL, "prod")


def test_several_candidates_mean_the_newest_and_the_log_says_so(registry, add, caplog):
    for _ in range(3):
        add(stage="Staging")
    with caplog.at_level(logging.WARNING):
        assert registry.resolve(MODEL, "staging").version == 3
    assert "taking the newest, 3 (not 1 and 2)" in caplog.text
    with pytest.raises(BadInputError, match="Versions 1, 2 and 3 "):
        registry.candidate(MODEL)
    registry.reject(MODEL, 3, REJECTED)
    registry.reject(MODEL, 1, REJECTED)
    assert registry.candidate(MODEL).version == 2
    registry.promote(MODEL, 2, approved())
    with pytest.raises(VersionNotFoundError):
        registry.candidate(MODEL)


# ---- moving ----


def test_the_life_of_two_versions(registry, add):
    first, second = add(), add()
    assert confirm(registry.stage(MODEL, first)) == ["Model version 1 is now in Staging"]
    registry.stage(MODEL, second)
    assert stages(registry) == {1: "Staging", 2: "Staging"}, "moving to Staging archives nothing"

    assert confirm(registry.promote(MODEL, 1, approved())) == ["Model version 1 is now in Production"]
    done = registry.promote(MODEL, 2, approved("bob", "better on Sundays", run_id="night-2"))
    assert confirm(done) == [
        "Model version 2 is now in Production",
        "Previous Production model (version 1) archived",
    ]
    assert (done.from_stage, done.to_stage, done.archived, done.changed) == ("Staging", "Production", [1], True)
    assert stages(registry) == {1: "Archived", 2: "Production"}
    assert aliases(registry) == {"champion": 2, "previous": 1}
    info = registry.version(MODEL, 2)
    assert info.aliases == ("champion",)
    assert info.tags["decision.outcome"] == "approved"
    assert info.tags["decision.user"] == "bob"
    assert "promoted, Staging to Production by bob (mark) on" in info.description
    assert info.description.endswith("better on Sundays")


def test_a_description_says_in_plain_words_what_happened_last(registry, add):
    for _ in range(2):
        add(stage="Production")
    registry.rollback(MODEL, 1, replace(approved("eve", "2 oversells"), door=Channel.REQUIRED_ACTIONS))
    third = add(stage="Staging")
    registry.reject(MODEL, third, Decision(Outcome.REJECTED, "bob", door=Channel.CLI, reason="no"))
    last = {
        info.version: info.description.rpartition("**Life cycle:** ")[2].partition(" on 2")[0]
        for info in registry.versions(MODEL)
    }
    assert last[1] == "rolled back, Archived to Production by eve (Required Actions)"
    assert last[2].startswith("promoted, Staging to Production by ")
    assert last[third] == "rejected by bob (command line)"


def test_the_history_tells_who_when_why_and_on_what_evidence(registry, add):
    add(stage="Production")
    add(stage="Staging", **{"data.version": "d2", "validation.value": "0.01", "code.commit": "c2"})
    decision = approved("bob", "better on Sundays", run_id="night-2")
    registry.promote(MODEL, 2, decision)
    moves = [(event.version, event.from_stage, event.to_stage) for event in registry.history(MODEL)]
    assert moves == [
        (1, "None", "Staging"),
        (1, "Staging", "Production"),
        (2, "None", "Staging"),
        (2, "Staging", "Production"),
    ]
    event = registry.history(MODEL)[-1]
    assert (event.user, event.user_source, event.door, event.reason) == (
        "bob",
        "test",
        Channel.MARK,
        "better on Sundays",
    )
    assert (event.dag_id, event.run_id, event.archived) == ("retrain", "night-2", (1,))
    assert (event.decided, event.time.utcoffset().total_seconds()) == (decision.at, 0)
    said = registry.ledger(MODEL).read().statements.validations[2].what
    assert event.evidence == {
        "outcome": "passed",
        "metric": "rmspe",
        "value": "0.09",
        "threshold": "0.1",
        "validated": said.at.isoformat(timespec="seconds"),
        "validated_on": "",
        "data_version": "d2",
        "code_commit": "c2",
    }, "what the ledger knows of its gate, whatever the tags say, and what they alone tell"
    assert event.is_promotion
    assert "version 2 Staging -> Production, archived 1 by bob (mark): better on Sundays" in describe(event)
    assert event.as_row()["entry"] == event.entry


def test_the_same_promotion_again_makes_no_second_event(registry, add):
    version = add(stage="Staging")
    first = registry.promote(MODEL, version, approved(run_id="night"))
    entries = registry.ledger(MODEL).read().next_number
    again = registry.promote(MODEL, version, approved(run_id="night"))
    assert not again.changed
    assert again.event == first.event
    assert registry.ledger(MODEL).read().next_number == entries
    assert confirm(again)[0].startswith("Model version 1 is already in Production (since 20")
    assert not registry.stage(MODEL, add(stage="Staging")).changed
    assert len(registry.history(MODEL)) == 3


def test_of_two_runs_that_promote_one_version_the_first_is_recorded(registry, add):
    version = add(stage="Staging")
    registry.promote(MODEL, version, approved("ana", run_id="one"))
    assert registry.promote(MODEL, version, approved("bob", run_id="two")).event.user == "ana"
    assert registry.version(MODEL, version).tags["decision.user"] == "ana"


def test_a_refused_move_leaves_no_trace(registry, add):
    version = add(passed=False)
    for to_stage in ("Staging", "Production", "Archived", "None"):
        with pytest.raises(TransitionRefusedError, match=f"Version 1 of 'demand' .* {to_stage}"):
            registry.transition(MODEL, version, to_stage, approved())
    assert stages(registry) == {1: "None"}
    assert [entry.kind for entry in registry.ledger(MODEL).read().entries] == ["validated"]
    registry.transition(MODEL, version, "Staging", approved(), require_validation=False)
    assert registry.promote(MODEL, version, approved(), require_validation=False).changed


def test_a_candidate_whose_gate_fails_later_is_not_promoted(registry, add):
    version = add(stage="Staging")
    registry.validated(validation(MODEL, version, passed=False))
    assert registry.version(MODEL, version).tags["validation.outcome"] == "passed"
    with pytest.raises(TransitionRefusedError, match="a retrain is required"):
        registry.promote(MODEL, version, approved())
    registry.validated(validation(MODEL, version))
    assert registry.promote(MODEL, version, approved()).changed, "the last word counts"


@pytest.mark.parametrize("passed", [None, False])
def test_a_tag_that_says_passed_brings_no_version_to_staging(registry, add, passed):
    version = add(passed=passed)
    registry.client.set_model_version_tag(MODEL, str(version), "validation.outcome", "passed")
    found = "a retrain is required" if passed is False else "knows no validation"
    with pytest.raises(TransitionRefusedError, match=found):
        registry.stage(MODEL, version)
    assert stages(registry) == {version: "None"}


def test_a_tag_that_says_failed_stops_no_version_that_passed(registry, add):
    version = add()
    registry.client.set_model_version_tag(MODEL, str(version), "validation.outcome", "failed")
    registry.stage(MODEL, version)
    assert registry.promote(MODEL, version, approved()).changed


def test_other_artifacts_than_those_that_were_validated_are_not_staged(registry, add):
    version = add(**{"artifacts.digest": "b" * 64})
    registry.validated(validation(MODEL, version, digest="a" * 64))
    with pytest.raises(TransitionRefusedError, match="those that were validated"):
        registry.stage(MODEL, version)
    registry.validated(validation(MODEL, version, digest="b" * 64))
    assert registry.stage(MODEL, version).changed


def test_a_reason_that_the_ledger_cannot_keep_is_refused_before_anything_moves(registry, add):
    version = add(stage="Staging")
    with pytest.raises(BadInputError, match=r"1000000 .* 100000"):
        registry.promote(MODEL, version, approved(reason="x" * 1_000_000))
    for key in EVIDENCE:
        registry.client.set_model_version_tag(MODEL, str(version), key, '"' * 250)
    long = dict.fromkeys(("metric", "value", "threshold", "data_version"), '"' * 250)
    registry.validated(validation(MODEL, version, **long))
    with pytest.raises(BadInputError, match="at most 4700"):
        registry.promote(MODEL, version, approved(reason='"' * 1000))
    registry.validated(validation(MODEL, version))
    for key in EVIDENCE:
        registry.client.delete_model_version_tag(MODEL, str(version), key)
    assert stages(registry) == {1: "Staging"}
    assert registry.ledger(MODEL).read().holder is None
    reason = "日本語 🎉 " * 250
    assert registry.promote(MODEL, version, approved(reason=reason)).event.reason == reason


def test_untrusted_text_comes_back_as_text(registry, add):
    text = "a'; DROP TABLE--\x00\x1b[31m <script>alert(1)</script> [x](javascript:y) {{ 7*7 }} \ud800 # $(id)\r\nend"
    version = add(stage="Staging")
    registry.promote(MODEL, version, approved(user=text, reason=text))
    kept = registry.history(MODEL)[-1].reason
    assert kept == text.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd").replace(
        "\r\n", "\n"
    )
    description = registry.version(MODEL, version).description
    assert "<script>" not in description
    assert "](javascript" not in description
    assert registry.verify(MODEL) == []


# ---- deciding ----


def test_a_rejected_version_stays_in_staging_and_is_never_promoted(registry, add):
    add(stage="Production")
    add(stage="Staging")
    holds = registry.reject(MODEL, 2, REJECTED)
    assert confirm_decision(2, REJECTED, holds) == ["Model version 2 is rejected and stays where it is"]
    assert stages(registry) == {1: "Production", 2: "Staging"}
    assert registry.version(MODEL, 2).tags["decision.reason"] == "too optimistic"
    event = registry.history(MODEL)[-1]
    assert (event.outcome, event.moved, event.user) == (Outcome.REJECTED, False, "bob")
    with pytest.raises(TransitionRefusedError, match=r"rejected on 20.* by bob"):
        registry.promote(MODEL, 2, approved())
    with pytest.raises(ValueError, match="needs the outcome rejected"):
        registry.reject(MODEL, 2, approved())


def test_the_first_decision_holds(registry, add):
    version = add(stage="Staging")
    registry.reject(MODEL, version, REJECTED)
    registry.reject(MODEL, version, REJECTED)
    late = Decision(Outcome.EXPIRED, door=Channel.EXPIRY)
    holds = registry.record_decision(MODEL, version, late)
    assert (holds.outcome, holds.user) == (Outcome.REJECTED, "bob")
    assert "was rejected already by bob on 20" in confirm_decision(version, late, holds)[0]
    assert [event.outcome for event in registry.history(MODEL)] == [Outcome.APPROVED, Outcome.REJECTED]


def test_a_rejection_comes_too_late_for_what_is_in_production(registry, add, by_hand):
    add(stage="Production")
    holds = registry.reject(MODEL, 1, REJECTED)
    assert holds.outcome is Outcome.APPROVED
    version = add()
    with pytest.raises(TransitionRefusedError, match="is in None, not"):
        registry.reject(MODEL, version, REJECTED)


def test_a_superseded_candidate_leaves_staging_and_never_returns(registry, add):
    version = add(stage="Staging")
    done = registry.transition(MODEL, version, "None", SUPERSEDED)
    assert confirm(done) == ["Model version 1 left Staging (superseded: version 2 is newer)"]
    assert registry.version(MODEL, version).tags["decision.outcome"] == "superseded"
    with pytest.raises(TransitionRefusedError, match=r"superseded .* to Staging"):
        registry.stage(MODEL, version)


def test_an_outcome_tagged_by_hand_decides_nothing(registry, add):
    for version, other in ((add(stage="Staging"), "rejected"), (add(stage="Staging"), "approved")):
        registry.client.set_model_version_tag(MODEL, str(version), "decision.outcome", other)
    holds = registry.record_decision(MODEL, 2, Decision(Outcome.EXPIRED, door=Channel.EXPIRY))
    assert (holds.outcome, holds.door, holds.user) == (Outcome.EXPIRED, Channel.EXPIRY, "unknown")
    assert registry.history(MODEL)[-1].outcome is Outcome.EXPIRED
    assert registry.version(MODEL, 2).tags["decision.outcome"] == "expired", "the tag says what holds"
    assert registry.candidate(MODEL).version == 1
    assert registry.promote(MODEL, 1, approved()).changed
    assert registry.version(MODEL, 1).tags["decision.outcome"] == "approved"


def test_a_rejection_whose_tag_somebody_removed_holds(registry, add):
    version = add(stage="Staging")
    registry.reject(MODEL, version, REJECTED)
    registry.client.delete_model_version_tag(MODEL, str(version), "decision.outcome")
    with pytest.raises(TransitionRefusedError, match="was rejected on"):
        registry.promote(MODEL, version, approved())


# ---- approved, and promoted later ----


def test_an_approval_can_be_recorded_before_the_promotion(registry, add):
    version = add(stage="Staging")
    for _ in range(2):  # the retry of a task records nothing new
        assert registry.record_decision(MODEL, version, approved("ana", run_id="night")).user == "ana"
    assert stages(registry) == {version: "Staging"}
    with pytest.raises(VersionNotFoundError):
        registry.candidate(MODEL)
    assert registry.record_decision(MODEL, version, REJECTED).outcome is Outcome.APPROVED, "the first decision holds"
    done = registry.promote(MODEL, version, approved("ana", run_id="night"))
    assert done.changed
    events = [(event.outcome, event.moved, event.user, event.late) for event in registry.history(MODEL)[1:]]
    assert events == [
        (Outcome.APPROVED, False, "ana", False),
        (Outcome.REJECTED, False, "bob", True),
        (Outcome.APPROVED, True, "ana", False),
    ]
    assert registry.verify(MODEL) == []
    assert not registry.reconcile(MODEL).changed


def test_notes_about_a_promotion_go_when_it_is_made(registry, add):
    version = add(stage="Staging")
    registry.note_refusal(MODEL, version, "No\nreason. " + "x" * 5000)
    registry.note_wait(MODEL, version, registry.version(MODEL, version).created)
    tags = registry.version(MODEL, version).tags
    assert " UTC: No reason. xxx" in tags["promotion.refused"]
    assert len(tags["promotion.refused"]) < 1100
    registry.promote(MODEL, version, approved())
    assert not [key for key in registry.version(MODEL, version).tags if key.startswith("promotion.")]


# ---- rolling back ----


def test_a_rollback_restores_a_former_champion(registry, add):
    for _ in range(3):
        add(stage="Production")
    done = registry.rollback(MODEL, 1, approved("eve", "3 oversells"))
    assert confirm(done) == ["Model version 1 is now in Production", "Previous Production model (version 3) archived"]
    assert stages(registry) == {1: "Production", 2: "Archived", 3: "Archived"}
    assert aliases(registry) == {"champion": 1, "previous": 2}
    assert not registry.rollback(MODEL, 1, approved("eve", "3 oversells")).changed
    event = registry.history(MODEL)[-1]
    assert (event.from_stage, event.to_stage, event.archived, event.user) == ("Archived", "Production", (3,), "eve")
    registry.rollback(MODEL, 3, approved("eve", "it was not 3"))
    assert stages(registry) == {1: "Archived", 2: "Archived", 3: "Production"}


def test_only_what_was_in_production_can_come_back(registry, add, by_hand):
    add(stage="Production")
    for stage in ("None", "Staging", "None"):
        add(stage=stage)
    by_hand(4, "Archived")
    for version in (2, 3, 4):
        with pytest.raises(TransitionRefusedError, match="no former Production"):
            registry.rollback(MODEL, version, approved())
    registry.promote(MODEL, 3, approved())
    with pytest.raises(TransitionRefusedError, match=r"Version 2 .*rollback can take 1"):
        registry.rollback(MODEL, 2, approved())
