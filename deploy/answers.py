"""What the checks of the stack ask with: Airflow's connections, HTTP clients, and sentences for what goes wrong."""

import json
import os
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

TIMEOUT = 12.0
"""Seconds for each answer."""
RELOGIN = "the passwords in .env are not those of the volumes, so put back the .env that belongs to them and make up"


class CheckFailed(Exception):
    """What is wrong, and what to do, in one sentence."""


def look(service: str) -> str:
    """Return the usual remedy."""
    return f"read the logs of the service {service} (make logs) and restart it"


def connection(conn_id: str) -> dict[str, Any]:
    """Return a connection of Airflow as docker-compose.yaml gives it to the worker."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    try:
        found = json.loads(os.environ[variable])
    except KeyError:
        raise CheckFailed(f"this worker has no connection {conn_id}: set {variable} in docker-compose.yaml") from None
    except ValueError:
        raise CheckFailed(f"{variable} is no JSON: what .env puts into it must hold no quotes or backslashes") from None
    return {**found, "extra": found.get("extra") or {}}


def address(found: Mapping[str, Any]) -> str:
    """Return the base URL of a connection."""
    host = str(found.get("host") or "")
    if "://" in host:
        return host
    port = f":{found['port']}" if found.get("port") else ""
    path = str(found["extra"].get("path") or "").strip("/")
    return f"{found.get('schema') or 'http'}://{host}{port}/{path}".rstrip("/")


def client(found: Mapping[str, Any], *, login: bool = True, **options: Any) -> httpx.Client:
    """Return a client of the server that a connection leads to; no proxy of the environment stands between.

    :param login: whether to send its login and password, or token
    """
    extra = found["extra"]
    if login and extra.get("token"):
        options["headers"] = {"Authorization": f"Bearer {extra['token']}"}
    elif login and found.get("login"):
        options["auth"] = (str(found["login"]), str(found.get("password") or ""))
    trusted = ssl.create_default_context(cafile=extra.get("ca_bundle")) if extra.get("tls_verify", True) else False
    return httpx.Client(
        base_url=address(found), verify=trusted, timeout=TIMEOUT, trust_env=False, follow_redirects=True, **options
    )


def ask(server: httpx.Client, path: str, service: str, method: str = "GET", **options: Any) -> httpx.Response:
    """Return the answer of a server, whatever its status."""
    try:
        return server.request(method, path, **options)
    except httpx.HTTPError as error:
        host = server.base_url.netloc.decode()
        raise CheckFailed(f"{host} does not answer ({type(error).__name__}): {look(service)}") from error


def ask_json(server: httpx.Client, path: str, service: str, **options: Any) -> Any:
    """Return the JSON of an answer, which must be a success."""
    answer = ask(server, path, service, **options)
    if answer.status_code in (401, 403):
        raise CheckFailed(f"{path} refuses the login of the connection ({answer.status_code}): {RELOGIN}")
    if not answer.is_success:
        raise CheckFailed(f"{path} answers with HTTP status {answer.status_code}: {look(service)}")
    try:
        return answer.json()
    except ValueError:
        raise CheckFailed(f"{path} answers with something other than JSON: {look(service)}") from None
