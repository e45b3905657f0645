"""Every door and every odd mark at the approval, on a real Airflow: how the wait ends, and what is live afterwards.

Each case has a model of its own with a version in Production before it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from mlflow import MlflowClient
from operations import Operations
from servers import handed_over

from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import OPERATING_SYSTEM, Channel, Decision, Outcome
from local_stack.errors import ApiError
from tests.registry_server import add_version

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

APPROVAL = "await_approval"
REASON = "because of the figures"
PERSON = Decision(Outcome.APPROVED, "carl@host", OPERATING_SYSTEM, REASON, Channel.CLI)
REJECTION = Decision(Outcome.REJECTED, "carl@host", OPERATING_SYSTEM, REASON, Channel.CLI)
SECONDS = 600.0
SIDE_BY_SIDE = 12


@dataclass
class Case:
    """A wait and what a person does to it.

    :param act: called with the case's desk when it waits
    :param ends: states of approval, promotion, run
    :param stage: where the version is afterwards
    :param decision: outcome, user and door on the version's tags; None where nothing is recorded
    :param dag_id: kind of wait
    :param when: state of the approval in which ``act`` is called
    """

    act: Callable[["Desk"], None]
    ends: tuple[str | None, str | None, str]
    stage: str | None
    decision: tuple[str, str, str] | None
    dag_id: str = "doors"
    when: frozenset[str] = frozenset({"deferred", "up_for_reschedule"})


@dataclass
class Desk:
    """Where a person sits: one case's model, version and run."""

    operator: Operations
    case: Case
    model: str
    live: int
    version: int
    run_id: str = ""
    states: list[str | None] = field(default_factory=list)

    @property
    def client(self) -> MlflowClient:
        return self.operator.registry

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(tracking_uri=self.operator.stack.mlflow.url)

    def stage(self, version: int) -> str | None:
        return self.registry.catalog.stages(self.model).get(version)

    def state(self, task_id: str = APPROVAL) -> str | None:
        return self.operator.api.task(self.case.dag_id, self.run_id, task_id).state

    def is_to_act(self) -> bool:
        """Whether the approval is in the state in which somebody acts, and Airflow knows all of it."""
        task = self.operator.api.task(self.case.dag_id, self.run_id, APPROVAL)
        return task.state in self.case.when and handed_over(self.operator.stack.processes, task)

    def run_state(self) -> str:
        return self.operator.api.run(self.case.dag_id, self.run_id).state

    def request(self, method: str, path: str, **options: Any) -> None:
        """Click, and click again where Airflow's SQLite was locked for too long by the runs beside this one."""
        for left in range(5, -1, -1):
            try:
                self.operator.api.request(method, path, **options)
            except ApiError as error:
                if error.status != 500 or not left:
                    raise
                time.sleep(2)
            else:
                return

    def mark(self, state: str, task_id: str = APPROVAL, **more: Any) -> None:
        path = f"/dags/{self.case.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        self.request("PATCH", path, json={"new_state": state, "note": REASON, **more})

    def mark_run(self, state: str) -> None:
        """Mark the run, again where the mark was lost.

        Airflow's scheduler overwrites it when it was busy with the run at that moment: SQLite locks no row.
        """
        path = f"/dags/{self.case.dag_id}/dagRuns/{self.run_id}"
        for _ in range(5):
            self.request("PATCH", path, json={"state": state, "note": REASON})
            time.sleep(3)  # a scheduler's turn is over by then
            if self.run_state() == state:
                return

    def clear(self, *task_ids: str) -> None:
        body = {"dry_run": False, "task_ids": list(task_ids), "dag_run_id": self.run_id, "only_failed": False}
        self.request("POST", f"/dags/{self.case.dag_id}/clearTaskInstances", json=body)

    def respond(self, option: str) -> None:
        path = f"/dags/{self.case.dag_id}/dagRuns/{self.run_id}/taskInstances/{APPROVAL}/-1/hitlDetails"
        self.request("PATCH", path, json={"chosen_options": [option], "params_input": {"reason": REASON}})

    def by_hand(self, stage: str, **more: Any) -> None:
        self.client.transition_model_version_stage(self.model, str(self.version), stage, **more)

    def until(self, done: Callable[[], bool]) -> None:
        self.operator.wait(f"{self.model}", done, SECONDS)

    def ended(self) -> bool:
        return self.run_state() in ("success", "failed")


