"""What stands still while approvals wait: every wait goes on, and is answered afterwards.

All waits begin before the first outage, so the last one has lived through all of them. Heartbeats are short on these
servers: an outage outlasts the time after which Airflow gives up a process that is silent.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from operations import Operations

from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import OPERATING_SYSTEM, Channel, Decision, Outcome
from local_stack.airflow_api import WAITING
from local_stack.errors import ApiError
from tests.answers import answer
from tests.registry_server import add_version, stage_of, tags_of
from tests.stopping import stop_server

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

APPROVAL = "await_approval"
PATIENT, RESCHEDULING = "patient", "patient_rescheduling"
SECONDS = 35.0
PERSON = Decision(Outcome.APPROVED, "carl@host", OPERATING_SYSTEM, "by command", Channel.CLI)


@dataclass
class Wait:
    """A version that waits for a decision."""

    operator: Operations
    model: str
    dag_id: str = PATIENT
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
        answer(self.operator.api, self.dag_id, self.run_id, APPROVAL, "Approve", "by answer")

    def promote(self) -> None:
        ModelRegistry(tracking_uri=self.operator.stack.mlflow.url).promote(self.model, self.version, PERSON)


@dataclass(frozen=True)
class Outage:
    """A server that is away, and the waits that live through it.

    :param server: name of its process
    :param seconds: how long
    :param grace: seconds it is given to end; 0: it is killed
    :param during: decides while it is away; None: nothing
    :param after: decide when it is back, each about a wait of a kind of its own, by the DAG
    """

    server: str
    seconds: float
    grace: float
    during: Callable[[Wait], None] | None = None
    after: Mapping[str, Callable[[Wait], None]] = field(default_factory=dict)

    @property
    def dags(self) -> tuple[str, ...]:
        return tuple(self.after) or (PATIENT,)


OUTAGES = {
    "triggerer killed, back at once; marked": Outage("airflow-triggerer", 0, 0, after={PATIENT: Wait.mark}),
    "triggerer restarted; answered meanwhile": Outage("airflow-triggerer", 5, 15, during=Wait.respond),
    "scheduler killed; marked meanwhile": Outage("airflow-scheduler", SECONDS, 0, during=Wait.mark),
    "API server killed; promoted by command meanwhile": Outage("airflow-api-server", SECONDS, 0, during=Wait.promote),
    "MLflow killed; answered, and marked, afterwards": Outage(
        "mlflow", SECONDS, 0, after={PATIENT: Wait.respond, RESCHEDULING: Wait.mark}
    ),
}


def test_a_wait_outlives_what_stands_still(operator: Operations) -> None:
    stack = operator.stack
    for dag_id in (PATIENT, RESCHEDULING):
        operator.wait(f"{dag_id} known", lambda dag_id=dag_id: operator.api.dag(dag_id))
    waits = {
        name: [Wait(operator, f"outage-{number}-{dag_id}", dag_id) for dag_id in outage.dags]
        for number, (name, outage) in enumerate(OUTAGES.items())
    }
    every = [wait for several in waits.values() for wait in several]
    for wait in every:
        wait.begin()
    for wait in every:
        operator.until_waiting(wait.run_id, wait.dag_id)

    for name, outage in OUTAGES.items():
        start_again = stop_server(stack.processes, outage.server, grace=outage.grace)
        if outage.during is not None:
            outage.during(waits[name][0])
        time.sleep(outage.seconds)
        start_again()
        operator.wait("Airflow", lambda: not stack.airflow.waiting_for(stack.processes))
        operator.wait("MLflow", lambda: stack.mlflow.healthy(stack.processes))
        back = time.monotonic()
        for wait in waits[name]:
            if decide := outage.after.get(wait.dag_id):
                _decide(wait, decide)
        for wait in waits[name]:
            _ended_well(operator, f"{name} ({wait.dag_id})", wait, back)


def _ended_well(operator: Operations, name: str, wait: Wait, back: float) -> None:
    url = operator.stack.mlflow.url
    run, seconds = operator.until_end(wait.run_id, wait.dag_id), time.monotonic() - back
    tags = tags_of(url, wait.model, wait.version)
    found = (run, stage_of(url, wait.model, wait.version), tags.get("decision.outcome"))
    assert found == ("success", "Production", "approved"), f"{name}: {found}, {wait.state()}"
    events = ModelRegistry(tracking_uri=url).history(wait.model)
    assert sum(event.is_promotion for event in events) == 1, name
    operator.saw(name, f"Production, reason {tags['decision.reason']!r}, {seconds:.0f} s after it was back")
    print(operator.seen[-1])


def _decide(wait: Wait, decide: Callable[[Wait], None]) -> None:
    """Decide when the wait can be decided on: a task that looks just then is not."""
    for _ in range(5):
        wait.operator.until_task(wait.run_id, APPROVAL, WAITING, wait.dag_id)
        try:
            decide(wait)
        except ApiError as error:
            if error.status != 409:
                raise
            time.sleep(1)
        else:
            return
    raise AssertionError(f"{wait.model} could not be decided on")
