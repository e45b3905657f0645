"""Files of a checked-out data registry, through DVC's file system API."""

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from include.lifecycle.errors import BadInputError, RetrainError
from include.rossmann.data.git import redact

log = logging.getLogger(__name__)

CHUNK = 1 << 20
SHOWN = 10
SCRATCH = re.compile(r"[^\s'\"]*/\.pull-[^/\s]*/registry/")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LEGACY_MD5 = "md5-dos2unix"
"""DVC 2 hashed text files with their line ends changed."""


def quiet_dvc() -> None:
    """Keep DVC's hints ("to track the changes with git, run ...") off stdout, where a step's result goes."""
    import dvc.logger  # noqa: F401 -- sets its loggers up when imported, so only now they can be silenced

    logging.getLogger("dvc").setLevel(logging.WARNING)


class RegistryFiles:
    """The files of one revision: those that DVC tracks, and those that git holds itself.

    :param file_system: ``dvc.api.DVCFileSystem`` of the checkout
    :param where: registry and revision, for messages
    """

    def __init__(self, file_system: Any, where: str) -> None:
        self.file_system = file_system
        self.where = where

    @classmethod
    @contextmanager
    def open(cls, checkout: Path, source: Path | None, where: str) -> Iterator["RegistryFiles"]:
        """Open a checkout; cache and state of DVC stay beside it, in the same scratch folder.

        :param checkout: clone with the revision checked out
        :param source: folder that it was cloned from, when that is on this machine
        :param where: registry and revision, for messages
        :raises BadInputError: when it is no DVC project, or its configuration is wrong
        """
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        quiet_dvc()
        if not (checkout / ".dvc").is_dir():
            raise BadInputError(f"{where} is no DVC project: it has no folder .dvc (run `dvc init` there)")
        scratch = checkout.parent
        config = _folder_remotes(source) if source else {}
        config.setdefault("core", {})["site_cache_dir"] = str(scratch / "site")
        # Links of whatever kind would end in the remote itself.
        config["cache"] = {"dir": str(scratch / "cache"), "type": "reflink,copy"}
        try:
            repo = Repo(str(checkout), config=config)
        except DvcException as error:
            raise BadInputError(f"{where}: DVC cannot open it: {_text(error)}") from error
        try:
            yield cls(DVCFileSystem(repo), where)
        finally:
            repo.close()

    def is_file(self, path: str) -> bool:
        """Whether the revision has this file.

        :raises BadInputError: when the path leaves the registry, or a DVC file there is damaged
        """
        from dvc.exceptions import DvcException

        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise BadInputError(f"path {path!r} is not inside of the data registry")
        try:
            return bool(self.file_system.info(path)["type"] == "file")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except DvcException as error:
            raise BadInputError(f"{self.where}: {_text(error)}") from error
        except ImportError as error:  # DVC sets its remote up when it looks at the first file
            raise self._missing_package(error) from error

    def neighbours(self, path: str) -> str:
        """Say what is there instead of ``path``."""
        folder = PurePosixPath(path).parent
        for place in (folder, *folder.parents):
            try:
                entries = self.file_system.ls(str(place), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            ours = (".dvc", ".dvcignore", ".gitignore")
            names = sorted(PurePosixPath(entry).name for entry in entries)
            names = [name for name in names if not name.endswith(ours)]
            shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            return f"{'its root' if str(place) == '.' else place} holds {shown or 'nothing'}"
        return "it is empty"

    def download(self, path: str, target: Path) -> str:
        """Write a file and verify it.

        :param path: in the registry
        :param target: file to write
        :return: its MD5, as DVC recorded it (of the content, for a file that git holds)
        :raises BadInputError: when the DVC remote does not have it, or may not be read
        :raises RetrainError: when the remote cannot be reached now, or sent something else
        """
        info = self.file_system.info(path)
        name, recorded = _recorded_hash(info)
        if recorded is None and not info.get("fs_info"):
            raise BadInputError(
                f"{self.where}: the DVC file of {path} has no digest, as an import that was never pulled:"
                " run `dvc update` on it and `dvc push` where it was imported"
            )
        log.info("Downloading %s (%.1f MB)", path, (info.get("size") or 0) / 1e6)
        try:
            self.file_system.get_file(path, str(target), callback=_progress(path))
        except Exception as error:  # each kind of remote raises what its own library raises
            raise self._failure(path, recorded, error) from error
        if recorded is None and _begins_with(target, LFS_POINTER):
            raise BadInputError(f"{self.where}: {path} is a pointer of Git LFS: track the file with DVC (`dvc add`)")
        actual = _hash(target, name)
        if recorded is not None and actual != recorded:
            target.unlink(missing_ok=True)
            raise RetrainError(f"{self.where}: {path} arrived with MD5 {actual}, DVC recorded {recorded}")
        return actual

    def _failure(self, path: str, md5: str | None, error: Exception) -> RetrainError:
        """Tell what is wrong for good from what may pass."""
        from dvc.config import NoRemoteError
        from dvc.exceptions import DvcException
        from dvc_objects.fs.errors import AuthError, ConfigError, RemoteMissingDepsError

        what = f"{self.where}: {path}"
        if isinstance(error, NoRemoteError):
            return BadInputError(
                f"{what} cannot be fetched: the registry names no DVC remote (run `dvc remote add -d`)"
            )
        if isinstance(error, ImportError | RemoteMissingDepsError):
            return self._missing_package(error)
        if isinstance(error, FileNotFoundError):
            return self._not_found(path, md5)
        if isinstance(error, PermissionError | AuthError | ConfigError | DvcException):
            return BadInputError(f"{what} cannot be fetched from the DVC remote{self._remote_name()}: {_text(error)}")
        return RetrainError(f"{what} cannot be fetched now from the DVC remote{self._remote_name()}: {_text(error)}")

    def _missing_package(self, error: Exception) -> BadInputError:
        scheme = self._remote_name().strip().partition("://")[0]
        extra = {"azure": "azure", "abfs": "azure", "gcs": "gs", "webdavs": "webdav"}.get(scheme, scheme)
        return BadInputError(
            f"{self.where}: the DVC remote{self._remote_name()} needs another package,"
            f" pip install 'dvc[{extra}]' ({_text(error)})"
        )

    def _not_found(self, path: str, md5: str | None) -> RetrainError:
        """Tell a file that was never pushed from a remote that does not answer: DVC says "not found" for both."""
        what, name = f"{self.where}: {path}", self._remote_name()
        try:
            remote = self.file_system.repo.cloud.get_remote_odb()
        except Exception as error:  # noqa: BLE001 -- each kind of remote raises what its own library raises
            return self._failure(path, md5, error)
        if remote.fs.protocol == "local" and not Path(name.strip()).is_dir():
            return RetrainError(f"{what} cannot be fetched now: the DVC remote{name} is not there (not mounted?)")
        try:
            remote.fs.info(remote.oid_to_path(md5))
        except Exception as error:  # noqa: BLE001
            cause = _cause(error)
            status = getattr(cause, "status", None)
            if status in (401, 403):
                return BadInputError(f"{what} cannot be fetched: the DVC remote{name} refuses access: {_text(cause)}")
            if status != 404 and not isinstance(cause, FileNotFoundError):
                return RetrainError(
                    f"{what} cannot be fetched now: the DVC remote{name} does not answer: {_text(cause)}"
                )
        return BadInputError(f"{what} is not in the DVC remote{name}: run `dvc push` where it was added")

    def _remote_name(self) -> str:
        config = self.file_system.repo.config
        name = config["core"].get("remote")
        url = config["remote"].get(name, {}).get("url") if name else None
        return f" {redact(str(url))}" if url else ""


def _folder_remotes(folder: Path) -> dict[str, Any]:
    """Return the remotes of a registry on this machine: relative paths in them start there, not in the clone.

    Settings in its config.local count too; a registry without a remote serves from its own cache.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException

    dvc_folder = folder / ".dvc"
    if not dvc_folder.is_dir():
        return {}
    try:
        own = Config(str(dvc_folder), validate=False)
    except DvcException:
        return {}  # the revision's configuration counts; DVC says what is wrong with it
    name = own["core"].get("remote")
    if not name:
        cache = own["cache"].get("dir") or str(dvc_folder / "cache")
        return {"core": {"remote": "own-cache"}, "remote": {"own-cache": {"url": str(cache)}}}
    return {"core": {"remote": name}, "remote": {key: dict(values) for key, values in own["remote"].items()}}


def _recorded_hash(info: Mapping[str, Any]) -> tuple[str, str | None]:
    if info.get("fs_info"):
        return "md5", None  # git holds the file itself
    if LEGACY_MD5 in info:
        return LEGACY_MD5, info[LEGACY_MD5]
    return "md5", info.get("md5")


def _begins_with(path: Path, content: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(content)) == content


def _hash(path: Path, name: str) -> str:
    if name == LEGACY_MD5:
        from dvc.fs import localfs
        from dvc_data.hashfile.hash import hash_file

        return str(hash_file(str(path), localfs, name)[1].value)
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _text(error: BaseException) -> str:
    text = " ".join((str(error) or type(error).__name__).split())
    return redact(SCRATCH.sub("", text))[:300]


def _cause(error: BaseException) -> BaseException:
    """Return what is at the bottom of a chain of exceptions."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _progress(what: str) -> Any:
    """Return a callback that logs the share downloaded every few seconds."""
    from fsspec.callbacks import Callback  # type: ignore[import-untyped, unused-ignore]

    class Progress(Callback):  # type: ignore[misc, unused-ignore]
        last = time.monotonic()

        def call(self, hook_name: str | None = None, **kwargs: Any) -> None:  # noqa: ARG002 -- fsspec's signature
            now = time.monotonic()
            if self.size and now - self.last >= 5:
                self.last = now
                log.info("%s: %.0f of %.0f MB", what, self.value / 1e6, self.size / 1e6)

    return Progress()
