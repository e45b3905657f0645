"""Where an Airflow connection leads, in each form that people write one: the UI's fields, JSON, a URI."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Connection

SCHEMES = ("http", "https")


def http_address(connection: "Connection", default: str) -> str:
    """Return the URL that a connection describes, without credentials.

    Of ``https://host/path`` Airflow makes the type ``https`` and the schema ``path``; the UI's form and JSON have the
    type ``http`` and the scheme as schema. The host may hold scheme and path, as Airflow's own HTTP hook allows.

    :param default: the scheme where neither host, schema nor type says https
    :raises ValueError: names the connection, and what is wrong with it
    """
    where, host, schema = f"connection {connection.conn_id!r}", (connection.host or "").strip(), connection.schema or ""
    if not host:
        raise ValueError(f"{where} has no host")
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = schema.lower(), host
        if scheme not in SCHEMES:
            scheme = "https" if connection.conn_type == "https" else default
            if schema and schema.isalpha() and connection.conn_type != "https":
                raise ValueError(
                    f"{where}: the scheme must be http or https, found {schema!r}; a path goes behind the host"
                )
            rest = f"{host}/{schema.strip('/')}" if schema else host
    if scheme not in SCHEMES:
        raise ValueError(f"{where}: the scheme must be http or https, found {scheme!r}")
    name, slash, path = rest.partition("/")
    if "@" in name:
        raise ValueError(f"{where}: put login and password into their own fields")
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"  # an IPv6 address
    if connection.port and ":" not in name.rpartition("]")[2]:
        name = f"{name}:{connection.port}"
    return f"{scheme}://{name}{slash}{path}".rstrip("/")


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
