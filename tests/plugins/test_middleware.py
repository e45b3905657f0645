"""What passes the door untouched, whatever it is."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from model_registry import marks
from model_registry.middleware import MAX_BODY, ApprovalMiddleware

PATH = "/api/v2/dags/x/dagRuns/y/taskInstances/z"


def scope_of(path: str = PATH, method: str = "PATCH", **fields: Any) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", **fields}


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        {"type": "websocket", "path": PATH},
        scope_of(method="GET"),
        scope_of("/api/v2/pools/x"),
        scope_of("/api/v2/dags/x"),
        scope_of("/execution/task-instances/dags"),
        scope_of(f"/elsewhere{PATH}"),
        scope_of(f"{PATH}/xcomEntries{PATH}"),
    ],
)
def test_other_requests_pass_untouched(scope: dict[str, Any]) -> None:
    seen: list[tuple[object, ...]] = []

    async def app(*arguments: object) -> None:
        seen.append(arguments)

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: object) -> None:
        raise AssertionError

    asyncio.run(ApprovalMiddleware(app)(scope, receive, send))
    assert seen == [(scope, receive, send)]


def test_an_error_of_the_application_is_not_swallowed() -> None:
    async def app(*_: object) -> None:
        raise LookupError("of the application")

    async def nothing(*_: object) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(LookupError):
        asyncio.run(ApprovalMiddleware(app)(scope_of(), nothing, nothing))
    assert marks._marked.get() is None


def test_the_application_gets_the_body_as_it_came() -> None:
    sent: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}", "more_body": False},
        {"type": "http.disconnect"},
    ]
    left, got = iter(sent), []

    async def receive() -> MutableMapping[str, Any]:
        return next(left)

    async def app(_: object, receive_again: Any, __: object) -> None:
        got.extend([await receive_again() for _ in sent])

    async def send(message: object) -> None:
        raise AssertionError

    asyncio.run(ApprovalMiddleware(app)(scope_of(), receive, send))
    assert got == sent


@pytest.mark.parametrize("pieces", [1, 100])
def test_a_body_that_is_too_large_is_not_held(pieces: int) -> None:
    piece, sent, read = b"x" * (MAX_BODY // pieces + 1), [], []

    async def receive() -> dict[str, Any]:
        read.append(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def app(*_: object) -> None:
        raise AssertionError("it reaches Airflow")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(ApprovalMiddleware(app)(scope_of(), receive, send))
    assert sent[0]["status"] == 413
    assert b"at most 5 MB" in sent[1]["body"]
    assert len(read) == pieces, "the rest is not read"


def test_a_client_that_goes_away_while_it_sends() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def app(_: object, receive_again: Any, __: object) -> None:
        assert (await receive_again())["type"] == "http.disconnect"

    asyncio.run(ApprovalMiddleware(app)(scope_of(), receive, receive))
