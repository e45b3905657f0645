"""Where MLflow is: what people write into ``MLFLOW_TRACKING_URI``, and which of it can work."""

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line, without_credentials

if TYPE_CHECKING:
    from requests import RequestException

TRACKING_URI_ENV = "MLFLOW_TRACKING_URI"
REGISTRY_URI_ENV = "MLFLOW_REGISTRY_URI"
DATABASES = ("postgresql", "mysql", "mssql")
EXAMPLE = "name an MLflow server such as http://127.0.0.1:5000"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/\S*)?|localhost(/\S*)?", re.ASCII)
_DATABRICKS = re.compile(r"(databricks|databricks-uc|uc)(:.*)?", re.IGNORECASE)
_QUOTED = re.compile(r"(['\"])(.*)\1")


def tracking_address(text: str, name: str = TRACKING_URI_ENV) -> str:
    """Return the address of an MLflow, in the one form that MLflow's client and our own code read alike.

    Blanks and quotes around it, a scheme in capitals and a slash at its end are what files of variables make of it.

    :param text: e.g. ``http://mlflow:5000``, ``sqlite:////srv/mlflow.db``, ``postgresql://user:password@host/db``
    :param name: the variable, for the sentence
    :raises BadInputError: when there can be no registry behind it, and what to write instead
    """
    given = text.strip()
    if quoted := _QUOTED.fullmatch(given):
        given = quoted[2].strip()
    if not given:
        raise BadInputError(f"{name} is not set: {EXAMPLE}")
    is_what = f"{name} is {one_line(without_credentials(given), 200)!r}"
    if _DATABRICKS.fullmatch(given):
        raise BadInputError(
            f"{is_what}: Databricks takes neither the names of the ledger's experiments nor, in Unity Catalog, stages:"
            f" {EXAMPLE}"
        )
    found = _SCHEME.match(given)
    if found is None:
        raise BadInputError(f"{is_what}, which has no scheme: {_without_scheme(given)}")
    scheme, rest = found[1].lower(), given[found.end() :]
    if scheme in ("http", "https"):
        return _server(f"{scheme}://{rest}", is_what)
    if scheme == "sqlite":
        return _sqlite(rest, is_what)
    if scheme.partition("+")[0] in DATABASES:
        return f"{scheme}://{rest}"
    if scheme == "postgres":
        raise BadInputError(f"{is_what}: write postgresql:// in front")
    if scheme == "file":
        raise BadInputError(f"{is_what}: {_FILES}, or {EXAMPLE}")
    known = "http, https, sqlite, postgresql, mysql or mssql"
    raise BadInputError(f"{is_what}: the scheme must be {known}, found {scheme}")


def no_answer(error: BaseException) -> str | None:
    """Return the sentence for a request that MLflow, or what stands before it, did not answer.

    :param error: what came of it
    :return: None when the error is another one
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as NoConnectionError
    from requests.exceptions import RetryError, Timeout

    found: BaseException | None = error
    by_mlflow = False
    while found is not None:
        by_mlflow = by_mlflow or isinstance(found, MlflowException)
        if by_mlflow and isinstance(found, NoConnectionError | Timeout | RetryError):
            return f"MLflow does not answer at {_asked(found)}: is it up, and is {TRACKING_URI_ENV} its address?"
        found = found.__cause__ or found.__context__
    return None


_FILES = (
    "MLflow keeps no registry in a folder of files any more: move it into a database with `mlflow migrate-filestore`"
    " and write sqlite:////FOLDER/mlflow.db"
)


def _without_scheme(given: str) -> str:
    if _HOST_AND_PORT.fullmatch(given):
        return f"write http://{given}, or https:// in front"
    return f"write http://HOST:PORT for a server; {_FILES}"


def _server(uri: str, is_what: str) -> str:
    if re.search(r"://[^@]*[/?#][^@]*@", uri):
        raise BadInputError(
            f"{is_what}: write / as %2F, ? as %3F and # as %23 in login and password, or give them as"
            " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    try:
        parts = urlsplit(uri)
        odd = not parts.hostname or parts.port == 0 or bool(re.search(r"\s", uri))
    except ValueError:
        odd = True
    if odd:
        raise BadInputError(f"{is_what}: expected a host, and a port from 1 to 65535 where one is given")
    if "?" in uri or "#" in uri:
        raise BadInputError(f"{is_what}, a page of MLflow's: leave out what begins with ? or #")
    return uri.rstrip("/")


def _sqlite(rest: str, is_what: str) -> str:
    file = rest.removeprefix("/").partition("?")[0]
    if not rest.startswith("/") or not file or file == ":memory:":
        raise BadInputError(
            f"{is_what}, which names no file, and what is only in memory ends with the process: write"
            " sqlite:////FOLDER/mlflow.db"
        )
    if Path(file).is_dir():
        raise BadInputError(f"{is_what}, which is a folder: name a file in it, such as {file}/mlflow.db")
    return f"sqlite://{rest}"


def _asked(error: "RequestException") -> str:
    """Return scheme, host and port that a request went to."""
    parts = urlsplit(str(error.request.url) if error.request is not None else "")
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
