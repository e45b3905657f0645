"""Where the pages get what they show: the configurations and MLflow, asked with short limits and a short memory."""

import asyncio
import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from model_registry.web import server
from model_registry.web.configured import Configured
from model_registry.web.lane import Lane
from model_registry.web.problems import UNKNOWN_MODEL, Found, PageError, checked, told

if TYPE_CHECKING:
    from include.lifecycle.views.summary import Overview, Unreadable


class Source:
    """Overviews of models.

    What is behind one Airflow connection is read in a lane of its own. A server that does not answer holds up no page
    of a model that is configured with another connection; the list, and the page of a model that no configuration
    names, wait for it as long as one request may take (``LIMITS_OF_A_PERSON``), at most for a lane's patience.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    async def models(self) -> "list[Overview | Unreadable]":
        """Return every model that has a ledger, and the configured ones.

        An unconfigured model that several servers have is the first one's, as it is on its page.

        :raises PageError: when it is not even known which there are, as of one server that does not answer
        """
        configured = await _configured()
        connections = configured.connections()
        found = await asyncio.gather(*(self._ask(server.read_cards, configured, conn_id) for conn_id in connections))
        if len(found) == 1 and not configured.broken:
            checked(found[0])
        cards: dict[str, Overview | Unreadable] = dict(configured.broken)
        for conn_id, read in zip(connections, found, strict=True):
            if isinstance(read, PageError):
                read = [configured.unreadable(model, read.sentence) for model in configured.behind(conn_id)]
            for card in read:
                cards.setdefault(card.model, card)
        return sorted(cards.values(), key=lambda card: card.model)

    async def find(self, name: str) -> "tuple[str, Overview | Unreadable]":
        """Return the connection behind which a model is found, and the model, or why it cannot be read.

        :raises PageError: when it is found nowhere
        """
        configured = await _configured()
        if name in configured.broken:
            return "", configured.broken[name]
        connections = configured.connections(name)
        read = partial(self._ask, server.read_model, configured)
        asked = [asyncio.ensure_future(read(conn_id, name)) for conn_id in connections]
        away = ""
        try:
            for conn_id, answer in zip(connections, asked, strict=True):
                found = await answer
                if isinstance(found, PageError):
                    away = away or found.sentence
                elif found is not None:
                    return conn_id, found
        finally:
            for answer in asked:
                answer.cancel()
        if not away:
            raise PageError(404, UNKNOWN_MODEL)
        return connections[0], configured.unreadable(name, away)  # it may be there

    async def review(self, conn_id: str, name: str, version: int) -> str:
        """Return the page of a version's review, once it is what the ledger says was shown.

        :param conn_id: where the model was found
        :raises PageError: when there is none, or it was changed
        """
        return checked(await self._ask(server.read_review, await _configured(), conn_id, name, version))

    async def dashboard(self, conn_id: str, name: str) -> str:
        """Return the page of the newest night of a model's monitoring.

        :param conn_id: where the model was found
        :raises PageError: when there is none
        """
        return checked(await self._ask(server.read_dashboard, await _configured(), conn_id, name))

    async def _ask(
        self, read: Callable[..., Found], configured: Configured, conn_id: str, *which: str | int
    ) -> Found | PageError:
        """Return what is read behind a connection, or why it cannot be read.

        Each connection has a lane with a memory of its own: two servers may have a model of the same name.
        """
        if conn_id not in self._lanes:
            self._lanes[conn_id] = Lane(conn_id)
        return await self._lanes[conn_id].ask((read, *which), partial(read, configured, conn_id, *which))


async def _configured() -> Configured:
    """Return what is configured now.

    :raises PageError: when that cannot be told
    """
    # the first import of MLflow's client takes seconds: that is no sign that the server is away
    await asyncio.to_thread(importlib.import_module, "include.lifecycle.views.overview")
    return checked(await asyncio.to_thread(told, Configured.read))
