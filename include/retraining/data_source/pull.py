"""Pull: a named revision of the data registry, into scratch, verified.

The registry is cloned with git (its small DVC files only), the data comes from the DVC remote through DVC's
file system API. Nothing outside of the destination is written: no shared cache, no state of DVC's own.
"""

import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.lifecycle.errors import BadInputError, ReportedError
from include.retraining.config.model import FUTURE
from include.retraining.data_source.dvc_files import RegistryFiles
from include.retraining.data_source.git import GitAddress, run_git

log = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{4,64}")
LINK_MODE, SUBMODULE_MODE = "120000", "160000"
REMOTE = "data-registry"
"""Git's name of the registry in the scratch clone: one of which the user's own settings say nothing."""
BRANCHES, TAGS = f"refs/remotes/{REMOTE}/", "refs/tags/"
SHOWN = 10


@dataclass(frozen=True)
class PulledFile:
    """One file: where it is, where it was in the registry, its MD5 and its size in bytes."""

    path: Path
    repo_path: str
    md5: str
    size: int


@dataclass(frozen=True)
class PulledData:
    """A revision of the data registry."""

    registry_commit: str
    revision: str
    files: dict[str, PulledFile]

    @property
    def data_version(self) -> str:
        """Short digest over the names and MD5 sums of all files: other content, another version."""
        lines = "".join(f"{name}:{self.files[name].md5}\n" for name in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()[:12]


def pull_revision(url: str, revision: str, paths: Mapping[str, str], destination: Path) -> PulledData:
    """Get the files of a revision.

    A path that is not in the revision is looked for with .xz or .gz behind it, and as .parquet: the
    configuration need not know how the files are compressed.

    :param url: git URL or folder of the data registry
    :param revision: branch, tag or commit
    :param paths: path in the registry by name; ``future`` may be missing there
    :param destination: folder for the files, created when missing
    :return: the commit and the files, each verified against the MD5 that DVC recorded
    :raises BadInputError: when revision or path do not exist (says what does), credentials are wrong, or a
        file was never pushed to the DVC remote
    :raises ReportedError: when the registry or its remote cannot be reached now
    """
    address = GitAddress.parse(url)
    destination.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=destination) as scratch:
        clone = Path(scratch) / "registry"
        _clone(address, clone)
        commit = resolve_revision(clone, revision, address.shown)
        where = f"data registry {address.shown} at {revision} ({commit[:12]})"
        try:
            run_git("checkout", "--quiet", "--detach", commit, folder=clone, env=address.environment())
        except ReportedError as error:
            raise type(error)(f"{where}: cannot be checked out: {error}") from None
        submodules = _checked_entries(clone, where)
        log.info("%s", where[0].upper() + where[1:])
        files = {}
        with RegistryFiles.open(clone, address.folder, where, submodules) as registry:
            for name, path in paths.items():
                found = _find(registry, path, optional=name == FUTURE)
                if found:
                    files[name] = _get(registry, found, destination)
    log.info("Pulled %d files in %.1f s", len(files), time.monotonic() - started)
    return PulledData(registry_commit=commit, revision=revision, files=files)


def _clone(address: GitAddress, clone: Path) -> None:
    if address.folder is not None and not address.folder.is_dir():
        raise BadInputError(f"data registry {address.shown}: there is no such folder")
    command = ("clone", "--quiet", "--no-checkout", "--template=", f"--origin={REMOTE}", "--", address.url, str(clone))
    try:
        run_git(*command, env=address.environment())
    except BadInputError as error:
        raise BadInputError(f"data registry {address.shown}: cannot be cloned: {error}") from None
    except ReportedError as error:
        raise ReportedError(f"data registry {address.shown}: cannot be reached: {error}") from None


