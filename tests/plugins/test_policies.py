"""A policy at the promotion, on a real MLflow server: what holds, what is refused, what waits."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from mlflow import MlflowClient

from include.lifecycle.config import PolicyConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.registry import ModelRegistry
from model_registry.approvals import Recorded
from model_registry.exceptions import LifecycleRefusedError, NotApprovedError, PolicyRefusedError
from model_registry.operators import ModelStageOperator
from model_registry.policies import requested_by
from tests.plugins.airflow_answers import AirflowAnswers
from tests.registry_server import add_version, stage_of, tags_of

APPROVAL = "await_approval"
REASON = PolicyConfig()
WHO = PolicyConfig(approvers=["user:anna", "role:Admin"])
FOUR_EYES = PolicyConfig(four_eyes=True)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
BLACKOUT = PolicyConfig(blackouts=[{"start": "10:00", "end": "14:00"}])
END = datetime(2026, 3, 4, 14, tzinfo=UTC)


def approved(user: str = "anna", reason: str = "fine", door: Door = Door.REQUIRED_ACTIONS, **more: Any) -> Decision:
    return Decision(Outcome.APPROVED, user=user, user_source=str(door), reason=reason, door=door, **more)


def promote(model: str, version: int, policy: PolicyConfig | None, **arguments: Any) -> ModelStageOperator:
    return ModelStageOperator(
        task_id="promote",
        model_name=model,
        version=version,
        stage="Production",
        policy=policy,
        **{"approval_task_id": APPROVAL, "airflow_conn_id": None, **arguments},
    )


def leave(task: Any, model: str, version: int, decision: Decision | None = None) -> None:
    """What an approval leaves that ended well; a mark leaves no decision."""
    task.xcoms[APPROVAL, "return_value"] = Recorded(model, version, decision).to_xcom()
    task.states[APPROVAL] = "success"


@pytest.fixture
def staged(mlflow: str, model: str) -> int:
    return add_version(mlflow, model, stage="Staging")


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch, connect: Any) -> AirflowAnswers:
    """An Airflow API behind the connection ``airflow_api``."""
    connect("airflow_api", host="airflow", login="reader", password="pw-of-the-reader")
    return AirflowAnswers(monkeypatch)


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock for the blackouts."""
    clock = SimpleNamespace(now=NOON)
    monkeypatch.setattr("include.lifecycle.policy.utc_now", lambda: clock.now)
    return clock


# ---- a reason ----


def test_without_a_reason_nothing_moves_and_the_version_says_why(
    mlflow: str, model: str, staged: int, task: Any
) -> None:
    live = add_version(mlflow, model, stage="Production")
    leave(task, model, staged, approved(reason=" "))
    with pytest.raises(PolicyRefusedError, match=r"A reason is required .*Clear the approval task") as raised:
        promote(model, staged, REASON).execute(task.context)
    assert isinstance(raised.value, AirflowFailException), "a retry would find the same"
    assert [stage_of(mlflow, model, version) for version in (staged, live)] == ["Staging", "Production"]
    tags = tags_of(mlflow, model, staged)
    assert tags["promotion.refused"].startswith(f"{datetime.now(UTC):%Y-%m-%d}")
    assert "A reason is required and none was found" in tags["promotion.refused"]
    assert "decision.outcome" not in tags, "the refused approval is no decision: the approval can be asked again"
    leave(task, model, staged, approved(reason="now with one"))
    assert promote(model, staged, REASON).execute(task.context)["to"] == "Production"
    assert "promotion.refused" not in tags_of(mlflow, model, staged)


