"""What DVC and git know of and cannot give: never pushed, never made, not cloned; real DVC, real remotes."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from include.lifecycle.errors import BadInputError, ReportedError
from include.models.rossmann.config import TABLES
from include.models.rossmann.data.sample import SampleData
from include.retraining.data_source.publish import _dvc, publish_data
from include.retraining.data_source.pull import PulledData, pull_revision
from tests.rossmann.data.conftest import Registry
from tests.rossmann.data.git_server import file_server

pytestmark = pytest.mark.long

TRAIN, STORE = "Store,Sales\n1,2\n", "Store\n1\n"


def pull(registry: Registry, destination: Path, **paths: str) -> PulledData:
    return pull_revision(str(registry.folder), "main", paths, destination)


def refused(registry: Registry, destination: Path, kind: type[ReportedError] = BadInputError, **paths: str) -> str:
    with pytest.raises(kind) as caught:
        pull(registry, destination, **paths)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert not list(destination.rglob("*.csv"))
    return str(caught.value)


def commit(registry: Registry) -> None:
    registry.git("add", "--all")
    registry.git("commit", "--quiet", "--message", "Situation")


@pytest.fixture
def folder(registry: Registry) -> Registry:
    """The registry with a tracked folder ``set``, which was not pushed; DVC's cache is another machine's."""
    (registry.folder / "set").mkdir()
    (registry.folder / "set" / "train.csv").write_text(TRAIN)
    (registry.folder / "set" / "store.csv").write_text(STORE)
    with _dvc(registry.folder) as repo:
        repo.add([str(registry.folder / "set")])
    commit(registry)
    return registry


def push(registry: Registry) -> None:
    with _dvc(registry.folder) as repo:
        repo.push()
    shutil.rmtree(registry.folder / ".dvc" / "cache")


def stored(registry: Registry, content: str) -> Path:
    """The one file in the DVC remote with this content."""
    found = [file for file in registry.remote.rglob("*") if file.is_file() and file.read_bytes() == content.encode()]
    assert len(found) == 1
    found[0].chmod(0o644)
    return found[0]


def listing(registry: Registry) -> Path:
    """The tracked folder's list of files in the DVC remote."""
    found = next(registry.remote.rglob("*.dir"))
    found.chmod(0o644)
    return found


@pytest.mark.parametrize("path", ["set/train.csv", "set/trian.csv", "set"])
def test_a_tracked_folder_that_was_never_pushed(folder: Registry, tmp_path: Path, path: str) -> None:
    message = refused(folder, tmp_path / "out", train=path)
    assert f": set is not in the DVC remote {folder.remote}: run `dvc push`" in message
    assert set(pull(folder, tmp_path / "other", train="data/train.csv").files) == {"train"}


def test_a_tracked_folder_is_verified_like_a_file(folder: Registry, tmp_path: Path) -> None:
    push(folder)
    pulled = pull(folder, tmp_path / "out", train="set/train.csv", store="set/store.csv")
    assert pulled.files["train"].path.read_text() == TRAIN
    assert "set is a folder" not in refused(folder, tmp_path / "no", train="set/trian.csv")
    assert "set is a folder, expected a file: set holds store.csv, train.csv" in refused(
        folder, tmp_path / "no", train="set"
    )
    stored(folder, TRAIN).unlink()
    message = refused(folder, tmp_path / "no", train="set/train.csv")
    assert f"set/train.csv is not in the DVC remote {folder.remote}: run `dvc push`" in message


def test_a_tracked_folders_list_of_files_is_what_was_recorded(folder: Registry, tmp_path: Path) -> None:
    push(folder)
    other = "Store,Sales\n1,3\n"
    lines = listing(folder).read_text()
    train = stored(folder, TRAIN)
    (registry_file := train.parents[1] / "ab" / ("c" * 30)).parent.mkdir(exist_ok=True)
    registry_file.write_text(other)
    listing(folder).write_text(lines.replace(f"{train.parent.name}{train.name}", f"ab{'c' * 30}"))
    assert "set arrived with MD5" in refused(folder, tmp_path / "out", ReportedError, train="set/train.csv")
    listing(folder).write_text("{")
    assert "is corrupted" in refused(folder, tmp_path / "out", ReportedError, train="set/train.csv")


def test_a_tracked_folder_on_a_remote_that_does_not_answer(folder: Registry, tmp_path: Path) -> None:
    push(folder)
    config = folder.folder / ".dvc" / "config"
    with file_server(folder.remote) as url:
        config.write_text(f"[core]\n    remote = web\n['remote \"web\"']\n    url = {url}\n")
        commit(folder)
        assert set(pull(folder, tmp_path / "web", train="set/train.csv").files) == {"train"}
        listing(folder).unlink()
        assert f"set is not in the DVC remote {url}: run" in refused(folder, tmp_path / "out", train="set/train.csv")
    message = refused(folder, tmp_path / "out", ReportedError, train="set/train.csv")
    assert f"cannot be fetched now from the DVC remote {url}: " in message


