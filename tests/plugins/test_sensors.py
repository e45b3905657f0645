"""The approval sensor on a real MLflow server: what it asks, and how each decision ends."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    TaskDeferred,
)
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.config.models import NotificationConfig
from include.lifecycle.ledger.reviewed import Reviewed, ReviewedItem
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.statements import ASKED, Ask
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome, shown_state
from include.lifecycle.views.review import QUICK_WORDS
from model_registry.approval import sensors
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.approval.triggers import ModelApprovalTrigger
from model_registry.exceptions import ApprovalExpiredError, ApprovalRejectedError, RegistryFailedError
from tests.plugins import notifiers
from tests.plugins.asking import APPROVAL, ask, decide, ledger
from tests.registry_server import add_version, stage_of, tags_of
from tests.validations import validation

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LOOK = {"look": True}
RESPONSE = {
    "chosen_options": ["Approve"],
    "params_input": {"reason": "because"},
    "responded_at": AT,
    "responded_by_user": {"id": "7", "name": "eve"},
}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the sensor wrote under Required Actions."""
    details: list[dict[str, Any]] = []
    monkeypatch.setattr(sensors, "upsert_hitl_detail", lambda **detail: details.append(detail))
    return details


@pytest.fixture
def waiting(task: Any, shown: list[dict[str, Any]]) -> Any:
    task.task_id = APPROVAL
    return task


@pytest.fixture
def staged(mlflow: str, model: str) -> int:
    return add_version(mlflow, model, stage="Staging")


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """What the recording notifier was told."""
    notifiers.told.clear()
    return notifiers.told


def sensor(model: str, version: object, **arguments: Any) -> ModelApprovalSensor:
    arguments = {"poll_seconds": 5.0, **arguments}
    return ModelApprovalSensor(task_id=APPROVAL, model_name=model, version=str(version), **arguments)


def deferral(operator: ModelApprovalSensor, task: Any, event: dict[str, Any] | None = None, **more: Any) -> Any:
    """What the task defers with, when it starts or goes on with an event."""
    with pytest.raises(TaskDeferred) as raised:
        _ = operator.execute(task.context) if event is None else operator.execute_complete(task.context, event, **more)
    assert raised.value.method_name == "execute_complete"
    assert isinstance(raised.value.trigger, ModelApprovalTrigger)
    return raised.value


def next_try(task: Any, **fields: Any) -> Any:
    """The task at its next try: Airflow gives each an id of its own."""
    return replace(task, id=uuid.uuid4(), try_number=task.try_number + 1, **fields)


def asks(model: str) -> list[Ask]:
    return list(ledger(model).statements.asks.values())


def entered(state: LedgerState) -> int:
    """How often somebody asked, the same or something else."""
    return sum(entry.kind == ASKED for entry in state.entries)


def left(trigger: Any) -> timedelta:
    """How long until the trigger lets the task look in any case."""
    return datetime.fromisoformat(trigger.remind_at) - datetime.now(UTC)


# ---- what it asks ----


def test_it_asks_shows_the_review_and_defers(
    mlflow: str, mlflow_url: str, model: str, staged: int, waiting: Any, shown: list[Any]
) -> None:
    deferred = deferral(sensor(model, staged, expires_after=timedelta(days=2)), waiting)
    (detail,) = shown
    assert detail["ti_id"] == waiting.id
    assert detail["options"] == ["Approve", "Reject"]
    assert detail["subject"] == f"Version {staged}: put {model} into Production?"
    assert f"/versions/{staged}" in detail["body"]
    assert "Policy" not in detail["body"]
    assert detail["params"]["reason"]["value"] == ""
    assert detail["params"]["reason"]["schema"]["type"] == "string"
    trigger = deferred.trigger
    expires_at = datetime.fromisoformat(trigger.expires_at)
    assert timedelta(days=1, hours=23) < expires_at - datetime.now(UTC) <= timedelta(days=2)
    assert timedelta(minutes=59) < left(trigger) <= timedelta(hours=1)
    assert trigger.seen == shown_state("Staging", tags_of(mlflow, model, staged))
    assert (trigger.version, trigger.ti_id, trigger.poll_seconds) == (staged, str(waiting.id), 5.0)
    assert (deferred.timeout, deferred.kwargs) == (None, {"remind": False})
    assert waiting.xcoms[APPROVAL, "_link_ModelVersionLink"] == f"{mlflow_url}/#/models/{model}/versions/{staged}"
    assert waiting.result is None, "nothing that anybody could take for a decision"
    (asked,) = asks(model)
    assert (asked.expires_at, asked.policy) == (expires_at, None)