def newer_candidate(desk: Desk) -> None:
    newer = add_version(desk.operator.stack.mlflow.url, desk.model)
    desk.registry.stage(desk.model, newer)
    desk.registry.supersede(desk.model)


def reject_then_clear(desk: Desk) -> None:
    desk.respond("Reject")
    desk.until(lambda: desk.state() == "failed")
    desk.clear(APPROVAL)


def approve_then_clear(desk: Desk) -> None:
    desk.mark("success")
    desk.until(desk.ended)
    desk.clear(APPROVAL, "promote", "confirm", "record_decision")


def approve_then_clear_all(desk: Desk) -> None:
    desk.mark("success")
    desk.until(desk.ended)
    desk.clear("stage", APPROVAL, "promote", "confirm", "record_decision")


def mark_then_respond(desk: Desk) -> None:
    desk.mark("success")
    try:
        desk.respond("Reject")
    except ApiError as error:
        assert error.status == 403  # noqa: PT017 -- the first decision holds


def respond_then_mark(desk: Desk) -> None:
    desk.respond("Reject")
    desk.until(lambda: desk.state() == "failed")
    with pytest.raises(ApiError, match="the first decision holds"):
        desk.mark("success")


def approve_what_was_archived(desk: Desk) -> None:
    desk.by_hand("Archived")
    desk.mark("success")


def promote_then_approve(desk: Desk) -> None:
    desk.mark("success", "promote")
    desk.mark("success")


def delete(desk: Desk) -> None:
    desk.client.delete_model_version(desk.model, str(desk.version))


