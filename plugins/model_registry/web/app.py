"""The routes: read only, for who is logged in to Airflow, with one sentence where something is wrong."""

import asyncio
import logging
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import MutableHeaders

from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.rules.decisions import Channel
from model_registry.web import PREFIX, ModelPages
from model_registry.web.access import may_see, readable_dags, why_unreadable
from model_registry.web.content import Content, plain
from model_registry.web.problems import UNKNOWN_MODEL, PageError
from model_registry.web.source import Source
from model_registry.web.waits import find_waits

if TYPE_CHECKING:
    from include.lifecycle.views.summary import Overview

log = logging.getLogger(__name__)

HERE = pathlib.Path(__file__).resolve().parent
READ = ["GET", "HEAD"]
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Page = Annotated[int, Query(ge=1, le=1_000_000)]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
SANDBOXED = "x-sandboxed"
"""Set on the one answer that shows a file which others made: it runs nothing and loads nothing."""
SANDBOX = {
    "Content-Security-Policy": "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none';"
    " style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}


def create_app(source: Source | None = None) -> Callable[..., Any]:
    """Return the ASGI application.

    :param source: where the overviews come from
    """
    source = source or Source()
    app = FastAPI(title="Models", openapi_url=None, docs_url=None, redoc_url=None)
    for failure in (PageError, HTTPException, 404):
        app.add_exception_handler(failure, _failed)
    app.add_exception_handler(RequestValidationError, _bad_request)

    @app.api_route("/", methods=READ)
    async def index(request: Request, user: GetUserDep) -> Response:
        models, unread = await _visible(request, user, source)
        return _html(request, "index.html", models=models, unread=unread)

    @app.api_route("/models/{name:path}", methods=READ)
    async def model(request: Request, user: GetUserDep, name: str, page: Page = 1) -> Response:
        return _html(request, "model.html", **await _model(request, user, source, name, page))

    @app.api_route("/reviews/{version}/{name:path}", methods=READ)
    async def review(user: GetUserDep, version: Version, name: str) -> Response:
        conn_id, *_ = await _seen(user, source, name)
        return HTMLResponse(await source.review(conn_id, name, version), headers={SANDBOXED: "yes"})

    @app.api_route("/monitoring/{name:path}", methods=READ)
    async def monitoring(user: GetUserDep, name: str) -> Response:
        conn_id, *_ = await _seen(user, source, name)
        return HTMLResponse(await source.dashboard(conn_id, name), headers={SANDBOXED: "yes"})

    @app.api_route("/api/models", methods=READ)
    async def index_json(request: Request, user: GetUserDep) -> Response:
        models, _ = await _visible(request, user, source)
        return JSONResponse(plain({"models": models}))

    @app.api_route("/api/models/{name:path}", methods=READ)
    async def model_json(request: Request, user: GetUserDep, name: str, page: Page = 1) -> Response:
        return JSONResponse(plain(await _model(request, user, source, name, page)))

    @app.api_route("/desk", methods=READ)
    async def desk() -> Response:
        """Tell anybody that decisions are taken here, and with which keys: whoever waits wants to know."""
        return JSONResponse({"ledger_keys": Keyring.from_environment().ids})

    @app.api_route("/static/page.css", methods=READ)
    async def style() -> Response:
        return FileResponse(HERE / "static" / "page.css", media_type="text/css")

    return _guarded(app)


async def _visible(request: Request, user: Any, source: Source) -> tuple[list[dict[str, Any]], bool]:
    """Return what the list shows a user, and whether there is something that could not be read, shown or not."""
    found = await source.models()

    def make() -> tuple[list[dict[str, Any]], bool]:
        from include.lifecycle.views.summary import Unreadable

        readable = readable_dags(user, {dag_id for item in found for dag_id in item.dag_ids})
        content = Content(_base(request), readable)
        seen = [
            replace(item, problem=why_unreadable(user, item)) if isinstance(item, Unreadable) else item
            for item in found
            if may_see(user, item, readable)
        ]
        return [content.summary(item) for item in seen], any(isinstance(item, Unreadable) for item in found)

    return await asyncio.to_thread(make)


async def _seen(user: Any, source: Source, name: str) -> "tuple[str, Overview, set[str]]":
    """Return where a model was found, the model, and those of its DAGs that a user may read.

    :raises PageError: when the user may not see it, or it cannot be read
    """
    conn_id, found = await source.find(name)

    def check() -> "tuple[Overview, set[str]]":
        from include.lifecycle.views.summary import Unreadable

        waiting = () if isinstance(found, Unreadable) else found.waiting
        readable = readable_dags(user, found.dag_ids | {item.run[0] for item in waiting if item.run})
        if not may_see(user, found, readable):
            # the same sentence as for a model that does not exist: what may not be seen is not told
            raise PageError(404, UNKNOWN_MODEL)
        if isinstance(found, Unreadable):
            raise PageError(503, why_unreadable(user, found))
        return found, readable

    return conn_id, *await asyncio.to_thread(check)


async def _model(request: Request, user: Any, source: Source, name: str, page: int) -> dict[str, Any]:
    _, found, readable = await _seen(user, source, name)
    runs = [item.run for item in found.waiting if item.run and item.run[0] in readable]

    def read() -> dict[str, Any]:
        return Content(_base(request), readable).model(found, find_waits(runs), page)

    return await asyncio.to_thread(read)


def _guarded(app: FastAPI) -> Callable[..., Any]:
    """Return the application behind what holds for every answer: nothing is written, and the headers are there."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                sandboxed = SANDBOXED in headers
                del headers[SANDBOXED]
                headers.update(HEADERS | (SANDBOX if sandboxed else {}))
            await send(message)

        if scope["method"] not in READ:
            answer = JSONResponse({"detail": "This page only shows."}, 405, {"Allow": ", ".join(READ)})
            await answer(scope, receive, send_with_headers)
            return
        await app(scope, receive, send_with_headers)

    return guarded


def _base(request: Request) -> str:
    """Return the path of Airflow's UI, behind a base URL with a path too."""
    return str(request.scope.get("root_path", "")).removesuffix(PREFIX)


def _wants_html(request: Request) -> bool:
    inside = request.url.path.removeprefix(str(request.scope.get("root_path", "")))
    return not inside.startswith("/api/") and "text/html" in request.headers.get("accept", "text/html")


def _html(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    base = _base(request)
    shown = {"base": base, "here": base + PREFIX, "now": datetime.now(UTC), **values}
    return HTMLResponse(TEMPLATES.get_template(template).render(shown), status)


def _error(request: Request, status: int, sentence: str) -> Response:
    if not _wants_html(request):
        return JSONResponse({"detail": sentence}, status)
    login = f"{_base(request)}/api/v2/auth/login?next={quote(str(request.url), safe='')}" if status == 401 else None
    return _html(request, "error.html", status, sentence=sentence, login=login, code=status)


async def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, PageError):
        return _error(request, error.status, error.sentence)
    status = getattr(error, "status_code", 500)
    sentences = {401: "Log in to Airflow to see the models.", 403: "Log in to Airflow anew.", 404: "No such page."}
    return _error(request, status, sentences.get(status, "This page only shows." if status == 405 else "Error."))


async def _bad_request(request: Request, _: Exception) -> Response:
    return _error(request, 422, "The number of a page or version must be a whole number from 1.")


def _utc(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else "unknown"


def _span(at: datetime | None) -> str:
    """Return how far away a time is, in words."""
    if at is None:
        return ""
    seconds = (datetime.now(UTC) - at).total_seconds()
    size = abs(seconds)
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if size >= length:
            count = int(size // length)
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "just now"


def _number(value: Any) -> str:
    try:
        return f"{float(value):.4f}"
    except (TypeError, ValueError):
        return str(value)


def _words(key: str) -> str:
    return key.replace("_", " ").replace("rmspe", "RMSPE").replace("cv ", "CV ")


def _known(named: Sequence[str]) -> str:
    """Return how a user is known and through which door a decision came, each once."""
    source, door = _words(named[0]), Channel(named[1]).words
    return door if source.casefold() == door.casefold() else f"{source}, {door}"


TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
TEMPLATES.filters |= {
    "utc": _utc,
    "span": _span,
    "number": _number,
    "words": _words,
    "door": lambda door: Channel(door).words,
    "known": _known,
    "quoted": lambda text: quote(str(text), safe=""),
}

__all__ = ["ModelPages", "create_app"]