def test_links_lead_to_where_people_reach_mlflow(
    mlflow_url: str, model: str, staged: int, waiting: Any, shown: list[Any], connect: Any
) -> None:
    connect("mlflow_default", host=mlflow_url, extra={"ui_url": "https://models.example.com/ui"})
    deferral(sensor(model, staged), waiting)
    (detail,) = shown
    page = f"https://models.example.com/ui/#/models/{model}/versions/{staged}"
    assert f"]({page})" in detail["body"]
    assert mlflow_url not in detail["body"]
    assert waiting.xcoms[APPROVAL, "_link_ModelVersionLink"] == page


def test_what_the_review_said_comes_first(mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any]) -> None:
    items = (ReviewedItem("Bias overall", "warn", "All predictions together are +3.0% off."),)
    registry = ModelRegistry(tracking_uri=mlflow)
    said = Reviewed(model=model, version=staged, verdict="warn", headline="Better.", items=items, page="c" * 64)
    registry.reviewed(said)
    deferral(sensor(model, staged, policy=PolicyConfig(review_required=True)), waiting)
    (detail,) = shown
    assert detail["subject"] == f"Version {staged}: put {model} into Production? (1 warning: Bias overall)"
    assert detail["body"].startswith("**1 warning: Bias overall**")
    assert f"/model-registry/reviews/{staged}/{model}" in detail["body"]
    assert waiting.xcoms[APPROVAL, "_link_ReviewLink"].endswith(f"/model-registry/reviews/{staged}/{model}")
    (asked,) = asks(model)
    assert asked.evidence["review_page"] == "c" * 64, "what was shown is what is approved"


@pytest.mark.parametrize("verdict", ["pass", "warn"])
def test_the_candidate_of_a_quick_run_is_asked_about_as_a_try(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any], verdict: Any
) -> None:
    registry = ModelRegistry(tracking_uri=mlflow)
    registry.client.set_model_version_tag(model, str(staged), tag.QUICK, tag.TRUE)
    items = (ReviewedItem("Bias overall", verdict, "All predictions together are +3.0% off."),)
    registry.reviewed(Reviewed(model=model, version=staged, verdict=verdict, headline="Better.", items=items))
    deferral(sensor(model, staged), waiting)
    (detail,) = shown
    warned = "; 1 warning: Bias overall" if verdict == "warn" else ""
    assert detail["subject"].endswith(f"into Production? (only a try: a quick run trained it{warned})")
    assert detail["body"].startswith(f"**{QUICK_WORDS}**\n")


@pytest.mark.parametrize("verdict", [None, "fail"])
def test_nobody_is_asked_without_a_review_where_one_is_required(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any], verdict: Any
) -> None:
    if verdict:
        said = Reviewed(model=model, version=staged, verdict=verdict)
        ModelRegistry(tracking_uri=mlflow).ledger(model).state("reviewed", said.to_dict())
    operator = sensor(model, staged, policy=PolicyConfig(review_required=True))
    with pytest.raises(AirflowFailException, match="review"):
        operator.execute(waiting.context)
    assert shown == []
    assert asks(model) == []


def test_a_wait_that_began_before_there_were_reviews_asks_once_it_is_reviewed(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any]
) -> None:
    """The package was upgraded meanwhile: the task `review` is new in this run, and runs beside the wait."""
    operator = sensor(model, staged, policy=PolicyConfig(review_required=True))
    first = deferral(operator, waiting, {"look": True})
    assert left(first.trigger) <= sensors.REVIEW_AGAIN
    assert (asks(model), shown) == ([], [])
    since = first.kwargs["unreviewed_since"]
    again = deferral(operator, waiting, {"look": True}, **first.kwargs)
    assert again.kwargs == first.kwargs, "since when is kept"
    digest = ModelRegistry(tracking_uri=mlflow).version(model, staged).tags.get("artifacts.digest", "")
    said = Reviewed(model=model, version=staged, verdict="pass", digest=digest)
    ModelRegistry(tracking_uri=mlflow).ledger(model).state("reviewed", said.to_dict())
    asked = deferral(operator, waiting, {"look": True}, unreviewed_since=since)
    assert "unreviewed_since" not in asked.kwargs
    assert len(asks(model)) == len(shown) == 1


