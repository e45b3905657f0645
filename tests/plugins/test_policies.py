"""A policy at the promotion, on a real MLflow server: what holds, what is refused, what waits."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import AIRFLOW_LOGIN, Channel, Decision, Outcome
from model_registry.approval.policies import requested_by
from model_registry.exceptions import LifecycleRefusedError, NotApprovedError, PolicyRefusedError
from model_registry.operators.stage import ModelStageOperator
from tests.plugins.asking import APPROVAL, approve, ask, decide, reject
from tests.registry_server import add_version, stage_of, tags_of
from tests.validations import validation

REASON = PolicyConfig()
WHO = PolicyConfig(approvers=["user:anna", "role:Admin"])
FOUR_EYES = PolicyConfig(four_eyes=True)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
BLACKOUT = PolicyConfig(blackouts=[{"start": "10:00", "end": "14:00"}])
END = datetime(2026, 3, 4, 14, tzinfo=UTC)


def promote(model: str, policy: PolicyConfig | None, **arguments: Any) -> ModelStageOperator:
    return ModelStageOperator(
        task_id="promote",
        model_name=model,
        version=1,
        stage="Production",
        policy=policy,
        **{"approval_task_id": APPROVAL, **arguments},
    )


@pytest.fixture
def staged(mlflow: str, model: str) -> int:
    return add_version(mlflow, model, stage="Staging")


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock for the blackouts."""
    clock = SimpleNamespace(now=NOON)
    monkeypatch.setattr("include.lifecycle.rules.policy.utc_now", lambda: clock.now)
    return clock


# ---- a reason ----


@pytest.mark.parametrize("reason", ["", "   ", "\u3164\u3164", "\u200b"])
def test_without_a_reason_nothing_moves_and_the_version_says_why(
    mlflow: str, model: str, staged: int, task: Any, reason: str
) -> None:
    live = add_version(mlflow, model, stage="Production")
    approve(task, model, staged, reason=reason)
    with pytest.raises(PolicyRefusedError, match=rf"reason is required .*Clear {APPROVAL}") as raised:
        promote(model, REASON).execute(task.context)
    assert isinstance(raised.value, AirflowFailException), "a retry would find the same"
    assert [stage_of(mlflow, model, version) for version in (staged, live)] == ["Staging", "Production"]
    tags = tags_of(mlflow, model, staged)
    assert tags["promotion.refused"].startswith(f"{datetime.now(UTC):%Y-%m-%d}")
    assert "A reason is required and none was found" in tags["promotion.refused"]
    assert "decision.outcome" not in tags, "the refused approval is no decision: the approval can be asked again"
    approve(task, model, staged, reason="now with one")
    assert promote(model, REASON).execute(task.context)["to"] == "Production"
    assert "promotion.refused" not in tags_of(mlflow, model, staged)