APPROVED, REJECTED = "approved", "rejected"
UP, NOT_RUN = "upstream_failed", "skipped"
LIVE, KEPT = "Production", "Staging"
CASES: dict[str, Case] = {
    "mark success": Case(
        lambda d: d.mark("success"), ("success", "success", "success"), LIVE, (APPROVED, "admin", "mark")
    ),
    "mark failed": Case(lambda d: d.mark("failed"), ("failed", UP, "failed"), KEPT, (REJECTED, "admin", "mark")),
    "Required Actions: approve": Case(
        lambda d: d.respond("Approve"), ("success", "success", "success"), LIVE, (APPROVED, "admin", "required_actions")
    ),
    "Required Actions: reject": Case(
        lambda d: d.respond("Reject"), ("failed", UP, "failed"), KEPT, (REJECTED, "admin", "required_actions")
    ),
    "command line: promote": Case(
        lambda d: d.registry.promote(d.model, d.version, PERSON) and None,
        ("success", "success", "success"),
        LIVE,
        (APPROVED, "carl@host", "cli"),
    ),
    "command line: reject": Case(
        lambda d: d.registry.reject(d.model, d.version, REJECTION) and None,
        ("failed", UP, "failed"),
        KEPT,
        (REJECTED, "carl@host", "cli"),
    ),
    "MLflow: to Production": Case(
        lambda d: d.by_hand("Production", archive_existing_versions=True),
        ("success", "success", "success"),
        LIVE,
        None,
    ),
    "MLflow: to Archived": Case(
        lambda d: d.by_hand("Archived"),
        ("skipped", "skipped", "success"),
        "Archived",
        ("superseded", "unknown", "outside"),
    ),
    "MLflow: deleted": Case(delete, ("skipped", "skipped", "success"), None, None),
    "a newer candidate": Case(
        newer_candidate, ("skipped", "skipped", "success"), "None", ("superseded", "unknown", "automatic")
    ),
    "nobody decides": Case(
        lambda d: None,
        ("failed", UP, "failed"),
        KEPT,
        ("expired", "unknown", "expiry"),
        dag_id="doors_expiring",
        when=frozenset({"deferred", "failed"}),
    ),
    "rescheduling: mark success": Case(
        lambda d: d.mark("success"),
        ("success", "success", "success"),
        LIVE,
        (APPROVED, "admin", "mark"),
        dag_id="doors_rescheduling",
    ),
    "rescheduling: command line: reject": Case(
        lambda d: d.registry.reject(d.model, d.version, REJECTION) and None,
        ("failed", UP, "failed"),
        KEPT,
        (REJECTED, "carl@host", "cli"),
        dag_id="doors_rescheduling",
    ),
    "a rejection cleared": Case(
        reject_then_clear, ("failed", UP, "failed"), KEPT, (REJECTED, "admin", "required_actions")
    ),
    "a promotion cleared": Case(
        approve_then_clear, ("success", "success", "success"), LIVE, (APPROVED, "admin", "mark")
    ),
    "the whole run cleared": Case(
        approve_then_clear_all, ("upstream_failed", UP, "failed"), LIVE, (APPROVED, "admin", "mark")
    ),
    "run marked success": Case(lambda d: d.mark_run("success"), ("success", "skipped", "success"), KEPT, None),
    "run marked failed": Case(lambda d: d.mark_run("failed"), ("failed", "skipped", "failed"), KEPT, None),
    "mark success, then a response": Case(
        mark_then_respond, ("success", "success", "success"), LIVE, (APPROVED, "admin", "mark")
    ),
    "a rejection, then mark success": Case(
        respond_then_mark, ("failed", UP, "failed"), KEPT, (REJECTED, "admin", "required_actions")
    ),
    "mark success with downstream": Case(
        lambda d: d.mark("success", include_downstream=True), ("success", "success", "success"), KEPT, None
    ),
    "archived, then mark success": Case(approve_what_was_archived, ("success", "failed", "failed"), "Archived", None),
    "promote marked first": Case(promote_then_approve, ("success", "success", "failed"), KEPT, None),
}


@pytest.fixture(scope="module")
def desks(session_operator: Operations, broken_runs: object) -> dict[str, Desk]:
    """Every case, acted upon and ended; a few at a time, since all of them share one SQLite.

    They mostly wait, so the retrains that other tests look at train beside them.
    """
    made: dict[str, Desk] = {}
    names = list(CASES)
    for start in range(0, len(names), SIDE_BY_SIDE):
        wave = {name: seat(session_operator, name) for name in names[start : start + SIDE_BY_SIDE]}
        act_when_waiting(wave)
        for desk in wave.values():
            desk.until(desk.ended)
        made |= wave
    return made


def seat(operator: Operations, name: str) -> Desk:
    """Register two versions of a model of its own, promote the first, and trigger a run for the second."""
    case, url, model = CASES[name], operator.stack.mlflow.url, f"door-{list(CASES).index(name)}"
    operator.wait(f"the DAG {case.dag_id}", lambda: operator.api.dag(case.dag_id) is not None, 120)
    live, version = add_version(url, model, stage="Staging"), add_version(url, model)
    registry = ModelRegistry(tracking_uri=url)
    registry.promote(model, live, Decision(Outcome.APPROVED, "ana", "test", "first"))
    desk = Desk(operator, case, model, live, version)
    desk.run_id = operator.api.trigger(case.dag_id, {"model": model, "version": version})
    return desk


def act_when_waiting(wave: dict[str, Desk]) -> None:
    """Have each person act once the run waits."""
    waiting = dict(wave)
    deadline = time.monotonic() + SECONDS
    while waiting:
        assert time.monotonic() < deadline, f"still not waiting: {list(waiting)}"
        for name, desk in list(waiting.items()):
            if desk.is_to_act():
                del waiting[name]
                desk.case.act(desk)
        time.sleep(0.5)