def test_a_review_that_never_comes_ends_such_a_wait(mlflow: str, model: str, staged: int, waiting: Any) -> None:
    operator = sensor(model, staged, policy=PolicyConfig(review_required=True))
    since = (datetime.now(UTC) - sensors.REVIEW_PATIENCE).isoformat()
    with pytest.raises(AirflowFailException, match="run `review` first"):
        operator.execute_complete(waiting.context, {"look": True}, unreviewed_since=since)
    assert asks(model) == []


POLICY = PolicyConfig(
    approvers=["role:Admin"],
    four_eyes=True,
    evidence_max_age_days=7,
    blackouts=[{"start": "00:00", "end": "12:00"}, {"weekdays": ["monday"], "start": "12:00", "end": "00:00"}],
)


def test_what_it_asks_is_in_the_ledger(mlflow: str, model: str, waiting: Any) -> None:
    version = add_version(mlflow, model, passed=None, stage="Staging")
    client = MlflowClient(tracking_uri=mlflow)
    for key, value in {tag.ARTIFACTS_DIGEST: "d" * 64, tag.CODE_COMMIT: "c0ffee", tag.VALIDATION_VALUE: "0.01"}.items():
        client.set_model_version_tag(model, str(version), key, value)
    said = validation(model, version, at=AT)
    ModelRegistry(tracking_uri=mlflow).validated(said)
    trigger = deferral(sensor(model, version, policy=POLICY, timezone="Europe/Berlin"), waiting).trigger
    (asked,) = asks(model)
    place = asked.place
    assert (place.dag_id, place.run_id, place.task_id, place.map_index) == (
        waiting.dag_id, waiting.run_id, APPROVAL, -1,
    )  # fmt: skip
    assert (asked.model, asked.version, asked.purpose, asked.instance) == (model, version, "promotion", str(waiting.id))
    assert (asked.policy, asked.timezone) == (POLICY, "Europe/Berlin")
    assert (asked.digest, asked.validated_at) == ("d" * 64, AT)
    assert asked.expires_at == datetime.fromisoformat(trigger.expires_at)
    evidence = dict(asked.evidence)
    assert (evidence["metric"], evidence["value"], evidence["code_commit"]) == (said.metric, said.value, "c0ffee"), (
        "what the ledger knows of the gate, and not what a tag says"
    )


def test_it_shows_the_policy(
    mlflow: str, model: str, waiting: Any, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.lifecycle.rules.policy.utc_now", lambda: AT)
    monkeypatch.setattr("include.lifecycle.views.review.utc_now", lambda: AT)
    version = add_version(mlflow, model, passed=None, stage="Staging")
    ModelRegistry(tracking_uri=mlflow).validated(validation(model, version, at=AT - timedelta(days=1)))
    deferral(sensor(model, version, policy=POLICY, timezone="Europe/Berlin"), waiting)
    body = shown[0]["body"]
    assert body.index("Gate") < body.index("**Policy**, as of 2026-01-02 03:04 UTC"), "below the figures"
    for line in (
        "- Approvers: role:Admin.",
        "- A reason is required.",
        "- A schedule started this run: nobody is excluded.",
        "- The validation is 1 day old, at most 7 days are accepted.",
        "- A blackout is in force until 2026-01-02 12:00 in Europe/Berlin (11:00 UTC): an approval is taken now",
    ):
        assert line in body


@pytest.mark.parametrize(
    ("user", "line"),
    [
        ("anna<b>", "- anna&lt;b&gt; triggered this run and cannot approve it"),
        (None, "- Who triggered this run is not"),
    ],
)
def test_who_triggered_the_run_is_told_beforehand(
    model: str, staged: int, waiting: Any, shown: list[Any], user: str | None, line: str
) -> None:
    waiting.dag_run.run_type, waiting.dag_run.triggering_user_name = "manual", user
    deferral(sensor(model, staged, policy=POLICY), waiting)
    assert line in shown[0]["body"].replace("&#60;", "&lt;")


def test_a_version_that_was_approved_before_can_be_asked_about_again(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any]
) -> None:
    approved = Decision(Outcome.APPROVED, user="anna", reason="fine")
    ModelRegistry(tracking_uri=mlflow).record_decision(model, staged, approved)  # it waits for the end of a blackout
    deferral(sensor(model, staged), waiting)
    assert (len(shown), len(asks(model))) == (1, 1)


