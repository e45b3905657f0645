"""Notifications with real notifiers: they tell, and never fail or hold up a task."""

import email
import email.policy
import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from include.lifecycle.config.load import validate_section
from include.lifecycle.config.models import LifecycleConfig, NotificationConfig
from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.events import Event
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.moves.promotion import Transition
from include.lifecycle.rules import decisions
from include.lifecycle.rules.decisions import Channel, Decision, Outcome, shown_state
from model_registry import notifications
from model_registry.approval import sensors
from model_registry.approval.sensors import ModelApprovalSensor
from model_registry.exceptions import RegistryFailedError
from model_registry.notifications import Notifications
from model_registry.operators.after_approval import ConfirmPromotionOperator, RecordDecisionOperator
from model_registry.operators.rollback import ModelRollbackOperator
from model_registry.operators.stage import ModelStageOperator
from tests.plugins import notifiers
from tests.plugins.asking import approve, ask, decide, ledger, reject
from tests.registry_server import add_version, tags_of

HERE = "tests.plugins.notifiers"
HOSTILE = "<b>{{ 7*7 }}</b>\r\nBcc: evil@example.com\x00 & more"


def configured(name: str = "Recording", **more: Any) -> NotificationConfig:
    return NotificationConfig(notifier=f"{HERE}.{name}", **more)


@pytest.fixture(autouse=True)
def told() -> Iterator[list[dict[str, Any]]]:
    """What the recording notifier was told."""
    notifiers.told.clear()
    notifiers.release.clear()
    yield notifiers.told
    notifiers.release.set()


def events(told: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [(item["event"], item["version"], item["user"], item["reason"]) for item in told]


def send(*items: NotificationConfig, event: Any = "promoted", **more: Any) -> float:
    started = time.monotonic()
    Notifications(items).send({"ti": None}, event, "m", 3, **more)
    return time.monotonic() - started


# ---- what is told ----


def test_templated_fields_see_the_notification(told: list[dict[str, Any]]) -> None:
    template = "{{ notification.event }} {{ notification.model }} {{ notification.version }}: {{ notification.text }}"
    send(configured(arguments={"message": template}), user="eve", reason="good", url="http://mlflow/#/models/m")
    (item,) = told
    sentence = "Version 3 of m is in Production. Who: eve. Why: good http://mlflow/#/models/m"
    assert item["message"] == f"promoted m 3: {sentence}"
    assert item["html"].endswith('<p><a href="http://mlflow/#/models/m">Version 3 in MLflow</a></p>')


def test_each_call_renders_anew_and_only_wanted_events_are_told(told: list[dict[str, Any]]) -> None:
    item = configured(events=["rejected", "expired"])
    for event in ("promoted", "rejected", "expired"):
        send(item, event=event)
    assert [entry["event"] for entry in told] == ["rejected", "expired"]
    assert told[0]["message"] != told[1]["message"]


def test_hostile_text_is_only_text(told: list[dict[str, Any]]) -> None:
    template = "{{ notification.reason }}|{{ notification.html }}"
    send(configured(arguments={"message": template}), user=HOSTILE, reason=HOSTILE, url="javascript:alert(1)")
    (item,) = told
    reason, html = item["message"].split("|")
    assert reason == "<b>{{ 7*7 }}</b> Bcc: evil@example.com\ufffd & more"
    assert "<b>" not in html
    assert "<a " not in html
    assert all("\n" not in str(value) and "\r" not in str(value) for value in item.values())


# ---- it never fails and never delays ----


def test_a_notifier_that_raises_is_logged_and_the_others_are_told(
    told: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        send(configured("Raising"), configured(arguments={"nonsense": 1}), configured())
    assert len(told) == 1
    assert "tests.plugins.notifiers.Raising failed: ConnectionError: no mail server here" in caplog.text
    assert "nonsense" in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "https://hooks.example.com/T0/Zq7"},
        {"url": "https://hooks.example.com", "headers": {"Authorization": "Bearer Zq7"}},
        {"url": "https://hooks.example.com", "headers": ["X-Key", "Zq7-key"]},
        {"url": "https://bot:Zq7@hooks.example.com"},
    ],
)
def test_what_a_notifier_is_given_is_in_no_log(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        send(configured("Telling", arguments=arguments))
    assert "Telling failed: ConnectionError: Max retries exceeded with url: ***" in caplog.text
    assert "Zq7" not in caplog.text


def test_one_that_hangs_is_left_behind(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifications, "PATIENCE_SECONDS", 0.5)
    assert 0.4 < send(configured("Hanging"), configured("Hanging"), configured()) < 3, "side by side, within the limit"
    assert len(told) == 1
    assert "Hanging did not end within" in caplog.text


def test_a_process_ends_with_a_notifier_that_hangs() -> None:
    code = f"""
from include.lifecycle.config.models import NotificationConfig
from model_registry import notifications
notifications.PATIENCE_SECONDS = 0.2
item = NotificationConfig(notifier="{HERE}.Hanging")
notifications.Notifications([item]).send({{"ti": None}}, "promoted", "m", 1)
"""
    environment = {**os.environ, "PYTHONPATH": ".:plugins"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=40, env=environment)


# ---- what the author of a DAG is told ----


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no.such.module.Notifier", "there is no module no.such.module"),
        ("airflow.providers.slack.notifications.slack.SlackNotifier", "there is no module airflow.providers.slack"),
        ("airflow.providers.smtp.notifications.smtp.SmtpNotfier", "has no SmtpNotfier"),
        ("tests.plugins.notifiers.Nothing", "has no Nothing"),
    ],
)
def test_an_unknown_path_is_an_error_at_parse_that_names_the_field(path: str, problem: str) -> None:
    wrong = [configured(), NotificationConfig(notifier=path)]
    for make in (
        lambda: ModelApprovalSensor(task_id="wait", model_name="m", version=1, notifications=wrong),
        lambda: ModelStageOperator(task_id="promote", model_name="m", version=1, stage="None", notifications=wrong),
    ):
        with pytest.raises(ValueError, match=f"notifications.1.notifier: '{path}' is unknown") as raised:
            make()
        assert problem in str(raised.value)