def _checked_entries(clone: Path, where: str) -> list[str]:
    """Refuse a checkout with a symbolic link to something else than its own files: DVC and git would follow it here.

    :return: the paths of its submodules
    """
    root, submodules = clone.resolve(), []
    for entry in run_git("ls-files", "--stage", "-z", folder=clone).split("\0"):
        described, _, path = entry.partition("\t")
        if described.startswith(SUBMODULE_MODE):
            submodules.append(path)
        if not described.startswith(LINK_MODE):
            continue
        target = Path(os.path.realpath(root / path))  # not resolve(), which raises where links go round in a circle
        if not target.is_relative_to(root) or target.is_relative_to(root / ".git"):
            raise BadInputError(
                f"{where}: {path!r} is a symbolic link that leads out of the registry: put a copy of the file there"
            )
    return submodules


def resolve_revision(clone: Path, revision: str, shown: str) -> str:
    """Return the commit of a branch, tag or (abbreviated) commit.

    Names are compared, never handed to git as an expression: the revision is typed into a form.

    :param shown: the registry in messages
    :raises BadInputError: when there is no such revision; lists branches and tags
    """
    listed = run_git("for-each-ref", "--format=%(refname)%09%(objectname)", BRANCHES, TAGS, folder=clone)
    refs = dict(line.split("\t") for line in listed.splitlines())
    for name in (f"{TAGS}{revision}", f"{BRANCHES}{revision}"):
        if name in refs and revision != "HEAD":
            commit = _commit(clone, refs[name])
            if commit is None:
                raise BadInputError(f"data registry {shown}: the tag {revision[:100]!r} names no commit, but a file")
            return commit
    if COMMIT.fullmatch(revision.lower()) and (commit := _commit(clone, revision.lower())):
        return commit
    branches, tags = _names(refs, BRANCHES), _names(refs, TAGS)
    if not branches and not tags:
        raise BadInputError(f"data registry {shown} has no commit yet, so no revision {revision[:100]!r}")
    raise BadInputError(
        f"data registry {shown} has no revision {revision[:100]!r}:"
        f" it has {_listing('branch', branches)} and {_listing('tag', tags)}"
    )


def _commit(clone: Path, name: str) -> str | None:
    """Return the commit that an object's digits name, through any number of tags; None when they name none."""
    try:
        return run_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", folder=clone)
    except ReportedError:
        return None


def _names(refs: Mapping[str, str], prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in refs if name.startswith(prefix) and name != f"{prefix}HEAD"]


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return f"no {what}"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    plural = what if len(names) == 1 else f"{what}{'es' if what.endswith('ch') else 's'}"
    return f"{plural} {', '.join(names[:SHOWN])}{more}"


def candidates(path: str) -> list[str]:
    """Return where a configured path may lie in the registry, the most wanted first."""
    if not path.endswith(".csv"):
        return [path]
    return [path, f"{path}.xz", f"{path}.gz", f"{path.removesuffix('.csv')}.parquet"]


def _find(registry: RegistryFiles, path: str, *, optional: bool) -> str | None:
    """Return the path in the registry, or None when an optional file is not there.

    :raises BadInputError: when it is not there, or there in several forms
    """
    wanted = candidates(path)
    found = [candidate for candidate in wanted if registry.is_file(candidate)]
    if found and (found[0] == path or len(found) == 1):
        return found[0]
    if found:
        raise BadInputError(f"{registry.where} holds {' and '.join(found)}: remove one, or name it in data.paths")
    if optional:
        log.info("%s is not there (optional)", path)
        return None
    others = f" (nor {', '.join(wanted[1:])})" if wanted[1:] else ""
    raise BadInputError(f"{registry.where} has no file {path}{others}: {registry.neighbours(path)}")


def _get(registry: RegistryFiles, repo_path: str, destination: Path) -> PulledFile:
    """Download a file under a temporary name, verify it and move it into place."""
    target = destination / repo_path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    try:
        md5 = registry.download(repo_path, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return PulledFile(target, repo_path, md5, target.stat().st_size)
