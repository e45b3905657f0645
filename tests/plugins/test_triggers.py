"""The trigger on a real MLflow server: it survives what is away, and tells when there is something to look at."""

import asyncio
import sys
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from airflow.sdk.module_loading import import_string
from mlflow import MlflowClient

from include.lifecycle.rules.decisions import shown_state
from model_registry.approval import triggers
from model_registry.approval.triggers import ModelApprovalTrigger
from tests.registry_server import add_version, stage_of, tags_of

LOOK = {"look": True}


def after(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def trigger(model: str, version: int, *, seconds: float = 60.0, **arguments: Any) -> ModelApprovalTrigger:
    return ModelApprovalTrigger(
        model_name=model,
        version=version,
        **{
            "ti_id": str(uuid.uuid4()),
            "mlflow_conn_id": "mlflow_default",
            "poll_seconds": 0.1,
            "expires_at": after(seconds),
            "seen": "what the task saw",
            **arguments,
        },
    )


def seen(url: str, model: str, version: int) -> str:
    """What a task saw that looks now."""
    return shown_state(stage_of(url, model, version), tags_of(url, model, version))


async def first_event(waiting: ModelApprovalTrigger) -> dict[str, Any]:
    async for event in waiting.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger ended without an event")


def run(waiting: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    return asyncio.run(asyncio.wait_for(waiting, 30))


def test_it_can_be_made_again_from_what_is_stored() -> None:
    made = trigger("a model", 3, remind_at=after(30))
    path, arguments = made.serialize()
    assert path == "model_registry.approval.triggers.ModelApprovalTrigger"
    assert ModelApprovalTrigger(**arguments).serialize() == (path, arguments)
    assert set(arguments) == {
        "model_name", "version", "ti_id", "mlflow_conn_id", "poll_seconds", "expires_at", "remind_at", "seen",
    }  # fmt: skip
    assert all(arguments.values()), "none of them got lost"


@pytest.mark.parametrize(
    "path",
    [
        "model_registry.triggers.ModelApprovalTrigger",  # of triggers that waited before there were rooms
        "model_registry.sensors.ModelApprovalSensor",
        "model_registry.operators.ModelStageOperator",
        "model_registry.operators.RecordDecisionOperator",
        "model_registry.operators.ModelRollbackOperator",
        "model_registry.hooks.MLflowRegistryHook",
    ],
)
def test_what_was_stored_or_imported_under_earlier_paths_is_found(path: str) -> None:
    assert import_string(path).__name__ == path.rpartition(".")[2]


def test_one_of_the_release_before_makes_the_task_look_at_once() -> None:
    arguments = trigger("m", 1, mlflow_conn_id="nothing").serialize()[1]
    del arguments["seen"], arguments["remind_at"]
    assert run(first_event(ModelApprovalTrigger(**arguments))) == LOOK


@pytest.mark.parametrize("times", [{"seconds": 0.5}, {"remind_at": 0.5}])
def test_it_tells_when_the_wait_expires_and_when_people_are_to_be_reminded(
    mlflow: str, model: str, times: dict[str, float]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    known = seen(mlflow, model, version)
    if "remind_at" in times:
        waiting = trigger(model, version, seen=known, remind_at=after(times["remind_at"]))
    else:
        waiting = trigger(model, version, seen=known, **times)
    started = datetime.now(UTC)
    assert run(first_event(waiting)) == LOOK
    assert datetime.now(UTC) - started > timedelta(seconds=0.4)


CHANGES: dict[str, Callable[[MlflowClient, str, str], object]] = {
    "promoted": lambda client, model, version: client.transition_model_version_stage(model, version, "Production"),
    "archived": lambda client, model, version: client.transition_model_version_stage(model, version, "Archived"),
    "unstaged": lambda client, model, version: client.transition_model_version_stage(model, version, "None"),
    "deleted": lambda client, model, version: client.delete_model_version(model, version),
    "tagged": lambda client, model, version: client.set_model_version_tag(
        model, version, "decision.outcome", "rejected"
    ),
    "untagged": lambda client, model, version: client.delete_model_version_tag(model, version, "validation.outcome"),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_changes_on_the_version_is_worth_a_look(mlflow: str, model: str, change: str) -> None:
    version = add_version(mlflow, model, stage="Staging")
    known, client = seen(mlflow, model, version), MlflowClient(tracking_uri=mlflow)

    async def change_while_it_waits() -> dict[str, Any]:
        event = asyncio.create_task(first_event(trigger(model, version, seen=known)))
        await asyncio.sleep(0.5)
        assert not event.done()
        await asyncio.to_thread(CHANGES[change], client, model, str(version))
        return await event

    assert run(change_while_it_waits()) == LOOK


def test_what_changed_before_it_began_is_seen_as_well(mlflow: str, model: str) -> None:
    version = add_version(mlflow, model, stage="Staging")
    known = seen(mlflow, model, version)
    MlflowClient(tracking_uri=mlflow).transition_model_version_stage(model, str(version), "Archived")
    assert run(first_event(trigger(model, version, seen=known, poll_seconds=60.0))) == LOOK


def test_it_makes_one_client_for_all_its_looks(mlflow: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    version = add_version(mlflow, model, stage="Staging")
    known = seen(mlflow, model, version)
    made, client = [], httpx.AsyncClient

    def make(**options: Any) -> Any:
        made.append(client(**options))
        return made[-1]

    monkeypatch.setattr(httpx, "AsyncClient", make)
    run(first_event(trigger(model, version, seen=known, seconds=0.5)))
    assert len(made) == 1


def test_it_waits_while_mlflow_is_away_even_past_its_expiry(
    mlflow: str, mlflow_url: str, model: str, connect: Callable[..., None]
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    known = seen(mlflow, model, version)
    connect("mlflow_default", host="127.0.0.1", port=9)

    async def come_back() -> dict[str, Any]:
        event = asyncio.create_task(first_event(trigger(model, version, seen=known, seconds=0.2)))
        await asyncio.sleep(1)
        assert not event.done()
        connect("mlflow_default", host=mlflow_url)
        return await event

    assert run(come_back()) == LOOK


def test_an_error_of_a_proxy_is_not_taken_for_a_deleted_version(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., None]
) -> None:
    connect("mlflow_default", host="mlflow")
    answers = [
        httpx.Response(404, text="<html>not here</html>"),
        httpx.Response(404, json={"error_code": "ENDPOINT_NOT_FOUND"}),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(200, text="a login page"),
        httpx.Response(200, json=["no version"]),
        httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST"}),
    ]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    client = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: client(transport=transport, **options))
    assert run(first_event(trigger("m", 1))) == LOOK
    assert answers == []


def responded(monkeypatch: pytest.MonkeyPatch, age: timedelta) -> None:
    """Let Airflow have a response under Required Actions."""
    from airflow.sdk.api.datamodels._generated import HITLDetailResponse

    detail = HITLDetailResponse.model_validate(
        {
            "response_received": True,
            "chosen_options": ["Reject"],
            "responded_at": datetime.now(UTC) - age,
            "responded_by_user": {"id": "1", "name": "anna"},
            "params_input": {"reason": "no"},
        }
    )
    monkeypatch.setattr(triggers, "get_hitl_detail_content_detail", lambda ti_id: detail)


def test_a_response_from_before_the_deferral_is_not_lost(
    mlflow: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    responded(monkeypatch, timedelta(0))
    assert run(first_event(trigger(model, version, seen=seen(mlflow, model, version)))) == LOOK


def test_a_response_that_the_ledger_never_gets_does_not_keep_the_task_running(
    mlflow: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    responded(monkeypatch, timedelta(minutes=1))

    async def wait() -> bool:
        event = asyncio.create_task(first_event(trigger(model, version, seen=seen(mlflow, model, version))))
        await asyncio.sleep(2)
        return event.cancel()

    assert asyncio.run(wait()), "it still waited"


def test_the_triggerer_does_not_import_mlflow() -> None:
    import subprocess

    code = "import model_registry.approval.triggers, sys; print([m for m in ('mlflow', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert found.stdout.strip().splitlines()[-1] == "[]"


def _environment() -> dict[str, str]:
    import os

    from tests.airflow_home import PROJECT

    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")])}
