"""What a night of monitoring starts in Airflow: notifications, and an asset event on which the retrain runs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, Context
from pydantic import JsonValue

from include.lifecycle.config.models import Occasion
from include.lifecycle.untrusted_text import one_line
from model_registry.assets import is_known, is_outlet
from model_registry.hooks import MLflowRegistryHook
from model_registry.notifications import Notifications

log = logging.getLogger(__name__)

OCCASIONS: Mapping[str, Occasion] = {
    "error": "live_error",
    "bias": "live_error",
    "drift": "drift",
    "missing": "data_missing",
    "late": "data_missing",
}
"""Which notification an alarm of each kind is."""
REASON = (
    "{% for events in triggering_asset_events.values() %}{% for event in events %}"
    "{{ (event.extra or {}).get('reason', '') }} {% endfor %}{% endfor %}"
)
"""Why the monitoring asked for the run, empty for a run that nobody asked for."""


@dataclass(frozen=True)
class Found:
    """What a night found, as a step prints it; texts are untrusted.

    :param version: in Production, 0 where there is none
    :param day: the night, ISO
    :param raised: name, kind and sentence of each alarm that was raised now
    :param asked: why a retrain is asked for, empty: none is
    :param rollback: the sentence that proposes a rollback, empty: none is proposed
    """

    model: str
    version: int
    day: str
    raised: tuple[tuple[str, str, str], ...]
    asked: str
    rollback: str


def retrain_asset(model_name: str) -> Asset:
    """Return the asset that changes when the monitoring asks for a retrain.

    The extra of its events holds ``model``, ``version`` (in Production), ``day`` and ``reason``.

    :param model_name: registered model
    """
    return Asset(name=f"retrain of {model_name}", uri=f"x-mlflow://retrain/{quote(model_name, safe='')}")


def requests_alias(model_name: str) -> AssetAlias:
    """Return the alias through which requests reach ``retrain_asset``."""
    return AssetAlias(name=f"requests of a retrain of {model_name}")


def announce(context: Context, found: Found, notifications: Notifications, mlflow_conn_id: str) -> None:
    """Tell people what was found, and make the asset event of a request, once for each night.

    :param context: context of a task with ``requests_alias`` among its outlets
    """
    told: list[tuple[Occasion, str]] = [(OCCASIONS.get(kind, "drift"), text) for _, kind, text in found.raised]
    if found.asked:
        _ask(context, found)
        told.append(("retrain_asked", found.asked))
    if found.rollback and found.raised:
        told.append(("rollback_proposed", found.rollback))
    url = MLflowRegistryHook(mlflow_conn_id).version_url(found.model, found.version) if found.version else ""
    for event, reason in told:
        notifications.send(context, event, found.model, found.version or "-", reason=reason, url=url)


def _ask(context: Context, found: Found) -> None:
    asset, alias = retrain_asset(found.model), requests_alias(found.model)
    if not is_outlet(context, alias):
        log.warning("A retrain is asked for, and the task has no outlet for it: %s", found.asked)
        return
    if is_known(asset, "day", found.day):
        log.info("A retrain was asked for on %s already", found.day)
        return
    extra: dict[str, JsonValue] = {
        "model": found.model,
        "version": found.version,
        "day": found.day,
        "reason": one_line(found.asked, 1000),
    }
    context["outlet_events"][alias].add(asset, extra=extra)
    log.warning("A retrain of %s is asked for: %s", found.model, found.asked)