def test_a_refusal_holds_when_its_tag_cannot_be_written(
    model: str, staged: int, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("read-only")

    monkeypatch.setattr(ModelRegistry, "note_refusal", fail)
    approve(task, model, staged, reason="")
    with pytest.raises(PolicyRefusedError):
        promote(model, REASON).execute(task.context)


def test_what_the_policy_said_is_in_the_ledger(mlflow: str, model: str, staged: int, task: Any) -> None:
    approve(task, model, staged, reason="looks <b>right</b>", policy="what the door said")
    promote(model, REASON).execute(task.context)
    (event,) = ModelRegistry(tracking_uri=mlflow).history(model)
    assert (event.reason, event.policy) == ("looks <b>right</b>", "reason met")


# ---- who ----


@pytest.mark.parametrize(
    ("user", "roles", "allowed"),
    [
        ("anna", None, True),
        ("anna", ["Op"], True),
        ("ben", ["Op", "Admin"], True),
        ("ben", ["Op"], False),
        ("ben", ["admin"], False),
        ("ben", [], False),
        ("ben", None, False),
        ("Admin", None, False),
    ],
)
def test_an_approval_needs_an_approver(
    mlflow: str, model: str, staged: int, task: Any, user: str, roles: list[str] | None, allowed: bool
) -> None:
    approve(task, model, staged, user=user, roles=None if roles is None else tuple(roles))
    operator = promote(model, WHO)
    if allowed:
        assert operator.execute(task.context)["user"] == user
        return
    with pytest.raises(PolicyRefusedError, match=f"{user} is not among"):
        operator.execute(task.context)
    assert stage_of(mlflow, model, staged) == "Staging"
    assert f"{user} is not among the approvers" in tags_of(mlflow, model, staged)["promotion.refused"]


@pytest.mark.parametrize(
    ("user", "source", "message"),
    [("unknown", AIRFLOW_LOGIN, "who approved is unknown"), ("anna", "unknown", "anna approved is not")],
)
def test_approvers_and_nobody_verified_is_refused(
    model: str, staged: int, task: Any, user: str, source: str, message: str
) -> None:
    approve(task, model, staged, user=user, user_source=source, roles=("Admin",))
    with pytest.raises(PolicyRefusedError, match=message):
        promote(model, WHO).execute(task.context)


@pytest.mark.parametrize("task_id", [APPROVAL, "promote", "stage"])
def test_an_edited_xcom_makes_nobody_an_approver(model: str, staged: int, task: Any, task_id: str) -> None:
    approve(task, model, staged, user="ben", roles=("Op",))
    claimed = Decision(Outcome.APPROVED, user="anna", user_source=AIRFLOW_LOGIN, reason="x", roles=("Admin",))
    task.xcoms[task_id, "return_value"] = {"model": model, "version": staged, **claimed.to_dict()}
    task.xcoms[task_id, "approval_request"] = {"model": model, "version": staged, "policy": {}, "requested_by": ""}
    with pytest.raises(PolicyRefusedError, match="ben is not among"):
        promote(model, WHO).execute(task.context)


def test_the_policy_of_the_promotion_holds_whatever_was_asked_under(model: str, staged: int, task: Any) -> None:
    asked = ask(task, model, staged, policy=PolicyConfig(reason_required=False))
    decide(asked, user="ben", reason="", roles=("Op",))
    with pytest.raises(PolicyRefusedError, match=r"not among .* A reason is"):
        promote(model, WHO).execute(task.context)


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
    assert requested_by({"dag_run": dag_run}) == expected


@pytest.mark.parametrize(
    ("requester", "refusal"),
    [
        ("", None),
        ("ben", None),
        ("anna", "anna triggered this run"),
        ("ANNA ", "anna triggered this run"),
        (None, "who triggered the run"),
    ],
)
def test_four_eyes(mlflow: str, model: str, staged: int, task: Any, requester: str | None, refusal: str | None) -> None:
    task.dag_run.triggering_user_name = "carl"  # what the run says is for people: the ledger has who was logged in
    approve(task, model, staged, requested_by=requester)
    operator = promote(model, FOUR_EYES)
    if refusal is None:
        assert operator.execute(task.context)["user"] == "anna"
    else:
        with pytest.raises(PolicyRefusedError, match=refusal):
            operator.execute(task.context)
        assert stage_of(mlflow, model, staged) == "Staging"


# ---- evidence ----


@pytest.mark.parametrize(
    ("age", "allowed"),
    [(timedelta(hours=47), True), (timedelta(hours=49), False), (timedelta(hours=-1), False), (None, False)],
)
def test_old_evidence_promotes_nothing(
    mlflow: str, model: str, task: Any, age: timedelta | None, allowed: bool
) -> None:
    version = add_version(mlflow, model, passed=None, stage="Staging")
    now = datetime.now(UTC)
    if age is not None:
        ModelRegistry(tracking_uri=mlflow).validated(validation(model, version, at=now - age))
    MlflowClient(mlflow).set_model_version_tag(model, str(version), tag.VALIDATION_TIME, now.isoformat())
    decide(ask(task, model, version, validated_at=now))  # what the ask and the tag say is for people
    operator = promote(model, PolicyConfig(evidence_max_age_days=2), require_validation=False)
    if allowed:
        assert operator.execute(task.context)["changed"]
    else:
        with pytest.raises(PolicyRefusedError, match=r"validat(ed|ion)"):
            operator.execute(task.context)
        assert stage_of(mlflow, model, version) == "Staging"


def test_evidence_that_was_renewed_since_is_new(mlflow: str, model: str, staged: int, task: Any) -> None:
    registry, old = ModelRegistry(tracking_uri=mlflow), datetime.now(UTC) - timedelta(days=3)
    registry.validated(validation(model, staged, at=old))
    approve(task, model, staged)
    operator = promote(model, PolicyConfig(evidence_max_age_days=2))
    with pytest.raises(PolicyRefusedError, match="3 days old, at most 2"):
        operator.execute(task.context)
    registry.validated(validation(model, staged))
    assert operator.execute(task.context)["changed"]


# ---- what is past the policy ----


@pytest.mark.parametrize("decided", [True, False])
def test_a_version_in_production_is_past_the_policy(
    mlflow: str, model: str, staged: int, task: Any, decided: bool
) -> None:
    asked = ask(task, model, staged)
    if decided:
        decide(asked)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(staged), "Production")
    assert not promote(model, BLACKOUT).execute(task.context)["changed"]
    assert stage_of(mlflow, model, staged) == "Production"
    assert "promotion.refused" not in tags_of(mlflow, model, staged)


