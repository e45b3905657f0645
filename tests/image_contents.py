"""What lies in a file system that should not lie in an image, and what its virtual environment holds.

``tests/bench/images.py`` runs this inside an image, as root so that nothing is hidden from it: standard library alone.
It reads ``{name: secret}`` as JSON from its standard input and writes what it found as JSON.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

KINDS = ("setuid or setgid", "world-writable", "compiler", "package cache", "secret", "test or document")
VENV = "opt/venv"
PROJECT = "opt/retrain/"
COMPILER = re.compile(
    r"([a-z0-9_]+-linux-gnu[a-z]*-)?(gcc|cc|g\+\+|c\+\+|cpp|clang|clang\+\+|as|ld|ld\.(bfd|gold|lld)|g?make)(-[0-9.]+)?"
)
CACHE = re.compile(r"(.*/)?\.cache/(pip|uv)/.*|var/lib/apt/lists/(?!lock$).*|var/cache/apt/(?!archives/lock$).*")
SECRET = re.compile(
    r"(.*/)?(\.env(\..*)?|\.netrc|\.pypirc|\.git-credentials|\.aws/credentials|\.docker/config\.json|id_(rsa|ecdsa|ed25519)|\.git)"
)
PRIVATE_KEY = re.compile(
    rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----\s+([A-Za-z-]+: [^\n]*\n\s*)*[A-Za-z0-9+/=]{40}"
)  # the beginning alone is also in programs that read keys
OURS = re.compile(r"(dags|plugins|include|deploy)(/.*)?")
NOT_DEPLOYED = re.compile(r"(.*/)?(tests?|docs|local_stack|test_[^/]*\.py|conftest\.py|[^/]*\.md)")
LARGEST_READ = 4_000_000
"""Bytes of a file that is still searched for keys and secrets; what is larger are libraries."""


def look(root: Path, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the paths below ``root`` of each kind, the size of the virtual environment, and its packages.

    :param secrets: values that no file may hold, by name; it is the name that is shown
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    size = 0
    for path, status in walk(root):
        name = path.relative_to(root).as_posix()
        if name.startswith(f"{VENV}/") and stat.S_ISREG(status.st_mode):
            size += status.st_size
        for kind in kinds(path, name, status):
            found[kind].append(name)
        if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_READ:
            content = path.read_bytes()
            # GnuTLS carries the keys of its self-test
            if not content.startswith(b"\x7fELF") and PRIVATE_KEY.search(content):
                found["secret"].append(f"{name} (private key)")
            found["secret"] += [f"{name} ({known})" for known, value in secrets.items() if value.encode() in content]
    return {"found": {kind: sorted(paths) for kind, paths in found.items()}, "venv": size, "packages": packages(root)}


def walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield everything below ``root`` on its own file system."""
    device = root.stat().st_dev
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if (Path(folder) / name).lstat().st_dev == device]
        for name in (*folders, *files):
            path = Path(folder) / name
            yield path, path.lstat()


def kinds(path: Path, name: str, status: os.stat_result) -> Iterator[str]:
    """Yield what is wrong with one file or folder, whatever its content."""
    mode = status.st_mode
    if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
        yield "setuid or setgid"
    # in a folder with the sticky bit everybody removes his own files alone
    guarded = stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)
    if mode & stat.S_IWOTH and not guarded and not name.startswith(("tmp/", "var/tmp/")):
        yield "world-writable"
    if not stat.S_ISDIR(mode):
        if COMPILER.fullmatch(path.name) and path.is_file() and os.access(path, os.X_OK):
            yield "compiler"
        if CACHE.fullmatch(name):
            yield "package cache"
    if SECRET.fullmatch(name):
        yield "secret"
    if name.startswith(PROJECT):
        ours = name.removeprefix(PROJECT)
        if NOT_DEPLOYED.fullmatch(ours) or not OURS.fullmatch(ours):
            yield "test or document"


def packages(root: Path) -> dict[str, tuple[str, int]]:
    """Return version and bytes of each package of the virtual environment."""
    result = {}
    for site in root.glob(f"{VENV}/lib/python3*/site-packages"):
        for package in distributions(path=[str(site)]):
            files = [Path(str(package.locate_file(file))) for file in package.files or ()]
            size = sum(file.stat().st_size for file in files if file.is_file())
            result[re.sub(r"[-_.]+", "-", package.name).lower()] = package.version, size
    return result


if __name__ == "__main__":
    json.dump(look(Path("/"), json.load(sys.stdin)), sys.stdout)
