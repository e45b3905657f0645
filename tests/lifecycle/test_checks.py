import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.ledger.entries import Entry
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.statements import Validation
from include.lifecycle.moves.checks import Request, check_move, check_recordable
from include.lifecycle.registry.versions import VersionInfo
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from tests.validations import validation

from .support import MODEL, approved

REJECTED = Decision(Outcome.REJECTED, "bob", "test", "no", Channel.CLI, datetime(2026, 3, 1, tzinfo=UTC))
SUPERSEDED = Decision(Outcome.SUPERSEDED)
EXPIRED = Decision(Outcome.EXPIRED, door=Channel.EXPIRY)
PASSED = {"validation.outcome": "passed"}
FAILED = {"validation.outcome": "failed", "validation.failed_checks": '["rmspe 0.1 is not below 0.1"]'}
STAGED = Event.of(MODEL, 7, "None", "Staging", approved())


def state(*champions: int, said: Validation | None = None, events: Sequence[Event] = ()) -> LedgerState:
    """A ledger in which these versions came into Production, one after the other.

    :param said: what it knows of a version's gate, None: nothing
    :param events: what happened then
    """
    promotions = [Event.of(MODEL, version, "Staging", "Production", approved()) for version in champions]
    found = [event.to_dict() for event in (*promotions, *events)]
    content = {"type": "end", "begin": 0, "events": found, "production": champions[-1] if champions else None}
    validated = [Entry(2, "", {"type": "validated", "what": said.to_dict()})] if said is not None else []
    return LedgerState.of("run", (Entry(1, "", content), *validated))


def validated(passed: bool = True, **fields: Any) -> LedgerState:
    """A ledger that knows what a gate said of version 7."""
    return state(5, 6, said=validation(MODEL, 7, passed=passed, **fields))


def decided(decision: Decision, to_stage: str = "Staging") -> LedgerState:
    """A ledger that knows version 7 as good and has a decision about it."""
    events = [STAGED, Event.of(MODEL, 7, "Staging", to_stage, decision)]
    return state(5, 6, said=validation(MODEL, 7), events=events)


def info(stage: str, tags: dict[str, str] | None = None, version: int = 7) -> VersionInfo:
    return VersionInfo(MODEL, version, stage, "run", tags or {})


@pytest.mark.parametrize(
    ("ledger", "version", "request_"),
    [
        (validated(), info("None"), Request("Staging", approved())),
        (validated(), info("None", FAILED), Request("Staging", approved())),
        (state(5, 6), info("None"), Request("Staging", approved(), require_validation=False)),
        (validated(), info("Staging"), Request("Production", approved())),
        (validated(), info("Staging", FAILED), Request("Production", approved())),
        (validated(), info("Staging", REJECTED.as_tags()), Request("Production", approved())),
        (validated(digest="a"), info("Staging", {"artifacts.digest": "a"}), Request("Production", approved())),
        (decided(approved()), info("Staging"), Request("Production", approved())),
        (validated(passed=False), info("Staging"), Request("None", SUPERSEDED)),
        (validated(passed=False), info("Archived", FAILED, 5), Request("Production", approved(), rollback=True)),
        (
            state(5, 6, events=[Event.of(MODEL, 5, "Archived", "None", REJECTED)]),
            info("None", REJECTED.as_tags(), 5),
            Request("Production", approved(), rollback=True),
        ),
    ],
)
def test_the_life_cycle_knows_these_moves(ledger, version, request_):
    check_move(ledger, version, request_)


@pytest.mark.parametrize(
    ("version", "request_", "sentence"),
    [
        (info("None"), Request("Production", approved()), "only a version in Staging"),
        (info("None", FAILED), Request("Production", approved()), "gate failed (rmspe 0.1 is"),
        (info("None"), Request("Archived", approved()), "may move to Staging"),
        (info("None"), Request("None", SUPERSEDED), "cannot move to None"),
        (info("Staging"), Request("Archived", approved()), "move to Production or None"),
        (info("Staging"), Request("None", REJECTED), "back, not rejected"),
        (info("Staging"), Request("Production", REJECTED), "was rejected: only"),
        (info("Staging"), Request("Production", EXPIRED), "was expired: only"),
        (info("Production"), Request("Staging", approved()), "leaves Production when another"),
        (info("Production"), Request("None", SUPERSEDED), "leaves Production when another"),
        (info("Production"), Request("Archived", approved()), "leaves Production when another"),
        (info("Archived"), Request("Staging", approved()), "Production only, by `rollback`"),
        (info("Archived"), Request("Production", approved()), "only a version in Staging"),
        (info("Archived", None, 5), Request("Production", approved()), "back with `rollback`"),
        (info("Archived"), Request("Production", approved(), rollback=True), "rollback can take 5"),
        (info("Archived", None, 5), Request("Production", REJECTED, rollback=True), "was rejected: only"),
    ],
)
def test_a_refusal_names_the_version_and_the_remedy(version, request_, sentence):
    assert_refused(validated(), version, request_, sentence)


