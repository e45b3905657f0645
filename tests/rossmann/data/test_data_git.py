"""Addresses, credentials and messages of git."""

from pathlib import Path

import pytest

from include.lifecycle.errors import BadInputError, ReportedError
from include.retraining.data_source.git import GitAddress, git_reason, redact, run_git, with_config


@pytest.mark.parametrize(
    ("url", "clean", "username", "password"),
    [
        ("https://git.example.org/data.git", "https://git.example.org/data.git", None, None),
        ("https://bot:s3c%40ret@git.example.org/data.git", "https://git.example.org/data.git", "bot", "s3c@ret"),
        ("https://token@git.example.org:8443/data", "https://git.example.org:8443/data", "token", ""),
        ("ssh://git@git.example.org/data.git", "ssh://git@git.example.org/data.git", None, None),
        ("git@git.example.org:data.git", "git@git.example.org:data.git", None, None),
    ],
)
def test_addresses_lose_their_credentials(url: str, clean: str, username: str | None, password: str | None) -> None:
    address = GitAddress.parse(url)
    assert (address.url, address.username, address.password) == (clean, username, password)
    assert address.folder is None
    assert "s3c" not in address.shown


@pytest.mark.parametrize(
    "url",
    [
        "https://bot:pa/s3cret@git.example.org/data.git",
        "https://bot:pa?s3cret@git.example.org/data.git",
        "https://bot:pa#s3cret@git.example.org/data.git",
        "https://bot:pa s3cret@git.example.org/data.git",
        "https://s3cret/half@git.example.org/data.git",
        "https://bot:[s3cret@git.example.org/data.git",
        "https://bot:a@b/s3cret@git.example.org/data.git",
        "ssh://bot:pa/s3cret@git.example.org/data.git",
    ],
)
def test_a_password_that_needs_encoding_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadInputError) as refused:
        GitAddress.parse(url)
    assert "%2F" in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "git.example.org/data.git" in str(refused.value)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert GitAddress.parse("data").folder == tmp_path / "data"
    assert GitAddress.parse(f"file://{tmp_path}/a%20b").folder == tmp_path / "a b"
    (tmp_path / "odd:name").mkdir()
    assert GitAddress.parse("odd:name").folder == tmp_path / "odd:name"


@pytest.mark.parametrize("url", ["", "  ", "--upload-pack=touch x", "https://x/\ny"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(BadInputError, match="git URL or"):
        GitAddress.parse(url)


def test_credentials_go_to_their_server_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_GIT_USERNAME", "bot")
    monkeypatch.setenv("RETRAIN_GIT_PASSWORD", "s3cret\n")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "http.proxy")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "")
    env = GitAddress.parse("https://git.example.org/data.git").environment()
    assert env["GIT_CONFIG_COUNT"] == "3"
    assert env["GIT_CONFIG_KEY_2"] == "credential.https://git.example.org.helper"
    assert env["RETRAIN_GIT_PASSWORD"] == "s3cret"
    assert all("s3cret" not in value for name, value in env.items() if name != "RETRAIN_GIT_PASSWORD")
    monkeypatch.setenv("RETRAIN_GIT_PASSWORD", "two\nlines")
    with pytest.raises(BadInputError, match="one line each"):
        GitAddress.parse("https://git.example.org/data.git").environment()


def test_no_credentials_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRAIN_GIT_USERNAME", "RETRAIN_GIT_PASSWORD", "GIT_CONFIG_COUNT"):
        monkeypatch.delenv(name, raising=False)
    env = GitAddress.parse("https://git.example.org/data.git").environment()
    assert "GIT_CONFIG_COUNT" not in env
    assert env["GIT_TERMINAL_PROMPT"] == "0"


def test_redaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_GIT_PASSWORD", "s3cret")
    assert redact("fatal: https://bot:other@host/x and s3cret") == "fatal: https://***@host/x and ***"
    for password in ("a/b", "a?b", "a#b", "a@b", "'a\"b", "[a"):
        assert redact(f"see 'https://bot:{password}@host/x', says me@host") == "see 'https://***@host/x', says me@host"


def test_reason_is_one_line_without_advice() -> None:
    stderr = (
        "Cloning into 'x'...\nwarning: odd\nssh: Could not resolve hostname h: Name or service not known\n"
        "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n"
        "and the repository exists.\n"
    )
    assert git_reason(stderr).endswith(
        "ssh: Could not resolve hostname h: Name or service not known fatal: Could not read from remote repository."
    )
    assert "Please" not in git_reason(stderr)


def test_run_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_git("init", "--quiet", folder=tmp_path)
    assert run_git("config", "user.name", folder=tmp_path, env=with_config({}, [("user.name", "x")])) == "x"
    with pytest.raises(ReportedError, match="fatal: Needed a single revision"):
        run_git("rev-parse", "--verify", "nothing", folder=tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BadInputError, match="git is not installed"):
        run_git("status")