def test_a_refusal_holds_when_its_tag_cannot_be_written(
    model: str, staged: int, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("read-only")

    monkeypatch.setattr(ModelRegistry, "note_refusal", fail)
    leave(task, model, staged, approved(reason=""))
    with pytest.raises(PolicyRefusedError, match="A reason is required"):
        promote(model, staged, REASON).execute(task.context)


def test_a_mark_with_a_note_is_enough_on_a_fresh_install(mlflow: str, model: str, staged: int, task: Any) -> None:
    leave(task, model, staged)
    task.xcoms[APPROVAL, "approval_mark"] = {"note": "looks <b>right</b>", "user": "boss", "at": "x", "try_number": 1}
    result = promote(model, staged, REASON, airflow_conn_id="no_such_connection").execute(task.context)
    assert result["user"] == "unknown"
    tags = tags_of(mlflow, model, staged)
    assert (tags["decision.reason"], tags["decision.user"]) == ("looks <b>right</b>", "unknown")


@pytest.mark.parametrize("left", [None, "text", {}, {"note": None}, {"note": 7}, {"note": " "}])
def test_a_mark_without_a_note_is_refused(model: str, staged: int, task: Any, left: object) -> None:
    leave(task, model, staged)
    task.xcoms[APPROVAL, "approval_mark"] = left
    with pytest.raises(PolicyRefusedError, match=r"A reason is required .* read through the connection 'no_such'"):
        promote(model, staged, REASON, airflow_conn_id="no_such").execute(task.context)


def test_a_note_is_the_task_s_own_where_the_plugin_is_not_in_the_api_server(
    mlflow: str, model: str, staged: int, task: Any, airflow: AirflowAnswers
) -> None:
    leave(task, model, staged)
    airflow.instance["note"] = "written in the UI"
    assert promote(model, staged, REASON, airflow_conn_id="airflow_api").execute(task.context)["user"] == "unknown"
    assert tags_of(mlflow, model, staged)["decision.reason"] == "written in the UI"


def test_what_somebody_else_noted_is_not_the_reason_of_a_known_user(
    model: str, staged: int, task: Any, airflow: AirflowAnswers
) -> None:
    leave(task, model, staged)
    airflow.log("approval_mark", "anna", new_state="success", note="")
    airflow.instance["note"] = task.xcoms[APPROVAL, "approval_mark"] = {"note": "edited"}
    with pytest.raises(PolicyRefusedError, match="A reason is required"):
        promote(model, staged, REASON, airflow_conn_id="airflow_api").execute(task.context)


# ---- who ----


@pytest.mark.parametrize(
    ("owner", "roles", "allowed"),
    [
        ("anna", None, True),
        ("ben", ["Admin"], True),
        ("ben", ["Op"], False),
        ("ben", None, False),
        ("ben", "Admin", False),
    ],
)
def test_a_mark_needs_an_approver(
    mlflow: str, model: str, staged: int, task: Any, airflow: AirflowAnswers, owner: str, roles: Any, allowed: bool
) -> None:
    leave(task, model, staged)
    airflow.log("approval_mark", owner, new_state="success", note="fine", user=owner, roles=roles)
    operator = promote(model, staged, WHO, airflow_conn_id="airflow_api")
    if allowed:
        assert operator.execute(task.context)["user"] == owner
        return
    with pytest.raises(PolicyRefusedError, match="ben is not among the approvers user:anna, role:Admin"):
        operator.execute(task.context)
    assert stage_of(mlflow, model, staged) == "Staging"


@pytest.mark.parametrize("conn_id", [None, "no_such_connection", "airflow_api"])
def test_approvers_and_nobody_known_is_refused(
    mlflow: str, model: str, staged: int, task: Any, airflow: AirflowAnswers, conn_id: str | None
) -> None:
    airflow.status = 403
    task.xcoms[APPROVAL, "approval_mark"] = {"note": "fine", "user": "anna", "roles": ["Admin"]}
    leave(task, model, staged)
    with pytest.raises(PolicyRefusedError, match="who approved is unknown"):
        promote(model, staged, WHO, airflow_conn_id=conn_id).execute(task.context)
    leave(task, model, staged, approved("anna", roles=("Admin",)))
    with pytest.raises(PolicyRefusedError, match="that anna approved is not verified"):
        promote(model, staged, WHO, airflow_conn_id=conn_id).execute(task.context)
    assert stage_of(mlflow, model, staged) == "Staging"


def test_a_response_is_read_again_with_the_roles_of_its_user(
    mlflow: str, model: str, staged: int, task: Any, airflow: AirflowAnswers
) -> None:
    airflow.respond("ben", reason="as the API has it")
    airflow.log("approval_response", "ben", user="ben", roles=["Admin"])
    airflow.log("approval_response", "anna", user="anna", roles=["Op"])
    leave(task, model, staged, approved("ben", reason="as the XCom has it"))
    assert promote(model, staged, WHO, airflow_conn_id="airflow_api").execute(task.context)["user"] == "ben"
    tags = tags_of(mlflow, model, staged)
    assert (tags["decision.user_source"], tags["decision.reason"]) == ("required_actions", "as the API has it")


@pytest.mark.parametrize(
    ("responded", "option"), [("ben", "Approve"), ("anna", "Reject"), ("", "Approve"), (None, "Approve"), ("-", "")]
)
def test_an_edited_xcom_approves_nothing(
    model: str, staged: int, task: Any, airflow: AirflowAnswers, responded: str | None, option: str
) -> None:
    if option:
        airflow.respond(responded, option)
    leave(task, model, staged, approved("anna", roles=("Admin",)))
    with pytest.raises(PolicyRefusedError, match="who approved is unknown"):
        promote(model, staged, WHO, airflow_conn_id="airflow_api").execute(task.context)


@pytest.mark.parametrize("door", [Door.MARK, Door.CLI, Door.OUTSIDE, Door.AUTOMATIC, Door.EXPIRY])
def test_an_xcom_that_claims_another_door_names_nobody(model: str, staged: int, task: Any, door: Door) -> None:
    leave(task, model, staged, approved("anna", door=door))
    with pytest.raises(PolicyRefusedError, match="who approved is unknown"):
        promote(model, staged, WHO).execute(task.context)
    assert promote(model, staged, REASON).execute(task.context)["user"] == "unknown"


@pytest.mark.parametrize(
    ("responded_in", "now", "max_tries", "allowed"),
    [(1, 1, 2, True), (1, 2, 2, True), (1, 2, 3, False), (2, 2, 3, True)],
)
def test_a_response_from_before_a_clear_does_not_count(
    model: str,
    staged: int,
    task: Any,
    airflow: AirflowAnswers,
    responded_in: int,
    now: int,
    max_tries: int,
    allowed: bool,
) -> None:
    airflow.respond("anna", try_number=responded_in)
    airflow.instance |= {"try_number": now, "max_tries": max_tries}
    leave(task, model, staged, approved("anna"))
    with DAG("retrain", schedule=None):
        ModelStageOperator(task_id=APPROVAL, model_name="m", version=1, stage="Staging", retries=2)
        operator = promote(model, staged, WHO, airflow_conn_id="airflow_api")
    if allowed:
        assert operator.execute(task.context)["user"] == "anna"
    else:
        with pytest.raises(PolicyRefusedError, match="who approved is unknown"):
            operator.execute(task.context)


def run(run_type: str, user: str | None = None, events: tuple[str | None, ...] = ()) -> Any:
    found = [SimpleNamespace(source_task_id=source) for source in events]
    return SimpleNamespace(run_type=run_type, triggering_user_name=user, consumed_asset_events=found)


@pytest.mark.parametrize(
    ("dag_run", "expected"),
    [
        (run("scheduled"), ""),
        (run("asset_triggered", events=("publish", "publish")), ""),
        (run("asset_triggered", events=("publish", None)), None),
        (run("operator_triggered"), ""),
        (run("operator_triggered", "anna"), "anna"),
        (run("manual", "anna"), "anna"),
        (run("manual"), None),
        (run("backfill"), None),
        (None, None),
    ],
)
def test_who_triggered_the_run(dag_run: Any, expected: str | None) -> None:
    assert requested_by({"dag_run": dag_run}) == expected  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("dag_run", "triggered_by", "refusal"),
    [
        (run("scheduled"), "timetable", None),
        (run("manual", "ben"), "ui", None),
        (run("manual", "ben"), "rest_api", None),
        (run("manual", "anna"), "ui", "anna triggered this run and cannot approve it"),
        (run("operator_triggered", "anna"), "operator", "anna triggered this run and cannot approve it"),
        (run("manual", "airflow"), "cli", "who triggered the run is unknown"),
        (run("backfill", "airflow"), "backfill", "who triggered the run is unknown"),
        (run("manual"), "ui", "who triggered the run is unknown"),
    ],
)
def test_four_eyes(
    model: str, staged: int, task: Any, airflow: AirflowAnswers, dag_run: Any, triggered_by: str, refusal: str | None
) -> None:
    task.dag_run, airflow.run["triggered_by"] = dag_run, triggered_by
    airflow.respond("anna")
    leave(task, model, staged, approved("anna"))
    operator = promote(model, staged, FOUR_EYES, airflow_conn_id="airflow_api")
    if refusal is None:
        assert operator.execute(task.context)["user"] == "anna"
    else:
        with pytest.raises(PolicyRefusedError, match=refusal):
            operator.execute(task.context)


