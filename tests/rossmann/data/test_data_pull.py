"""Pull: real git, real DVC; what arrives, and what is said when nothing does."""

import hashlib
import logging
import os
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from include.lifecycle.errors import BadInputError, ReportedError
from include.models.rossmann.data.load import read_future, read_store, read_train
from include.models.rossmann.data.schema import check_data
from include.retraining.data_source import dvc_files
from include.retraining.data_source.pull import PulledData, candidates, pull_revision
from tests.rossmann.data.conftest import PATHS, Registry
from tests.rossmann.data.git_server import file_server, git_server


def pull(registry: Registry, destination: Path, revision: str = "main", **paths: str) -> PulledData:
    return pull_revision(str(registry.folder), revision, paths or PATHS, destination)


def failure(
    kind: type[ReportedError], registry: Registry, destination: Path, revision: str = "main", **paths: str
) -> str:
    with pytest.raises(kind) as caught:
        pull(registry, destination, revision, **paths)
    assert type(caught.value) is kind
    assert not list(destination.rglob("*.part"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stored(registry: Registry, name: str) -> Path:
    """The file in the DVC remote that holds a data file of the newest revision."""
    lines = (registry.folder / "data" / f"{name}.csv.dvc").read_text().splitlines()
    md5 = next(line.split(": ")[1] for line in lines if "md5: " in line)
    return registry.remote / "files" / "md5" / md5[:2] / md5[2:]


def use_remote(registry: Registry, url: str) -> None:
    """Commit another DVC remote."""
    config = registry.folder / ".dvc" / "config"
    config.write_text(f"[core]\n    remote = other\n['remote \"other\"']\n    url = {url}\n")
    registry.git("commit", "--quiet", "--all", "--message", "Other remote")


def test_files_arrive_with_commit_md5_and_size(registry: Registry, tmp_path: Path) -> None:
    pulled = pull(registry, tmp_path / "out")
    assert (pulled.registry_commit, pulled.revision) == (registry.second, "main")
    for name, file in pulled.files.items():
        content = file.path.read_bytes()
        assert file.repo_path == f"data/{name}.csv"
        assert file.path == tmp_path / "out" / "data" / f"{name}.csv"
        assert file.size == len(content)
        assert file.md5 == hashlib.md5(content).hexdigest()
        assert not file.path.is_symlink()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]  # scratch is gone
    train, stores, future = (
        read_train(pulled.files["train"].path),
        read_store(pulled.files["store"].path),
        read_future(pulled.files["future"].path),
    )
    assert check_data(train, stores, future) == []


def test_a_second_revision_is_another_data_version(registry: Registry, tmp_path: Path) -> None:
    first, second = (pull(registry, tmp_path / tag, tag) for tag in ("first", "second"))
    assert first.registry_commit == registry.first
    assert first.data_version != second.data_version
    assert first.files["store"].md5 == second.files["store"].md5
    assert len(read_train(second.files["train"].path)) == len(read_train(first.files["train"].path)) + 4 * 7
    again = pull(registry, tmp_path / "again", registry.first[:8])
    assert again.data_version == first.data_version
    assert len(first.data_version) == 12


def test_data_version_depends_on_names_and_content_only(registry: Registry, tmp_path: Path) -> None:
    pulled = pull(registry, tmp_path / "out")
    files = pulled.files
    moved = {name: replace(file, path=Path("elsewhere"), repo_path="x") for name, file in reversed(files.items())}
    assert replace(pulled, files=moved, revision="x").data_version == pulled.data_version
    swapped = {"train": files["store"], "store": files["train"], "future": files["future"]}
    assert replace(pulled, files=swapped).data_version != pulled.data_version


def test_the_registrys_working_tree_does_not_count(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / "data" / "train.csv").unlink()
    (registry.folder / "data" / "train.csv.dvc").write_text("broken")
    shutil.rmtree(registry.folder / ".dvc" / "cache")
    before = sorted(str(path) for path in registry.folder.rglob("*"))
    assert pull(registry, tmp_path / "out").registry_commit == registry.second
    assert sorted(str(path) for path in registry.folder.rglob("*")) == before  # nothing is written there either


def test_file_url_branch_and_bare_repository(registry: Registry, tmp_path: Path) -> None:
    registry.git("checkout", "--quiet", "-b", "feature/more", "first")
    pulled = pull_revision(f"file://{registry.folder}", "feature/more", PATHS, tmp_path / "out")
    assert pulled.registry_commit == registry.first
    use_remote(registry, str(registry.remote))
    subprocess.run(["git", "clone", "--quiet", "--bare", str(registry.folder), str(tmp_path / "bare.git")], check=True)
    pulled = pull_revision(str(tmp_path / "bare.git"), "feature/more", PATHS, tmp_path / "out")
    assert pulled.files["train"].md5 == pull(registry, tmp_path / "first", "first").files["train"].md5


def test_a_registry_without_remote_serves_from_its_cache(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    registry.git("commit", "--quiet", "--all", "--message", "No remote")
    assert set(pull(registry, tmp_path / "out").files) == set(PATHS)


def test_other_forms_of_a_path_are_found(registry: Registry, tmp_path: Path) -> None:
    assert candidates("data/train.csv") == [
        "data/train.csv",
        "data/train.csv.xz",
        "data/train.csv.gz",
        "data/train.parquet",
    ]
    assert candidates("data/train.parquet") == ["data/train.parquet"]
    # a file that git itself holds is as good as one that DVC tracks
    (registry.folder / "extra").mkdir()
    (registry.folder / "extra" / "store.csv.gz").write_bytes(b"content")
    registry.git("add", "--force", "extra")
    registry.git("commit", "--quiet", "--message", "Extra")
    pulled = pull(registry, tmp_path / "out", store="extra/store.csv")
    assert pulled.files["store"].repo_path == "extra/store.csv.gz"
    assert pulled.files["store"].md5 == hashlib.md5(b"content").hexdigest()
    (registry.folder / "extra" / "store.csv.xz").write_bytes(b"content")
    registry.git("add", "--force", "extra")
    registry.git("commit", "--quiet", "--message", "Twice")
    message = failure(BadInputError, registry, tmp_path / "out", store="extra/store.csv")
    assert "holds extra/store.csv.xz and extra/store.csv.gz: remove one, or name it in data.paths" in message


def test_unknown_revision_lists_what_exists(registry: Registry, tmp_path: Path) -> None:
    for revision in ("mian", "0000000", "HEAD", "main~1", ":/Add", "--all", "main^{tree}", ""):
        message = failure(BadInputError, registry, tmp_path / "out", revision)
        assert message == (
            f"data registry {registry.folder} has no revision {revision!r}: it has branch main and tags first, second"
        )


def test_unknown_path_lists_what_exists(registry: Registry, tmp_path: Path) -> None:
    where = f"data registry {registry.folder} at main ({registry.second[:12]})"
    assert failure(BadInputError, registry, tmp_path / "out", train="data/trian.csv") == (
        f"{where} has no file data/trian.csv (nor data/trian.csv.xz, data/trian.csv.gz, data/trian.parquet):"
        " data holds future.csv, store.csv, train.csv"
    )
    assert failure(BadInputError, registry, tmp_path / "out", train="dta/train.parquet") == (
        f"{where} has no file dta/train.parquet: its root holds data"
    )
    assert "is not inside of the data registry" in failure(BadInputError, registry, tmp_path, train="../secret.csv")


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"/missing: .*no such folder"):
        pull_revision(str(tmp_path / "missing"), "main", PATHS, tmp_path / "out")
    (tmp_path / "plain").mkdir()
    with pytest.raises(BadInputError, match=r"/plain: .* does not exist"):
        pull_revision(str(tmp_path / "plain"), "main", PATHS, tmp_path / "out")
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "empty")], check=True)
    with pytest.raises(BadInputError, match=r"no commit yet, .*'main'"):
        pull_revision(str(tmp_path / "empty"), "main", PATHS, tmp_path / "out")


