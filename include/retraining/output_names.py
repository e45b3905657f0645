"""Names of outputs: the format that one asks for, and what somebody may type into a form."""

import hashlib
import re
from typing import Literal, TypeAlias, get_args

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line, without_credentials

Format: TypeAlias = Literal["csv", "csv.gz", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

MAX_NAME = 200
"""Characters of a name that somebody typed."""
_PART = r"\w[\w.+=-]*"
NAME_PATTERN = rf"^{_PART}(/{_PART})*$"
"""What a form takes: folders and a file, none of which begins with a dot."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def format_of(name: str) -> Format:
    """Return the format that a file's name asks for.

    :raises BadInputError: when it asks for none that is known
    """
    file = name.rpartition("/")[2]
    for known in FORMATS:
        if file.endswith(f".{known}") and file != f".{known}":
            return known
    endings = ", ".join(f".{known}" for known in FORMATS)
    raise BadInputError(f"{one_line(shown(name), 200)!r} names no format: expected a name that ends in {endings}")


def checked_name(name: str, what: str) -> str:
    """Return a name below a configured place that somebody typed, once it is sure to stay below it.

    :param name: e.g. ``stores.csv`` or ``campaign/stores.csv``
    :param what: the field, for the sentence
    :raises BadInputError: when it is absolute, a URL, leads upwards or is hidden
    """
    if len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN.removeprefix("^").removesuffix("$"), name):
        raise BadInputError(
            f"the {what} must be a name such as campaign/stores.csv below the configured place: at most {MAX_NAME}"
            " letters, digits and _ . + = - with / between folders, none of which begins with a dot;"
            f" found {one_line(name, 80)!r}"
        )
    return name


def folder_name(model: str) -> str:
    """Return the folder of a registered model: its name where that can be one, else one that tells it from others."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", model).lstrip(".-")
    return safe if safe == model else f"{safe}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def is_url(text: str) -> bool:
    """Whether a place or file is a URL of fsspec rather than a path."""
    return _URL.match(text) is not None


def shown(target: object) -> str:
    """Return a path or URL as a log may show it: without user and password."""
    return without_credentials(str(target))
