"""The page of the models in Airflow's UI: what is live, what waits, and the promotion ledger. It writes nothing.

Every part of Airflow imports the plugin, only the API server serves it: nothing heavy at module level.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, urlsplit

PREFIX = "/model-registry"

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class ModelPages:
    """The ASGI application, made when the first request comes."""

    def __init__(self) -> None:
        self._app: App | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one request."""
        if self._app is None:
            from model_registry.web.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


def page_url(page: str = "/") -> str:
    """Return the path of a page, by default of the list of models, behind a base URL with a path too."""
    from airflow.configuration import conf

    return f"{urlsplit(conf.get('api', 'base_url', fallback='')).path.rstrip('/')}{PREFIX}{page}"


def review_page(model: str, version: int) -> str:
    """Return the page of a version's review, below ``PREFIX``."""
    return f"/reviews/{version}/{quote(model, safe='')}"


def monitoring_page(model: str) -> str:
    """Return the page of the newest night of a model's monitoring, below ``PREFIX``."""
    return f"/monitoring/{quote(model, safe='')}"
