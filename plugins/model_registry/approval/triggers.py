"""The trigger behind a waiting approval: it asks MLflow's REST API, without MLflow's client."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from airflow.sdk.api.datamodels._generated import HITLDetailResponse
from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from include.lifecycle.rules.decisions import shown_state
from model_registry.hooks import API, MLflowRegistryHook

_TIMEOUT = 20.0
_SOON = timedelta(seconds=1)
_LOOK = TriggerEvent({"look": True})  # type: ignore[no-untyped-call]
log = logging.getLogger(__name__)


class RegistryUnavailableError(Exception):
    """The registry gave no answer that tells a version's state."""


class ModelApprovalTrigger(BaseTrigger):
    """Wait until there is something to look at: the version's stage or tags changed, or a time has come.

    It decides nothing. Its one event, ``{"look": true}``, makes the task look at the registry and the promotion ledger.
    As long as MLflow does not answer, it goes on waiting: a person can still decide.

    :param model_name: registered model
    :param version: version that waits
    :param ti_id: id of the waiting task instance
    :param mlflow_conn_id: connection of the MLflow server; its credentials are not stored with the trigger
    :param poll_seconds: seconds between two looks
    :param expires_at: when the wait expires, ISO 8601; absolute, so a restart does not prolong it
    :param remind_at: when the task wants to look in any case; None: not before it expires
    :param seen: stage and tags as the task saw them (``shown_state``); None: the task looks at once
    """

    def __init__(
        self,
        *,
        model_name: str,
        version: int,
        ti_id: str,
        mlflow_conn_id: str,
        poll_seconds: float,
        expires_at: str,
        remind_at: str | None = None,
        seen: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.model_name = model_name
        self.version = version
        self.ti_id = ti_id
        self.mlflow_conn_id = mlflow_conn_id
        self.poll_seconds = poll_seconds
        self.expires_at = expires_at
        self.remind_at = remind_at
        self.seen = seen

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and every argument."""
        names = ("model_name", "version", "ti_id", "mlflow_conn_id", "poll_seconds", "expires_at", "remind_at", "seen")
        return "model_registry.approval.triggers.ModelApprovalTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; yields one event."""
        if self.seen is None:
            yield _LOOK
            return
        until = datetime.fromisoformat(self.expires_at)
        if self.remind_at:
            until = min(until, datetime.fromisoformat(self.remind_at))
        if (answered := await self._answered_before_deferral()) is not None:
            # each look is later than the one before: the ledger may never get that answer, without this plugin
            now = datetime.now(UTC)
            until = min(until, now + max(_SOON, now - answered))
        available = True
        # made once: to make a client holds up every trigger of the process for tens of milliseconds
        client: httpx.AsyncClient | None = None
        while True:
            try:
                client = client or await self._client()
                stage, tags = await self._look(client)
            except Exception as error:  # noqa: BLE001 -- MLflow or Airflow's API is away: a person can still decide
                client = None
                if available:
                    log.warning("MLflow does not answer, the wait goes on: %s", _short(error))
                available = False
            else:
                if not available:
                    log.info("MLflow answers again")
                available = True
                if shown_state(stage, tags) != self.seen or datetime.now(UTC) >= until:
                    yield _LOOK
                    return
            left = (until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(min(self.poll_seconds, left) if left > 0 else self.poll_seconds)

    async def _client(self) -> httpx.AsyncClient:
        """Return a client of the server that the connection describes now. It keeps no connection open."""
        server = await MLflowRegistryHook(self.mlflow_conn_id).async_server()
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, **server.request_options())

    async def _look(self, client: httpx.AsyncClient) -> tuple[str | None, dict[str, str]]:
        """Return stage and tags of the version; the stage is None when the version was deleted."""
        answer = await client.get(
            f"{API}/model-versions/get", params={"name": self.model_name, "version": str(self.version)}
        )
        content = _json(answer)
        # A proxy answers 404 as well: only MLflow's own error code says that the version is gone.
        if answer.status_code == httpx.codes.NOT_FOUND and content.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            return None, {}
        version = content.get("model_version")
        if not answer.is_success or not isinstance(version, dict):
            raise RegistryUnavailableError(f"HTTP status {answer.status_code}")
        return version.get("current_stage") or "None", {tag["key"]: tag["value"] for tag in version.get("tags", [])}

    async def _answered_before_deferral(self) -> datetime | None:
        """Return when a response came before the deferral, which resumes nobody; None when there is none."""
        try:
            detail: HITLDetailResponse | None = await sync_to_async(get_hitl_detail_content_detail)(
                ti_id=UUID(self.ti_id)
            )
        except Exception as error:  # noqa: BLE001 -- outside a triggerer, or Airflow's API is away: the wait goes on
            log.debug("No response could be read: %s", _short(error))
            return None
        if detail is None or not detail.response_received:
            return None
        return detail.responded_at or datetime.now(UTC)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
