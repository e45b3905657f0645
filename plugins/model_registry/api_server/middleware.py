"""What stands around the API server's application: it says whose request is handled. All else is found by effect."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from model_registry.api_server.effects import Visit, visit_of, watch

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class ApprovalMiddleware:
    """Say which request is handled, for each that may change something, whatever its path and body.

    :param app: the application around which it stands
    """

    def __init__(self, app: App) -> None:
        self.app = app
        watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the API server's start also starts the delivery of what was left undelivered."""
        if scope["type"] == "lifespan":
            from model_registry.api_server import outbox

            outbox.start()
        if scope["type"] != "http" or scope["method"] in _READING:
            await self.app(scope, receive, send)
            return
        token = visit_of.set(Visit(scope, asyncio.get_running_loop()))
        try:
            await self.app(scope, receive, send)
        finally:
            visit_of.reset(token)