# ---- the same question, and another ----


def test_a_try_asks_once_however_often_it_looks(model: str, staged: int, waiting: Any, shown: list[Any]) -> None:
    operator = sensor(model, staged)
    first = deferral(operator, waiting).trigger
    for event in (LOOK, RESPONSE, LOOK):
        assert deferral(operator, waiting, event).trigger.expires_at == first.expires_at
    assert (len(shown), entered(ledger(model))) == (1, 1)


def test_a_retry_goes_on_with_what_was_asked(model: str, staged: int, waiting: Any, shown: list[Any]) -> None:
    operator = sensor(model, staged, retries=3, expires_after=timedelta(hours=5))
    waiting.max_tries = 3
    first = deferral(operator, waiting).trigger
    again = next_try(waiting)
    later = sensor(model, staged, retries=3, expires_after=timedelta(days=9), policy=POLICY)
    assert deferral(later, again).trigger.expires_at == first.expires_at, "a retry prolongs nothing"
    (asked,) = asks(model)
    assert (asked.instance, asked.policy) == (str(again.id), None)
    assert entered(ledger(model)) == 2, "the API server finds the ask by the task instance"
    assert {ledger(model).statements.instances[str(each.id)] for each in (waiting, again)} == {asked.id}
    assert [detail["ti_id"] for detail in shown] == [waiting.id, again.id], "Required Actions shows it again"


def test_a_retry_ends_at_once_when_it_was_decided(model: str, staged: int, waiting: Any, shown: list[Any]) -> None:
    operator = sensor(model, staged, retries=3)
    waiting.max_tries = 3
    deferral(operator, waiting)
    decide(asks(model)[0])
    assert operator.execute(next_try(waiting).context)["user"] == "anna"
    assert (len(shown), entered(ledger(model))) == (1, 1), "nobody is asked twice"


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ((1, 3), (2, 3), True),  # Airflow retried by itself what a response had resumed
        ((1, 3), (4, 3), True),
        ((1, 3), (2, 4), False),  # cleared after the first try
        ((3, 3), (4, 6), False),  # cleared after the third
        ((4, 6), (5, 6), True),  # then retried
    ],
)
def test_clearing_asks_anew(
    model: str,
    staged: int,
    waiting: Any,
    shown: list[Any],
    before: tuple[int, int],
    now: tuple[int, int],
    same: bool,
) -> None:
    operator = sensor(model, staged, retries=3)
    waiting.try_number, waiting.max_tries = before
    deferral(operator, waiting)
    decide(asks(model)[0])
    again = replace(waiting, id=uuid.uuid4(), try_number=now[0], max_tries=now[1])
    if same:
        assert operator.execute(again.context)["outcome"] == "approved"
        assert len(asks(model)) == 1
        return
    deferral(operator, again)
    first, second = asks(model)
    assert ledger(model).statements.last_ask(second.place) == second
    assert set(ledger(model).statements.decided) == {first.id}
    assert len(shown) == 2


def test_a_run_made_anew_under_the_same_id_asks_anew(model: str, staged: int, waiting: Any) -> None:
    deferral(sensor(model, staged), waiting)
    decide(asks(model)[0])
    waiting.dag_run.start_date += timedelta(days=1)
    deferral(sensor(model, staged), replace(waiting, id=uuid.uuid4()))
    assert len(asks(model)) == 2


def test_another_version_is_another_question(mlflow: str, model: str, staged: int, waiting: Any) -> None:
    deferral(sensor(model, staged), waiting)
    decide(asks(model)[0])
    newer = add_version(mlflow, model, stage="Staging")
    deferral(sensor(model, newer), next_try(waiting, max_tries=0))
    assert [asked.version for asked in asks(model)] == [staged, newer]


# ---- decided in Airflow ----


