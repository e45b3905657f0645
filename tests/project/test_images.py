"""What must not be in an image: the images themselves, and that the scan finds what it is for."""

import re
from pathlib import Path

import pytest

from include.retraining.provenance import CODE_COMMIT_ENV
from tests.bench.images import IMAGES, KINDS, REVISION, Image, examine, secrets_of
from tests.image_contents import look


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest) -> Image:
    return examine(request.param)


@pytest.mark.docker
def test_an_image_holds_nothing_that_it_must_not(image: Image) -> None:
    assert set(image.found) == set(KINDS)
    assert {kind: what for kind, what in image.found.items() if what} == {}


@pytest.mark.docker
def test_an_image_names_its_code_as_label_and_in_its_environment(image: Image) -> None:
    assert re.fullmatch("[0-9a-f]{40}", image.labels[REVISION])
    assert image.environment[CODE_COMMIT_ENV] == image.labels[REVISION]


KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 64 + "\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("kind", "path", "mode", "content"),
    [
        ("setuid or setgid", "usr/bin/su", 0o4755, ""),
        ("setuid or setgid", "usr/bin/chage", 0o2755, ""),
        ("world-writable", "etc/open", 0o666, ""),
        ("compiler", "usr/bin/gcc-12", 0o755, ""),
        ("compiler", "opt/tools/x86_64-linux-gnu-g++", 0o755, ""),
        ("compiler", "usr/bin/make", 0o755, ""),
        ("package cache", "root/.cache/uv/wheel", 0o644, ""),
        ("package cache", "home/retrain/.cache/pip/http/a", 0o644, ""),
        ("package cache", "var/lib/apt/lists/deb_main", 0o644, ""),
        ("package cache", "var/cache/apt/archives/git.deb", 0o644, ""),
        ("secret", "opt/retrain/include/.env", 0o600, ""),
        ("secret", "opt/retrain/include/.git/HEAD", 0o644, ""),
        ("secret", "opt/venv/lib/server.pem", 0o644, KEY),
        ("secret", "root/.ssh/id_ed25519", 0o600, ""),
        ("secret", "etc/service.conf", 0o644, "password = pw-of-mlflow"),
        ("test or document", "opt/retrain/tests/conftest.py", 0o644, ""),
        ("test or document", "opt/retrain/README.md", 0o644, ""),
        ("test or document", "opt/retrain/plugins/test_hooks.py", 0o644, ""),
    ],
)
def test_the_scan_finds(kind: str, path: str, mode: int, content: str, tmp_path: Path) -> None:
    place(tmp_path / path, mode, content)
    found = look(tmp_path, {"MLFLOW_PASSWORD": "pw-of-mlflow"})["found"]
    assert [other for other, paths in found.items() if paths] == [kind]
    assert "pw-of-mlflow" not in str(found)


@pytest.mark.parametrize(
    ("path", "mode", "content"),
    [
        ("usr/share/bash-completion/completions/gcc", 0o644, ""),
        ("usr/bin/ld.so", 0o755, ""),
        ("usr/lib/libgnutls.so", 0o644, f"\x7fELF{KEY}"),
        ("usr/lib/ssh.py", 0o644, 'BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"'),
        ("tmp/note", 0o666, ""),
        ("var/lib/apt/lists/lock", 0o640, ""),
        ("opt/retrain/dags/rossmann_retrain.py", 0o644, ""),
        ("opt/venv/lib/python3.11/site-packages/other/tests/test_it.py", 0o644, ""),
    ],
)
def test_the_scan_leaves_alone(path: str, mode: int, content: str, tmp_path: Path) -> None:
    place(tmp_path / path, mode, content)
    assert not any(look(tmp_path, {"MLFLOW_PASSWORD": "pw-of-mlflow"})["found"].values())


def test_only_passwords_and_keys_of_an_env_file_are_secret() -> None:
    env = "# note\nMLFLOW_PORT=5000\nMLFLOW_DB_PASSWORD=0123456789\nAIRFLOW_FERNET_KEY=abcdefgh=\nLISTEN=127.0.0.1\n"
    assert secrets_of(env) == {"MLFLOW_DB_PASSWORD": "0123456789", "AIRFLOW_FERNET_KEY": "abcdefgh="}


def place(file: Path, mode: int, content: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(content)
    file.chmod(mode)
