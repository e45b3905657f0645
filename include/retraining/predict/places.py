"""The place of the outputs: names below one folder or URL, read and written alike wherever it is."""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from include.lifecycle.errors import BadInputError
from include.retraining.files.destination import sentences, write_file
from include.retraining.files.remote import RemoteFiles
from include.retraining.output_names import checked_name, is_url, shown


class LocalFiles:
    """Files below a folder, which is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        write_file(self.root / name, data)

    def read(self, name: str) -> bytes | None:
        """Return a regular file's content, None when there is no such file."""
        with sentences(self.root / name, "read"):
            try:
                return (self.root / name).read_bytes() if (self.root / name).is_file() else None
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none when there is no such folder."""
        with sentences(self.root / folder, "list"):
            try:
                return sorted(os.listdir(self.root / folder))  # noqa: PTH208 -- names, not paths
            except (FileNotFoundError, NotADirectoryError):
                return []

    def remove(self, name: str) -> None:
        """Delete a regular file: not what a symlink points to, nor the link."""
        path = self.root / name
        with sentences(path, "delete"):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()

    def remove_folder(self, folder: str) -> None:
        """Delete a folder unless something is in it."""
        with contextlib.suppress(OSError):
            (self.root / folder).rmdir()

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """Wait until nobody else holds the lock of a folder; some network file systems have none."""
        path = self.root / folder
        with sentences(path):
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def shown(self, name: str) -> str:
        """Return a file's path."""
        return str(self.root / name)


Place: TypeAlias = LocalFiles | RemoteFiles
"""Files by name below one folder or URL; every failure is a ``ReportedError`` with one sentence."""


def open_place(where: str) -> Place:
    """Return the place that a configuration names.

    :param where: folder or URL
    :raises BadInputError: when there is no such file system, or its driver is not installed
    """
    if where.startswith("file://"):
        return LocalFiles(Path(where.removeprefix("file://")))
    return RemoteFiles(where) if is_url(where) else LocalFiles(Path(where))


def fetch_input(where: str | None, name: str, scratch: Path) -> Path:
    """Copy an input that a form names from below the configured place.

    :param where: folder or URL of inputs, None when there is none
    :param name: what was typed; it cannot lead out of the place, not even through a symlink
    :param scratch: folder for the copy
    :raises BadInputError: when nothing is configured, or there is no such input
    """
    checked_name(name, "input")
    if where is None:
        raise BadInputError(f"the input {name!r} cannot be taken: the configuration's prediction.inputs names no place")
    place = open_place(where)
    if isinstance(place, LocalFiles) and not (place.root / name).resolve().is_relative_to(place.root.resolve()):
        raise BadInputError(f"the input {name!r} leads out of {place.root}")
    data = place.read(name)
    if data is None:
        raise BadInputError(f"there is no input {place.shown(name)}")
    copy = scratch / name.rpartition("/")[2]
    copy.write_bytes(data)
    return copy


def copy_input(path: Path, scratch: Path) -> Path:
    """Copy an input that a person names, so that what is read once is what is recorded; it may be a pipe.

    :param path: any file
    :param scratch: folder for the copy
    :raises BadInputError: when it cannot be read
    """
    copy = scratch / path.name
    try:
        with path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
    except FileNotFoundError:
        raise BadInputError(f"there is no file {path}") from None
    except OSError as error:
        raise BadInputError(f"cannot read {shown(path)}: {error.strerror}") from error
    return copy