@pytest.mark.parametrize("item", [{"notifier": "os; rm"}, {"notifier": "x.Y", "events": ["nonsense"]}, {}])
def test_the_configuration_is_checked(item: dict[str, Any]) -> None:
    content = {"model": "m", "experiment": "e", "owner": "o", "notifications": [item]}
    with pytest.raises(BadInputError, match=r"notifications\.0"):
        validate_section(LifecycleConfig, content, "test")


def test_parsing_does_not_import_the_notifier() -> None:
    code = """
import sys
from include.lifecycle.config.models import NotificationConfig
from model_registry.notifications import Notifications
Notifications([NotificationConfig(notifier="airflow.providers.smtp.notifications.smtp.SmtpNotifier")])
print([name for name in ("smtplib", "airflow.providers.smtp.notifications.smtp") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": ".:plugins"}
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert found.stdout.strip().splitlines()[-1] == "[]"


# ---- who tells when ----


@pytest.fixture
def waiting(task: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sensors, "upsert_hitl_detail", lambda **_: None)
    task.task_id = "await_approval"
    return task


def sensor(model: str, version: int, **more: Any) -> ModelApprovalSensor:
    return ModelApprovalSensor(
        task_id="await_approval", model_name=model, version=str(version), notifications=[configured()], **more
    )


def waits(wait: ModelApprovalSensor, task: Any, **looked: Any) -> TaskDeferred:
    """Have the sensor ask, or look again, and return how it goes on waiting."""
    with pytest.raises(TaskDeferred) as raised:
        wait.execute_complete(task.context, {}, **looked) if looked else wait.execute(task.context)
    return raised.value


def reject_it(task: Any, model: str) -> None:
    """Have somebody reject what the task asked."""
    asked = ledger(model).statements.ask_of(str(task.id))
    assert asked is not None
    decide(asked, Outcome.REJECTED, user="eve", reason="no good")


def let_pass(hours: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the sensor, and of the life cycle's rules, be ahead."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(sensors, "datetime", Ahead)
    monkeypatch.setattr(decisions, "utc_now", lambda: Ahead.now(UTC))


def test_waiting_then_expiring_once_then_expired(
    mlflow: str, mlflow_url: str, model: str, waiting: Any, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    wait = sensor(model, version, expires_after=timedelta(hours=30), remind_before=timedelta(minutes=29 * 60 + 30))
    asked: Any = waits(wait, waiting)
    expires_at = datetime.fromisoformat(asked.trigger.expires_at)
    assert expires_at - datetime.fromisoformat(asked.trigger.remind_at) == timedelta(hours=29.5)
    assert asked.kwargs == {"remind": True}
    let_pass(1, monkeypatch)
    again: Any = waits(wait, waiting, remind=True)
    assert (again.trigger.expires_at, again.kwargs) == (asked.trigger.expires_at, {"remind": False}), "not prolonged"
    waits(wait, waiting, remind=False)
    let_pass(31, monkeypatch)
    with pytest.raises(AirflowFailException):
        wait.execute_complete(waiting.context, {})
    assert [item[:3] for item in events(told)] == [
        ("waiting", str(version), "unknown"),
        ("expiring", str(version), "unknown"),
        ("expired", str(version), "unknown"),
    ]
    assert told[1]["reason"] == f"it expires at {expires_at:%Y-%m-%d %H:%M} UTC"
    assert {item["url"] for item in told} == {f"{mlflow_url}/#/models/{model}/versions/{version}"}


def test_a_wait_that_is_shorter_than_the_reminder_has_none() -> None:
    assert sensor("m", 1, expires_after=timedelta(hours=1), remind_before=timedelta(hours=24)).remind_before is None


@pytest.mark.parametrize(
    ("outcome", "error"), [("rejected", AirflowFailException), ("superseded", AirflowSkipException)]
)
def test_rejected_and_superseded(
    mlflow: str, model: str, waiting: Any, told: list[dict[str, Any]], outcome: str, error: type[Exception]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    waits(sensor(model, version), waiting)
    told.clear()
    if outcome == "rejected":
        reject_it(waiting, model)
    else:
        add_version(mlflow, model, stage="Staging")
        ModelRegistry(tracking_uri=mlflow).supersede(model)
    with pytest.raises(error):
        sensor(model, version).execute_complete(waiting.context, {})
    ((event, number, user, reason),) = events(told)
    assert (event, number) == (outcome, str(version))
    if outcome == "rejected":
        assert (user, reason) == ("eve", "no good")


def test_the_decision_is_on_the_version_before_anybody_is_told(
    mlflow: str, model: str, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    waits(sensor(model, version), waiting)
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(notifiers.Recording, "notify", lambda *_: seen.append(tags_of(mlflow, model, version)))
    reject_it(waiting, model)
    with pytest.raises(AirflowFailException):
        sensor(model, version).execute_complete(waiting.context, {})
    assert [tags["decision.outcome"] for tags in seen] == ["rejected"]


def promotion(model: str, version: int, **more: Any) -> ModelStageOperator:
    return ModelStageOperator(
        task_id="promote",
        model_name=model,
        version=str(version),
        stage="Production",
        approval_task_id="await_approval",
        notifications=[configured()],
        **more,
    )


def test_promoted_once_and_not_by_staging(mlflow: str, model: str, task: Any, told: list[dict[str, Any]]) -> None:
    version = add_version(mlflow, model)
    ModelStageOperator(
        task_id="stage", model_name=model, version=version, stage="Staging", notifications=[configured()]
    ).execute(task.context)
    approve(task, model, version, user="eve")
    for _ in range(2):
        promotion(model, version).execute(task.context)
    assert events(told) == [("promoted", str(version), "eve", "good")]


def test_a_refused_promotion(mlflow: str, model: str, task: Any, told: list[dict[str, Any]]) -> None:
    version = add_version(mlflow, model, stage="Staging")
    reject(task, model, version)
    with pytest.raises(AirflowFailException):
        promotion(model, version).execute(task.context)
    ((event, number, _, reason),) = events(told)
    assert (event, number) == ("refused", str(version))
    assert "the first decision holds" in reason


def test_a_promotion_that_was_marked_green_by_hand(
    mlflow: str, model: str, task: Any, told: list[dict[str, Any]]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    confirm = ConfirmPromotionOperator(
        task_id="confirm",
        model_name=model,
        approval_task_id="await_approval",
        promote_task_id="promote",
        notifications=[configured()],
    )
    approve(task, model, version)
    with pytest.raises(AirflowFailException):
        confirm.execute(task.context)
    ((event, number, _, reason),) = events(told)
    assert (event, number) == ("refused", str(version))
    assert "was marked success without running" in reason
    promotion(model, version).execute(task.context)
    told.clear()
    confirm.execute(task.context)
    assert told == []


def test_mlflow_being_away_is_no_refusal(task: Any, connect: Any, told: list[dict[str, Any]]) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9)
    with pytest.raises(RegistryFailedError):
        promotion("m", 1).execute(task.context)
    assert told == []


@pytest.mark.parametrize(("door", "expected"), [(Channel.MARK, ["rejected"]), (Channel.REQUIRED_ACTIONS, [])])
def test_a_mark_is_told_where_it_is_recorded_and_nothing_twice(
    mlflow: str, model: str, task: Any, told: list[dict[str, Any]], door: Channel, expected: list[str]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    reject(task, model, version, door=door)
    record = RecordDecisionOperator(
        task_id="record", model_name=model, approval_task_id="await_approval", notifications=[configured()]
    )
    record.execute(task.context)
    assert [item["event"] for item in told] == expected


def test_what_was_not_decided_is_not_told(mlflow: str, model: str, task: Any, told: list[dict[str, Any]]) -> None:
    ask(task, model, add_version(mlflow, model, stage="Staging"))
    record = RecordDecisionOperator(
        task_id="record", model_name=model, approval_task_id="await_approval", notifications=[configured()]
    )
    with pytest.raises(AirflowSkipException):
        record.execute(task.context)
    assert told == []


def test_a_rollback_is_told_and_one_that_changed_nothing_is_not(told: list[dict[str, Any]]) -> None:
    nobody: Any = {"ti": None}
    back = Decision(Outcome.APPROVED, user="rob", reason="3 is bad")
    event = Event.of("m", 2, "Archived", "Production", back)
    operator = ModelRollbackOperator(task_id="rollback", model_name="m", version=2, notifications=[configured()])
    operator.moved(nobody, "rolled_back", [Transition.of(event, changed=False)])
    assert told == []
    operator.moved(nobody, "rolled_back", [Transition.of(event)])
    assert events(told) == [("rolled_back", "2", "rob", "3 is bad")]


# ---- mail ----


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that keeps what it is sent."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.mails: list[str] = []


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "DATA":
                self.say("354 go on")
                body = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    body += part
                self.server.mails.append(body.decode())  # type: ignore[attr-defined]
            self.say("221 bye" if verb == "QUIT" else "250 fine")

    def say(self, answer: str) -> None:
        self.wfile.write(f"{answer}\r\n".encode())


def test_mail_through_the_smtp_provider(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mailbox() as box:
        threading.Thread(target=box.serve_forever, daemon=True).start()
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com", "retry_limit": 0}
        host, port = box.server_address[:2]
        connection = {"conn_type": "smtp", "host": str(host), "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        arguments = {
            "to": "team@example.com",
            "subject": "{{ notification.subject }}",
            "html_content": "{{ notification.html }}",
        }
        item = NotificationConfig(
            notifier="airflow.providers.smtp.notifications.smtp.SmtpNotifier", arguments=arguments
        )
        send(item, user="eve", reason=HOSTILE, url="http://mlflow/#/models/m/versions/3")
        box.shutdown()
    (mail,) = box.mails
    message = email.message_from_string(mail, policy=email.policy.default)
    assert (message["Subject"], message["To"], message["Bcc"]) == (
        "Version 3 of m is in Production",
        "team@example.com",
        None,
    )
    body = message.get_body(("html",))
    assert body is not None
    assert "Why: &lt;b&gt;{{ 7*7 }}&lt;/b&gt; Bcc: evil@example.com" in body.get_content()
    assert '<a href="http://mlflow/#/models/m/versions/3">' in body.get_content()


def test_the_trigger_comes_back_when_it_is_time_to_remind_and_when_it_expires(mlflow: str, model: str) -> None:
    import asyncio

    from model_registry.approval.triggers import ModelApprovalTrigger

    version = add_version(mlflow, model, stage="Staging")
    tags = tags_of(mlflow, model, version)
    began = datetime.now(UTC)
    arguments: dict[str, Any] = {"model_name": model, "version": version, "ti_id": "x", "poll_seconds": 60.0}
    arguments |= {"mlflow_conn_id": "mlflow_default", "expires_at": (began + timedelta(seconds=6)).isoformat()}
    arguments |= {"seen": shown_state("Staging", tags)}

    async def first(trigger: ModelApprovalTrigger) -> Any:
        async for event in trigger.run():
            return event.payload, (datetime.now(UTC) - began).total_seconds()
        return None

    async def both() -> list[Any]:
        made = ModelApprovalTrigger(**arguments, remind_at=(began + timedelta(seconds=1)).isoformat())
        path, stored = made.serialize()
        assert ModelApprovalTrigger(**stored).serialize() == (path, stored)
        return [await first(made), await first(ModelApprovalTrigger(**arguments))]

    (reminded, early), (ended, late) = asyncio.run(asyncio.wait_for(both(), 60))
    assert reminded == ended == {"look": True}
    assert early >= 1
    assert late >= 6
