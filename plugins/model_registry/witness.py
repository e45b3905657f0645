"""What Airflow's database keeps of the promotion ledgers: anchors, which show a ledger that was cut or replaced.

Whoever may write to MLflow cannot reach them, and nobody can make one without the ledger's key. A task reads the events
of the asset of a model's Production version; the API server reads those and the audit log's rows of decisions.
"""

import json
import logging
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote

log = logging.getLogger(__name__)

ANCHOR = "ledger_anchor"
"""Where an asset event's extra and a row of the audit log keep an anchor."""
LOOKED_AT = 50
"""Newest events of an asset that are looked at."""
_ROWS = 500
"""Newest decisions, of all models together, whose anchors are looked at."""


def asset_name(model: str) -> str:
    """Return the name of the asset of a model's Production version."""
    return f"production model of {model}"


def asset_uri(model: str) -> str:
    """Return the URI of the asset of a model's Production version."""
    return f"x-mlflow://production/{quote(model, safe='')}"


def asset_events(model: str) -> Iterator[dict[str, Any]]:
    """Yield the extras of the newest events of a model's asset, as a task of Airflow can read them.

    :raises Exception: where there is no task, or Airflow does not answer
    """
    from airflow.sdk.execution_time.context import InletEventsAccessor

    events = InletEventsAccessor(asset_name=asset_name(model), asset_uri=asset_uri(model))
    for event in events.ascending(False).limit(LOOKED_AT):
        yield event.extra or {}


def events_of_task(model: str) -> Iterator[object]:
    """Yield the anchors that the asset's events keep; none where there is no task that could read them."""
    try:
        yield from [extra.get(ANCHOR) for extra in asset_events(model)]
    except Exception as error:  # noqa: BLE001 -- no asset, no task: the other anchors are compared
        log.debug("Events of %s could not be read: %s", asset_name(model), type(error).__name__)


class ServerWitness:
    """The anchors that Airflow's database keeps, read once, in the API server."""

    def __call__(self, model: str) -> Iterator[object]:
        """Yield the anchors that may be a model's; the key tells."""
        yield from self._decisions
        yield from self._events(model)

    @cached_property
    def _decisions(self) -> list[object]:
        from airflow.models import Log
        from airflow.utils.session import create_session
        from sqlalchemy import select

        from model_registry.outbox import DECIDED

        with create_session(scoped=False) as session:
            query = select(Log.extra).where(Log.event == DECIDED).order_by(Log.id.desc()).limit(_ROWS)
            return [_anchor(extra) for extra in session.scalars(query)]

    @staticmethod
    def _events(model: str) -> list[object]:
        from airflow.models.asset import AssetEvent, AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session(scoped=False) as session:
            of_model = select(AssetModel.id).where(AssetModel.uri == asset_uri(model)).scalar_subquery()
            query = select(AssetEvent.extra).where(AssetEvent.asset_id == of_model)
            newest = query.order_by(AssetEvent.id.desc()).limit(LOOKED_AT)
            return [(extra or {}).get(ANCHOR) for extra in session.scalars(newest)]


def _anchor(extra: str | None) -> object:
    try:
        return json.loads(extra or "{}").get(ANCHOR)
    except (ValueError, AttributeError):
        return None