def test_a_retry_of_a_promotion_needs_no_second_look(mlflow: str, model: str, staged: int, task: Any) -> None:
    approve(task, model, staged)
    first = promote(model, REASON).execute(task.context)
    again = promote(model, PolicyConfig(approvers=["user:zoe"])).execute(task.context)
    assert (again["changed"], again["ledger_entry"]) == (False, first["ledger_entry"])
    assert "promotion.refused" not in tags_of(mlflow, model, staged)


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
    approve(task, model, staged)
    waiting = deferred(promote(model, BLACKOUT), task)
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
    assert resume(promote(model, BLACKOUT), task, waiting)["user"] == "anna"
    assert stage_of(mlflow, model, staged) == "Production"
    assert events(mlflow, model) == [(staged, "approved", False), (staged, "approved", True)]
    assert "promotion.waits_until" not in tags_of(mlflow, model, staged)


def test_after_the_blackout_the_policy_is_not_asked_again(
    mlflow: str, model: str, task: Any, at_noon: SimpleNamespace
) -> None:
    version = add_version(mlflow, model, passed=None, stage="Staging")
    ModelRegistry(tracking_uri=mlflow).validated(validation(model, version, at=NOON - timedelta(hours=23)))
    strict = PolicyConfig(evidence_max_age_days=1, blackouts=BLACKOUT.blackouts)
    approve(task, model, version)
    waiting = deferred(promote(model, strict), task)
    at_noon.now = END
    assert resume(promote(model, strict), task, waiting)["changed"], "who approved in time need not do it again"


@pytest.mark.parametrize("left", [{}, {"decision": None}, {"decision": {"outcome": "approved", "user": "eve"}}])
def test_what_the_wait_carries_approves_nothing(
    mlflow: str, model: str, staged: int, task: Any, left: dict[str, Any]
) -> None:
    for leave in (ask, reject):
        leave(task, model, staged)
        with pytest.raises(NotApprovedError):
            promote(model, BLACKOUT).execute_after_blackout(task.context, event=END, **left)
    assert stage_of(mlflow, model, staged) == "Staging"


