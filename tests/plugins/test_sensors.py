"""The approval sensor on a real MLflow server: what it asks, and how each decision ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException, TaskDeferred
from mlflow import MlflowClient

from include.lifecycle.config import PolicyConfig
from include.lifecycle.decisions import Decision, Outcome
from model_registry import sensors
from model_registry.exceptions import ApprovalExpiredError, ApprovalRejectedError
from model_registry.hooks import MLflowRegistryHook
from model_registry.sensors import ModelApprovalSensor
from model_registry.triggers import ModelApprovalTrigger
from tests.plugins.airflow_answers import AirflowAnswers
from tests.registry_server import add_version, stage_of, tags_of

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the sensor wrote under Required Actions."""
    details: list[dict[str, Any]] = []
    monkeypatch.setattr(sensors, "upsert_hitl_detail", lambda **detail: details.append(detail))
    return details


@pytest.fixture
def waiting(task: Any) -> Any:
    task.task_id = "await_approval"
    return task


def sensor(model: str, version: object, **arguments: Any) -> ModelApprovalSensor:
    arguments = {"airflow_conn_id": None, "poll_seconds": 5.0, **arguments}
    return ModelApprovalSensor(task_id="await_approval", model_name=model, version=str(version), **arguments)


def response(option: str, reason: object = "because", user: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_at": AT,
        "responded_by_user": user if user is not None else {"id": "7", "name": "anna"},
    }


def test_it_asks_shows_the_review_and_defers(mlflow: str, model: str, waiting: Any, asked: list[Any]) -> None:
    version = add_version(mlflow, model, stage="Staging")
    with pytest.raises(TaskDeferred) as deferred:
        sensor(model, version, expires_after=timedelta(days=2)).execute(waiting.context)
    (detail,) = asked
    assert detail["ti_id"] == waiting.id
    assert detail["options"] == ["Approve", "Reject"]
    assert detail["subject"] == f"Put version {version} of {model} into Production?"
    assert f"/versions/{version}" in detail["body"]
    assert detail["params"]["reason"]["value"] == ""
    assert detail["params"]["reason"]["schema"]["type"] == "string"
    assert waiting.result == {"model": model, "version": version}
    trigger = deferred.value.trigger
    assert isinstance(trigger, ModelApprovalTrigger)
    left = datetime.fromisoformat(trigger.expires_at) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < left <= timedelta(days=2)
    assert deferred.value.timeout is None
    assert waiting.xcoms["await_approval", "_link_ModelVersionLink"] == f"{mlflow}/#/models/{model}/versions/{version}"


POLICY = PolicyConfig(
    approvers=["role:Admin"],
    four_eyes=True,
    evidence_max_age_days=7,
    blackouts=[{"start": "00:00", "end": "12:00"}, {"weekdays": ["monday"], "start": "12:00", "end": "00:00"}],
)


