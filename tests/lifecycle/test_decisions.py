import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from include.lifecycle.decisions import Decision, Door, Outcome, decide_wait

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=7)
ANA = Decision(Outcome.REJECTED, "ana", "operating system", "drift | <b>", Door.CLI, NOW, "retrain", "run")


def test_a_decision_survives_json_and_tags():
    assert Decision.from_json(ANA.to_json()) == ANA
    from_tags = Decision.from_tags(ANA.as_tags())
    assert from_tags == Decision(Outcome.REJECTED, "ana", "operating system", "drift | <b>", Door.CLI, NOW)
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


@pytest.mark.parametrize(
    ("stage", "tags", "now", "outcome", "door"),
    [
        ("Staging", {}, NOW, None, None),
        ("Staging", {"decision.outcome": "approved"}, NOW, None, None),
        ("Staging", {"decision.outcome": "nonsense"}, NOW, None, None),
        ("Staging", {}, LATER, Outcome.EXPIRED, Door.EXPIRY),
        ("Staging", ANA.as_tags(), NOW, Outcome.REJECTED, Door.CLI),
        ("Staging", ANA.as_tags(), LATER, Outcome.REJECTED, Door.CLI),
        ("Staging", {"decision.outcome": "rejected"}, NOW, Outcome.REJECTED, Door.OUTSIDE),
        ("Production", {}, NOW, Outcome.APPROVED, Door.OUTSIDE),
        ("Production", ANA.as_tags(), LATER, Outcome.APPROVED, Door.OUTSIDE),
        ("Production", {"decision.outcome": "approved", "decision.door": "cli"}, NOW, Outcome.APPROVED, Door.CLI),
        ("Archived", {}, NOW, Outcome.SUPERSEDED, Door.OUTSIDE),
        ("None", {}, NOW, Outcome.SUPERSEDED, Door.OUTSIDE),
        ("None", {"decision.outcome": "superseded", "decision.door": "automatic"}, NOW, "superseded", Door.AUTOMATIC),
        (None, {}, NOW, Outcome.SUPERSEDED, Door.OUTSIDE),
    ],
)
def test_how_a_wait_ends(stage, tags, now, outcome, door):
    decision = decide_wait(stage, tags, expires_at=LATER, now=now)
    assert (decision and decision.outcome, decision and decision.door) == (outcome, door)


def test_a_wait_that_ends_from_outside_never_guesses_a_user():
    decision = decide_wait("Production", {}, expires_at=LATER, now=NOW)
    assert decision is not None
    assert (decision.user, decision.user_source) == ("unknown", "unknown")


def test_the_triggerer_loads_the_standard_library_only():
    code = (
        "import sys; import include.lifecycle.decisions, include.lifecycle.links, include.lifecycle.text;"
        " print([name for name in ('mlflow', 'pydantic', 'yaml', 'pandas', 'requests') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