def test_an_approval_is_success_and_leaves_who_when_and_why(mlflow: str, model: str, staged: int, waiting: Any) -> None:
    deferral(sensor(model, staged), waiting)
    decide(asks(model)[0], reason="good on <b>all</b> slices", at=AT, roles=("Op",))
    result = sensor(model, staged).execute_complete(waiting.context, RESPONSE)
    assert result == {
        "model": model,
        "version": staged,
        "outcome": "approved",
        "user": "anna",
        "user_source": "airflow login",
        "reason": "good on <b>all</b> slices",
        "door": "required_actions",
        "at": AT.isoformat(),
        "dag_id": waiting.dag_id,
        "run_id": waiting.run_id,
        "roles": ["Op"],
    }
    assert waiting.result == result
    assert stage_of(mlflow, model, staged) == "Staging"
    assert "decision.outcome" not in tags_of(mlflow, model, staged)


@pytest.mark.parametrize("event", [LOOK, RESPONSE])
def test_a_rejection_fails_without_a_retry_and_is_on_the_version(
    mlflow: str, model: str, staged: int, waiting: Any, event: dict[str, Any]
) -> None:
    deferral(sensor(model, staged), waiting)
    decide(asks(model)[0], Outcome.REJECTED, reason="too\nlow")
    with pytest.raises(ApprovalRejectedError, match="by anna: too low") as raised:
        sensor(model, staged).execute_complete(waiting.context, event)
    assert isinstance(raised.value, AirflowFailException)
    assert "\n" not in str(raised.value)
    tags = tags_of(mlflow, model, staged)
    assert (tags["decision.outcome"], tags["decision.user"], tags["decision.reason"]) == (
        "rejected",
        "anna",
        "too\nlow",
    )
    assert stage_of(mlflow, model, staged) == "Staging"
    assert waiting.result["outcome"] == "rejected"
    assert [event.outcome for event in ledger(model).events] == [Outcome.REJECTED]


@pytest.mark.parametrize("option", [["Approve"], ["Reject"], []])
def test_a_response_that_the_ledger_does_not_have_ends_nothing(
    model: str, staged: int, waiting: Any, option: list[str]
) -> None:
    operator, event = sensor(model, staged), {**RESPONSE, "chosen_options": option}
    deferral(operator, waiting)
    trigger = deferral(operator, waiting, event).trigger
    assert left(trigger) <= timedelta(seconds=5), "it looks again soon"
    assert waiting.result is None
    decide(asks(model)[0], user="ben")
    assert operator.execute_complete(waiting.context, LOOK)["user"] == "ben"


@pytest.mark.parametrize(
    "event",
    [
        LOOK,
        {},
        {"decision": Decision(Outcome.APPROVED, user="eve").to_dict()},
        {"decision": Decision(Outcome.REJECTED, user="eve").to_dict()},
        {"remind": "2026-01-01"},
    ],
)
def test_no_event_of_a_trigger_decides(model: str, staged: int, waiting: Any, event: dict[str, Any]) -> None:
    deferral(sensor(model, staged), waiting)
    assert left(deferral(sensor(model, staged), waiting, event).trigger) > timedelta(minutes=59)


def test_what_is_decided_while_the_version_moves_holds(mlflow: str, model: str, staged: int, waiting: Any) -> None:
    deferral(sensor(model, staged), waiting)
    decide(asks(model)[0])
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(staged), "Production")
    result = sensor(model, staged).execute_complete(waiting.context, LOOK)
    assert (result["user"], result["door"]) == ("anna", "required_actions")


def test_a_decision_holds_that_came_before_the_version_was_deleted(
    mlflow: str, model: str, staged: int, waiting: Any
) -> None:
    deferral(sensor(model, staged), waiting)
    decide(asks(model)[0], Outcome.REJECTED)
    MlflowClient(tracking_uri=mlflow).delete_model_version(model, str(staged))
    with pytest.raises(ApprovalRejectedError):
        sensor(model, staged).execute_complete(waiting.context, LOOK)


