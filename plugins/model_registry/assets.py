"""The asset "production model of NAME": an event for each promotion and rollback, so that DAGs can be scheduled on it.

A declared outlet of the kind ``Asset`` would make an event each time its task succeeds, also when a retry finds
that there was nothing to do. An ``AssetAlias`` makes one only when the task says so.
"""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, Context
from pydantic import JsonValue

from include.lifecycle.events import ARTIFACTS, Event

log = logging.getLogger(__name__)

_LOOKED_AT = 50
"""Newest events of the asset among which an earlier one for the same ledger entry is looked for."""


def production_asset(model_name: str) -> Asset:
    """Return the asset that changes when another version of a model comes into Production.

    The extra of its events holds ``model``, ``version``, ``previous`` (the version archived, or None), ``user``,
    ``reason``, ``ledger_entry``, ``ledger_digest`` and ``artifacts_digest``.

    :param model_name: registered model
    """
    return Asset(name=f"production model of {model_name}", uri=f"x-mlflow://production/{quote(model_name, safe='')}")


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


def emit_promotion(context: Context, event: Event) -> bool:
    """Make an asset event of a promotion or rollback, unless there is one for this ledger entry already.

    So a retry makes no second event, also when the first try died after it had promoted; and a promotion by
    command line gets its event from the task that finds it.

    :param context: context of a task with ``promotions_alias`` among its outlets
    :param event: the ledger's event
    :return: whether an event was made
    """
    asset, alias = production_asset(event.model), promotions_alias(event.model)
    task = context.get("task") or getattr(context.get("ti"), "task", None)
    if alias not in (getattr(task, "outlets", None) or []) or _known(asset, event):
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
    context["outlet_events"][alias].add(asset, extra=extra)
    return True


def _known(asset: Asset, event: Event) -> bool:
    """Whether the asset has an event for this ledger entry; no when that cannot be told: a second one harms less."""
    from airflow.sdk.execution_time.context import InletEventsAccessor

    try:
        found = InletEventsAccessor(asset_name=asset.name, asset_uri=asset.uri).ascending(False).limit(_LOOKED_AT)
        return any((item.extra or {}).get("ledger_digest") == event.digest for item in found)
    except Exception as error:  # noqa: BLE001 -- a promotion that was made does not fail for its event
        log.warning("Earlier events of %s could not be read: %s", asset.name, type(error).__name__)
        return False