def test_a_wait_of_the_release_before_ends_with_what_the_ledger_has(
    model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    at_noon.now = END
    approve(task, model, staged)
    claimed = Decision(Outcome.APPROVED, user="eve").to_dict()
    result = promote(model, BLACKOUT).execute_after_blackout(task.context, event=END, decision=claimed)
    assert result["user"] == "anna"


def test_a_wait_that_starts_again_records_nothing_twice(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    approve(task, model, staged)
    for _ in range(2):
        waiting = deferred(promote(model, BLACKOUT), task)
    assert events(mlflow, model) == [(staged, "approved", False)]
    with pytest.raises(TaskDeferred):  # a triggerer that is early, or a window that was prolonged meanwhile
        resume(promote(model, BLACKOUT), task, waiting)
    at_noon.now = END
    assert promote(model, BLACKOUT).execute(task.context)["changed"], "a retry after the end promotes"


def test_the_hours_are_those_of_the_timezone(model: str, staged: int, task: Any, at_noon: SimpleNamespace) -> None:
    approve(task, model, staged)
    trigger = deferred(promote(model, BLACKOUT, timezone="Europe/Berlin"), task).trigger
    assert isinstance(trigger, DateTimeTrigger)
    assert trigger.moment == datetime(2026, 3, 4, 13, tzinfo=UTC)


def test_outside_a_blackout_nothing_waits(model: str, staged: int, task: Any, at_noon: SimpleNamespace) -> None:
    at_noon.now = END
    approve(task, model, staged)
    assert promote(model, BLACKOUT).execute(task.context)["changed"]


def test_a_blackout_takes_no_approval_that_the_policy_refuses(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    approve(task, model, staged, reason="")
    with pytest.raises(PolicyRefusedError):
        promote(model, BLACKOUT).execute(task.context)
    assert "decision.outcome" not in tags_of(mlflow, model, staged)


@pytest.mark.parametrize("now", [NOON, END])
def test_an_approval_that_comes_after_a_rejection_waits_for_nothing(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace, now: datetime
) -> None:
    at_noon.now = now
    rejected = Decision(Outcome.REJECTED, user="carl", reason="no", door=Channel.CLI)
    asked = ask(task, model, staged)
    ModelRegistry(tracking_uri=mlflow).reject(model, staged, rejected)
    decide(asked)
    with pytest.raises((NotApprovedError, LifecycleRefusedError), match=r"was rejected .*by carl"):
        promote(model, BLACKOUT).execute(task.context)
    assert stage_of(mlflow, model, staged) == "Staging"


def test_what_left_staging_meanwhile_is_not_promoted(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    approve(task, model, staged)
    waiting = deferred(promote(model, BLACKOUT), task)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(staged), "None")
    at_noon.now = END
    with pytest.raises(LifecycleRefusedError, match="None and cannot move"):
        resume(promote(model, BLACKOUT), task, waiting)


def test_what_is_asked_anew_during_the_wait_needs_another_approval(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    approve(task, model, staged)
    waiting = deferred(promote(model, BLACKOUT), task)
    ask(task, model, staged)
    task.states[APPROVAL], at_noon.now = "deferred", END
    with pytest.raises(NotApprovedError, match="await_approval is deferred"):
        resume(promote(model, BLACKOUT), task, waiting)
    assert stage_of(mlflow, model, staged) == "Staging"


def in_run(task: Any, name: str) -> Any:
    """The same task, in another run."""
    task.run_id = name
    return task


@pytest.mark.parametrize("by_retry", [False, True])
def test_of_two_that_waited_the_later_one_stays(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace, by_retry: bool
) -> None:
    newer = add_version(mlflow, model, stage="Staging")
    waits = {}
    for version in (staged, newer):
        approve(in_run(task, f"run {version}"), model, version, at=NOON + timedelta(minutes=version))
        waits[version] = deferred(promote(model, BLACKOUT), task)
    at_noon.now = END
    resume(promote(model, BLACKOUT), in_run(task, f"run {newer}"), waits[newer])
    in_run(task, f"run {staged}")
    older = promote(model, BLACKOUT)
    with pytest.raises(AirflowSkipException, match=f"version {newer}, approved later"):
        _ = older.execute(task.context) if by_retry else resume(older, task, waits[staged])
    assert [stage_of(mlflow, model, version) for version in (staged, newer)] == ["None", "Production"]
    assert tags_of(mlflow, model, staged)["decision.outcome"] == "superseded"


def test_a_newer_candidate_does_not_supersede_one_that_waits_approved(
    mlflow: str, model: str, staged: int, task: Any, at_noon: SimpleNamespace
) -> None:
    approve(task, model, staged)
    waiting = deferred(promote(model, BLACKOUT), task)
    newer = add_version(mlflow, model)
    ModelStageOperator(task_id="stage", model_name=model, version=newer, stage="Staging").execute(task.context)
    assert [stage_of(mlflow, model, version) for version in (staged, newer)] == ["Staging", "Staging"]
    at_noon.now = END
    assert resume(promote(model, BLACKOUT), task, waiting)["changed"]


def test_a_rollback_during_the_wait_is_followed_by_what_was_approved(
    mlflow: str, model: str, task: Any, at_noon: SimpleNamespace
) -> None:
    registry = ModelRegistry(tracking_uri=mlflow)
    first, second, third = (add_version(mlflow, model, stage="Staging") for _ in range(3))
    by_hand: dict[str, Any] = {"user": "eve", "reason": "fine", "door": Channel.CLI}
    for version in (first, second):
        registry.promote(model, version, Decision(Outcome.APPROVED, at=NOON - timedelta(days=1), **by_hand))
    approve(task, model, third, at=NOON)
    waiting = deferred(promote(model, BLACKOUT), task)
    registry.rollback(model, first, Decision(Outcome.APPROVED, **by_hand))
    at_noon.now = END
    assert resume(promote(model, BLACKOUT), task, waiting)["archived"] == [first]


# ---- for the author ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timezone": "Europe/Nowhere"}, "timezone .*found 'Europe/Nowhere'"),
        ({"approval_task_id": None}, "needs approval_task_id"),
    ],
)
def test_the_author_is_told_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        promote("m", REASON, **arguments)
    with pytest.raises(ValueError, match=r"policy needs .*found 'Staging'"):
        ModelStageOperator(
            task_id="stage", model_name="m", version=1, stage="Staging", policy=REASON, approval_task_id="x"
        )
