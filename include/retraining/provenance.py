"""What exactly ran: the commit of this project's code and the versions of the libraries."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
CODE_COMMIT_ENV = "RETRAIN_CODE_COMMIT"
LIBRARIES = ("mlflow", "numpy", "pandas", "pyarrow")
"""Distributions that every registered model imports."""


@dataclass(frozen=True)
class CodeVersion:
    """The project's git commit, and whether the working tree differed from it (None: not known)."""

    commit: str
    dirty: bool | None

    def as_tags(self) -> dict[str, str]:
        """Return the tags ``code.commit`` and ``code.dirty``."""
        return {"code.commit": self.commit, "code.dirty": "unknown" if self.dirty is None else str(self.dirty).lower()}


def code_version(root: Path = PROJECT_ROOT) -> CodeVersion:
    """Return the version of the code that runs.

    An image has no git checkout: there the build names its commit in ``RETRAIN_CODE_COMMIT``.
    """
    if commit := os.environ.get(CODE_COMMIT_ENV):
        return CodeVersion(commit, None)
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return CodeVersion("unknown", None)
    return CodeVersion(head, bool(changes))


def library_versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the installed version of each distribution, and of Python."""
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def folder_digest(folder: Path, pattern: str = "*.py") -> str:
    """Return the SHA-256 over names and contents of the files of a folder.

    :param folder: searched recursively
    :param pattern: which files count
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    # safe.directory: inside a container the checkout often belongs to another user
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
