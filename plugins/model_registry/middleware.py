"""What stands around the API server's application: the door for decisions, and the record of those it let pass."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from model_registry import door, marks
from model_registry.callers import Caller, caller_of
from model_registry.mark_requests import Request, Scope, is_watched, read_request

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 5_000_000
"""Bytes of a request that marks or answers: ten thousand task instances in one. Whoever sends more, logged in or not,
would have the API server hold it several times."""
_TOO_LARGE = 413
_FORBIDDEN = 403
_FORBIDDEN_IN_THE_UI = 432
"""For a browser's session. Airflow's UI tells of a 403 only that a permission is missing, and of any other registered
status only its name; of a status that nobody registered, which counts as 400 elsewhere, it shows what is said."""


class ApprovalMiddleware:
    """Refuse decisions that the policy does not accept, and record those that Airflow accepted.

    Requests that mark or answer nothing pass untouched. What goes wrong in here is logged, and the request passes:
    the promotion applies the policy again, and a user who could not be recorded is unknown to it.

    :param app: the application around which it stands
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if not is_watched(scope):
            await self.app(scope, receive, send)
            return
        received = await _receive_all(receive)
        if received is None:
            await _answer(send, _TOO_LARGE, f"A mark or an answer has at most {MAX_BODY // 10**6} MB: send several.")
            return
        request = _read(scope, received)
        caller = await _caller(scope)
        refused = await _refusals(request, caller, scope)
        if refused and caller is not None:
            await _record(marks.record_refused, refused, caller)
            await _forbid(scope, send, list(dict.fromkeys(refusal.sentence for refusal in refused)))
            return
        marked: list[marks.Marked] = []

        async def record_then_send(message: Message) -> None:
            # The database session of the request is committed before its response starts.
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                await _record(marks.record_accepted, request, marked, caller)
            await send(message)

        with marks.collecting(marked):
            await self.app(scope, _again(received, receive), record_then_send)


async def _receive_all(receive: Receive) -> list[Message] | None:
    """Return the messages that make up a request's body, None when it is too large to be held."""
    messages = [await receive()]
    size = len(messages[-1].get("body", b""))
    while size <= MAX_BODY and messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
    return messages if size <= MAX_BODY else None


def _again(received: list[Message], receive: Receive) -> Receive:
    """Return a ``receive`` that gives the application what was received before."""
    left = iter(received)

    async def receive_again() -> Message:
        message = next(left, None)
        return await receive() if message is None else message

    return receive_again


def _read(scope: Scope, received: list[Message]) -> Request:
    try:
        return read_request(scope, b"".join(message.get("body", b"") for message in received))
    except ValueError:  # pydantic's too: Airflow answers it
        return ()
    except Exception:
        log.exception("A request that may mark an approval could not be read: it passes unchecked")
        return ()


async def _caller(scope: Scope) -> Caller | None:
    try:
        return await caller_of(scope)
    except Exception:
        log.exception("Whose request it is could not be found out: who decided stays unknown")
        return None


async def _refusals(request: Request, caller: Caller | None, scope: Scope) -> list[door.Refusal]:
    if not request or caller is None:
        return []
    try:
        return await asyncio.to_thread(door.refusals, request, caller, scope["app"].state.dag_bag)
    except Exception:
        log.exception("The policy could not be applied at the door: the request passes, the promotion applies it")
        return []


async def _record(write: Callable[..., None], *arguments: Any) -> None:
    try:
        await asyncio.to_thread(write, *arguments)
    except Exception:
        log.exception("Who decided on an approval could not be recorded")


async def _forbid(scope: Scope, send: Send, sentences: list[str]) -> None:
    """Answer with the sentences, so that whoever asked sees them."""
    by_header = any(name.lower() == b"authorization" for name, _ in scope["headers"])
    await _answer(send, _FORBIDDEN if by_header else _FORBIDDEN_IN_THE_UI, " ".join(sentences))


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
