"""The rules of an approval: met, not met, and not met where the facts are not known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from include.lifecycle.config.approval import BlackoutConfig, PolicyConfig
from include.lifecycle.config.load import load_lifecycle_config, validate_section
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.errors import BadInputError, PolicyNotMetError
from include.lifecycle.ledger.entries import Entry
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.rules.decisions import (
    AIRFLOW_LOGIN,
    AIRFLOW_RUN_UNVERIFIED,
    OPERATING_SYSTEM,
    Channel,
    Decision,
    Outcome,
)
from include.lifecycle.rules.policy import NOBODY, Facts, blackout_end, describe, evaluate, require
from include.lifecycle.views.review import render_policy
from tests.validations import validation

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
BERLIN = "Europe/Berlin"
WEEKEND = ("saturday", "sunday")
FREE = {"reason_required": False}


def approved(user: str = "anna", source: str = "audit", reason: str = "looks right", **more: Any) -> Decision:
    return Decision(Outcome.APPROVED, user, source, reason, Channel.MARK, NOW, **more)


def policy(**fields: Any) -> PolicyConfig:
    return PolicyConfig.model_validate({**FREE, **fields})


def windows(*found: tuple[tuple[str, ...], str, str]) -> PolicyConfig:
    return policy(blackouts=[{"weekdays": days, "start": start, "end": end} for days, start, end in found])


def berlin(text: str) -> datetime:
    from zoneinfo import ZoneInfo

    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN))


# ---- rules ----


ONE = {"approvers": ["user:anna"]}
ROLE = {"approvers": ["user:carl", "role:Admin"]}
FOUR = {"four_eyes": True}
FRESH = {"evidence_max_age_days": 2}


@pytest.mark.parametrize(
    ("rules", "decision", "facts"),
    [
        ({}, approved("unknown", "unknown", ""), Facts()),
        ({"reason_required": True}, approved(reason="ok"), Facts()),
        ({"reason_required": True}, approved(reason="日本"), Facts()),
        ({"reason_required": True}, approved("unknown", "unknown"), Facts()),
        (ONE, approved("anna"), Facts()),
        (ONE, approved("anna", "required_actions"), Facts()),
        (ONE, approved("anna", AIRFLOW_LOGIN), Facts()),
        (ROLE, approved("ben", roles=("Op", "Admin")), Facts()),
        (ROLE, approved("carl", roles=None), Facts()),
        (FOUR, approved("anna"), Facts("ben")),
        (FOUR, approved("unknown", "unknown"), Facts(NOBODY)),
        (FRESH, approved(), Facts(validated_at=NOW - timedelta(days=2))),
        (FRESH, approved(), Facts(validated_at=NOW + timedelta(minutes=4))),
        ({**ONE, **FOUR, **FRESH, "reason_required": True}, approved(), Facts(NOBODY, NOW)),
    ],
)
def test_met(rules: dict[str, Any], decision: Decision, facts: Facts) -> None:
    verdict = evaluate(policy(**rules), decision, facts, now=NOW)
    assert verdict.allowed, verdict.refusal
    assert verdict.refusal == ""
    assert len(verdict.checks) == len([name for name in rules if rules[name]])


@pytest.mark.parametrize(
    ("rules", "decision", "facts", "sentence"),
    [
        ({"reason_required": True}, approved(reason=""), Facts(), "reason is required"),
        ({"reason_required": True}, approved(reason=" \n.\u200b"), Facts(), "reason is required"),
        (ONE, approved("ben"), Facts(), "among the approvers user:anna: "),
        (ONE, approved("Anna"), Facts(), "Anna is not among"),
        (ONE, approved("anna\u200b"), Facts(), "not among the approvers"),
        (ONE, approved("role:anna"), Facts(), "not among the approvers"),
        (ONE, approved("unknown", "unknown"), Facts(), "anna, and who approved"),
        (ONE, approved("anna", OPERATING_SYSTEM), Facts(), "anna approved is not"),
        (ONE, approved("anna", AIRFLOW_RUN_UNVERIFIED), Facts(), "anna approved is not"),
        (ONE, approved("anna", "unknown"), Facts(), "anna approved is not"),
        (ROLE, approved("ben", roles=("Op",)), Facts(), "user:carl, role:Admin: "),
        (ROLE, approved("ben", roles=()), Facts(), "user:carl, role:Admin: "),
        (ROLE, approved("Admin", roles=None), Facts(), "no role of theirs"),
        (FOUR, approved("anna"), Facts("anna"), "anna triggered this run"),
        (FOUR, approved("ANNA"), Facts("anna "), "cannot approve it"),
        (FOUR, approved("a\u200bb"), Facts("a\u200bb"), "cannot approve it"),
        (FOUR, approved("anna"), Facts(None), "who triggered the run"),
        (FOUR, approved("unknown", "unknown"), Facts("ben"), "approved is unknown: somebody"),
        (FOUR, approved("anna", OPERATING_SYSTEM), Facts(None), "anna approved is not"),
        (FRESH, approved(), Facts(), "validated is unknown"),
        (FRESH, approved(), Facts(validated_at=NOW - timedelta(days=2, seconds=1)), "old, at most 2 days"),
        (FRESH, approved(), Facts(validated_at=NOW + timedelta(days=1)), "in the future"),
    ],
)
def test_not_met(rules: dict[str, Any], decision: Decision, facts: Facts, sentence: str) -> None:
    verdict = evaluate(policy(**rules), decision, facts, now=NOW)
    assert not verdict.allowed
    assert sentence in verdict.refusal
    assert "\n" not in verdict.refusal
    with pytest.raises(PolicyNotMetError) as raised:
        require(policy(**rules), decision, facts, now=NOW)
    assert str(raised.value) == verdict.refusal


def test_every_rule_that_is_not_met_is_told_and_the_ledger_has_all() -> None:
    verdict = evaluate(policy(**ONE, **FOUR, **FRESH, reason_required=True), approved("ben"), Facts("ben"), now=NOW)
    assert verdict.summary() == "approvers NOT MET, reason met, four eyes NOT MET, evidence NOT MET"
    assert [sentence in verdict.refusal for sentence in ("not among", "cannot approve", "is unknown")] == [True] * 3
    assert evaluate(policy(), approved(), Facts()).summary() == "no rule"
    held = require(policy(**ONE), approved(), Facts())
    assert (held.policy, held) == ("approvers met", approved()), "what the policy says is no part of the decision"


def test_a_long_list_of_approvers_stays_a_sentence() -> None:
    many = policy(approvers=[f"user:{'x' * 70}{number}" for number in range(28)])
    refusal = evaluate(many, approved("ben"), Facts()).refusal
    assert "and 18 more" in refusal
    assert len(refusal) < 900


def test_a_list_of_approvers_that_no_entry_holds_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="name roles"):
        policy(approvers=[f"user:{'x' * 70}{number}" for number in range(50)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T02:40:00+00:00", datetime(2026, 3, 1, 2, 40, tzinfo=UTC)),
        ("2026-03-01T02:40:00", datetime(2026, 3, 1, 2, 40, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_when_a_version_was_validated(text: str | None, expected: datetime | None) -> None:
    """From before the ledger knew validations: what the move to Staging showed."""
    event = Event.of("demand", 7, "None", "Staging", approved())
    event = replace(event, evidence={"validated": text} if text is not None else {})
    end = Entry(1, "", {"type": "end", "begin": 0, "events": [event.to_dict()], "production": None})
    assert LedgerState.of("run", (end,)).validated_at(7) == expected
    assert LedgerState.of("run", (end,)).validated_at(6) is None
    said = Entry(2, "", {"type": "validated", "what": validation("demand", 7, at=NOW).to_dict()})
    assert LedgerState.of("run", (end, said)).validated_at(7) == NOW, "what the ledger knows comes first"


# ---- blackouts ----


@pytest.mark.parametrize(
    ("found", "now", "end"),
    [
        # an afternoon, every day
        ([("", "14:00", "18:00")], "2026-03-04T13:59:59", None),
        ([("", "14:00", "18:00")], "2026-03-04T14:00", "2026-03-04T18:00"),
        ([("", "14:00", "18:00")], "2026-03-04T17:59:59", "2026-03-04T18:00"),
        ([("", "14:00", "18:00")], "2026-03-04T18:00", None),
        # over midnight: the weekday is that of the start
        ([("friday", "22:00", "06:00")], "2026-03-06T21:59", None),
        ([("friday", "22:00", "06:00")], "2026-03-06T22:00", "2026-03-07T06:00"),
        ([("friday", "22:00", "06:00")], "2026-03-07T05:59", "2026-03-07T06:00"),
        ([("friday", "22:00", "06:00")], "2026-03-06T05:00", None),
        ([("sunday", "22:00", "06:00")], "2026-03-09T01:00", "2026-03-09T06:00"),
        # windows without a gap, and such that overlap, are one
        ([("friday", "18:00", "00:00"), ("saturday", "00:00", "09:00")], "2026-03-06T19:00", "2026-03-07T09:00"),
        ([("", "10:00", "12:00"), ("", "11:00", "13:00"), ("", "13:00", "13:30")],
         "2026-03-04T10:30", "2026-03-04T13:30"),
        ([("", "10:00", "12:00"), ("", "12:01", "13:00")], "2026-03-04T10:30", "2026-03-04T12:00"),
        # whole days
        ([("saturday", "00:00", "00:00"), ("sunday", "00:00", "00:00")], "2026-03-07T10:00", "2026-03-09T00:00"),
        ([("saturday", "00:00", "00:00")], "2026-03-08T00:00", None),
        # all but an hour a week
        ([("", "12:00", "11:00"), ("tuesday", "11:00", "12:00"), ("thursday", "11:00", "12:00")],
         "2026-03-04T12:00", "2026-03-06T11:00"),
        # the night of 29 March lacks 02:00 to 03:00, that of 25 October has it twice
        ([("", "01:00", "04:00")], "2026-03-29T01:30", "2026-03-29T04:00"),
        ([("", "22:00", "02:30")], "2026-03-29T01:30", "2026-03-29T03:30"),
        ([("", "01:00", "04:00")], "2026-10-25T01:30", "2026-10-25T04:00"),
        ([("sunday", "00:00", "00:00")], "2026-03-29T23:30", "2026-03-30T00:00"),
        ([("sunday", "00:00", "00:00")], "2026-10-25T00:30", "2026-10-26T00:00"),
    ],
)  # fmt: skip
def test_blackouts(found: list[tuple[str, str, str]], now: str, end: str | None) -> None:
    every = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    rules = windows(*(((days,) if days else every, start, until) for days, start, until in found))
    expected = berlin(end).astimezone(UTC) if end else None
    assert blackout_end(rules, BERLIN, berlin(now)) == expected


def test_an_hour_that_comes_twice_is_in_the_window_both_times() -> None:
    rules = windows((("sunday",), "02:00", "02:30"))
    last = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 in winter time
    for moment in (datetime(2026, 10, 25, 0, 10, tzinfo=UTC), datetime(2026, 10, 25, 1, 10, tzinfo=UTC)):
        assert blackout_end(rules, BERLIN, moment) == last
    assert blackout_end(rules, BERLIN, last) is None


def test_a_window_of_an_hour_that_never_comes_ends() -> None:
    rules = windows((("sunday",), "02:10", "02:50"))
    moments = [datetime(2026, 3, 29, 0, tzinfo=UTC) + timedelta(minutes=number) for number in range(180)]
    inside = [moment for moment in moments if blackout_end(rules, BERLIN, moment)]
    assert timedelta(minutes=40) <= inside[-1] - inside[0] <= timedelta(minutes=100)


def test_nothing_of_a_year_is_endless_and_every_end_is_outside() -> None:
    rules = windows((("friday",), "18:00", "02:30"), (WEEKEND, "02:30", "02:00"), (("monday",), "02:00", "02:45"))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    while moment.year == 2026:
        end = blackout_end(rules, BERLIN, moment)
        assert end is None or (moment < end < moment + timedelta(days=4) and blackout_end(rules, BERLIN, end) is None)
        moment += timedelta(minutes=47)


def test_without_windows_nothing_is_held_back() -> None:
    assert blackout_end(policy(), "UTC") is None


# ---- configuration ----


def lifecycle(text: str) -> LifecycleConfig:
    gate = {"metric": "rmspe", "threshold": 0.1}
    content = {"model": "demand", "experiment": "e", "owner": "o", "gate": gate, **yaml.safe_load(text)}
    return validate_section(LifecycleConfig, content, "test.yaml")


def test_the_defaults() -> None:
    config = lifecycle("{}")
    assert config.approval.policy == config.rollback.policy == PolicyConfig(reason_required=True)
    assert config.approval.supersede == "newer"
    assert (config.approval.policy.approvers, config.approval.policy.blackouts) == ((), ())
    assert not config.approval.policy.four_eyes


@pytest.mark.parametrize(
    ("approval", "rollback", "expected"),
    [
        ("[]", None, ()),
        ("['role:Approver']", None, ("role:Approver",)),
        ("['role:Approver']", "[]", ("role:Approver",)),
        ("['role:Approver']", "['user:anna']", ("user:anna",)),
        ("[]", "['user:anna']", ("user:anna",)),
    ],
)
def test_a_rollback_that_names_nobody_has_the_approvals_approvers(
    approval: str, rollback: str | None, expected: tuple[str, ...]
) -> None:
    own = "" if rollback is None else f"rollback: {{policy: {{approvers: {rollback}, reason_required: false}}}}"
    config = lifecycle(f"approval: {{policy: {{approvers: {approval}}}}}\n{own}")
    assert config.rollback.policy.approvers == expected
    assert config.rollback.policy.reason_required == (rollback is None)


def test_the_environment_names_the_approvers_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_APPROVERS", " role:Approver, user:anna,")
    config = load_lifecycle_config("rossmann")
    assert config.approval.policy.approvers == config.rollback.policy.approvers == ("role:Approver", "user:anna")
    assert config.rollback.effective_policy.approvers == ("role:Approver", "user:anna")


@pytest.mark.parametrize("nobody", [",", " ", " , ,"])
def test_an_environment_that_names_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    monkeypatch.setenv("RETRAIN_APPROVERS", nobody)
    with pytest.raises(BadInputError, match="RETRAIN_APPROVERS"):
        load_lifecycle_config("rossmann")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("approvers: [anna]", r"approvers\.0: .*user:NAME .*'anna'"),
        ("approvers: ['user:']", r"approval\.policy\.approvers\.0"),
        ("approvers: ['user:anna ']", r"approval\.policy\.approvers\.0"),
        ("approvers: ['group:x']", r"approval\.policy\.approvers\.0"),
        ("approver: ['user:a']", r"policy\.approver: Extra inputs"),
        ("reason_required: perhaps", r"policy\.reason_required: .*'perhaps'"),
        ("evidence_max_age_days: 0", r"max_age_days: .*\(found 0\)"),
        ("blackouts: [{start: '10:00'}]", r"blackouts\.0\.end: Field required"),
        ("blackouts: [{start: 18:00, end: '19:00'}]", r"blackouts\.0\.start: .*quotes.*1080"),
        ("blackouts: [{start: '10:00+02:00', end: '19:00'}]", r"blackouts\.0\.start: .*'10:00\+02:00'"),
        ("blackouts: [{start: '25:00', end: '19:00'}]", r"blackouts\.0\.start: .*found '25:00'"),
        ("blackouts: [{start: '1:00', end: '1'}]", r"blackouts\.0\.end: .*such as \"18:00\""),
        ("blackouts: [{weekdays: [], start: '10:00', end: '19:00'}]", r"blackouts\.0\.weekdays: .*at least 1"),
        ("blackouts: [{weekdays: [funday], start: '10:00', end: '19:00'}]", r"blackouts\.0\.weekdays\.0: .*'monday'"),
        ("blackouts: [{start: '00:00', end: '00:00'}]", r"policy\.blackouts: .*whole week"),
        ("blackouts: [{start: '08:00', end: '20:00'}, {start: '20:00', end: '08:00'}]", r"whole week"),
        ("blackouts: [{start: '08:00', end: '07:00'}, {start: '06:00', end: '09:00'}]", r"whole week"),
    ],
)
def test_a_wrong_field_is_named(text: str, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        lifecycle(f"approval: {{policy: {{{text}}}}}")


def test_six_days_and_all_but_a_second_of_the_seventh_are_accepted() -> None:
    week = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
    rules = windows((week, "00:00", "00:00"), (("sunday",), "00:00:01", "00:00"))
    assert blackout_end(rules, "UTC", datetime(2026, 3, 2, tzinfo=UTC)) == datetime(2026, 3, 8, tzinfo=UTC)


@pytest.mark.parametrize("field", ["evidence_max_age_days: 7", "blackouts: [{start: '10:00', end: '11:00'}]"])
def test_a_rollback_is_never_held_back(field: str) -> None:
    with pytest.raises(BadInputError, match=r"rollback\.policy: .*exempt"):
        lifecycle(f"rollback: {{policy: {{{field}}}}}")


def test_supersede_knows_two_values() -> None:
    assert lifecycle("approval: {supersede: never}").approval.supersede == "never"
    with pytest.raises(BadInputError, match=r"approval\.supersede"):
        lifecycle("approval: {supersede: always}")


def test_a_policy_survives_json_and_cannot_be_changed() -> None:
    rules = policy(**ROLE, **FOUR, **FRESH, blackouts=[BlackoutConfig(weekdays=WEEKEND, start="18:00", end="06:00")])
    assert PolicyConfig.model_validate(rules.model_dump(mode="json")) == rules
    with pytest.raises(ValidationError):
        rules.four_eyes = False  # type: ignore[misc]


# ---- what a reviewer reads ----


def test_the_rules_in_sentences() -> None:
    rules = policy(
        **ROLE,
        **FOUR,
        **FRESH,
        reason_required=True,
        blackouts=[{"weekdays": WEEKEND, "start": "18:00", "end": "06:00"}, {"start": "09:00", "end": "10:00"}],
    )
    assert describe(rules) == [
        "Approvers: user:carl, role:Admin.",
        "A reason is required.",
        "Whoever triggered the run cannot approve it.",
        "The validation must not be older than 2 days.",
        "No promotion from 18:00 to 06:00 of the next day, saturday, sunday: an approval then waits.",
        "No promotion from 09:00 to 10:00, every day: an approval then waits.",
    ]


@pytest.mark.parametrize(
    ("rules", "facts", "line"),
    [
        ({}, Facts(), "- No rule: whoever Airflow lets mark or answer this task may approve."),
        (FOUR, Facts("anna"), "- anna triggered this run and cannot approve it: somebody else has to."),
        (FOUR, Facts(NOBODY), "- A schedule started this run: nobody is excluded."),
        (FOUR, Facts(None), "- Who triggered this run is not known, so nobody can approve it"),
        (FRESH, Facts(validated_at=NOW - timedelta(hours=12)), "- The validation is 0.5 days old, at most 2 days are"),
        (FRESH, Facts(validated_at=NOW - timedelta(days=3)), "- The validation is 3 days old, at most 2 days are acc"),
        (FRESH, Facts(), "- When the version was validated is unknown"),
        ({"blackouts": [{"start": "10:00", "end": "14:00"}]}, Facts(),
         "- A blackout is in force until 2026-03-04 14:00 in Europe/Berlin (13:00 UTC): an approval is taken now"),
        ({"blackouts": [{"start": "10:00", "end": "11:00"}]}, Facts(),
         "- No blackout is in force. It is 2026-03-04 13:00 in Europe/Berlin (12:00 UTC)."),
    ],
)  # fmt: skip
def test_what_is_known_before_a_decision(rules: dict[str, Any], facts: Facts, line: str) -> None:
    text = render_policy(policy(**rules), BERLIN, facts, now=NOW)
    assert text.startswith("**Policy**, as of 2026-03-04 12:00 UTC\n\n- ")
    assert line in text


def test_names_are_shown_as_text() -> None:
    evil = "<img src=x> [x](javascript:y) **b**\n# h"
    text = render_policy(policy(**FOUR, approvers=[f"user:{evil}"]), "UTC", Facts(evil), now=NOW)
    for markup in ("<img", "](java", "**b", "\n# "):
        assert markup not in text.removeprefix("**Policy**")
