"""Writes one file so that a reader sees the former one or the new one, whole, whatever happens in between.

A regular file is written beside and moved into place; symlinks are followed to what they point to. What is not a
regular file is never replaced: a pipe or character device is written through, a folder, block device or socket refused.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from include.lifecycle.errors import BadInputError
from include.retraining.output_names import is_url, shown

READER_SECONDS = 60.0
"""How long a pipe may wait for somebody who reads it."""
LEFTOVER_SECONDS = 3600.0
"""Age at which an unfinished file counts as left behind where there are no locks."""
_REFUSED = {stat.S_IFDIR: "a folder", stat.S_IFBLK: "a block device", stat.S_IFSOCK: "a socket"}
_REMEDY = {
    errno.ENOSPC: "no space is left there: free some",
    errno.EDQUOT: "the disk quota is used up: free some",
    errno.EFBIG: "the file would be larger than the limit allows (ulimit -f)",
    errno.EACCES: "permission denied for the user of this process",
    errno.EPERM: "permission denied for the user of this process",
    errno.EROFS: "the file system is read-only",
    errno.ELOOP: "its symlinks lead in a circle",
    errno.ENOTDIR: "a part of its path is no folder",
    errno.EEXIST: "a part of its path is no folder",
    errno.EPIPE: "whoever read the pipe closed it before the end",
}


def write(target: str | Path, data: bytes) -> None:
    """Write a file or fsspec URL. A failed write leaves the former content as it was, but for pipes and devices.

    :param target: path, or URL such as ``s3://bucket/predictions.parquet``
    :raises BadInputError: names the target and what stands in the way
    :raises ReportedError: when a remote file system does not answer
    """
    text = str(target)
    if text.startswith("file://"):
        write_file(Path(text.removeprefix("file://")), data)
    elif is_url(text):
        from include.retraining.files.remote import write_url

        write_url(text, data)
    else:
        write_file(Path(target), data)


def check(target: str, endings: tuple[str, ...]) -> None:
    """Refuse, before any work is done, a target that ``write`` would, or whose name asks for another format.

    :param endings: of the names that ask for the one format there is; a pipe or device may have any name
    :raises BadInputError: names the target and what to give instead
    """
    path = Path(target.removeprefix("file://"))
    with sentences(target):
        kind = stat.S_IFMT(path.stat().st_mode) if not is_url(str(path)) and path.exists() else stat.S_IFREG
    _refuse(path, kind)
    if kind == stat.S_IFREG and not target.lower().endswith(endings):
        raise BadInputError(f"{shown(target)!r} names no format: expected a name that ends in {' or '.join(endings)}")


def _refuse(path: Path, kind: int) -> None:
    if kind in _REFUSED:
        raise BadInputError(f"cannot write {path}: it is {_REFUSED[kind]}, which is never replaced; name a file")


def write_file(path: Path, data: bytes) -> None:
    """Write a local file (see ``write``)."""
    with sentences(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            found = None
        kind = stat.S_IFMT(found.st_mode) if found is not None else stat.S_IFREG
        _refuse(path, kind)
        if found is None or kind == stat.S_IFREG:
            _replace(path, data, found)
        else:
            _write_through(path, data, kind)


@contextlib.contextmanager
def sentences(path: object, verb: str = "write") -> Iterator[None]:
    """Turn what an operating system says of a file into one sentence that names it."""
    try:
        yield
    except OSError as error:
        said = _REMEDY.get(error.errno or 0) or error.strerror or type(error).__name__
        raise BadInputError(f"cannot {verb} {shown(path)}: {said}") from error


def temporary_prefix(name: str) -> str:
    """Return what the names of a file's unfinished writes begin with; no longer than any file system takes."""
    return f".predict-{hashlib.sha256(name.encode()).hexdigest()[:16]}-"


def _replace(path: Path, data: bytes, found: os.stat_result | None) -> None:
    target = Path(os.path.realpath(path))
    if found is not None and not os.path.samestat(target.stat(), found):
        raise BadInputError(f"cannot write {path}: it cannot be told which file it is; name the file itself")
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary, handle = _begin(target)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if found is not None:
                os.fchmod(handle, stat.S_IMODE(found.st_mode))
            file.flush()
            os.fsync(handle)
            temporary.replace(target)  # still locked: nobody takes it for a leftover
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _begin(target: Path) -> tuple[Path, int]:
    """Open a new file beside the target, locked as long as somebody writes it."""
    while True:
        temporary = target.with_name(f"{temporary_prefix(target.name)}{secrets.token_hex(8)}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        if _lock(handle) is not False and temporary.exists():
            return temporary, handle
        # a sweeper was faster than our lock
        os.close(handle)


def _sweep(target: Path) -> None:
    """Remove what writes of this target that were killed have left: nobody holds a lock on it."""
    prefix = temporary_prefix(target.name)
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(target.parent)):
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp") and entry.is_file(follow_symlinks=False):
                _remove_unless_held(Path(entry.path))


def _remove_unless_held(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            free = _lock(handle)
            if free is None:
                free = time.time() - os.fstat(handle).st_mtime > LEFTOVER_SECONDS
            if free:
                path.unlink()
        finally:
            os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock a file until it is closed: whether that was possible, None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut; some file systems have no such thing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_through(path: Path, data: bytes, kind: int) -> None:
    handle = _open_for(path, time.monotonic() + READER_SECONDS)
    with os.fdopen(handle, "wb", buffering=0) as file:
        if stat.S_IFMT(os.fstat(handle).st_mode) != kind:
            raise BadInputError(f"cannot write {path}: it became another kind of file meanwhile")
        os.set_blocking(handle, True)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _open_for(path: Path, deadline: float) -> int:
    """Open a pipe or device; a pipe once somebody reads it.

    :raises BadInputError: when nobody does
    """
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise BadInputError(f"cannot write {path}: nobody reads this pipe") from error
        time.sleep(0.05)
