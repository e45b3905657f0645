"""Untrusted text through the command line and the steps' environment: text comes back, or one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.cli.console import version_number
from include.lifecycle.errors import BadInputError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.untrusted_text import storable
from include.retraining.cli import night_of
from tests.hostile import HOSTILE, MEGABYTE
from tests.rossmann.command_line import run
from tests.rossmann.conftest import write_config
from tests.validations import validation

MODEL = "rossmann-ensemble"
TEXTS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
# An environment variable and an argument end at a NUL: the operating system passes on none.
PASSABLE = pytest.mark.parametrize(
    "text", [text.replace("\x00", "").replace("\ud800", "\udcff") for text in HOSTILE.values()], ids=HOSTILE.keys()
)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command as its process does; returns exit code, stdout and the last line of stderr."""
    monkeypatch.chdir(tmp_path)

    def checked(*arguments: str) -> tuple[int, str, str]:
        done = run(*arguments)
        assert not (tmp_path / "pwned").exists()
        assert "\x1b" not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.sentence

    return checked


@pytest.fixture
def registry(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModelRegistry:
    monkeypatch.setenv("RETRAIN_CONFIG", str(write_config(tmp_path / "rossmann.yaml", integrity="when_recorded")))
    registry = ModelRegistry(tracking_uri=mlflow_uri)
    registry.client.create_registered_model(MODEL)
    return registry


def staged(registry: ModelRegistry, *, live: bool = False) -> int:
    run_id = registry.client.create_run("0").info.run_id
    version = int(registry.client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id).version)
    registry.validated(validation(MODEL, version))
    registry.stage(MODEL, version)
    if live:
        registry.promote(MODEL, version, Decision(Outcome.APPROVED, door=Channel.MARK))
    return version


def refused(done: tuple[int, str, str]) -> str:
    code, out, sentence = done
    assert code != 0
    assert out == ""
    assert len(sentence) < 2500
    return sentence


@TEXTS
def test_a_reason_is_kept_as_text(registry: ModelRegistry, command: Command, text: str) -> None:
    first, second = staged(registry, live=True), staged(registry)
    assert command("promote", "--version", str(second), f"--reason={text}")[0] == 0
    third = staged(registry)
    assert command("reject", "--version", str(third), f"--reason={text}")[0] == 0
    assert command("rollback", "--version", str(first), f"--reason={text}")[0] == 0
    reasons = [registry.version(MODEL, version).tags[tag.DECISION_REASON] for version in (first, second, third)]
    assert reasons == [storable(text).strip()] * 3
    assert registry.verify(MODEL) == []
    for arguments in ((), ("--json",), ("--csv",)):
        assert command("history", *arguments)[0] == 0


@pytest.mark.parametrize("call", ["promote", "reject", "rollback"])
def test_a_megabyte_of_reason_moves_nothing(registry: ModelRegistry, command: Command, call: str) -> None:
    former, live, waiting = staged(registry, live=True), staged(registry, live=True), staged(registry)
    version = former if call == "rollback" else waiting
    assert "characters" in refused(command(call, "--version", str(version), "--reason", MEGABYTE))
    stages = {item.version: item.stage for item in registry.versions(MODEL)}
    assert stages == {former: "Archived", live: "Production", waiting: "Staging"}


@PASSABLE
def test_what_is_no_version_time_model_or_anchor(registry: ModelRegistry, command: Command, text: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    staged(registry, live=True)
    assert "the version must be a whole number" in refused(command("check", f"--version={text}"))
    monkeypatch.setenv("RETRAIN_VERSION", text)
    assert "the version must be a whole number" in refused(command("check"))
    refused(command("live-at", "--", text))
    refused(command("history", f"--model={text}"))
    refused(command("history", "--verify", f"--anchor={text}"))


@PASSABLE
def test_what_is_no_night(command: Command, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_DAY", text)
    assert refused(command("monitor")).startswith("error: the day must be a day such as 2026-03-01, from 1990 to 2099")


@pytest.mark.parametrize(
    "text", ["0001-01-01", "9999-12-31", "2015-13-01", "2015-06", "2015-06-19T12:00", "1e5", "0", "-1"]
)
def test_a_day_that_no_data_is_from_is_no_night(text: str) -> None:
    with pytest.raises(BadInputError, match="the day must be"):
        night_of(text)


def test_what_a_form_may_send_for_nights_and_versions() -> None:
    assert night_of("") is night_of(" ") is None
    assert night_of("2015-06-19") == pd.Timestamp("2015-06-19")
    assert [version_number(text) for text in ("", "7", " 7 ", "7.0")] == [None, 7, 7, 7]
    for text in ("7.5", "0", "-7", "1e3", "٧", "7.00", "True", "9" * 30):
        with pytest.raises(BadInputError, match="version must be"):
            version_number(text)


@PASSABLE
def test_what_is_no_run_and_no_booster(registry: ModelRegistry, command: Command, text: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("RETRAIN_RUN_ID", text)
    for step in (("features",), ("ensemble",), ("register",), ("validate",)):
        refused(command(*step))
    refused(command("train", f"--member={text}"))


@PASSABLE
def test_a_revision_is_the_name_of_one_or_refused(
    retrain: object, command: Command, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_DATA_REVISION", text)
    assert "revision" in refused(command("pull"))


def test_a_note_and_the_names_of_the_airflow_run_are_kept_as_text(
    retrain: object, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(HOSTILE.values()).replace("\x00", "").replace("\ud800", "\udcff")
    for name in ("RETRAIN_NOTE", "RETRAIN_DAG_ID", "RETRAIN_DAG_RUN_ID"):
        monkeypatch.setenv(name, text)
    code, out, sentence = command("pull")
    assert code == 0, sentence
    tags = MlflowClient().get_run(json.loads(out)["run_id"]).data.tags
    assert tags["note"].startswith(storable(text)[:500])
    monkeypatch.setenv("RETRAIN_NOTE", MEGABYTE[:100_000])  # the operating system passes on little more
    monkeypatch.setenv("RETRAIN_DAG_RUN_ID", "another")
    code, out, sentence = command("pull")
    assert code == 0, sentence
    kept = MlflowClient().get_run(json.loads(out)["run_id"]).data.tags["note"]
    assert kept.startswith(MEGABYTE[:1000])
    assert len(kept) < 10_000


def test_digests_are_recorded_for_a_version_without_them(registry: ModelRegistry, command: Command) -> None:
    version = staged(registry)
    assert "the store has no artifact of it" in refused(command("seal", "--version", str(version)))
    assert "no version 99" in refused(command("seal", "--version", "99"))
