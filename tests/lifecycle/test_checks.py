import re
from datetime import UTC, datetime

import pytest

from include.lifecycle.checks import Request, check_move, check_recordable
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.entries import Entry, LedgerState
from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.events import Event
from include.lifecycle.versions import VersionInfo

from .support import MODEL, approved

REJECTED = Decision(Outcome.REJECTED, "bob", "test", "no", Door.CLI, datetime(2026, 3, 1, tzinfo=UTC))
SUPERSEDED = Decision(Outcome.SUPERSEDED)
EXPIRED = Decision(Outcome.EXPIRED, door=Door.EXPIRY)
PASSED = {"validation.outcome": "passed"}
FAILED = {"validation.outcome": "failed", "validation.failed_checks": '["rmspe 0.1 is not below 0.1"]'}


def state(*champions: int) -> LedgerState:
    """A ledger in which these versions came into Production, one after the other."""
    events = [Event.of(MODEL, version, "Staging", "Production", approved()).to_dict() for version in champions]
    content = {"type": "end", "begin": 0, "events": events, "production": champions[-1] if champions else None}
    return LedgerState("run", (Entry(1, "", content),))


def info(stage: str, tags: dict[str, str] | None = None, version: int = 7) -> VersionInfo:
    return VersionInfo(MODEL, version, stage, "run", PASSED if tags is None else tags)


@pytest.mark.parametrize(
    ("version", "request_"),
    [
        (info("None"), Request("Staging", approved())),
        (info("None", {}), Request("Staging", approved(), require_validation=False)),
        (info("Staging"), Request("Production", approved())),
        (info("Staging", PASSED | approved().as_tags()), Request("Production", approved())),
        (info("Staging", FAILED), Request("None", SUPERSEDED)),
        (info("Archived", FAILED, 5), Request("Production", approved(), rollback=True)),
        (info("None", REJECTED.as_tags(), 5), Request("Production", approved(), rollback=True)),
    ],
)
def test_the_life_cycle_knows_these_moves(version, request_):
    check_move(state(5, 6), version, request_)


@pytest.mark.parametrize(
    ("version", "request_", "sentence"),
    [
        (info("None"), Request("Production", approved()), "cannot move to Production: only a version in Staging is"),
        (info("None", FAILED), Request("Production", approved()), "its gate failed (rmspe 0.1 is not below 0.1)"),
        (info("None"), Request("Archived", approved()), "from None a version may move to Staging"),
        (info("None"), Request("None", SUPERSEDED), "is in None and cannot move to None"),
        (info("Staging"), Request("Archived", approved()), "from Staging a version may move to Production or None"),
        (info("Staging"), Request("None", REJECTED), "only when it is superseded, not rejected"),
        (info("Staging"), Request("Production", REJECTED), "was rejected: only what is approved moves to Production"),
        (info("Staging"), Request("Production", EXPIRED), "was expired: only what is approved moves to Production"),
        (info("Production"), Request("Staging", approved()), "it leaves Production when another version is promoted"),
        (info("Production"), Request("None", SUPERSEDED), "it leaves Production when another version is promoted"),
        (info("Production"), Request("Archived", approved()), "it leaves Production when another version is promoted"),
        (info("Archived"), Request("Staging", approved()), "a version may move to Production only, by `rollback`"),
        (info("Archived"), Request("Production", approved()), "only a version in Staging is promoted"),
        (info("Archived", None, 5), Request("Production", approved()), "bring it back with `rollback`"),
        (
            info("Archived"),
            Request("Production", approved(), rollback=True),
            "was never in Production: rollback can take 5",
        ),
        (info("Archived", None, 5), Request("Production", REJECTED, rollback=True), "only what is approved moves"),
        (
            info("None", {}),
            Request("Staging", approved()),
            "cannot move to Staging: it was not validated: run `validate`",
        ),
        (info("None", FAILED), Request("Staging", approved()), "(rmspe 0.1 is not below 0.1): a retrain is required"),
        (info("Staging", {}), Request("Production", approved()), "cannot move to Production: it was not validated"),
        (info("Staging", FAILED), Request("Production", approved()), "(rmspe 0.1 is not below 0.1): a retrain is"),
        (
            info("Staging", {"validation.outcome": "PASSED"}),
            Request("Production", approved()),
            "its gate failed (PASSED)",
        ),
        (
            info("Staging", {"validation.outcome": "failed", "validation.failed_checks": "not json"}),
            Request("Production", approved()),
            "its gate failed (failed)",
        ),
        (
            info("Staging", PASSED | REJECTED.as_tags()),
            Request("Production", approved()),
            "was rejected on 2026-03-01 00:00 UTC by bob and cannot move to Production: the first decision holds",
        ),
        (info("Staging", PASSED | EXPIRED.as_tags()), Request("Production", approved()), "was expired on"),
        (info("None", PASSED | SUPERSEDED.as_tags()), Request("Staging", approved()), "was superseded on"),
    ],
)
def test_a_refusal_names_the_version_and_the_remedy(version, request_, sentence):
    with pytest.raises(TransitionRefusedError, match=re.escape(sentence)) as raised:
        check_move(state(5, 6), version, request_)
    assert f"Version {version.version} of 'demand'" in str(raised.value)
    assert raised.value.exit_code == 2


def test_without_former_champions_a_rollback_has_nowhere_to_go():
    with pytest.raises(TransitionRefusedError, match="no former Production version is recorded"):
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
        with pytest.raises(TransitionRefusedError, match=f"is in {stage}, not in Staging: nothing waits"):
            check_recordable(info(stage), decision)
