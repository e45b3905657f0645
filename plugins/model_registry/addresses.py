"""Where an Airflow connection leads, in each form that people write one: the UI's fields, JSON, a URI."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from include.lifecycle.untrusted_text import without_credentials

if TYPE_CHECKING:
    from airflow.sdk import Connection

SCHEMES = ("http", "https")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:(\d+))?")
_UNFIT = re.compile(r"[\s?#\\\x00-\x1f]")


def http_address(connection: "Connection", default: str) -> str:
    """Return the URL that a connection describes, without credentials.

    Of ``https://host/path`` Airflow makes the type ``https`` and the schema ``path``; the UI's form and JSON have the
    type ``http`` and the scheme as schema. The host may hold scheme and path, as Airflow's own HTTP hook allows.
    Where one part says https and another http, none is believed: a login must not go out in clear by a slip.

    :param default: the scheme where neither host, schema nor type says one
    :raises ValueError: names the connection, and what is wrong with it
    """
    where, host = f"connection {connection.conn_id!r}", (connection.host or "").strip()
    schema = (connection.schema or "").strip()
    if not host:
        raise ValueError(f"{where} has no host")
    scheme, separator, rest = host.partition("://")
    said = {scheme.lower()} if separator else set()
    if not separator:
        rest = host
    if (word := schema.lower().rstrip(":/")) in SCHEMES:
        said.add(word)
    elif schema and connection.conn_type != "https" and (schema.isalpha() or word.startswith("http")):
        raise ValueError(f"{where}: the scheme must be http or https, found {schema!r}; a path goes behind the host")
    elif schema:
        rest = f"{rest.rstrip('/')}/{schema.strip('/')}"
    if connection.conn_type == "https":
        said.add("https")
    if wrong := said - set(SCHEMES):
        raise ValueError(f"{where}: the scheme must be http or https, found {wrong.pop()!r}")
    if len(said) > 1:
        raise ValueError(f"{where}: one part of it says http, another https: write the one scheme in front of the host")
    name, slash, path = rest.partition("/")
    if "@" in name:
        raise ValueError(f"{where}: put login and password into their own fields")
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"  # an IPv6 address
    address = _with_port(where, name, connection.port)
    return f"{(said or {default}).pop()}://{address}{slash}{checked_path(where, path)}".rstrip("/")


def text(value: object, where: str) -> str:
    """Return an extra that is text, empty when it is not given.

    :param where: what the error calls it
    :raises ValueError: when it is something else
    """
    if value is not None and not isinstance(value, str | int):
        raise ValueError(f"{where} must be text, found {value!r}")
    return "" if value is None else str(value).strip()


def page_address(value: object, where: str) -> str:
    """Return an extra that is the address of pages which people open, empty when it is not given.

    :param where: what the error calls it
    :raises ValueError: when a browser would not take it for one
    """
    found = text(value, where)
    if found and (_UNFIT.search(found) or not re.match(r"https?://[^/@]+(/[^@]*)?$", found, re.IGNORECASE)):
        shown = without_credentials(found)
        raise ValueError(f"{where} must be an address such as https://mlflow.example.com, found {shown!r}")
    return found.rstrip("/")


def extras(connection: "Connection", known: Collection[str]) -> dict[str, Any]:
    """Return a connection's extras.

    :param known: names of those that it may have
    :raises ValueError: when it has another one, or text that is no JSON object, which Airflow reads as no extra
    """
    found: dict[str, Any] = connection.extra_dejson
    if not found and (connection.extra or "").strip() not in ("", "{}", "null", "None"):
        raise ValueError(f"connection {connection.conn_id!r}: extra must be a JSON object")
    if unknown := sorted(set(found) - set(known)):
        names = f"{', '.join(unknown)}: known are {', '.join(sorted(known))}"
        raise ValueError(f"connection {connection.conn_id!r} has unknown extras {names}")
    return found


def checked_path(where: str, path: str) -> str:
    """Return a path that can stand behind a host.

    :param where: what the error calls it
    :raises ValueError: when something in it would be no path
    """
    if unfit := _UNFIT.search(path):
        raise ValueError(f"{where}: the path {path!r} must hold no {unfit.group()!r}")
    return path


def _with_port(where: str, name: str, port: int | None) -> str:
    """Return host and port, checked."""
    found = _HOST.fullmatch(name)
    if found is None:
        raise ValueError(f"{where}: the host {name!r} is none, expected one such as mlflow.example.com or mlflow:5000")
    given = {int(number) for number in (found[3], port) if number is not None}
    if len(given) > 1 or not all(0 < number < 65536 for number in given):
        raise ValueError(
            f"{where}: the port must be one from 1 to 65535, found {' and '.join(map(str, sorted(given)))}"
        )
    return f"{found[1]}:{given.pop()}" if given else found[1]


def flag(value: object, where: str) -> bool:
    """Return an extra that is true or false; a URI has it as text.

    :param where: what the error calls it
    :raises ValueError: when it is neither
    """
    text = value.strip().lower() if isinstance(value, str) else value
    if text in ("true", "false"):
        return text == "true"
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be true or false, found {value!r}")
    return value
