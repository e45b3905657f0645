"""The policy of an approval on a real Airflow: who approved is read from its API, and a blackout defers."""

from datetime import UTC, datetime

import pytest
from blackouts import DAG_ID, Blackout
from operations import Operations

from include.lifecycle.moves.model_registry import ModelRegistry
from tests.registry_server import stage_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_an_approver_is_known_and_a_blackout_delays_the_promotion(operator: Operations, blackout: Blackout) -> None:
    url, user = operator.stack.mlflow.url, operator.stack.credentials.user
    assert blackout.decision == ("approved", user, "airflow login", "looks right")
    assert blackout.waits_until == blackout.end
    assert blackout.stage == "Staging"
    assert operator.until_end(blackout.run_id, DAG_ID) == "success"
    assert datetime.now(UTC) >= blackout.end
    assert stage_of(url, blackout.model, blackout.version) == "Production"
    events = ModelRegistry(tracking_uri=url).history(blackout.model)[1:]
    assert [(event.outcome, event.moved, event.user) for event in events] == [
        ("approved", False, user),
        ("approved", True, user),
    ]
    after = (events[-1].time - blackout.end).total_seconds()
    assert after >= 0
    operator.saw("a blackout", f"promoted {after:.0f} s after the end of the blackout")
