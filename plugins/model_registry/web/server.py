"""One MLflow server as the pages read it."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.errors import LedgerDamagedError, ModelNotFoundError
from include.lifecycle.rules.decisions import utc_now
from include.lifecycle.untrusted_text import one_line
from include.retraining.config.monitor import DASHBOARD
from model_registry.hooks import MLflowRegistryHook
from model_registry.web.configured import Configured
from model_registry.web.problems import UNKNOWN_MODEL, PageError, told

if TYPE_CHECKING:
    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.views.summary import Overview, Unreadable

READING_SECONDS = 15.0
"""For the list, for each server: each model costs a few requests. Those that are left then are shown as they were when
they were last read, or named, and are read first the next time."""
TOO_SLOW = "MLflow was too slow for all models. Its own page reads it alone."

_cards: "defaultdict[str, dict[str, tuple[datetime, Overview | Unreadable]]]" = defaultdict(dict)
"""What this process has read for the list, and when, by connection and model: what was read longest ago first."""


@dataclass(frozen=True)
class Server:
    """A registry that can be read.

    :param configured: the models that are configured: what has the name of one that is behind another connection, or
        behind nobody knows which, is none of them
    :param configs: those behind this connection
    :param objections: why nothing of a model is promoted through the connection, by registered model
    """

    registry: "ModelRegistry"
    configured: Configured
    configs: Mapping[str, LifecycleConfig]
    ui_url: str
    objections: Mapping[str, str]

    def names(self) -> set[str]:
        """Return the models that a page exists for."""
        from include.lifecycle.views.overview import known_models

        named = {*self.configured.configs, *self.configured.broken}
        return {*self.configs, *(set(known_models(self.registry)) - named)}

    def overview(self, name: str) -> "Overview | None":
        """Return one of them, None when the registry has neither the model nor its ledger."""
        from include.lifecycle.views.overview import overview

        config = self.configs.get(name)
        policy = config.approval.policy if config is not None else None
        timezone = (config or next(iter(self.configs.values()))).schedule.timezone
        try:
            found = overview(self.registry, name, policy=policy, timezone=timezone, ui_url=self.ui_url)
        except ModelNotFoundError:
            return None
        objection = self.objections.get(name)
        return replace(found, warnings=(*((objection,) if objection else ()), *found.warnings))

    def card(self, name: str) -> "Overview | Unreadable | None":
        """Return what is shown of one of them: why, where it cannot be read, and the others all the same."""
        from include.lifecycle.views.overview import registered_by

        found = told(lambda: self.overview(name))
        if not isinstance(found, PageError):
            return found
        dags = told(lambda: registered_by(self.registry.versions(name), ()))
        return self.configured.unreadable(name, found.sentence, frozenset() if isinstance(dags, PageError) else dags)


@contextmanager
def opened(configured: Configured, conn_id: str) -> Iterator[Server]:
    """Open the registry behind a connection."""
    hook = MLflowRegistryHook(conn_id)
    try:
        ui_url = hook.server.ui_url
    except ValueError as error:
        raise PageError(503, f"MLflow cannot be reached: {one_line(str(error), 500)}.") from error
    here = configured.behind(conn_id)
    objections = {name: hook.objection(config.approval.policy) for name, config in here.items()}
    with hook.registry_beside_others() as registry:
        yield Server(registry, configured, here, ui_url, objections)


def read_cards(configured: Configured, conn_id: str) -> "list[Overview | Unreadable]":
    """Return what the list shows of the models behind a connection."""
    deadline = time.monotonic() + READING_SECONDS
    known = _cards[conn_id]
    with opened(configured, conn_id) as server:
        names = server.names()
        turn = {name: number for number, name in enumerate(known, 1)}
        # the configured ones first: no number of other names keeps them from being read
        late = sorted(names, key=lambda name: (name not in server.configs, turn.get(name, 0), name))
        while late and time.monotonic() <= deadline:
            name = late.pop(0)
            known.pop(name, None)
            if (found := server.card(name)) is not None:
                known[name] = utc_now(), found
    for name in known.keys() - names:
        del known[name]
    shown = [_as_it_was(*known[name]) if name in late else known[name][1] for name in known]
    return shown + [configured.unreadable(name, f"Not read: {TOO_SLOW}") for name in late if name not in known]


def _as_it_was(read: datetime, found: "Overview | Unreadable") -> "Overview | Unreadable":
    from include.lifecycle.views.summary import Overview

    if not isinstance(found, Overview):
        return found
    return replace(found, warnings=(f"As it was at {read:%H:%M:%S} UTC: {TOO_SLOW}", *found.warnings))


def read_model(configured: Configured, conn_id: str, name: str) -> "Overview | Unreadable | None":
    """Return a model, None when the server has none of the name."""
    with opened(configured, conn_id) as server:
        return server.card(name) if name in server.names() else None


def read_review(configured: Configured, conn_id: str, name: str, version: int) -> str:
    """Return the page of a version's review.

    :raises PageError: when there is none, or it was changed
    """
    from include.lifecycle.registry.stored_file import read_stored

    with opened(configured, conn_id) as server:
        if name not in server.names():
            raise PageError(404, UNKNOWN_MODEL)
        review = server.registry.ledger(name).read().review(version)
        if review is None:
            raise PageError(404, f"Version {version} was not reviewed.")
        try:
            return read_stored(server.registry.client, *review.artifact, review.page).decode()
        except LedgerDamagedError as error:
            sentence = f"The review of version {version} is not shown: {one_line(str(error))}. Clear the task `review`"
            raise PageError(410, f"{sentence} to make it anew.") from error


def read_dashboard(configured: Configured, conn_id: str, name: str) -> str:
    """Return the page of the newest night of a model's monitoring.

    :raises PageError: when there is none
    """
    from include.lifecycle.registry.stored_file import newest_artifact

    config = configured.behind(conn_id).get(name)
    if config is None:
        raise PageError(404, "No monitoring is configured for this model.")
    with opened(configured, conn_id) as server:
        page = newest_artifact(server.registry.client, config.monitoring_experiment, name, DASHBOARD)
    if page is None:
        raise PageError(404, "No night was judged yet: the DAG of the monitoring makes this page.")
    return page.decode("utf-8", errors="replace")
