"""Links to MLflow's pages. Standard library only."""

from urllib.parse import quote, urlsplit, urlunsplit


def base_url(tracking_uri: str) -> str | None:
    """Return the address of MLflow's UI without user and password, None when MLflow is not an HTTP server."""
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def version_url(tracking_uri: str, model: str, version: int) -> str | None:
    """Return the page of a model version in MLflow's UI, None when MLflow is not an HTTP server."""
    base = base_url(tracking_uri)
    return f"{base}/#/models/{quote(model, safe='')}/versions/{version}" if base else None
