"""What Airflow's database keeps of the promotion ledgers: anchors, which show a ledger that was cut or replaced.

Whoever may write to MLflow cannot reach them, and nobody can make one without the ledger's key. A task reads the events
of the asset of a model's Production version; the API server reads those and the audit log's rows of decisions.
"""

import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from include.lifecycle.ledger.anchors import Anchor

log = logging.getLogger(__name__)

ANCHOR = "ledger_anchor"
"""Where an asset event's extra and a row of the audit log keep an anchor."""
DECIDED = "approval_decided"
"""Event of the audit log's rows that tell of a decision in a ledger."""
_LOOKED_AT = 50
"""Newest events of an asset that are looked at."""
_ROWS = 500
"""Newest decisions, of all models together, whose anchors are looked at."""


def asset_name(model: str) -> str:
    """Return the name of the asset of a model's Production version."""
    return f"production model of {model}"


def asset_uri(model: str) -> str:
    """Return the URI of the asset of a model's Production version."""
    return f"x-mlflow://production/{quote(model, safe='')}"


def extras_of(name: str, uri: str) -> Iterator[dict[str, Any]]:
    """Yield the extras of the newest events of an asset, as a task of Airflow can read them.

    :raises Exception: where there is no task, or Airflow does not answer
    """
    from airflow.sdk.execution_time.context import InletEventsAccessor

    events = InletEventsAccessor(asset_name=name, asset_uri=uri)
    for event in events.ascending(False).limit(_LOOKED_AT):
        yield event.extra or {}


def task_witness(conn_id: str, model: str) -> "Iterator[Anchor]":
    """Return the anchors that the events of a model's asset keep; none where there is no task that could read them.

    :param conn_id: connection of the MLflow server: another one may have a model of the same name
    """
    try:
        texts = [extra.get(ANCHOR) for extra in extras_of(asset_name(model), asset_uri(model))]
    except Exception as error:  # noqa: BLE001 -- no asset, no task: the other anchors are compared
        log.debug("Events of %s could not be read: %s", asset_name(model), type(error).__name__)
        texts = []
    return _signed(model, texts, conn_id)


class ServerWitness:
    """The anchors that Airflow's database keeps, for the API server.

    :param conn_id: connection of the MLflow server
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._decisions: list[object] | None = None

    def __call__(self, model: str) -> "Iterator[Anchor]":
        """Return the anchors of a model's ledger; the decisions of all models are read once."""
        if self._decisions is None:
            self._decisions = self._read_decisions()
        return _signed(model, [*self._decisions, *self._read_events(model)], self.conn_id)

    @staticmethod
    def _read_decisions() -> list[object]:
        from airflow.models import Log
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session(scoped=False) as session:
            query = select(Log.extra).where(Log.event == DECIDED).order_by(Log.id.desc()).limit(_ROWS)
            return [_anchor(extra) for extra in session.scalars(query)]

    @staticmethod
    def _read_events(model: str) -> list[object]:
        from airflow.models.asset import AssetEvent, AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session(scoped=False) as session:
            of_model = select(AssetModel.id).where(AssetModel.uri == asset_uri(model)).scalar_subquery()
            query = select(AssetEvent.extra).where(AssetEvent.asset_id == of_model)
            newest = query.order_by(AssetEvent.id.desc()).limit(_LOOKED_AT)
            return [(extra or {}).get(ANCHOR) for extra in session.scalars(newest)]


def _signed(model: str, texts: list[object], conn_id: str) -> "Iterator[Anchor]":
    from include.lifecycle.ledger.anchors import signed
    from include.lifecycle.ledger.keys import Keyring

    return signed(Keyring.from_environment(), model, texts, conn_id)


def _anchor(extra: str | None) -> object:
    try:
        return json.loads(extra or "{}").get(ANCHOR)
    except (ValueError, AttributeError):
        return None
