"""A version that was approved in a blackout, and whose promotion waits for the end of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from operations import Operations

from tests.answers import answer
from tests.registry_server import add_version, stage_of, tags_of

DAG_ID = "policies"
APPROVAL = "await_approval"
SECONDS = 60
"""From the answer to the end of the blackout: the promotion has to begin before it."""


@dataclass(frozen=True)
class Blackout:
    """What was seen while it lasted.

    :param decision: outcome, user, how known and reason, as the version's tags tell
    :param waits_until: until when the promotion waits, as its tag tells
    :param stage: where the version was
    :param end: end of the blackout
    """

    model: str
    version: int
    run_id: str
    decision: tuple[str, str, str, str]
    waits_until: datetime
    stage: str
    end: datetime


def approve_in_blackout(operator: Operations, model: str) -> Blackout:
    """Ask under a policy with approvers, answer in a blackout, and return once the promotion waits."""
    url, approver = operator.stack.mlflow.url, f"user:{operator.stack.credentials.user}"
    operator.config.change("lifecycle", "approval", policy={"approvers": [approver], "reason_required": True})
    version = add_version(url, model)
    run_id = operator.api.trigger(DAG_ID, {"model": model, "version": version})
    operator.until_waiting(run_id, DAG_ID)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=SECONDS)
    window = {"start": f"{end - timedelta(hours=1):%H:%M:%S}", "end": f"{end:%H:%M:%S}"}
    # the promotion starts later and sees it
    operator.config.change("lifecycle", "approval", policy={"approvers": [approver], "blackouts": [window]})
    answer(operator.api, DAG_ID, run_id, APPROVAL, "Approve", "looks right")
    operator.until_task(run_id, "promote", {"deferred"}, DAG_ID)
    operator.config.restore()
    tags = tags_of(url, model, version)
    decision = tuple(tags[f"decision.{name}"] for name in ("outcome", "user", "user_source", "reason"))
    until = datetime.fromisoformat(tags["promotion.waits_until"])
    return Blackout(model, version, run_id, decision, until, stage_of(url, model, version), end)