@pytest.mark.parametrize("begun", [False, True])
def test_while_mlflow_is_away_it_may_be_tried_again(
    connect: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9)
    monkeypatch.setattr("include.lifecycle.ledger.limits.CLIENT_LIMITS", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    with pytest.raises(RegistryFailedError) as raised:
        _ = (
            sensor("m", 3).execute_complete(waiting.context, RESPONSE)
            if begun
            else sensor("m", 3).execute(waiting.context)
        )
    assert isinstance(raised.value, AirflowException)
    assert not isinstance(raised.value, AirflowFailException)


# ---- decided outside of Airflow ----


@pytest.mark.parametrize("outcome", list(Outcome))
def test_tags_that_claim_a_decision_end_nothing(
    mlflow: str, model: str, staged: int, waiting: Any, outcome: Outcome
) -> None:
    deferral(sensor(model, staged), waiting)
    for key, value in Decision(outcome, user="eve", door=Channel.MARK).as_tags().items():
        MlflowClient(tracking_uri=mlflow).set_model_version_tag(model, str(staged), key, value)
    deferral(sensor(model, staged), waiting, LOOK)
    deferral(sensor(model, staged), next_try(waiting, max_tries=9))


@pytest.mark.parametrize("begun", [False, True])
def test_a_rejection_by_command_line_ends_it(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any], begun: bool
) -> None:
    if begun:
        deferral(sensor(model, staged), waiting)
    rejected = Decision(Outcome.REJECTED, user="carl", reason="no", door=Channel.CLI)
    ModelRegistry(tracking_uri=mlflow).reject(model, staged, rejected)
    with pytest.raises(ApprovalRejectedError, match="by carl: no"):
        goes_on(model, staged, waiting, begun=begun)
    assert len(shown) == entered(ledger(model)) == begun


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("by", ["hand", "command line"])
def test_a_promotion_outside_of_the_run_ends_it(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any], begun: bool, by: str
) -> None:
    if begun:
        deferral(sensor(model, staged), waiting)
    if by == "hand":
        MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(staged), "Production")
    else:
        approved = Decision(Outcome.APPROVED, user="carl", reason="now", door=Channel.CLI)
        ModelRegistry(tracking_uri=mlflow).promote(model, staged, approved)
    result = goes_on(model, staged, waiting, begun=begun)
    assert (result["outcome"], result["door"], result["user"]) == (
        ("approved", "outside", "unknown") if by == "hand" else ("approved", "cli", "carl")
    )
    assert len(shown) == begun
    assert entered(ledger(model)) == 1, "the tasks behind find what this run is about"


GONE = {
    "Archived": "was moved to Archived",
    "None": "was moved to None",
    "deleted": "was deleted",
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("how", sorted(GONE))
def test_a_version_that_leaves_staging_is_superseded(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any], begun: bool, how: str
) -> None:
    if begun:
        deferral(sensor(model, staged), waiting)
    client = MlflowClient(tracking_uri=mlflow)
    if how == "deleted":
        client.delete_model_version(model, str(staged))
    else:
        client.transition_model_version_stage(model, str(staged), how)
    with pytest.raises(AirflowSkipException, match=f"Superseded: version {staged} .* {GONE[how]}"):
        goes_on(model, staged, waiting, begun=begun)
    assert waiting.result["outcome"] == "superseded"
    assert len(shown) == entered(ledger(model)) == begun


def goes_on(model: str, version: int, task: Any, *, begun: bool) -> Any:
    operator = sensor(model, version)
    return operator.execute_complete(task.context, LOOK) if begun else operator.execute(task.context)


# ---- nobody decides ----


def overdue(task: Any, model: str, version: int) -> Ask:
    """What the task asked; the time to decide is over."""
    return ask(task, model, version, instance=str(task.id), expires_at=datetime.now(UTC) - timedelta(seconds=1))


@pytest.mark.parametrize("event", [LOOK, RESPONSE])
def test_expiry_fails_without_a_retry_and_is_recorded(
    mlflow: str, model: str, staged: int, waiting: Any, event: dict[str, Any]
) -> None:
    overdue(waiting, model, staged)
    with pytest.raises(ApprovalExpiredError) as raised:
        sensor(model, staged).execute_complete(waiting.context, event)
    assert isinstance(raised.value, AirflowFailException)
    tags = tags_of(mlflow, model, staged)
    assert (tags["decision.outcome"], tags["decision.door"], tags["decision.user"]) == ("expired", "expiry", "unknown")
    (found,) = ledger(model).events
    assert (found.outcome, found.dag_id, found.run_id) == (Outcome.EXPIRED, waiting.dag_id, waiting.run_id)
    assert stage_of(mlflow, model, staged) == "Staging"


