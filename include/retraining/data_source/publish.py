"""A data registry of one's own: a git repository with DVC-tracked files and a DVC remote in a folder.

For trying the pipeline out and for tests; a team points the configuration at a registry that it keeps.
Each step can be run again: the data is pushed before the commit that names it, and without a change there is
no commit.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from include.lifecycle.environment import environment
from include.lifecycle.errors import BadInputError, ReportedError
from include.retraining.config.model import FUTURE
from include.retraining.data_source.dvc_files import quiet_dvc
from include.retraining.data_source.git import run_git
from include.retraining.files.destination import sentences
from include.retraining.tables import SUFFIXES

log = logging.getLogger(__name__)

DATA_FOLDER = "data"
BRANCH = "main"
REMOTE = "storage"

LOCAL_SETTINGS = {
    "user.name": "Data registry",
    "user.email": "data-registry@localhost",
    "commit.gpgsign": "false",  # nobody is there to unlock a key
    "tag.gpgsign": "false",
    "core.autocrlf": "false",
    "core.excludesFile": os.devnull,  # a user who ignores *.csv everywhere can still keep data here
}


class Tables(Protocol):
    """Tables that can be written as the files of a data registry."""

    def write(self, folder: Path, /) -> None:
        """Write NAME.csv for each table."""
        ...


def publish_data(tables: Sequence[str], folder: Path, data: Tables | Path, message: str | None = None) -> str:
    """Bring data into a data registry, which is made when there is none; the same data again is no new commit.

    The DVC remote of a new registry goes beside it.

    :param tables: those that each revision has; it may have ``future`` as well
    :param folder: the git repository
    :param data: tables, or a folder with a file for each (.csv, .csv.xz, .csv.gz or .parquet), which stays as it is
    :return: the commit
    :raises BadInputError: when the data is not complete, or the folder holds something else
    :raises ReportedError: when another process holds the registry, or its remote does not take the data
    """
    if isinstance(data, Path):
        _files(tables, data)  # before anything is made
    _prepare(folder, folder.with_name(f"{folder.name}_remote"))
    from dvc.lock import LockError

    place = folder / DATA_FOLDER
    files = _put(tables, data, place)
    try:
        with _dvc(folder) as repo:
            _forget(tables, repo, place, keep={file.name for file in files})
            repo.add([str(file) for file in files])
            repo.push()  # before the commit: a commit never names data that nobody can fetch
    except LockError as error:
        lock = folder / ".dvc" / "tmp" / "lock"
        raise ReportedError(f"{folder} is held by another DVC process (lock {lock}): wait until it ends") from error
    except Exception as error:  # DVC's own errors, and those of the remote's library
        raise ReportedError(f"data could not be added to {folder}: {' '.join(str(error).split())[:300]}") from error
    run_git("add", "--all", folder=folder)
    if run_git("status", "--porcelain", folder=folder):
        # the registry's own hooks run, those of the user's settings do not
        message = message or (f"Import {data.name}" if isinstance(data, Path) else "Add data")
        run_git("-c", "core.hooksPath=.git/hooks", "commit", "--quiet", "--message", message, folder=folder)
    commit = run_git("rev-parse", "HEAD", folder=folder)
    log.info("Data registry %s is at %s", folder, commit[:12])
    return commit


def _prepare(folder: Path, remote: Path) -> None:
    """Make git and DVC of the registry ready, whatever of it is there already."""
    _make_folder(folder, "the data registry")
    if not (folder / ".git").exists():
        if any(folder.iterdir()):
            raise BadInputError(f"{folder} holds something else than a data registry: give an empty or new folder")
        run_git("init", "--quiet", f"--initial-branch={BRANCH}", "--template=", folder=folder)
    elif not (folder / ".dvc").exists() and run_git("for-each-ref", "--count=1", folder=folder):
        raise BadInputError(f"{folder} is a git repository without DVC: give an empty or new folder")
    for key, value in LOCAL_SETTINGS.items():
        run_git("config", "--local", key, value, folder=folder)
    with _dvc_environment(folder):
        from dvc.config import Config
        from dvc.config_schema import RelPath
        from dvc.repo import Repo

        if not (folder / ".dvcignore").is_file():  # the last file that `dvc init` writes
            Repo.init(str(folder), force=True).close()
        config = Config(str(folder / ".dvc"))
        if config["core"].get("remote"):
            return
        _make_folder(remote, "its DVC remote")
        with config.edit("repo") as settings:
            settings["core"] |= {"analytics": "false", "remote": REMOTE}
            # Relative: registry and remote can be moved together.
            settings["remote"][REMOTE] = {"url": RelPath(str(remote.absolute()))}


def _make_folder(place: Path, what: str) -> None:
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(place)):  # a path leaves one slash of a URL's two
        raise BadInputError(f"{place} is a URL, expected a folder of this machine for {what}")
    if place.exists() and not place.is_dir():
        raise BadInputError(f"{place} is a file, expected a folder for {what}")
    with sentences(place):
        place.mkdir(parents=True, exist_ok=True)


def _files(tables: Sequence[str], source: Path) -> list[Path]:
    """Return the files of a source folder, one for each table.

    :raises BadInputError: when one is missing, or there in several forms
    """
    if not source.is_dir():
        needed = ", ".join(f"{name}.csv" for name in tables)
        raise BadInputError(f"there is no folder {source}, expected one with {needed} and maybe {FUTURE}.csv")
    files = []
    for name in (*tables, FUTURE):
        found = [file for suffix in SUFFIXES if (file := source / f"{name}{suffix}").is_file()]
        if len(found) > 1:
            raise BadInputError(f"{source} holds {' and '.join(file.name for file in found)}: keep one")
        if not found and name in tables:
            holds = ", ".join(sorted(entry.name for entry in source.iterdir())[:10]) or "nothing"
            raise BadInputError(f"{source} has no {name}.csv (nor .xz, .gz or .parquet): it holds {holds}")
        files += found
    return files


def _put(tables: Sequence[str], data: Tables | Path, place: Path) -> list[Path]:
    """Write the data into the registry's working tree."""
    with sentences(place):
        place.mkdir(parents=True, exist_ok=True)
        for name in (*tables, FUTURE):
            found = [place / f"{name}{suffix}" for suffix in SUFFIXES]
            if odd := [file for file in found if file.exists() and not file.is_file()]:
                raise BadInputError(f"{odd[0]} is no file, and never replaced: take it away")
        if not isinstance(data, Path):
            # old files are taken away rather than written into: DVC may have linked them to its cache
            for name in (*tables, FUTURE):
                (place / f"{name}.csv").unlink(missing_ok=True)
            data.write(place)
            return [place / f"{name}.csv" for name in (*tables, FUTURE) if (place / f"{name}.csv").exists()]
        files = _files(tables, data)
        for file in files:
            temporary = place / f".{file.name}.part"
            shutil.copyfile(file, temporary)
            temporary.replace(place / file.name)
    return [place / file.name for file in files]


def _forget(tables: Sequence[str], repo: Any, place: Path, keep: set[str]) -> None:
    """Drop what the revision does not hold any more: train.csv when train.csv.xz comes, an old future.csv."""
    for name in (*tables, FUTURE):
        for suffix in SUFFIXES:
            file = place / f"{name}{suffix}"
            if file.name in keep:
                continue
            if file.with_name(f"{file.name}.dvc").exists():
                repo.remove(str(file.with_name(f"{file.name}.dvc")))
            file.unlink(missing_ok=True)


@contextmanager
def _dvc(folder: Path) -> Iterator[Any]:
    """Open the registry with DVC."""
    with _dvc_environment(folder):
        from dvc.repo import Repo

        repo = Repo(str(folder))
        try:
            yield repo
        finally:
            repo.close()


@contextmanager
def _dvc_environment(folder: Path) -> Iterator[None]:
    """Keep DVC from phoning home and from leaving state outside of the registry."""
    ours = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder.absolute() / ".dvc" / "tmp" / "site")}
    with environment(ours):
        quiet_dvc()
        yield