def test_it_shows_the_policy_and_leaves_it_for_the_door(
    mlflow: str, model: str, waiting: Any, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.lifecycle.policy.utc_now", lambda: AT)
    monkeypatch.setattr("include.lifecycle.review.utc_now", lambda: AT)
    version = add_version(mlflow, model, stage="Staging")
    validated = AT - timedelta(days=1)
    MlflowClient(mlflow).set_model_version_tag(model, str(version), "validation.time", validated.isoformat())
    with pytest.raises(TaskDeferred) as deferred:
        sensor(model, version, policy=POLICY, timezone="Europe/Berlin").execute(waiting.context)
    body = asked[0]["body"]
    assert body.index("Gate:") < body.index("**Policy**, as of 2026-01-02 03:04 UTC"), "below the figures"
    for line in (
        "- Approvers: role:Admin.",
        "- A reason is required.",
        "- A schedule started this run: nobody is excluded.",
        "- The validation is 1 day old, at most 7 days are accepted.",
        "- A blackout is in force until 2026-01-02 12:00 in Europe/Berlin (11:00 UTC): an approval is taken now",
    ):
        assert line in body
    request = waiting.xcoms["await_approval", "approval_request"]
    assert PolicyConfig.model_validate(request.pop("policy")) == POLICY
    assert request == {
        "model": model,
        "version": version,
        "timezone": "Europe/Berlin",
        "requested_by": "",
        "validated_at": validated.isoformat(),
        "expires_at": deferred.value.trigger.expires_at,  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(("triggered_by", "requested"), [("ui", "anna<b>"), ("cli", None)])
def test_who_triggered_the_run_is_told_beforehand(
    mlflow: str,
    model: str,
    waiting: Any,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    connect: Any,
    triggered_by: str,
    requested: str | None,
) -> None:
    connect("airflow_api", host="airflow", login="reader", password="pw-of-the-reader")
    AirflowAnswers(monkeypatch).run["triggered_by"] = triggered_by
    waiting.dag_run.run_type, waiting.dag_run.triggering_user_name = "manual", "anna<b>"
    version = add_version(mlflow, model, stage="Staging")
    with pytest.raises(TaskDeferred):
        sensor(model, version, policy=POLICY, airflow_conn_id="airflow_api").execute(waiting.context)
    assert waiting.xcoms["await_approval", "approval_request"]["requested_by"] == requested
    if requested:
        assert "- anna&lt;b&gt; triggered this run and cannot approve it" in asked[0]["body"].replace("&#60;", "&lt;")
    else:
        assert "- Who triggered this run is not known" in asked[0]["body"]


def test_without_a_policy_nothing_is_left_for_the_door(mlflow: str, model: str, waiting: Any, asked: list[Any]) -> None:
    version = add_version(mlflow, model, stage="Staging")
    with pytest.raises(TaskDeferred):
        sensor(model, version).execute(waiting.context)
    assert "Policy" not in asked[0]["body"]
    assert ("await_approval", "approval_request") not in waiting.xcoms


def test_not_deferrable_it_leaves_the_policy_as_well(mlflow: str, model: str, waiting: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    started = datetime.now(UTC) - timedelta(days=1)
    waiting.get_first_reschedule_date = lambda context: started
    with pytest.raises(AirflowRescheduleException):
        sensor(model, version, deferrable=False, policy=PolicyConfig()).execute(waiting.context)
    request = waiting.xcoms["await_approval", "approval_request"]
    assert (request["expires_at"], request["validated_at"]) == ((started + timedelta(days=7)).isoformat(), None)


def test_an_approval_that_waits_for_a_blackout_can_be_asked_for_again(
    mlflow: str, model: str, waiting: Any, asked: list[Any]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    with MLflowRegistryHook().registry() as registry:
        registry.record_decision(model, version, Decision(Outcome.APPROVED, user="anna", reason="fine"))
    with pytest.raises(TaskDeferred):
        sensor(model, version).execute(waiting.context)
    assert len(asked) == 1


def test_an_approval_is_success_and_leaves_who_when_and_why(mlflow: str, model: str, waiting: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    result = sensor(model, version).execute_complete(waiting.context, response("Approve", "good on <b>all</b> slices"))
    assert result == {
        "model": model,
        "version": version,
        "outcome": "approved",
        "user": "anna",
        "user_source": "required_actions",
        "reason": "good on <b>all</b> slices",
        "door": "required_actions",
        "at": AT.isoformat(),
        "dag_id": waiting.dag_id,
        "run_id": waiting.run_id,
    }
    assert waiting.result == result
    assert stage_of(mlflow, model, version) == "Staging"


def test_a_rejection_fails_without_a_retry_and_is_on_the_version(mlflow: str, model: str, waiting: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    with pytest.raises(ApprovalRejectedError, match="rejected by anna: too low") as raised:
        sensor(model, version).execute_complete(waiting.context, response("Reject", "too\nlow"))
    assert isinstance(raised.value, AirflowFailException)
    assert "\n" not in str(raised.value)
    tags = tags_of(mlflow, model, version)
    assert (tags["decision.outcome"], tags["decision.user"], tags["decision.reason"]) == (
        "rejected",
        "anna",
        "too\nlow",
    )
    assert stage_of(mlflow, model, version) == "Staging"
    assert waiting.result["outcome"] == "rejected"


def test_a_rejection_holds_while_mlflow_is_away(connect: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9)
    monkeypatch.setattr("include.lifecycle.limits.CLIENT_LIMITS", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    with pytest.raises(ApprovalRejectedError):
        sensor("m", 3).execute_complete(waiting.context, response("Reject"))
    assert waiting.result["outcome"] == "rejected"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (response("Approve", ""), ("approved", "anna", "")),
        (response("Approve", None), ("approved", "anna", "")),
        (response("Approve", {"a": 1}), ("approved", "anna", "")),
        (response("Approve", user={}), ("approved", "unknown", "because")),
        (response("Approve", user={"id": "7", "name": ""}), ("approved", "7", "because")),
        ({**response("Approve"), "params_input": None}, ("approved", "anna", "")),
        (response("Approve", "\x00\ud800evil"), ("approved", "anna", "\ufffd\ufffdevil")),
    ],
)
def test_what_a_response_may_lack_or_hold(
    connect: Any, waiting: Any, event: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    connect("mlflow_default", host="mlflow")
    result = sensor("m", 3).execute_complete(waiting.context, event)
    assert (result["outcome"], result["user"], result["reason"]) == expected


def test_a_megabyte_of_reason_is_cut(connect: Any, waiting: Any) -> None:
    connect("mlflow_default", host="mlflow")
    result = sensor("m", 3).execute_complete(waiting.context, response("Approve", "x" * 1_000_000))
    assert len(result["reason"]) == 2000


@pytest.mark.parametrize("chosen", [[], ["Approve", "Reject"], ["approve"]])
def test_only_approve_approves(connect: Any, waiting: Any, chosen: list[str]) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9)
    event = {**response("Approve"), "chosen_options": chosen}
    with pytest.raises(ApprovalRejectedError):
        sensor("m", 3)._end(waiting.context, "m", 3, sensors.decision_of_response(event, dag_id="d", run_id="r"))


def test_expiry_fails_and_is_on_the_version(mlflow: str, model: str, waiting: Any) -> None:
    version = add_version(mlflow, model, stage="Staging")
    expired = Decision(Outcome.EXPIRED, reason="nobody decided before 2026-01-09", door=sensors.decide_wait(
        "Staging", {}, expires_at=AT, now=AT).door)  # type: ignore[union-attr]  # fmt: skip
    with pytest.raises(ApprovalExpiredError, match="nobody decided before 2026-01-09"):
        sensor(model, version).execute_complete(waiting.context, {"decision": expired.to_dict()})
    assert tags_of(mlflow, model, version)["decision.outcome"] == "expired"


def test_what_the_registry_shows_already_ends_the_wait_at_once(
    mlflow: str, model: str, waiting: Any, asked: list[Any]
) -> None:
    live = add_version(mlflow, model, stage="Production")
    assert sensor(model, live).execute(waiting.context)["outcome"] == "approved"
    gone = add_version(mlflow, model, stage="Archived")
    with pytest.raises(AirflowSkipException, match="Superseded"):
        sensor(model, gone).execute(waiting.context)
    with pytest.raises(AirflowSkipException, match="was deleted"):
        sensor(model, 99).execute(waiting.context)
    rejected = add_version(mlflow, model, stage="Staging")
    with MLflowRegistryHook().registry() as registry:
        registry.reject(model, rejected, Decision(Outcome.REJECTED, user="carl", reason="no"))
    with pytest.raises(ApprovalRejectedError, match="by carl: no"):
        sensor(model, rejected).execute(waiting.context)
    assert asked == []


class Responses:
    """Responses under Required Actions by try, as Airflow's API tells them (the system tests ask a real one)."""

    def __init__(self, **by_try: dict[str, Any]) -> None:
        self.by_try = {int(name.removeprefix("try_")): answer for name, answer in by_try.items()}

    def __enter__(self) -> "Responses":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def response(self, task: Any, try_number: int) -> dict[str, Any] | None:
        return self.by_try.get(try_number)


def test_a_response_is_read_before_the_request_is_written_again(
    mlflow: str, model: str, waiting: Any, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    given = Responses(try_1=response("Approve"))
    monkeypatch.setattr(sensors.AirflowApi, "from_connection", lambda _: given)
    assert sensor(model, version).execute(waiting.context)["user"] == "anna"
    assert asked == []


@pytest.mark.parametrize(
    ("try_number", "max_tries", "counts"),
    [
        (2, 3, True),  # Airflow retried by itself what the response had resumed
        (4, 3, True),
        (2, 4, False),  # cleared after the first try: asked again
        (5, 6, True),  # cleared after the third, then retried
    ],
)
def test_a_response_counts_in_a_retry_but_not_after_a_clear(
    mlflow: str,
    model: str,
    waiting: Any,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    try_number: int,
    max_tries: int,
    counts: bool,
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    given = Responses(try_1=response("Approve"), try_4=response("Approve"))
    if try_number == 2:
        del given.by_try[4]
    monkeypatch.setattr(sensors.AirflowApi, "from_connection", lambda _: given)
    waiting.try_number, waiting.max_tries = try_number, max_tries
    if counts:
        assert sensor(model, version, retries=3).execute(waiting.context)["outcome"] == "approved"
    else:
        with pytest.raises(TaskDeferred):
            sensor(model, version, retries=3).execute(waiting.context)
    assert (asked == []) == counts


def test_not_deferrable_it_reschedules_and_serves_the_registry_door(
    mlflow: str, model: str, waiting: Any, asked: list[Any]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    with pytest.raises(AirflowRescheduleException):
        sensor(model, version, deferrable=False).execute(waiting.context)
    assert waiting.result == {"model": model, "version": version}
    waiting.get_first_reschedule_date = lambda context: datetime.now(UTC) - timedelta(days=8)
    with pytest.raises(ApprovalExpiredError):
        sensor(model, version, deferrable=False).execute(waiting.context)
    live = add_version(mlflow, model, stage="Production")
    result = sensor(model, live, deferrable=False).execute(waiting.context)
    assert (result["outcome"], result["door"]) == ("approved", "outside")
    assert asked == []


@pytest.mark.parametrize("arguments", [{"expires_after": timedelta(0)}, {"poll_seconds": 0}])
def test_the_author_is_told_at_construction(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        sensor("m", 1, **arguments)
    with pytest.raises(ValueError, match="timezone must be an IANA name like Europe/Berlin, found 'nowhere'"):
        sensor("m", 1, timezone="nowhere")
