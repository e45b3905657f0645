"""A local data registry: real git, real DVC; whatever happens, it can be run again."""

import logging
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from include.lifecycle.errors import BadInputError, ReportedError
from include.models.rossmann.config import TABLES
from include.models.rossmann.data.sample import SampleData, generate
from include.retraining.data_source import publish as module
from include.retraining.data_source.publish import publish_data
from include.retraining.data_source.pull import pull_revision
from tests.rossmann.data.conftest import PATHS, Registry


def tracked(folder: Path) -> set[str]:
    done = subprocess.run(["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def compressed(data: SampleData, folder: Path) -> Path:
    """A source folder like the real one: train and future compressed, store not."""
    data.write(folder)
    for name in ("train", "future"):
        plain = folder / f"{name}.csv"
        (folder / f"{name}.csv.xz").write_bytes(lzma.compress(plain.read_bytes()))
        plain.unlink()
    return folder


def test_a_new_registry_is_git_with_dvc_files_and_a_remote(registry: Registry) -> None:
    assert tracked(registry.folder) == {
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        "data/.gitignore",
        *(f"data/{name}.csv.dvc" for name in ("train", "store", "future")),
    }
    assert "md5:" in (registry.folder / "data" / "train.csv.dvc").read_text()
    assert registry.git("status", "--porcelain") == ""
    assert registry.git("log", "--format=%s|%an|%ae") == (
        "Add data|Data registry|data-registry@localhost\nAdd data|Data registry|data-registry@localhost"
    )
    assert registry.git("tag") == "first\nsecond"
    assert registry.git("branch", "--show-current") == "main"
    config = (registry.folder / ".dvc" / "config").read_text()
    assert "url = ../../registry_remote" in config
    assert "analytics = false" in config
    assert len([path for path in registry.remote.rglob("*") if path.is_file()]) == 5  # both share store.csv


def test_the_same_data_again_is_no_new_commit(registry: Registry, small: SampleData) -> None:
    later = generate(stores=4, months=8, extra_days=7)
    assert publish_data(TABLES, registry.folder, later) == registry.second
    assert registry.commits() == 2
    assert publish_data(TABLES, registry.folder, small) != registry.second


def test_import_leaves_files_unchanged_and_replaces_other_forms(
    registry: Registry, small: SampleData, tmp_path: Path
) -> None:
    source = compressed(small, tmp_path / "source")
    commit = publish_data(TABLES, registry.folder, source)
    names = {path for path in tracked(registry.folder) if path.startswith("data/") and path.endswith(".dvc")}
    assert names == {"data/train.csv.xz.dvc", "data/store.csv.dvc", "data/future.csv.xz.dvc"}
    pulled = pull_revision(str(registry.folder), "main", PATHS, tmp_path / "pulled")
    assert pulled.registry_commit == commit
    for name, file in pulled.files.items():
        assert file.path.read_bytes() == (source / file.path.name).read_bytes(), name
    assert publish_data(TABLES, registry.folder, source) == commit

    (source / "future.csv.xz").unlink()
    publish_data(TABLES, registry.folder, source)
    assert "data/future.csv.xz.dvc" not in tracked(registry.folder)
    pulled = pull_revision(str(registry.folder), "main", PATHS, tmp_path / "again")
    assert set(pulled.files) == {"train", "store"}


def test_import_makes_a_registry_where_there_is_none(
    small: SampleData, tmp_path: Path, no_identity: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = compressed(small, tmp_path / "source")
    folder = tmp_path / "deep" / "registry"
    commit = publish_data(TABLES, folder, source)
    assert (tmp_path / "deep" / "registry_remote").is_dir()
    assert pull_revision(str(folder), "main", PATHS, tmp_path / "pulled").registry_commit == commit
    assert not (no_identity / ".gitconfig").exists()
    assert capfd.readouterr().out == ""  # a step's stdout carries its result and nothing else


def test_the_users_git_settings_do_not_get_in_the_way(small: SampleData, tmp_path: Path, no_identity: Path) -> None:
    (no_identity / "ignore").write_text("*.csv\n*.dvc\ndata/\n")
    settings = f"[core]\n\texcludesFile = {no_identity}/ignore\n\tautocrlf = true\n[commit]\n\tgpgsign = true\n"
    (no_identity / ".gitconfig").write_text(settings)
    folder = tmp_path / "registry"
    publish_data(TABLES, folder, small)
    assert "data/train.csv.dvc" in tracked(folder)
    assert (no_identity / ".gitconfig").read_text() == settings


def test_a_git_hooks_environment_does_not_lead_elsewhere(
    small: SampleData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    folder = tmp_path / "registry"
    commit = publish_data(TABLES, folder, small)
    assert pull_revision(str(folder), commit, PATHS, tmp_path / "pulled").registry_commit == commit
    assert not (other / ".git" / "index").exists()


@pytest.mark.parametrize("broken_step", ["config", "add", "commit"])
def test_interrupted_anywhere_it_can_be_run_again(
    small: SampleData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_step: str
) -> None:
    run_git = module.run_git

    def broken(*arguments: str, **settings: Path) -> str:
        if broken_step in arguments:
            raise ReportedError("interrupted")
        return run_git(*arguments, **settings)

    folder = tmp_path / "registry"
    monkeypatch.setattr(module, "run_git", broken)
    with pytest.raises(ReportedError, match="interrupted"):
        publish_data(TABLES, folder, small)
    monkeypatch.undo()
    commit = publish_data(TABLES, folder, small)
    assert pull_revision(str(folder), "main", PATHS, tmp_path / "pulled").registry_commit == commit


def test_a_half_made_dvc_project_is_made_again(small: SampleData, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    (folder / ".dvc").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / ".dvc" / "config").write_text("")
    commit = publish_data(TABLES, folder, small)
    assert pull_revision(str(folder), commit, PATHS, tmp_path / "pulled").registry_commit == commit


def test_data_is_pushed_before_it_is_committed(
    registry: Registry, small: SampleData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    def lost(self: Repo) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Repo, "push", lost)
    with pytest.raises(ReportedError, match="no space left"):
        publish_data(TABLES, registry.folder, small)
    assert registry.commits() == 2


def test_folders_that_hold_something_else_are_left_alone(small: SampleData, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInputError, match="mine holds something else"):
        publish_data(TABLES, tmp_path / "mine", small)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]

    with pytest.raises(BadInputError, match=r"thesis\.txt is a file"):
        publish_data(TABLES, tmp_path / "mine" / "thesis.txt", small)

    code = tmp_path / "code"
    subprocess.run(["git", "init", "--quiet", str(code)], check=True)
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "-m", "code"], cwd=code, check=True)
    with pytest.raises(BadInputError, match="repository without DVC"):
        publish_data(TABLES, code, small)


@pytest.mark.parametrize("odd", ["folder", "pipe"])
def test_what_is_no_file_in_a_registry_is_never_replaced(registry: Registry, small: SampleData, odd: str) -> None:
    place = registry.folder / "data" / "train.csv"
    place.unlink()
    (Path.mkdir if odd == "folder" else os.mkfifo)(place)
    kind = place.lstat().st_mode
    with pytest.raises(BadInputError, match=f"{place} is no file"):
        publish_data(TABLES, registry.folder, small)
    assert place.lstat().st_mode == kind


def test_a_symlink_in_a_registry_gives_way_and_what_it_points_to_stays(
    registry: Registry, small: SampleData, tmp_path: Path
) -> None:
    place = registry.folder / "data" / "train.csv"
    place.unlink()
    (tmp_path / "other").write_text("other")
    place.symlink_to(tmp_path / "other")
    assert publish_data(TABLES, registry.folder, small) != registry.second
    assert (tmp_path / "other").read_text() == "other"
    assert not place.is_symlink()


def test_places_where_no_registry_can_be_made(small: SampleData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "taken_remote").write_text("mine")
    for name, said in {
        "pipe": "pipe is a file",
        "file/below": "path is no folder",
        "taken": "taken_remote is a file",
    }.items():
        with pytest.raises(BadInputError, match=said):
            publish_data(TABLES, tmp_path / name, small)
    with pytest.raises(BadInputError, match="s3:/bucket/data is a URL"):
        publish_data(TABLES, Path("s3://bucket/data"), small)
    assert (tmp_path / "file").read_text() == (tmp_path / "taken_remote").read_text() == "mine"


def test_sources_that_cannot_be_imported(small: SampleData, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    with pytest.raises(BadInputError, match=r"no folder .*train\.csv"):
        publish_data(TABLES, folder, tmp_path / "missing")
    source = compressed(small, tmp_path / "source")
    shutil.move(source / "store.csv", source / "stores.csv")
    with pytest.raises(BadInputError, match=r"no store\.csv .*, stores"):
        publish_data(TABLES, folder, source)
    shutil.copy(source / "stores.csv", source / "store.csv")
    (source / "train.csv").write_text("old")
    with pytest.raises(BadInputError, match=r"holds train\.csv and"):
        publish_data(TABLES, folder, source)
    assert not folder.exists()


def test_dvc_leaves_nothing_outside_of_the_registry(
    small: SampleData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(elsewhere))
    with caplog.at_level(logging.INFO):
        publish_data(TABLES, tmp_path / "registry", small)
    assert not elsewhere.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"registry", "registry_remote"}
    assert "Data registry" in caplog.text