def test_an_output_with_a_remote_of_its_own(registry: Registry, tmp_path: Path) -> None:
    config = registry.folder / ".dvc" / "config"
    config.write_text(f"{config.read_text()}['remote \"own\"']\n    url = {tmp_path / 'own'}\n")
    described = registry.folder / "data" / "train.csv.dvc"
    described.write_text(f"{described.read_text()}  remote: own\n")
    commit(registry)
    message = refused(registry, tmp_path / "out", ReportedError, train="data/train.csv")
    assert f"the DVC remote {tmp_path / 'own'} is not there" in message
    (tmp_path / "own").mkdir()
    message = refused(registry, tmp_path / "out", train="data/train.csv")
    assert f"data/train.csv is not in the DVC remote {tmp_path / 'own'}: run `dvc push`" in message


def test_a_registry_that_names_no_remote(folder: Registry, tmp_path: Path) -> None:
    (folder.folder / ".dvc" / "config").write_text("")
    commit(folder)
    subprocess.run(["git", "clone", "--quiet", "--bare", str(folder.folder), str(tmp_path / "bare")], check=True)
    for path in ("set/train.csv", "data/train.csv"):
        with pytest.raises(BadInputError, match="no DVC remote"):
            pull_revision(str(tmp_path / "bare"), "main", {"train": path}, tmp_path / "out")


STAGES = """
stages:
  make:
    cmd: mkdir -p made && printf 'Store,Sales\\n1,2\\n' > made/train.csv && printf 'Store\\n1\\n' > store.csv
    outs:
    - made
    - store.csv
"""


@pytest.fixture
def stages(registry: Registry) -> Registry:
    """The registry with outputs of a stage, made and pushed."""
    (registry.folder / "dvc.yaml").write_text(STAGES)
    with contextlib.chdir(registry.folder), _dvc(registry.folder) as repo:
        repo.reproduce()
    commit(registry)
    push(registry)
    return registry


def test_outputs_of_stages(stages: Registry, tmp_path: Path) -> None:
    pulled = pull(stages, tmp_path / "out", train="made/train.csv", store="store.csv")
    assert [file.path.read_text() for file in pulled.files.values()] == [TRAIN, STORE]
    for path in ("dvc.yaml", "dvc.lock", "data/train.csv.dvc"):
        assert f"{path!r} names a file of DVC's own" in refused(stages, tmp_path / "no", train=path)
    stages.git("rm", "--quiet", "--cached", "dvc.lock")
    stages.git("commit", "--quiet", "--message", "No lock")
    for name, path, tracked in (("train", "made/train.csv", "made"), ("future", "made/future.csv", "made"),
                                ("store", "store.csv", "store.csv")):  # fmt: skip
        message = refused(stages, tmp_path / "no", **{name: path})
        assert f"DVC has no digest of {tracked}: stage 'make' of dvc.yaml was not run: `dvc repro`" in message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "dvc.lock").write_text("schema: '2.0'\nstages: [1"), "'dvc.lock'"),
        (lambda folder: (folder / "dvc.yaml").write_text("stages: {make: {cmd: x, outs: [${nope}]}}"), "'dvc.yaml'"),
        (lambda folder: (folder / "extra.dvc").write_text("outs:\n- path: extra\n"), "DVC has no digest of extra:"),
    ],
)
def test_stages_that_cannot_be_read(
    stages: Registry, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(stages.folder)
    stages.git("add", "--all", "--force")
    stages.git("commit", "--quiet", "--message", "Damage")
    path = "extra" if "extra" in said else "store.csv"
    assert said in refused(stages, tmp_path / "out", store=path)


def test_a_git_submodule_where_data_was_expected(
    registry: Registry, registry_template: Registry, tmp_path: Path
) -> None:
    shutil.rmtree(registry.folder / "data")
    registry.git("rm", "-r", "--quiet", "--cached", "data")
    allowed = ("-c", "protocol.file.allow=always")
    registry.git(*allowed, "submodule", "--quiet", "add", str(registry_template.folder), "data")
    commit(registry)
    for path in ("data/data/train.csv", "data"):
        message = refused(registry, tmp_path / "out", train=path)
        assert f"{path} is in the git submodule data, which is not cloned: name its own repository" in message


def test_a_dvc_project_in_a_folder_of_the_registry(registry: Registry, tmp_path: Path) -> None:
    shutil.copytree(registry.folder, registry.folder / "inner", ignore=shutil.ignore_patterns(".git"))
    commit(registry)
    message = refused(registry, tmp_path / "out", train="inner/data/train.csv")
    assert "inner is a DVC project of its own" in message


def test_a_pointer_of_git_lfs_that_dvc_tracks(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / "lfs.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with _dvc(registry.folder) as repo:
        repo.add([str(registry.folder / "lfs.csv")])
        repo.push()
    commit(registry)
    assert "lfs.csv is a pointer of Git LFS" in refused(registry, tmp_path / "out", store="lfs.csv")


def test_a_lock_that_another_process_holds(
    registry: Registry, small: SampleData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = registry.folder / ".dvc" / "tmp" / "lock"
    hold = "import sys, zc.lockfile; held = zc.lockfile.LockFile(sys.argv[1]); print('held', flush=True); input()"
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert set(pull(registry, tmp_path / "out", train="data/train.csv").files) == {"train"}
        with pytest.raises(ReportedError) as caught:
            publish_data(TABLES, registry.folder, small)
        assert caught.value.exit_code == 1
        assert f"another DVC process (lock {lock}): wait" in str(caught.value)
        assert registry.commits() == 2
        holder.communicate("\n")
    assert publish_data(TABLES, registry.folder, small) != registry.second