def test_git_without_dvc(registry: Registry, tmp_path: Path) -> None:
    registry.git("rm", "-r", "--quiet", ".dvc")
    registry.git("commit", "--quiet", "--message", "No DVC")
    assert "is no DVC project: it has no folder .dvc" in failure(BadInputError, registry, tmp_path / "out")


def test_a_server_that_is_down_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ReportedError) as caught:
        pull_revision("http://bot:s3cret@127.0.0.1:9/data.git", "main", PATHS, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("data registry http://127.0.0.1:9/data.git: cannot be reached: fatal:")
    assert "s3cret" not in str(caught.value)


def test_a_file_that_was_never_pushed(registry: Registry, tmp_path: Path) -> None:
    stored(registry, "train").unlink()
    shutil.rmtree(registry.folder / ".dvc" / "cache")
    message = failure(BadInputError, registry, tmp_path / "out")
    assert message == (
        f"data registry {registry.folder} at main ({registry.second[:12]}): data/train.csv is not in the DVC remote"
        f" {registry.remote}: run `dvc push` where it was added"
    )


def test_a_remote_that_is_not_mounted(registry: Registry, tmp_path: Path) -> None:
    shutil.rmtree(registry.remote)
    message = failure(ReportedError, registry, tmp_path / "out")
    assert f"cannot be fetched now: the DVC remote {registry.remote} is not there" in message


def test_what_arrives_is_verified(registry: Registry, tmp_path: Path) -> None:
    damaged = stored(registry, "train")
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    message = failure(ReportedError, registry, tmp_path / "out")
    assert "data/train.csv arrived with MD5 " in message
    assert f"DVC recorded {damaged.parent.name}{damaged.name}" in message
    assert not (tmp_path / "out" / "data" / "train.csv").exists()


def test_http_remote(registry: Registry, tmp_path: Path) -> None:
    with file_server(registry.remote) as url:
        use_remote(registry, url)
        assert set(pull(registry, tmp_path / "out").files) == set(PATHS)
        stored(registry, "train").unlink()
        message = failure(BadInputError, registry, tmp_path / "out")
        assert f"data/train.csv is not in the DVC remote {url}: run `dvc push`" in message
    message = failure(ReportedError, registry, tmp_path / "out")
    assert f"data/train.csv cannot be fetched now from the DVC remote {url}: " in message


def test_a_remote_whose_package_is_missing(registry: Registry, tmp_path: Path) -> None:
    if find_spec("dvc_s3"):
        pytest.skip("dvc-s3 is installed")
    use_remote(registry, "s3://bucket/data")
    message = failure(BadInputError, registry, tmp_path / "out")
    assert "the DVC remote s3://bucket/data needs another package, pip install 'dvc[s3]'" in message


def test_damaged_dvc_files_and_configuration(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / "data" / "train.csv.dvc").write_text("outs: [")
    registry.git("commit", "--quiet", "--all", "--message", "Damaged")
    assert "unable to read: 'data/train.csv.dvc', YAML" in failure(BadInputError, registry, tmp_path / "out")
    (registry.folder / ".dvc" / "config").write_text("[core]\n    nonsense = 1\n")
    registry.git("commit", "--quiet", "--all", "--message", "Damaged more")
    assert "DVC cannot open it" in failure(BadInputError, registry, tmp_path / "out")


def test_progress_is_logged(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        pull(registry, tmp_path / "out")
    assert f"Data registry {registry.folder} at main ({registry.second[:12]})" in caplog.text
    assert "Downloading data/train.csv (0.0 MB)" in caplog.text
    assert "Pulled 3 files in" in caplog.text
    assert capfd.readouterr().out == ""
    with caplog.at_level(logging.INFO):
        progress = dvc_files._progress("train.csv")
        progress.set_size(4_000_000)
        progress.last -= 10
        progress.absolute_update(2_000_000)
    assert "train.csv: 2 of 4 MB" in caplog.text


def test_old_dvc_files_hash_text_with_other_line_ends(registry: Registry, tmp_path: Path) -> None:
    """DVC 2 wrote no `hash: md5`; its MD5 is of the text with Unix line ends."""
    content, normalized = b"a,b\r\n1,2\r\n", b"a,b\n1,2\n"
    md5 = hashlib.md5(normalized).hexdigest()
    (registry.folder / "data" / "old.csv.dvc").write_text(f"outs:\n- md5: {md5}\n  size: 10\n  path: old.csv\n")
    registry.git("add", "--force", "data/old.csv.dvc")
    registry.git("commit", "--quiet", "--message", "Old")
    place = registry.remote / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    pulled = pull(registry, tmp_path / "out", train="data/old.csv")
    assert pulled.files["train"].md5 == md5
    assert pulled.files["train"].path.read_bytes() == content


@pytest.fixture
def hosted(registry: Registry, monkeypatch: pytest.MonkeyPatch, no_identity: Path) -> Registry:
    """The registry as a git server would hold it, with a remote that a stranger can reach."""
    use_remote(registry, str(registry.remote))
    for name in ("RETRAIN_GIT_USERNAME", "RETRAIN_GIT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return registry


def test_git_over_http_with_credentials_of_the_environment(
    hosted: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    password = "p@ss \"w'rd$HOME"
    with git_server(hosted.folder, f"bot:{password}") as (url, seen), caplog.at_level(logging.DEBUG):
        monkeypatch.setenv("RETRAIN_GIT_USERNAME", "bot")
        monkeypatch.setenv("RETRAIN_GIT_PASSWORD", password)
        pulled = pull_revision(f"{url}/.git", "main", PATHS, tmp_path / "out")
        assert set(pulled.files) == set(PATHS)
        assert f"bot:{password}" in seen
    assert password not in caplog.text
    assert os.environ.get("GIT_CONFIG_COUNT") is None


def test_git_over_http_with_credentials_in_the_url(hosted: Registry, tmp_path: Path) -> None:
    with git_server(hosted.folder, "bot:s3cret") as (url, _):
        pulled = pull_revision(f"{url.replace('://', '://bot:s3cret@')}/.git", "main", PATHS, tmp_path / "out")
        assert set(pulled.files) == set(PATHS)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_git_over_http_with_wrong_credentials(
    hosted: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    if password:
        monkeypatch.setenv("RETRAIN_GIT_USERNAME", "bot")
        monkeypatch.setenv("RETRAIN_GIT_PASSWORD", password)
    with git_server(hosted.folder, "bot:s3cret") as (url, _), pytest.raises(BadInputError) as caught:
        pull_revision(f"{url}/.git", "main", PATHS, tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"data registry {url}/.git: cannot be cloned: fatal: ")
    assert ("could not read Username" if password is None else "Authentication failed") in message
    assert "RETRAIN_GIT_USERNAME and RETRAIN_GIT_PASSWORD" in message
    assert "wrong" not in message


def test_git_over_http_without_such_a_repository(
    hosted: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_GIT_USERNAME", "bot")
    monkeypatch.setenv("RETRAIN_GIT_PASSWORD", "s3cret")
    with git_server(hosted.folder, "bot:s3cret") as (url, _), pytest.raises(BadInputError, match="not found"):
        pull_revision(f"{url}/other.git", "main", PATHS, tmp_path / "out")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("extra/store.csv", "/etc/hostname"),
        ("extra/store.csv", "../../outside.csv"),
        ("extra", "../.."),
        (".dvc/config.local", "/etc/hostname"),
        ("extra/store.csv.dvc", "../../outside.csv"),
        ("extra/store.csv", "../.git/config"),
        ("extra/store.csv", "round"),
    ],
)
def test_a_symbolic_link_that_leads_out_is_refused(registry: Registry, tmp_path: Path, link: str, target: str) -> None:
    (registry.folder.parent / "outside.csv").write_text("s3cret\n")
    place = registry.folder / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target)
    if target == "round":  # of two links, the second one leads out
        (place.parent / "round").symlink_to("/etc/hostname")
    registry.git("add", "--force", "--all")
    registry.git("commit", "--quiet", "--message", "Link")
    message = failure(BadInputError, registry, tmp_path / "out", store="extra/store.csv")
    assert "is a symbolic link that leads out of the registry" in message
    assert "s3cret" not in message
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_a_symbolic_link_within_the_registry_is_followed(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / "extra").mkdir()
    (registry.folder / "extra" / "own.csv").write_text("Store,StoreType\n1,a\n")
    (registry.folder / "extra" / "store.csv").symlink_to("own.csv")
    registry.git("add", "--all")
    registry.git("commit", "--quiet", "--message", "Link")
    pulled = pull(registry, tmp_path / "out", store="extra/store.csv")
    assert pulled.files["store"].path.read_text() == "Store,StoreType\n1,a\n"


def test_a_pointer_of_git_lfs_is_no_data(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / "extra").mkdir()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (registry.folder / "extra" / "store.csv").write_text(pointer)
    registry.git("add", "--all")
    registry.git("commit", "--quiet", "--message", "Pointer")
    assert "is a pointer of Git LFS" in failure(BadInputError, registry, tmp_path / "out", store="extra/store.csv")


@pytest.mark.parametrize("out", ["store.csv", "../../outside.csv", "/etc/hostname"])
def test_what_a_dvc_file_names_is_never_a_file_of_this_machine(registry: Registry, tmp_path: Path, out: str) -> None:
    (registry.folder.parent / "outside.csv").write_text("s3cret\n")
    (registry.folder / "extra").mkdir()
    source = f"{registry.folder.parent}/outside.csv"
    content = f"frozen: true\ndeps:\n- path: {source}\n  hash: md5\nouts:\n- path: {out}\n  hash: md5\n"
    (registry.folder / "extra" / "store.csv.dvc").write_text(content)
    registry.git("add", "--all")
    registry.git("commit", "--quiet", "--message", "Import")
    message = failure(BadInputError, registry, tmp_path / "out", store="extra/store.csv")
    assert "s3cret" not in message
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file() and "s3cret" in file.read_text()]