# ---- evidence ----


@pytest.mark.parametrize(("age", "allowed"), [(timedelta(hours=47), True), (timedelta(hours=49), False), (None, False)])
def test_old_evidence_promotes_nothing(
    mlflow: str, model: str, staged: int, task: Any, age: timedelta | None, allowed: bool
) -> None:
    if age is not None:
        validated = (datetime.now(UTC) - age).isoformat()
        MlflowClient(tracking_uri=mlflow).set_model_version_tag(model, str(staged), "validation.time", validated)
    leave(task, model, staged, approved())
    operator = promote(model, staged, PolicyConfig(evidence_max_age_days=2))
    if allowed:
        assert operator.execute(task.context)["changed"]
    else:
        with pytest.raises(PolicyRefusedError, match="validat"):
            operator.execute(task.context)


# ---- what is past the policy ----


def test_a_version_in_production_is_past_the_policy(mlflow: str, model: str, task: Any) -> None:
    version = add_version(mlflow, model, stage="Production")
    leave(task, model, version, Decision(Outcome.APPROVED, door=Door.OUTSIDE, reason="moved"))
    assert not promote(model, version, WHO).execute(task.context)["changed"]
    assert stage_of(mlflow, model, version) == "Production"
    assert "promotion.refused" not in tags_of(mlflow, model, version)


