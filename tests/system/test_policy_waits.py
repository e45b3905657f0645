"""The policy of an approval on a real Airflow: who approved is read from its API, and a blackout defers."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from operations import READING_SECONDS, Operations

from include.lifecycle.registry import ModelRegistry
from tests.registry_server import add_version, stage_of, tags_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

DAG_ID = "policies"
BLACKOUT_SECONDS = 60


def asked(operator: Operations, model: str, **policy: object) -> tuple[str, int]:
    """A run that waits for a person under a policy, and its version."""
    operator.config.change("lifecycle", "approval", policy=policy)
    version = add_version(operator.stack.mlflow.url, model)
    run_id = operator.api.trigger(DAG_ID, {"model": model, "version": version})
    operator.wait("the request", lambda: operator.api.task(DAG_ID, run_id, "await_approval").state == "deferred")
    time.sleep(READING_SECONDS)
    return run_id, version


def test_an_approver_is_known_and_a_blackout_delays_the_promotion(operator: Operations) -> None:
    url, model, user = operator.stack.mlflow.url, "policy-blackout", operator.stack.credentials.user
    run_id, version = asked(operator, model, approvers=[f"user:{user}"], reason_required=True)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=BLACKOUT_SECONDS)
    window = {"start": f"{end - timedelta(hours=1):%H:%M:%S}", "end": f"{end:%H:%M:%S}"}
    operator.config.change(
        "lifecycle", "approval", policy={"approvers": [f"user:{user}"], "blackouts": [window]}
    )  # the promotion starts later and sees it
    operator.api.respond(DAG_ID, run_id, "await_approval", "Approve", {"reason": "looks right"})
    operator.wait("the promotion to wait", lambda: operator.api.task(DAG_ID, run_id, "promote").state == "deferred")
    tags = tags_of(url, model, version)
    assert (tags["decision.outcome"], tags["decision.user"], tags["decision.user_source"], tags["decision.reason"]) == (
        "approved",
        user,
        "required_actions",
        "looks right",
    )
    assert datetime.fromisoformat(tags["promotion.waits_until"]) == end
    assert stage_of(url, model, version) == "Staging"
    operator.wait("the end of the run", lambda: operator.api.run(DAG_ID, run_id).state == "success", 180)
    assert datetime.now(UTC) >= end
    assert stage_of(url, model, version) == "Production"
    events = ModelRegistry(tracking_uri=url).history(model)[1:]
    assert [(event.outcome, event.moved, event.user) for event in events] == [
        ("approved", False, user),
        ("approved", True, user),
    ]
    after = (events[-1].time - end).total_seconds()
    operator.saw(
        "a blackout", f"promoted {after:.0f} s after the end of the blackout, approved {BLACKOUT_SECONDS} s before"
    )
