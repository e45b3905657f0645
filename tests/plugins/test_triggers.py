"""The trigger on a real MLflow server: it survives what is away, and tells what the registry shows."""

import asyncio
import sys
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mlflow import MlflowClient

from model_registry import triggers
from model_registry.triggers import ModelApprovalTrigger
from tests.registry_server import add_version


def trigger(
    model: str, version: int, *, seconds: float = 60.0, conn_id: str = "mlflow_default"
) -> ModelApprovalTrigger:
    return ModelApprovalTrigger(
        model_name=model,
        version=version,
        ti_id=str(uuid.uuid4()),
        mlflow_conn_id=conn_id,
        poll_seconds=0.1,
        expires_at=(datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
    )


async def first_event(waiting: ModelApprovalTrigger) -> dict[str, Any]:
    async for event in waiting.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger ended without an event")


def run(waiting: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    return asyncio.run(asyncio.wait_for(waiting, 30))


def test_it_can_be_made_again_from_what_is_stored() -> None:
    made = trigger("a model", 3)
    path, arguments = made.serialize()
    assert path == "model_registry.triggers.ModelApprovalTrigger"
    assert ModelApprovalTrigger(**arguments).serialize() == (path, arguments)


def test_it_expires_at_the_time_it_was_given(mlflow: str, model: str) -> None:
    version = add_version(mlflow, model, stage="Staging")
    event = run(first_event(trigger(model, version, seconds=0.5)))
    assert (event["decision"]["outcome"], event["decision"]["door"]) == ("expired", "expiry")


@pytest.mark.parametrize(
    ("stage", "outcome"), [("Production", "approved"), ("Archived", "superseded"), ("None", "superseded")]
)
def test_a_move_by_hand_ends_the_wait(mlflow: str, model: str, stage: str, outcome: str) -> None:
    version = add_version(mlflow, model, stage="Staging")
    client = MlflowClient(tracking_uri=mlflow)

    async def move_while_it_waits() -> dict[str, Any]:
        event = asyncio.create_task(first_event(trigger(model, version)))
        await asyncio.sleep(0.5)
        assert not event.done()
        await asyncio.to_thread(client.transition_model_version_stage, model, str(version), stage)
        return await event

    decision = run(move_while_it_waits())["decision"]
    assert (decision["outcome"], decision["door"]) == (outcome, "outside")


def test_it_makes_one_client_for_all_its_looks(mlflow: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    version = add_version(mlflow, model, stage="Staging")
    made, client = [], triggers.httpx.AsyncClient

    def make(**options: Any) -> Any:
        made.append(client(**options))
        return made[-1]

    monkeypatch.setattr(triggers.httpx, "AsyncClient", make)
    run(first_event(trigger(model, version, seconds=0.5)))
    assert len(made) == 1


def test_a_deleted_version_is_superseded(mlflow: str, model: str) -> None:
    add_version(mlflow, model)
    assert run(first_event(trigger(model, 99)))["decision"]["outcome"] == "superseded"


def test_it_waits_while_mlflow_is_away_even_past_its_expiry(
    mlflow: str, model: str, connect: Callable[..., None]
) -> None:
    version = add_version(mlflow, model, stage="Production")
    connect("mlflow_default", host="127.0.0.1", port=9)

    async def come_back() -> dict[str, Any]:
        event = asyncio.create_task(first_event(trigger(model, version, seconds=0.2)))
        await asyncio.sleep(1)
        assert not event.done()
        connect("mlflow_default", host=mlflow)
        return await event

    assert run(come_back())["decision"]["outcome"] == "approved"


def test_an_error_of_a_proxy_is_not_taken_for_a_deleted_version(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., None]
) -> None:
    import httpx

    connect("mlflow_default", host="mlflow")
    answers = [
        httpx.Response(404, text="<html>not here</html>"),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(200, text="a login page"),
        httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST"}),
    ]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    client = httpx.AsyncClient
    monkeypatch.setattr(triggers.httpx, "AsyncClient", lambda **options: client(transport=transport, **options))
    assert run(first_event(trigger("m", 1)))["decision"]["outcome"] == "superseded"
    assert answers == []


def test_a_response_from_before_the_deferral_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.api.datamodels._generated import HITLDetailResponse

    detail = HITLDetailResponse.model_validate(
        {
            "response_received": True,
            "chosen_options": ["Reject"],
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": "1", "name": "anna"},
            "params_input": {"reason": "no"},
        }
    )
    monkeypatch.setattr(triggers, "get_hitl_detail_content_detail", lambda ti_id: detail)
    event = run(first_event(trigger("m", 1, conn_id="nothing")))
    assert (event["chosen_options"], event["responded_by_user"]) == (["Reject"], {"id": "1", "name": "anna"})


def test_the_triggerer_does_not_import_mlflow() -> None:
    import subprocess

    code = "import model_registry.triggers, sys; print([m for m in ('mlflow', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert found.stdout.strip().splitlines()[-1] == "[]"


def _environment() -> dict[str, str]:
    import os

    from tests.airflow_home import PROJECT

    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")])}