def test_a_retry_of_a_promotion_needs_no_second_look(mlflow: str, model: str, staged: int, task: Any) -> None:
    leave(task, model, staged, approved())
    first = promote(model, staged, REASON).execute(task.context)
    leave(task, model, staged, approved(reason=""))
    again = promote(model, staged, REASON).execute(task.context)
    assert (again["changed"], again["ledger_entry"]) == (False, first["ledger_entry"])


# ---- blackouts ----


def deferred(operator: ModelStageOperator, task: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        operator.execute(task.context)
    return raised.value


def resume(operator: ModelStageOperator, task: Any, waiting: TaskDeferred) -> dict[str, Any]:
    assert waiting.method_name == "execute_after_blackout"
    return operator.execute_after_blackout(task.context, event=END, **(waiting.kwargs or {}))


def events(mlflow: str, model: str) -> list[tuple[int, str, bool]]:
    found = ModelRegistry(tracking_uri=mlflow).history(model)
    return [(event.version, str(event.outcome), event.moved) for event in found]


def test_an_approval_in_a_blackout_is_recorded_and_the_promotion_waits(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    leave(task, model, staged, approved())
    waiting = deferred(promote(model, staged, BLACKOUT), task)
    assert isinstance(waiting.trigger, DateTimeTrigger)
    assert waiting.trigger.moment == END
    assert waiting.timeout is None
    assert stage_of(mlflow, model, staged) == "Staging"
    tags = tags_of(mlflow, model, staged)
    assert (tags["decision.outcome"], tags["decision.user"]) == ("approved", "anna")
    assert tags["promotion.waits_until"] == END.isoformat()
    assert events(mlflow, model) == [(staged, "approved", False)]
    assert ModelRegistry(tracking_uri=mlflow).ledger(model).read().holder is None, "it waits without the lock"
    at_noon.now = END
    assert resume(promote(model, staged, BLACKOUT), task, waiting)["user"] == "anna"
    assert stage_of(mlflow, model, staged) == "Production"
    assert events(mlflow, model) == [(staged, "approved", False), (staged, "approved", True)]
    assert "promotion.waits_until" not in tags_of(mlflow, model, staged)


def test_a_wait_that_starts_again_records_nothing_twice(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    leave(task, model, staged, approved())
    for _ in range(2):
        waiting = deferred(promote(model, staged, BLACKOUT), task)
    assert events(mlflow, model) == [(staged, "approved", False)]
    with pytest.raises(TaskDeferred):  # a triggerer that is early, or a window that was prolonged meanwhile
        resume(promote(model, staged, BLACKOUT), task, waiting)
    at_noon.now = END
    assert promote(model, staged, BLACKOUT).execute(task.context)["changed"], "a retry after the end promotes"


def test_the_hours_are_those_of_the_timezone(model: str, staged: int, task: Any, at_noon: SimpleNamespace) -> None:
    leave(task, model, staged, approved())
    trigger = deferred(promote(model, staged, BLACKOUT, timezone="Europe/Berlin"), task).trigger
    assert isinstance(trigger, DateTimeTrigger)
    assert trigger.moment == datetime(2026, 3, 4, 13, tzinfo=UTC)


def test_outside_a_blackout_nothing_waits(model: str, staged: int, task: Any, at_noon: SimpleNamespace) -> None:
    at_noon.now = END
    leave(task, model, staged, approved())
    assert promote(model, staged, BLACKOUT).execute(task.context)["changed"]


def test_a_blackout_takes_no_approval_that_the_policy_refuses(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    leave(task, model, staged, approved(reason=""))
    with pytest.raises(PolicyRefusedError):
        promote(model, staged, BLACKOUT).execute(task.context)
    assert "decision.outcome" not in tags_of(mlflow, model, staged)


def test_an_approval_that_comes_after_a_rejection_waits_for_nothing(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    rejected = Decision(Outcome.REJECTED, user="carl", reason="no", door=Door.CLI)
    ModelRegistry(tracking_uri=mlflow).reject(model, staged, rejected)
    leave(task, model, staged, approved())
    with pytest.raises(NotApprovedError, match=r"was rejected by carl .* first decision holds"):
        promote(model, staged, BLACKOUT).execute(task.context)


def test_what_left_staging_meanwhile_is_not_promoted(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    leave(task, model, staged, approved())
    waiting = deferred(promote(model, staged, BLACKOUT), task)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(staged), "None")
    at_noon.now = END
    with pytest.raises(LifecycleRefusedError, match="is in None and cannot move to Production"):
        resume(promote(model, staged, BLACKOUT), task, waiting)


@pytest.mark.parametrize("by_retry", [False, True])
def test_of_two_that_waited_the_later_one_stays(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace, by_retry: bool
) -> None:
    newer = add_version(mlflow, model, stage="Staging")
    waits = {}
    for version in (staged, newer):
        leave(task, model, version, approved(at=NOON + timedelta(minutes=version)))
        waits[version] = deferred(promote(model, version, BLACKOUT), task)
    at_noon.now = END
    resume(promote(model, newer, BLACKOUT), task, waits[newer])
    leave(task, model, staged, approved(at=NOON + timedelta(minutes=staged)))
    older = promote(model, staged, BLACKOUT)
    with pytest.raises(AirflowSkipException, match=f"waited, and version {newer}, which came later, is in Production"):
        _ = older.execute(task.context) if by_retry else resume(older, task, waits[staged])
    assert [stage_of(mlflow, model, version) for version in (staged, newer)] == ["None", "Production"]
    assert tags_of(mlflow, model, staged)["decision.outcome"] == "superseded"


def test_a_rollback_during_the_wait_is_followed_by_what_was_approved(
    mlflow: str, model: str, task: Any, at_noon: SimpleNamespace
) -> None:
    registry = ModelRegistry(tracking_uri=mlflow)
    first, second, third = (add_version(mlflow, model, stage="Staging") for _ in range(3))
    for version in (first, second):
        registry.promote(model, version, approved(at=NOON - timedelta(days=1)))
    leave(task, model, third, approved(at=NOON))
    waiting = deferred(promote(model, third, BLACKOUT), task)
    registry.rollback(model, first, approved("eve", "2 is bad", door=Door.CLI))
    at_noon.now = END
    assert resume(promote(model, third, BLACKOUT), task, waiting)["archived"] == [first]


# ---- for the author ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timezone": "Europe/Nowhere"}, "timezone must be an IANA name like Europe/Berlin, found 'Europe/Nowhere'"),
        ({"approval_task_id": None}, "policy needs approval_task_id"),
    ],
)
def test_the_author_is_told_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        promote("m", 1, REASON, **arguments)
    with pytest.raises(ValueError, match="policy needs approval_task_id, and the stage Production: found 'Staging'"):
        ModelStageOperator(
            task_id="stage", model_name="m", version=1, stage="Staging", policy=REASON, approval_task_id="x"
        )
