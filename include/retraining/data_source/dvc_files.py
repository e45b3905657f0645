"""Files of a checked-out data registry, through DVC's file system API."""

import hashlib
import logging
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from include.lifecycle.errors import BadInputError, ReportedError
from include.retraining.data_source.git import redact

log = logging.getLogger(__name__)

SHOWN = 10
SCRATCH = re.compile(r"[^\s'\"]*/\.pull-[^/\s]*/registry/")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
WRONG_REMOTE = re.compile(
    r"NoSuchBucket|bucket (does not exist|not found)|container (does not exist|not found)|credentials|AccessDenied"
    r"|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|forbidden|unauthorized",
    re.IGNORECASE,
)
"""What object stores say that no retry mends; each library has errors of its own."""
UNVERSIONED = "Missing version_id"
"""What DVC says of a file that a cloud-versioned remote never got."""
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
    :param submodules: paths of its git submodules, which are not cloned
    """

    def __init__(self, file_system: Any, where: str, submodules: Collection[str] = ()) -> None:
        self.file_system = file_system
        self.where = where
        self.submodules = submodules

    @classmethod
    @contextmanager
    def open(
        cls, checkout: Path, source: Path | None, where: str, submodules: Collection[str] = ()
    ) -> Iterator["RegistryFiles"]:
        """Open a checkout; cache and state of DVC stay beside it, in the same scratch folder.

        :param checkout: clone with the revision checked out
        :param source: folder that it was cloned from, when that is on this machine
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
            yield cls(DVCFileSystem(repo), where, submodules)
        finally:
            repo.close()

    def is_file(self, path: str) -> bool:
        """Whether the revision has this file.

        :raises BadInputError: when the path leaves the registry, names something else than data, or lies where DVC
            or git know of data that was never made, pushed or cloned; when a DVC file there is damaged
        :raises ReportedError: when the remote, which lists the files of a tracked folder, cannot be reached now
        """
        parts = PurePosixPath(path).parts
        if PurePosixPath(path).is_absolute() or ".." in parts:
            raise BadInputError(f"path {path!r} is not inside of the data registry")
        if path.endswith((".dvc", "dvc.yaml", "dvc.lock")):
            raise BadInputError(f"path {path!r} names a file of DVC's own: name the data that it describes")
        for submodule in self.submodules:
            if PurePosixPath(path).is_relative_to(submodule):
                raise BadInputError(
                    f"{self.where}: {path} is in the git submodule {submodule}, which is not cloned: name its own"
                    " repository as the data registry, or bring the file here with `dvc import`"
                )
        with self._sentences(path):
            try:
                kind = self.file_system.info(path)["type"]
            except (FileNotFoundError, NotADirectoryError):
                self._require_digest(path)
                return False
        if kind == "directory":
            raise BadInputError(f"{self.where}: {path} is a folder, expected a file: {self.neighbours(f'{path}/x')}")
        return bool(kind == "file")

    def neighbours(self, path: str) -> str:
        """Say what is there instead of ``path``."""
        folder = PurePosixPath(path).parent
        for place in (folder, *folder.parents):
            if place.parts and Path(self.file_system.repo.root_dir, place, ".dvc").is_dir():
                return f"{place} is a DVC project of its own, which is not looked into"
        for place in (folder, *folder.parents):
            try:
                with self._sentences(str(place)):
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

        :return: its MD5, as DVC recorded it (of the content, for a file that git holds)
        :raises BadInputError: when the DVC remote does not have it, or may not be read
        :raises ReportedError: when the remote cannot be reached now, or sent something else
        """
        info = self.file_system.info(path)
        name, recorded = _recorded_hash(info)
        if recorded is None and not info.get("fs_info"):
            self._require_digest(path)
        log.info("Downloading %s (%.1f MB)", path, (info.get("size") or 0) / 1e6)
        try:
            self._verify_listing(path)
            self.file_system.get_file(path, str(target), callback=_progress(path))
        except ReportedError:
            raise
        except Exception as error:  # each kind of remote raises what its own library raises
            raise self._failure(path, error) from error
        with target.open("rb") as file:
            is_pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
        if is_pointer:
            raise BadInputError(
                f"{self.where}: {path} is a pointer of Git LFS: track the file that it stands for with DVC (`dvc add`)"
            )
        actual = _hash(target, name)
        if recorded is not None and actual != recorded:
            target.unlink(missing_ok=True)
            raise ReportedError(f"{self.where}: {path} arrived with MD5 {actual}, DVC recorded {recorded}")
        return actual

    @contextmanager
    def _sentences(self, path: str) -> Iterator[None]:
        """Turn what DVC raises when it is asked about a path into a sentence, but for a path that is not there."""
        from dvc.exceptions import DvcException
        from dvc_data.index import DataIndexDirError

        try:
            yield
        except DataIndexDirError as error:  # a tracked folder, whose files the remote lists
            raise self._failure(path, error.__cause__ or error) from error
        except DvcException as error:
            raise BadInputError(f"{self.where}: {_text(error)}") from error
        except ImportError as error:  # DVC sets its remote up when it looks at the first file
            raise self._missing_package(path, error) from error

    def _require_digest(self, path: str) -> None:
        """Refuse what DVC tracks without knowing its content.

        :raises BadInputError: names the DVC file, and what makes the digest
        """
        out = self._out(path)
        if out is None or out.hash_info:
            return
        if getattr(out.stage, "name", None):
            remedy = f"stage {out.stage.name!r} of dvc.yaml was not run: `dvc repro`, commit dvc.lock, and `dvc push`"
        elif out.stage.is_import:
            remedy = "an import that was never pulled: run `dvc update` on it and `dvc push` where it was imported"
        else:
            remedy = "run `dvc add` on it and `dvc push`"
        raise BadInputError(f"{self.where}: DVC has no digest of {'/'.join(out.index_key[1])}: {remedy}")

    def _verify_listing(self, path: str) -> None:
        """Verify the remote's list of a tracked folder's files, which is where their digests come from.

        :raises ReportedError: when it is not what DVC recorded
        """
        out = self._out(path)
        if out is None or not (out.hash_info and out.hash_info.isdir):
            return
        odb = getattr(self._index.storage_map[out.index_key[1]].remote, "odb", None)
        if odb is None:  # a remote that keeps the files under their own names has no such list
            return
        with odb.fs.open(odb.oid_to_path(out.hash_info.value), "rb") as file:
            actual = hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
        if f"{actual}.dir" != out.hash_info.value:
            what = f"the list of files of {'/'.join(out.index_key[1])} arrived with MD5 {actual}"
            raise ReportedError(f"{self.where}: {what}, DVC recorded {out.hash_info.value}")

    def _failure(self, path: str, error: BaseException) -> ReportedError:
        """Tell what is wrong for good from what may pass."""
        from dvc.config import NoRemoteError
        from dvc.exceptions import DvcException
        from dvc_data.index.index import StorageKeyError
        from dvc_objects.fs.errors import AuthError, ConfigError, RemoteMissingDepsError

        what, remote = f"{self.where}: {path}", self._remote_name(path)
        if isinstance(error, NoRemoteError | StorageKeyError):
            return BadInputError(
                f"{what} cannot be fetched: the registry names no DVC remote (run `dvc remote add -d`)"
            )
        if isinstance(error, ImportError | RemoteMissingDepsError):
            return self._missing_package(path, error)
        if isinstance(error, FileNotFoundError):
            return self._not_found(path)
        if UNVERSIONED in str(error):
            return self._not_pushed(path)
        wrong = isinstance(error, PermissionError | AuthError | ConfigError | DvcException)
        if wrong or WRONG_REMOTE.search(str(error)):
            return BadInputError(f"{what} cannot be fetched from the DVC remote{remote}: {_text(error)}")
        return ReportedError(f"{what} cannot be fetched now from the DVC remote{remote}: {_text(error)}")

    def _missing_package(self, path: str, error: BaseException) -> BadInputError:
        remote = self._remote_name(path)
        scheme = remote.strip().partition("://")[0]
        extra = {"azure": "azure", "abfs": "azure", "gcs": "gs", "webdavs": "webdav"}.get(scheme, scheme)
        return BadInputError(
            f"{self.where}: the DVC remote{remote} needs another package, pip install 'dvc[{extra}]' ({_text(error)})"
        )

    def _not_found(self, path: str) -> ReportedError:
        """Tell a file that was never pushed from a remote that does not answer: DVC says "not found" for both."""
        name = self._remote_name(path)
        try:
            tracked, entry = self._index.longest_prefix(PurePosixPath(path).parts)
            fs, place = self._index.storage_map.get_storage(entry, "remote")
        except Exception as error:  # noqa: BLE001 -- each kind of remote raises what its own library raises
            return self._failure(path, error)
        path = "/".join(tracked)
        if fs.protocol == "local" and not Path(name.strip()).is_dir():
            what = f"{self.where}: {path} cannot be fetched now"
            return ReportedError(f"{what}: the DVC remote{name} is not there (not mounted?)")
        try:
            fs.info(place)
        except Exception as error:  # noqa: BLE001
            cause = _cause(error)
            status = getattr(cause, "status", None)
            if status in (401, 403):
                what = f"{self.where}: {path} cannot be fetched"
                return BadInputError(f"{what}: the DVC remote{name} refuses access: {_text(cause)}")
            if status != 404 and not isinstance(cause, FileNotFoundError):
                return self._failure(path, cause)
        return self._not_pushed(path)

    def _not_pushed(self, path: str) -> BadInputError:
        name = self._remote_name(path)
        return BadInputError(f"{self.where}: {path} is not in the DVC remote{name}: run `dvc push` where it was added")

    @property
    def _index(self) -> Any:
        """What DVC tracks, by the parts of its path, and where each of it is stored."""
        return self.file_system.repo.index.data["repo"]

    def _out(self, path: str) -> Any:
        """Return DVC's output that a path is or lies in, None when there is none."""
        parts = PurePosixPath(path).parts
        for out in self.file_system.repo.index.outs:
            place, key = out.index_key
            if place == "repo" and key == parts[: len(key)]:
                return out
        return None

    def _remote_name(self, path: str) -> str:
        """Return a blank and the address of the remote that a path comes from, empty when none is named."""
        config = self.file_system.repo.config
        out = self._out(path)
        name = (out.remote if out is not None else None) or config["core"].get("remote")
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


def _hash(path: Path, name: str) -> str:
    from dvc.fs import localfs
    from dvc_data.hashfile.hash import hash_file

    return str(hash_file(str(path), localfs, name)[1].value)


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
