"""Git in whatever way its user has set it up: the scratch clone is the same, and none of the user's programs runs."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import TABLES
from include.models.rossmann.data.sample import SampleData
from include.retraining.data_source.git import with_config
from include.retraining.data_source.publish import publish_data
from include.retraining.data_source.pull import PulledData, pull_revision, resolve_revision
from tests.rossmann.data.conftest import PATHS, Registry
from tests.rossmann.data.git_server import git_server

pytestmark = pytest.mark.long

HOOKS = ("post-checkout", "reference-transaction", "post-index-change", "pre-commit", "commit-msg")


def pull(registry: Registry, destination: Path, revision: str = "main", **paths: str) -> PulledData:
    return pull_revision(str(registry.folder), revision, paths or PATHS, destination)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that say in the file ``ran`` beside it that they ran, and fail."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in HOOKS:
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/ran\nexit 1\n")
        (folder / name).chmod(0o755)
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    shutil.copy(folder / "post-checkout", template)
    return folder


SETTINGS = {
    "the remote's name": "[clone]\n defaultRemoteName = upstream\n rejectShallow = true",
    "another remote": '[remote "origin"]\n url = https://elsewhere.invalid/x\n tagOpt = --no-tags\n mirror = true\n'
    " fetch = +refs/heads/none:refs/remotes/origin/none",
    "hooks": "[core]\n hooksPath = {programs}",
    "a template": "[init]\n templateDir = {programs}/../template\n defaultBranch = trunk",
    "a monitor": "[core]\n fsmonitor = {programs}/pre-commit",
    "transports": '[protocol]\n allow = never\n[protocol "file"]\n allow = never',
    "checks": "[transfer]\n fsckObjects = true\n[fetch]\n fsckObjects = true\n prune = true\n pruneTags = true\n"
    " recurseSubmodules = true\n[submodule]\n recurse = true\n stickyRecursiveClone = true",
    "signatures": "[commit]\n gpgSign = true\n[tag]\n gpgSign = true\n forceSignAnnotated = true\n"
    "[log]\n showSignature = true\n[gpg]\n program = {programs}/pre-commit",
    "forms of the index": "[feature]\n manyFiles = true\n[core]\n splitIndex = true\n[index]\n version = 4\n"
    " skipHash = true",
    "forms of a repository": "[init]\n defaultObjectFormat = sha256\n defaultRefFormat = reftable\n"
    "[core]\n worktree = /nonexistent\n bare = true\n sparseCheckout = true",
    "how it looks": "[color]\n ui = always\n[column]\n ui = always\n[status]\n branch = true\n short = true\n"
    "[core]\n pager = false\n quotePath = true",
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_users_settings_neither_break_nor_run_in_the_scratch_clone(
    registry: Registry, programs: Path, no_identity: Path, tmp_path: Path, settings: str
) -> None:
    (no_identity / ".gitconfig").write_text(settings.format(programs=programs))
    for revision in ("main", "first"):
        pulled = pull(registry, tmp_path / revision, revision)
        assert pulled.registry_commit == (registry.second if revision == "main" else registry.first)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("settings", [SETTINGS["forms of the index"], SETTINGS["forms of a repository"]])
def test_nor_do_they_in_a_registry_that_is_made(
    small: SampleData, no_identity: Path, tmp_path: Path, settings: str
) -> None:
    (no_identity / ".gitconfig").write_text(settings)
    commit = publish_data(TABLES, tmp_path / "registry", small)
    assert pull_revision(str(tmp_path / "registry"), "main", PATHS, tmp_path / "out").registry_commit == commit


def test_a_registrys_own_hooks_run_when_data_is_added_and_the_users_do_not(
    registry: Registry, small: SampleData, programs: Path, no_identity: Path, tmp_path: Path
) -> None:
    (no_identity / ".gitconfig").write_text(SETTINGS["hooks"].format(programs=programs))
    own = registry.folder / ".git" / "hooks" / "pre-commit"
    own.parent.mkdir(exist_ok=True)
    own.write_text(f"#!/bin/sh\necho own > {tmp_path}/own\n")
    own.chmod(0o755)
    assert publish_data(TABLES, registry.folder, small) != registry.second
    assert (tmp_path / "own").read_text() == "own\n"
    assert "pre-commit" not in ((tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else "")


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        ("", "[core]\n autocrlf = true"),
        ("* text=auto\n", "[core]\n eol = crlf"),
        ("", '[core]\n attributesFile = {home}/attributes\n[filter "own"]\n smudge = tr a-z A-Z'),
    ],
)
def test_files_of_git_itself_arrive_as_they_were_committed(
    registry: Registry, no_identity: Path, tmp_path: Path, attributes: str, settings: str
) -> None:
    (registry.folder / "store.csv").write_text("Store\n1\n")
    (registry.folder / ".gitattributes").write_text(attributes)
    registry.git("add", "--all")
    registry.git("commit", "--quiet", "--message", "Plain")
    (no_identity / "attributes").write_text("*.csv text eol=crlf filter=own\n")
    (no_identity / ".gitconfig").write_text(settings.format(home=no_identity))
    pulled = pull(registry, tmp_path / "out", store="store.csv").files["store"]
    assert pulled.path.read_bytes() == b"Store\n1\n"
    assert pulled.md5 == hashlib.md5(b"Store\n1\n").hexdigest()


def test_settings_that_lead_to_the_registry_go_on_working(
    registry: Registry, no_identity: Path, tmp_path: Path
) -> None:
    config = registry.folder / ".dvc" / "config"
    config.write_text(config.read_text().replace("../../registry_remote", str(registry.remote)))
    registry.git("commit", "--quiet", "--all", "--message", "A remote that a clone finds")
    address = "https://data.example.org/registry.git"
    (no_identity / ".gitconfig").write_text(f'[url "{registry.folder}"]\n insteadOf = {address}\n')
    pulled = pull_revision(address, "main", {"train": "data/train.csv"}, tmp_path / "out")
    assert pulled.registry_commit == registry.git("rev-parse", "HEAD")


@pytest.mark.parametrize("settings", ["[core", "[core]\n bare = perhaps", "[core]\n compression = many"])
def test_settings_that_git_cannot_read_are_named_and_not_tried_again(
    registry: Registry, no_identity: Path, tmp_path: Path, settings: str
) -> None:
    (no_identity / ".gitconfig").write_text(settings)
    with pytest.raises(BadInputError, match="cloned: fatal: bad ") as caught:
        pull(registry, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert any(name in str(caught.value) for name in (".gitconfig", "core.bare", "core.compression"))


def test_objects_that_do_not_pass_the_users_check_are_not_tried_again(
    registry: Registry, no_identity: Path, tmp_path: Path
) -> None:
    commit = registry.git("cat-file", "commit", "HEAD").replace("> ", ">", 1)
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        cwd=registry.folder, input=f"{commit}\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    registry.git("branch", "flawed", made.stdout.strip())
    (no_identity / ".gitconfig").write_text("[transfer]\n fsckObjects = true\n")
    with (
        git_server(registry.folder, "bot:s3cret") as (url, _),
        pytest.raises(BadInputError, match=r"cannot be cloned: .*missingSpaceBeforeDate"),
    ):
        pull_revision(f"{url.replace('://', '://bot:s3cret@')}/.git", "main", PATHS, tmp_path / "out")


def test_a_count_of_settings_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match=r"GIT_CONFIG_COUNT .*'two'"):
        with_config({"GIT_CONFIG_COUNT": "two"}, [("a.b", "c")])


def test_a_tag_of_a_tag_is_its_commit(registry: Registry, tmp_path: Path) -> None:
    for name, target in (("annotated", "first"), ("twice", "annotated"), ("thrice", "twice")):
        registry.git("tag", "--annotate", "--message", name, name, target)
        assert registry.git("rev-parse", name) != registry.first
        assert resolve_revision(registry.folder, name, "registry") == registry.first
    digits = registry.git("rev-parse", "twice")
    for revision in (digits, digits[:8], digits.upper()):
        assert resolve_revision(registry.folder, revision, "registry") == registry.first
    assert pull(registry, tmp_path / "out", "thrice").registry_commit == registry.first


@pytest.mark.parametrize("target", ["HEAD:.dvcignore", "HEAD^{tree}", "HEAD:data"])
def test_a_tag_of_no_commit(registry: Registry, tmp_path: Path, target: str) -> None:
    registry.git("tag", "odd", registry.git("rev-parse", target))
    with pytest.raises(BadInputError, match="'odd' names no commit"):
        pull(registry, tmp_path / "out", "odd")