UNKNOWN = "knows no validation"
RETRAIN = "0.11 is not below 0.1): a retrain"


@pytest.mark.parametrize("tags", [{}, PASSED, FAILED, PASSED | approved().as_tags()])
@pytest.mark.parametrize(("stage", "to_stage"), [("None", "Staging"), ("Staging", "Production")])
@pytest.mark.parametrize(
    ("ledger", "sentence"),
    [
        (state(5, 6), UNKNOWN),
        (state(5, 6, said=validation(MODEL, 6)), UNKNOWN),
        (state(5, 6, events=[replace(STAGED, evidence={"outcome": "failed"})]), UNKNOWN),
        (state(5, 6, events=[replace(STAGED, evidence={"outcome": "passed"}, version=6)]), UNKNOWN),
        (validated(passed=False), RETRAIN),
        (validated(passed=False, failed=()), "(failed): a retrain is required"),
        (validated(outcome="PASSED", failed=()), "(PASSED): a retrain is required"),
        (validated(digest="another"), "those that were validated"),
        (
            state(5, 6, said=validation(MODEL, 7, passed=False), events=[replace(STAGED, evidence=PASSED)]),
            RETRAIN,
        ),
    ],
)
def test_what_the_ledger_does_not_know_to_have_passed_stays_whatever_its_tags_say(
    ledger, sentence, stage, to_stage, tags
):
    assert_refused(ledger, info(stage, tags), Request(to_stage, approved()), sentence)


@pytest.mark.parametrize("tags", [{}, PASSED | approved().as_tags()])
@pytest.mark.parametrize(
    ("ledger", "stage", "to_stage", "sentence"),
    [
        (
            decided(REJECTED),
            "Staging",
            "Production",
            "2026-03-01 00:00 UTC by bob",
        ),
        (decided(EXPIRED), "Staging", "Production", "was expired on"),
        (decided(SUPERSEDED, "None"), "None", "Staging", "was superseded on"),
    ],
)
def test_what_the_ledger_has_decided_holds_whatever_the_tags_say(ledger, stage, to_stage, sentence, tags):
    assert_refused(ledger, info(stage, tags), Request(to_stage, approved()), sentence)


def test_a_version_that_came_to_staging_before_the_ledger_knew_validations_may_go_on():
    staged = replace(STAGED, evidence={"outcome": "passed"})
    check_move(state(5, 6, events=[staged]), info("Staging"), Request("Production", approved()))


def test_a_rejection_holds_for_a_version_that_was_superseded_after_it():
    events = [STAGED, Event.of(MODEL, 7, "Staging", "Staging", REJECTED)]
    events.append(Event.of(MODEL, 7, "Staging", "None", SUPERSEDED))
    ledger = state(5, 6, said=validation(MODEL, 7), events=events)
    assert_refused(ledger, info("None"), Request("Staging", approved()), "was rejected on 2026-03-01")


def assert_refused(ledger: LedgerState, version: VersionInfo, request: Request, sentence: str) -> None:
    with pytest.raises(TransitionRefusedError, match=re.escape(sentence)) as raised:
        check_move(ledger, version, request)
    assert all(part in str(raised.value) for part in (f"Version {version.version} of 'demand'", request.to_stage))
    assert raised.value.exit_code == 2


def test_without_former_champions_a_rollback_has_nowhere_to_go():
    with pytest.raises(TransitionRefusedError, match="no former Production"):
        check_move(state(6), info("Staging"), Request("Production", approved(), rollback=True))


@pytest.mark.parametrize(
    ("stage", "decision", "taken"),
    [
        ("Staging", REJECTED, True),
        ("Staging", EXPIRED, True),
        ("Staging", SUPERSEDED, True),
        ("None", SUPERSEDED, True),
        ("Archived", SUPERSEDED, True),
        ("Production", SUPERSEDED, False),
        ("Production", REJECTED, False),
        ("None", REJECTED, False),
        ("Archived", EXPIRED, False),
    ],
)
def test_which_decisions_a_version_still_takes(stage, decision, taken):
    if taken:
        check_recordable(info(stage), decision)
    else:
        with pytest.raises(TransitionRefusedError):
            check_recordable(info(stage), decision)
