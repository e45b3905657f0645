"""The asset "production model of NAME": an event for each promotion and rollback, so that DAGs can be scheduled on it.

A declared outlet of the kind ``Asset`` would make an event each time its task succeeds, also when a retry finds
that there was nothing to do. An ``AssetAlias`` makes one only when the task says so.
"""

import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias, Context
from pydantic import JsonValue

from include.lifecycle.ledger.anchors import Anchor, sign
from include.lifecycle.ledger.events import ARTIFACTS, Event
from include.lifecycle.ledger.keys import Keyring
from model_registry.witness import ANCHOR, asset_name, asset_uri, extras_of

log = logging.getLogger(__name__)


def production_asset(model_name: str) -> Asset:
    """Return the asset that changes when another version of a model comes into Production.

    The extra of its events holds ``model``, ``version``, ``previous`` (the version archived, or None), ``user``,
    ``reason``, ``ledger_entry``, ``ledger_digest``, ``artifacts_digest`` and ``ledger_anchor``, which shows a ledger
    that was cut or replaced later.

    :param model_name: registered model
    """
    return Asset(name=asset_name(model_name), uri=asset_uri(model_name))


def promotions_alias(model_name: str) -> AssetAlias:
    """Return the alias through which a model's promotions reach ``production_asset``."""
    return AssetAlias(name=f"promotions of {model_name}")


def promotions_of(model_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with the alias as one of its outlets; a templated model name has none.

    :param model_name: registered model
    :param arguments: the operator's keyword arguments
    """
    if "{{" in model_name or not model_name:
        return dict(arguments)
    return {**arguments, "outlets": [*(arguments.get("outlets") or []), promotions_alias(model_name)]}


def emit_promotion(context: Context, event: Event, conn_id: str) -> bool:
    """Make an asset event of a promotion or rollback, unless there is one for this ledger entry already.

    So a retry makes no second event, also when the first try died after it had promoted; and a promotion by
    command line gets its event from the task that finds it.

    :param context: context of a task with ``promotions_alias`` among its outlets
    :param event: the ledger's event
    :param conn_id: connection of the MLflow server
    :return: whether an event was made
    """
    asset, alias = production_asset(event.model), promotions_alias(event.model)
    if not is_outlet(context, alias) or is_known(asset, "ledger_digest", event.digest):
        return False
    extra: dict[str, JsonValue] = {
        "model": event.model,
        "version": event.version,
        "previous": event.archived[0] if event.archived else None,
        "user": event.user,
        "reason": event.reason,
        "ledger_entry": event.entry,
        "ledger_digest": event.digest,
        "artifacts_digest": event.evidence.get(ARTIFACTS),
    }
    if event.entry is not None and event.digest is not None:
        extra[ANCHOR] = sign(Keyring.from_environment(), event.model, Anchor(event.entry, event.digest), conn_id)
    context["outlet_events"][alias].add(asset, extra=extra)
    return True


def is_outlet(context: Context, alias: AssetAlias) -> bool:
    """Whether a task has an alias among its outlets: else no event can be made through it."""
    task = context.get("task") or getattr(context.get("ti"), "task", None)
    return alias in (getattr(task, "outlets", None) or [])


def is_known(asset: Asset, name: str, value: object) -> bool:
    """Whether an asset has an event whose extra says this; no when that cannot be told: a second one harms less."""
    try:
        return any(extra.get(name) == value for extra in extras_of(asset.name, asset.uri))
    except Exception as error:  # noqa: BLE001 -- what was done does not fail for its event
        log.warning("Earlier events of %s could not be read: %s", asset.name, type(error).__name__)
        return False