def test_what_was_decided_in_time_holds_when_it_is_seen_late(model: str, staged: int, waiting: Any) -> None:
    decide(overdue(waiting, model, staged))
    assert sensor(model, staged).execute_complete(waiting.context, LOOK)["user"] == "anna"


# ---- what people are told ----


def notified(*events: str) -> list[NotificationConfig]:
    return [NotificationConfig(notifier="tests.plugins.notifiers.Recording", events=list(events))]


def test_people_are_told_once_that_it_waits(model: str, staged: int, waiting: Any, told: list[dict[str, Any]]) -> None:
    operator = sensor(model, staged, notifications=notified("waiting", "expiring"), retries=3)
    waiting.max_tries = 3
    deferral(operator, waiting)
    deferral(operator, waiting, LOOK)
    deferral(operator, next_try(waiting))
    assert [(item["event"], item["version"]) for item in told] == [("waiting", str(staged))]


def test_people_are_reminded_once(
    model: str, staged: int, waiting: Any, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"expires_after": timedelta(minutes=50), "remind_before": timedelta(minutes=20)}
    operator = sensor(model, staged, notifications=notified("expiring"), **times)
    first = deferral(operator, waiting)
    expires_at = datetime.fromisoformat(first.trigger.expires_at)
    assert datetime.fromisoformat(first.trigger.remind_at) == expires_at - timedelta(minutes=20)
    assert first.kwargs == {"remind": True}
    early = deferral(operator, waiting, LOOK, **first.kwargs)
    assert (early.kwargs, told) == ({"remind": True}, []), "it came back for something else"

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return expires_at - timedelta(minutes=20)

    monkeypatch.setattr(sensors, "datetime", Later)
    reminded = deferral(operator, waiting, LOOK, **early.kwargs)
    deferral(operator, waiting, LOOK, **reminded.kwargs)
    assert [(item["event"], item["version"], item["reason"]) for item in told] == [
        ("expiring", str(staged), f"it expires at {expires_at:%Y-%m-%d %H:%M} UTC")
    ]


@pytest.mark.parametrize("remind_before", [None, timedelta(days=8), timedelta(days=1)])
def test_nobody_is_reminded_before_it_is_time(
    model: str, staged: int, waiting: Any, remind_before: timedelta | None
) -> None:
    deferred = deferral(sensor(model, staged, remind_before=remind_before), waiting)
    assert deferred.kwargs == {"remind": False}
    assert left(deferred.trigger) > timedelta(minutes=59)


# ---- not deferrable ----


def test_not_deferrable_it_asks_and_reschedules(
    mlflow: str, model: str, staged: int, waiting: Any, shown: list[Any], told: list[dict[str, Any]]
) -> None:
    operator = sensor(model, staged, deferrable=False, policy=POLICY, notifications=notified("waiting"))
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            operator.execute(waiting.context)
    (asked,) = asks(model)
    assert (asked.version, asked.policy, asked.instance) == (staged, POLICY, str(waiting.id))
    assert (shown, entered(ledger(model)), waiting.result) == ([], 1, None)
    assert [item["event"] for item in told] == ["waiting"]
    decide(asked, door=Channel.MARK)
    assert operator.execute(waiting.context)["door"] == "mark"
    assert waiting.result["user"] == "anna"


def test_not_deferrable_it_expires_and_takes_what_happens_outside(
    mlflow: str, model: str, staged: int, waiting: Any
) -> None:
    overdue(waiting, model, staged)
    with pytest.raises(ApprovalExpiredError):
        sensor(model, staged, deferrable=False).execute(waiting.context)
    live = add_version(mlflow, model, stage="Production")
    result = sensor(model, live, deferrable=False).execute(waiting.context)
    assert (result["outcome"], result["door"]) == ("approved", "outside")
    with pytest.raises(AirflowSkipException, match="was deleted"):
        sensor(model, 99, deferrable=False).execute(waiting.context)


# ---- for the author ----


@pytest.mark.parametrize("arguments", [{"expires_after": timedelta(0)}, {"poll_seconds": 0}])
def test_the_author_is_told_at_construction(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        sensor("m", 1, **arguments)
    with pytest.raises(ValueError, match=r"timezone .*found 'nowhere'"):
        sensor("m", 1, timezone="nowhere")
