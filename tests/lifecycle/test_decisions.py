import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from include.lifecycle.rules.decisions import Channel, Decision, Outcome, decide_wait

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=7)
ANA = Decision(Outcome.REJECTED, "ana", "operating system", "drift | <b>", Channel.CLI, NOW, "retrain", "run")


def test_a_decision_survives_json_and_tags():
    assert Decision.from_dict(json.loads(json.dumps(ANA.to_dict()))) == ANA
    from_tags = Decision.from_tags(ANA.as_tags())
    assert from_tags == Decision(Outcome.REJECTED, "ana", "operating system", "drift | <b>", Channel.CLI, NOW)
    assert list(ANA.as_tags())[-1] == "decision.outcome"


def test_a_decision_knows_its_time_in_utc():
    local = datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert Decision(Outcome.APPROVED, at=local).at == NOW
    with pytest.raises(ValueError, match="timezone"):
        Decision(Outcome.APPROVED, at=datetime(2026, 3, 1))


@pytest.mark.parametrize("content", [{}, {"outcome": "approved"}, {"outcome": "maybe", "at": NOW.isoformat()}])
def test_what_is_no_decision_is_refused(content):
    with pytest.raises(ValueError):
        Decision.from_dict(content)


def decision(outcome: Outcome, door: Channel) -> Decision:
    return Decision(outcome, "ana", door=door, at=NOW)


@pytest.mark.parametrize(
    ("stage", "standing", "now", "outcome", "door"),
    [
        ("Staging", None, NOW, None, None),
        ("Staging", decision(Outcome.APPROVED, Channel.MARK), NOW, None, None),
        ("Staging", None, LATER, Outcome.EXPIRED, Channel.EXPIRY),
        ("Staging", decision(Outcome.APPROVED, Channel.MARK), LATER, Outcome.EXPIRED, Channel.EXPIRY),
        ("Staging", ANA, NOW, Outcome.REJECTED, Channel.CLI),
        ("Staging", ANA, LATER, Outcome.REJECTED, Channel.CLI),
        ("Production", None, NOW, Outcome.APPROVED, Channel.OUTSIDE),
        ("Production", ANA, LATER, Outcome.APPROVED, Channel.OUTSIDE),
        ("Production", decision(Outcome.APPROVED, Channel.CLI), NOW, Outcome.APPROVED, Channel.CLI),
        ("Archived", None, NOW, Outcome.SUPERSEDED, Channel.OUTSIDE),
        ("Archived", decision(Outcome.APPROVED, Channel.CLI), NOW, Outcome.SUPERSEDED, Channel.OUTSIDE),
        ("None", None, NOW, Outcome.SUPERSEDED, Channel.OUTSIDE),
        ("None", ANA, NOW, Outcome.REJECTED, Channel.CLI),
        ("None", decision(Outcome.SUPERSEDED, Channel.AUTOMATIC), NOW, Outcome.SUPERSEDED, Channel.AUTOMATIC),
        (None, None, NOW, Outcome.SUPERSEDED, Channel.OUTSIDE),
    ],
)
def test_how_a_wait_ends(stage, standing, now, outcome, door):
    found = decide_wait(stage, standing, expires_at=LATER, now=now)
    assert (found and found.outcome, found and found.door) == (outcome, door)


def test_a_wait_that_ends_from_outside_never_guesses_a_user():
    for stage in ("Production", "Archived", None):
        found = decide_wait(stage, None, expires_at=LATER, now=NOW)
        assert found is not None
        assert (found.user, found.user_source) == ("unknown", "unknown")


def test_the_triggerer_loads_the_standard_library_only():
    code = (
        "import sys; import include.lifecycle.rules.decisions, include.lifecycle.registry.links;"
        " import include.lifecycle.untrusted_text;"
        " print([name for name in ('mlflow', 'pydantic', 'yaml', 'pandas', 'requests') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
