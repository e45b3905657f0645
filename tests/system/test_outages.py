"""What stands still for a minute while approvals wait: every wait goes on, and is answered afterwards.

All waits begin before the first outage, so the last one has lived through all of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from operations import READING_SECONDS, Operations

from include.lifecycle.decisions import OPERATING_SYSTEM, Decision, Door, Outcome
from include.lifecycle.registry import ModelRegistry
from include.local_stack.errors import ApiError
from tests.registry_server import add_version, stage_of, tags_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

APPROVAL = "await_approval"
MINUTE = 60.0
PERSON = Decision(Outcome.APPROVED, "carl@host", OPERATING_SYSTEM, "by command", Door.CLI)


@dataclass
class Wait:
    """A version that waits for a decision."""

    operator: Operations
    model: str
    dag_id: str = "patient"
    version: int = 0
    run_id: str = ""

    def begin(self) -> None:
        self.version = add_version(self.operator.stack.mlflow.url, self.model)
        self.run_id = self.operator.api.trigger(self.dag_id, {"model": self.model, "version": self.version})

    def state(self, task_id: str = APPROVAL) -> str | None:
        return self.operator.api.task(self.dag_id, self.run_id, task_id).state

    def mark(self) -> None:
        self.operator.api.mark(self.dag_id, self.run_id, APPROVAL, "success", "by mark")

    def respond(self) -> None:
        self.operator.api.respond(self.dag_id, self.run_id, APPROVAL, "Approve", {"reason": "by answer"})

    def promote(self) -> None:
        ModelRegistry(tracking_uri=self.operator.stack.mlflow.url).promote(self.model, self.version, PERSON)


@dataclass(frozen=True)
class Outage:
    """A server that is away.

    :param servers: names of its processes
    :param seconds: how long
    :param grace: seconds it is given to end; 0: it is killed
    :param dag_id: kind of wait
    :param during: decides while it is away; None: nothing
    :param after: decides when it is back
    """

    servers: tuple[str, ...]
    seconds: float
    grace: float
    during: Callable[[Wait], None] | None = None
    after: Callable[[Wait], None] | None = None
    dag_id: str = "patient"


OUTAGES = {
    "triggerer killed, back at once; marked": Outage(("airflow-triggerer",), 0, 0, after=Wait.mark),
    "triggerer restarted; answered meanwhile": Outage(("airflow-triggerer",), 20, 15, during=Wait.respond),
    "scheduler killed, back after a minute; marked meanwhile": Outage(
        ("airflow-scheduler",), MINUTE, 0, during=Wait.mark
    ),
    "API server away for a minute; promoted by command meanwhile": Outage(
        ("airflow-api-server",), MINUTE, 0, during=Wait.promote
    ),
    "MLflow away for a minute; answered afterwards": Outage(("mlflow",), MINUTE, 0, after=Wait.respond),
    "MLflow away for a minute, rescheduling; marked afterwards": Outage(
        ("mlflow",), MINUTE, 0, after=Wait.mark, dag_id="patient_rescheduling"
    ),
}


def test_a_wait_outlives_what_stands_still(operator: Operations) -> None:
    stack = operator.stack
    for dag_id in {outage.dag_id for outage in OUTAGES.values()}:
        operator.wait(f"{dag_id} known", lambda dag_id=dag_id: operator.api.dag(dag_id))
    waits = {name: Wait(operator, f"outage-{n}", outage.dag_id) for n, (name, outage) in enumerate(OUTAGES.items())}
    for wait in waits.values():
        wait.begin()
    for wait in waits.values():
        operator.wait(f"{wait.model} waits", lambda wait=wait: wait.state() in ("deferred", "up_for_reschedule"))
    time.sleep(READING_SECONDS)

    for name, outage in OUTAGES.items():
        wait = waits[name]
        stopped = [stack.processes.stop_server(server, grace=outage.grace) for server in outage.servers]
        if outage.during is not None:
            outage.during(wait)
        time.sleep(outage.seconds)
        for server in stopped:
            stack.processes.start_again(server)
        operator.wait("Airflow", lambda: not stack.airflow.waiting_for(stack.processes))
        operator.wait("MLflow", lambda: stack.mlflow.healthy(stack.processes))
        back = time.monotonic()
        if outage.after is not None:
            _decide(wait, outage.after)
        operator.wait(f"{name}: the end", lambda wait=wait: operator.api.run(wait.dag_id, wait.run_id).state in
                      ("success", "failed"), 900)  # fmt: skip
        seconds = time.monotonic() - back
        tags = tags_of(stack.mlflow.url, wait.model, wait.version)
        found = (operator.api.run(wait.dag_id, wait.run_id).state, stage_of(stack.mlflow.url, wait.model, wait.version))
        assert found == ("success", "Production"), f"{name}: {found}, {wait.state()}"
        assert tags["decision.outcome"] == "approved", name
        events = ModelRegistry(tracking_uri=stack.mlflow.url).history(wait.model)
        assert sum(event.is_promotion for event in events) == 1, name
        operator.saw(name, f"Production, reason {tags['decision.reason']!r}, {seconds:.0f} s after it was back")
        print(operator.seen[-1])


def _decide(wait: Wait, decide: Callable[[Wait], None]) -> None:
    """Decide when the wait can be decided on: a task that looks just then is not."""
    wait.operator.wait("the wait", lambda: wait.state() in ("deferred", "up_for_reschedule"), 600)
    try:
        decide(wait)
    except ApiError as error:
        if error.status != 409:
            raise
        time.sleep(2)
        wait.operator.wait("the wait", lambda: wait.state() in ("deferred", "up_for_reschedule"), 600)
        decide(wait)
