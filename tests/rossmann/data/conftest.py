"""A small data registry with two revisions, made once; each test gets a copy."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from include.models.rossmann.config import TABLES
from include.models.rossmann.data.sample import SampleData, generate
from include.retraining.data_source.publish import publish_data

PATHS = {"train": "data/train.csv", "store": "data/store.csv", "future": "data/future.csv"}


@dataclass(frozen=True)
class Registry:
    """Git repository, DVC remote, and the commits of its two revisions (tags ``first`` and ``second``)."""

    folder: Path
    remote: Path
    first: str
    second: str

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commits(self) -> int:
        return int(self.git("rev-list", "--count", "HEAD"))


@pytest.fixture(scope="session")
def small() -> SampleData:
    return generate(stores=4, months=8)


@pytest.fixture(scope="session")
def registry_template(tmp_path_factory: pytest.TempPathFactory, small: SampleData) -> Registry:
    place = tmp_path_factory.mktemp("registry")
    folder, remote = place / "registry", place / "registry_remote"
    first = publish_data(TABLES, folder, small)
    subprocess.run(["git", "tag", "first"], cwd=folder, check=True)
    second = publish_data(TABLES, folder, generate(stores=4, months=8, extra_days=7))
    subprocess.run(["git", "tag", "second"], cwd=folder, check=True)
    return Registry(folder, remote, first, second)


@pytest.fixture
def registry(registry_template: Registry, tmp_path: Path) -> Registry:
    """A registry of the test's own: the remote's address is relative, so a copy is whole."""
    place = tmp_path / "copy"
    shutil.copytree(registry_template.folder.parent, place, symlinks=True)
    return Registry(place / "registry", place / "registry_remote", registry_template.first, registry_template.second)


@pytest.fixture
def no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any git configuration; gives the (empty) home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "EMAIL", "GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.delenv(name, raising=False)
    return home
