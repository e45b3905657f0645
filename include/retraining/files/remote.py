"""Files on a file system of fsspec: uploaded under a temporary name, then moved to their own.

Which drivers there are (s3fs, gcsfs, adlfs ...) depends on what is installed; credentials come from their usual
environment variables, never from a configuration.
"""

import contextlib
import logging
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import fsspec  # type: ignore[import-untyped]

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.untrusted_text import one_line
from include.retraining.files.destination import LEFTOVER_SECONDS, temporary_prefix
from include.retraining.output_names import shown

log = logging.getLogger(__name__)

_GLOB = frozenset("*?[]")
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""They know no folders, and making one may make a bucket that was only misspelt."""


class RemoteFiles:
    """Files below a URL.

    :param url: e.g. ``s3://bucket/predictions``
    :raises BadInputError: when there is no such file system, or its driver is not installed
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "::" in url or _GLOB & set(url):
            raise BadInputError(f"cannot use {shown(url)}: expected one URL without * ? [ ] and ::")
        try:
            self._fs, path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise BadInputError(f"cannot use {shown(url)}: {one_line(str(error))}") from error
        except ValueError as error:
            raise BadInputError(f"cannot use {shown(url)}: {self._said(error)}") from error
        self.root = str(path).rstrip("/")

    def write(self, name: str, data: bytes) -> None:
        """Upload a file under a temporary name and move it to its own.

        :param name: relative to the URL, empty for the URL itself
        """
        path = self._path(name)
        folder, _, file = path.rpartition("/")
        with self._sentences("write", name):
            if self._fs.isdir(path):
                raise BadInputError(f"cannot write {self.shown(name)}: it is a folder; name a file")
            if self.url.partition("://")[0] not in _OBJECT_STORES:
                self._fs.makedirs(folder, exist_ok=True)
            temporary = f"{folder}/{temporary_prefix(file)}{secrets.token_hex(8)}.tmp"
            try:
                self._fs.pipe_file(temporary, data)
                self._fs.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(temporary)
                raise
        self._sweep(folder, file)

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None when there is no such file."""
        with self._sentences("read", name):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none when there is no such folder."""
        with self._sentences("list", folder):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def remove(self, name: str) -> None:
        """Delete a file."""
        with self._sentences("delete", name):
            self._fs.rm_file(self._path(name))

    def remove_folder(self, folder: str) -> None:
        """Delete a folder unless something is in it; object stores have none."""
        with contextlib.suppress(Exception):
            if not self.names(folder):
                self._fs.rmdir(self._path(folder))

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:  # noqa: ARG002 -- as of a local folder
        """Do without a lock: object stores have none."""
        yield

    def shown(self, name: str) -> str:
        """Return a file's URL as a log may show it."""
        return shown(f"{self.url}/{name}" if name else self.url)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _sweep(self, folder: str, file: str) -> None:
        """Remove uploads of this file that were never moved."""
        prefix = temporary_prefix(file)
        with contextlib.suppress(Exception):
            self._fs.invalidate_cache()
            for found in self._fs.ls(folder, detail=True):
                name = str(found["name"])
                if name.rpartition("/")[2].startswith(prefix) and _age(found) > LEFTOVER_SECONDS:
                    self._fs.rm_file(name)

    @contextlib.contextmanager
    def _sentences(self, verb: str, name: str) -> Iterator[None]:
        """Turn what a driver says into one sentence: whether a retry helps depends on what it is."""
        try:
            yield
        except ReportedError:
            raise
        except (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise BadInputError(f"cannot {verb} {self.shown(name)}: {self._said(error)}") from error
        except NotImplementedError as error:
            raise BadInputError(f"cannot {verb} {self.shown(name)}: this file system is read-only") from error
        except Exception as error:  # each driver has errors of its own: those of a server that may come back
            raise ReportedError(f"cannot {verb} {self.shown(name)}: {self._said(error)}") from error

    def _said(self, error: Exception) -> str:
        return one_line(shown(f"{type(error).__name__}: {error}"))


def write_url(url: str, data: bytes) -> None:
    """Write the file that a URL names (see ``destination.write``)."""
    RemoteFiles(url).write("", data)


def _age(found: dict[str, Any]) -> float:
    """Return how old a listed file is in seconds; 0 where the file system does not tell."""
    for key in ("LastModified", "last_modified", "mtime", "updated", "created"):
        when = found.get(key)
        if isinstance(when, datetime):
            return time.time() - when.timestamp()
        if isinstance(when, int | float):
            return time.time() - float(when)
    return 0.0