@pytest.mark.parametrize("name", CASES)
def test_how_a_wait_ends(desks: dict[str, Desk], name: str) -> None:
    desk = desks[name]
    case = desk.case
    found = (desk.state(), desk.state("promote"), desk.run_state())
    stage, live = desk.stage(desk.version), desk.registry.production(desk.model)
    tags = desk.registry.version(desk.model, desk.version).tags if stage is not None else {}
    keys = ("decision.outcome", "decision.user", "decision.door")
    decision = tuple(tags[key] for key in keys) if "decision.outcome" in tags else None
    desk.operator.saw(name, f"approval {found[0]}, promote {found[1]}, run {found[2]}; version in {stage}; {decision}")
    assert (found, stage, decision) == (case.ends, case.stage, case.decision)
    assert live is not None
    assert live.version == (desk.version if case.stage == LIVE else desk.live)
    assert "champion" in desk.registry.version(desk.model, live.version).aliases or case.decision is None
    assert desk.registry.verify(desk.model) == []
    promotions = [event for event in desk.registry.history(desk.model) if event.is_promotion]
    assert len([event for event in promotions if event.version == desk.version]) == (case.stage == LIVE)


def test_a_backfill_and_a_manual_run_beside_it(session_operator: Operations) -> None:
    """Two backfilled runs ask about one version; a mark with *future* decides both, and it is promoted once."""
    operator, dag_id, model = session_operator, "doors_daily", "door-backfill"
    url, api = operator.stack.mlflow.url, operator.api
    operator.wait(f"the DAG {dag_id}", lambda: api.dag(dag_id) is not None, 120)
    registry, version = ModelRegistry(tracking_uri=url), add_version(url, model)
    days = {"from_date": "2026-02-02T00:00:00Z", "to_date": "2026-02-03T00:00:00Z"}
    conf = {"model": model, "version": version}
    api.request("POST", "/backfills", json={"dag_id": dag_id, **days, "dag_run_conf": conf})

    def runs() -> list[str]:
        found = api.request("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "logical_date"})["dag_runs"]
        return [run["dag_run_id"] for run in found if run["run_type"] == "backfill"]

    def states(task_id: str) -> list[str | None]:
        return [api.task(dag_id, run_id, task_id).state for run_id in runs()]

    operator.wait("both are there", lambda: len(runs()) == 2, SECONDS)
    for run_id in runs():
        operator.until_waiting(run_id, dag_id)
    mark = {"new_state": "success", "note": REASON, "include_future": True}
    api.request("PATCH", f"/dags/{dag_id}/dagRuns/{runs()[0]}/taskInstances/{APPROVAL}", json=mark)
    operator.wait("both end", lambda: [api.run(dag_id, run_id).state for run_id in runs()] == ["success"] * 2, SECONDS)
    assert states("promote") == ["success"] * 2
    assert [event.version for event in registry.history(model) if event.is_promotion] == [version]

    newer = add_version(url, model)
    beside = api.trigger(dag_id, {"model": model, "version": newer})
    operator.until_waiting(beside, dag_id)
    api.mark(dag_id, beside, APPROVAL, "success", REASON)
    operator.wait("its end", lambda: api.run(dag_id, beside).state == "success", SECONDS)
    old = runs()[0]
    tasks = [task.task_id for task in api.tasks(dag_id, old)]
    clear = {"dry_run": False, "task_ids": tasks, "dag_run_id": old, "only_failed": False}
    api.request("POST", f"/dags/{dag_id}/clearTaskInstances", json={**clear, "reset_dag_runs": True})
    operator.wait("the old run fails", lambda: api.run(dag_id, old).state == "failed", SECONDS)
    assert registry.production(model).version == newer
    assert registry.verify(model) == []
    operator.saw(
        "a backfill, marked with future", "both runs approved, promoted once; an old run cleared changes nothing"
    )
