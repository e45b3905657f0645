"""The promotion ledger at the command line: history, verification, what was live when, a proposed rollback."""

import csv
import io
import json
import os
import pty
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from include.lifecycle import tags as tag
from include.lifecycle.cli import people
from include.lifecycle.cli import record as ledger_commands
from include.lifecycle.errors import BadInputError, LedgerDamagedError
from include.lifecycle.ledger import anchors as kept
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome, utc_now
from include.models.rossmann.cli import app
from include.models.rossmann.config import load_config
from tests.rossmann.command_line import run
from tests.rossmann.conftest import write_config
from tests.validations import validation

MODEL = "rossmann-ensemble"
FORMULA = '=HYPERLINK("http://x";"y")\n| <b>'


@pytest.fixture
def registry(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModelRegistry:
    # These versions have no artifacts, so none with digests either.
    config = write_config(tmp_path / "rossmann.yaml", integrity="when_recorded")
    monkeypatch.setenv("RETRAIN_CONFIG", str(config))
    registry = ModelRegistry(tracking_uri=mlflow_uri)
    registry.client.create_registered_model(MODEL)
    return registry


@pytest.fixture
def promote(registry: ModelRegistry) -> Callable[..., int]:
    """Registers a version and brings it to Production."""

    def promote(reason: str = "looks right", to_stage: str = "Production") -> int:
        run_id = registry.client.create_run("0").info.run_id
        version = int(registry.client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id).version)
        registry.validated(validation(MODEL, version, value="0.0931"))
        registry.stage(MODEL, version)
        if to_stage == "Production":
            registry.promote(MODEL, version, Decision(Outcome.APPROVED, "ana", "test", reason, Channel.MARK))
        return version

    return promote


def command(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.stdout


def test_every_confirmation_ends_with_an_anchor_that_verifies(registry, promote, monkeypatch, tmp_path):
    file = tmp_path / "anchors.jsonl"
    monkeypatch.setenv("RETRAIN_LEDGER_ANCHORS", str(file))
    promote()
    promote(to_stage="Staging")
    promote(to_stage="Staging")
    config = load_config()
    confirmations = [
        people.Person(config.lifecycle).promote(2, "better"),
        people.Person(config.lifecycle).reject(3, "too optimistic"),
        people.Person(config.lifecycle).rollback(1, "2 oversells"),
        people.Person(config.lifecycle).reconcile(),
    ]
    found = [lines[-1].removeprefix("Ledger entry ").replace(", digest ", ":") for lines in confirmations]
    assert len(set(found)) == 3, "a reconciliation that had nothing to do added no entry"
    assert registry.verify(MODEL, [kept.Anchor.parse(text) for text in found]) == []
    arguments = [part for text in found for part in ("--anchor", text)]
    (shown, head) = command("history", "--verify", *arguments, "--anchors", str(file)).splitlines()
    assert shown == (
        "The promotion ledger of rossmann-ensemble is whole: 17 entries in 1 MLflow run, anchors of 5 agree"
    )
    assert head == confirmations[-1][-1]
    assert [anchor.digest[:16] for anchor in kept.read(file, MODEL)] == [text.partition(":")[2] for text in found]


def test_a_confirmation_does_not_fail_for_its_anchor(promote, monkeypatch, tmp_path, caplog):
    promote(to_stage="Staging")
    (tmp_path / "file").touch()
    monkeypatch.setenv("RETRAIN_LEDGER_ANCHORS", str(tmp_path / "file" / "below"))
    lines = people.Person(load_config().lifecycle).promote(None, "better")
    assert lines[0] == "Model version 1 is now in Production"
    assert lines[-1].startswith("Ledger entry 4, digest ")
    assert "was not kept in" in caplog.text


def test_anchors_that_cannot_be_read_are_told_before_anything_moves(registry, promote, monkeypatch, tmp_path):
    promote(to_stage="Staging")
    monkeypatch.setenv("RETRAIN_LEDGER_ANCHORS", str(tmp_path))
    with pytest.raises(BadInputError, match="The file of anchors"):
        people.Person(load_config().lifecycle).promote(None, "better")
    assert registry.version(MODEL, 1).stage == "Staging"


def test_a_ledger_that_was_cut_fails_the_verification(registry, promote, capsys):
    promote()
    state = registry.ledger(MODEL).read()
    text = f"{state.next_number}:{state.head}"
    with pytest.raises(LedgerDamagedError, match=r"entry 5 was .*missing"):
        ledger_commands.verify(registry, MODEL, [text], None)
    done = run("history", "--verify", "--anchor", text)
    assert done.returncode == 2
    assert done.sentence.startswith("error: The promotion ledger of rossmann-ensemble is not what was")
    assert "anchors of 1 agree" in command("history", "--verify"), "the version carries one"
    registry.client.delete_model_version_tag(MODEL, "1", tag.LEDGER_ANCHOR)
    assert "no anchor is known, so a cut end cannot be told" in command("history", "--verify")


def test_a_damaged_ledger_is_accepted_at_the_command_line(registry, promote):
    promote("first")
    promote(to_stage="Staging")
    state = registry.ledger(MODEL).read()
    with pytest.raises(BadInputError, match="nothing to accept"):
        app(["accept-ledger", "--reason", "for fun"], standalone_mode=False)
    registry.client.log_param(state.run_id, f"{state.next_number + 2:08d}", "{}")
    with pytest.raises(LedgerDamagedError, match="accept-ledger"):
        people.Person(load_config().lifecycle).promote(2, "better")
    first, *problems, last = command("accept-ledger", "--reason", "compared with the backup").splitlines()
    assert first == f"The promotion ledger of {MODEL} goes on with entry {state.next_number + 3}; accepted as it is:"
    assert any("missing" in problem for problem in problems)
    assert last.startswith(f"Ledger entry {state.next_number + 3}, digest ")
    assert people.Person(load_config().lifecycle).promote(2, "better")[0] == "Model version 2 is now in Production"
    whole, accepted, _ = command("history", "--verify").splitlines()
    assert "is whole" in whole
    assert f"before entry {state.next_number + 3} was accepted as it is by" in accepted


def test_the_history_as_json_and_csv_holds_whole_reasons_as_text(registry, promote):
    long = "all of it " * 300
    promote(FORMULA)
    promote(long)
    rows = json.loads(command("history", "--json"))
    assert [row["reason"] for row in rows[1::2]] == [FORMULA, long]
    cells = list(csv.DictReader(io.StringIO(command("history", "--csv"))))
    assert [row["reason"] for row in cells[1::2]] == ["'" + FORMULA, long], "no formula for a spreadsheet"
    assert list(cells[0]) == list(rows[0])
    assert [row["version"] for row in cells] == ["1", "1", "2", "2"]
    assert json.loads(cells[1]["evidence"])["value"] == "0.0931"
    assert "…" in command("history")
    assert command("history", "--model", MODEL) == command("history")
    with pytest.raises(BadInputError, match="exclude one another"):
        app(["history", "--json", "--csv"], standalone_mode=False)
    with pytest.raises(BadInputError, match="give that as well"):
        app(["history", "--anchor", "1:" + "a" * 64], standalone_mode=False)


def test_an_empty_history(registry):
    assert command("history") == "No version of rossmann-ensemble has been promoted, rejected or moved yet\n"
    assert command("history", "--json") == "[]\n"
    assert command("history", "--csv") == "\n"
    assert command("history", "--verify") == "rossmann-ensemble has no promotion ledger yet\n"


def test_live_at(registry, promote):
    before = utc_now()
    promote("first")
    between = utc_now()
    promote("second")
    assert "no version of rossmann-ensemble was in Production" in command("live-at", before.isoformat())
    shown = command("live-at", between.isoformat())
    assert "version 1 of rossmann-ensemble was in Production\n" in shown
    assert "by ana (mark): first" in shown
    assert "version 2 of" in command("live-at", utc_now().isoformat(), "--model", MODEL)
    future = (utc_now() + timedelta(days=1)).isoformat()
    for text, sentence in (
        ("yesterday", "with its timezone"),
        ("2026-03-01T12:00", "UTC, or an offset"),
        ("9999-12-31T23:59-01:00", "9999-12-31"),
        ("0001-01-01T00:00+01:00", "0001-01-01"),
        (future, "lies in the future"),
    ):
        with pytest.raises(BadInputError, match=sentence):
            ledger_commands.live_at(registry, MODEL, text)


def test_a_ledger_from_before_the_key_is_sealed_once(registry, promote, monkeypatch):
    promote("first")
    promote("second")
    monkeypatch.setenv("RETRAIN_LEDGER_KEY", "ab" * 32)
    with pytest.raises(BadInputError, match="Nothing is entered"):
        people.Person(load_config().lifecycle).rollback(1, "2 oversells")
    sealed, vouched, last = command("seal-ledger").splitlines()
    assert "entries 0 to 9 are taken on trust" in sealed
    assert vouched.endswith("vouches for: 1 (ana), 2 (ana)")
    assert last.startswith("Every later entry needs the key. Ledger entry 9, digest ")
    assert (
        people.Person(load_config().lifecycle).rollback(1, "2 oversells")[0] == "Model version 1 is now in Production"
    )
    assert "12 entries in 1 MLflow run, signed, anchors of 1 agree" in command("history", "--verify")
    with pytest.raises(BadInputError, match="without a key"):
        app(["seal-ledger"], standalone_mode=False)
    monkeypatch.delenv("RETRAIN_LEDGER_KEY")
    assert "signed (not checked: set RETRAIN_LEDGER_KEY)" in command("history", "--verify")
    with pytest.raises(BadInputError, match="this process has none"):
        people.Person(load_config().lifecycle).rollback(2, "1 oversells")


# ---- a rollback that names no version ----


def at_a_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "r") as terminal:
        patch.setattr(sys, "stdin", terminal)
        os.write(ours, f"{answer}\n".encode())
        done = run(*arguments)
    os.close(ours)
    return done.returncode, done.stdout


def test_without_a_terminal_the_proposal_is_named_and_nothing_happens(registry, promote):
    promote("first")
    promote("second")
    done = run("rollback", "--reason", "2 oversells")
    assert done.returncode == 2
    assert done.sentence.startswith(
        "error: The rollback names no version; the champion before was version 1, in Production"
    )
    assert done.sentence.endswith(", rmspe 0.0931, by ana: first: give --version 1")
    assert registry.production(MODEL).version == 2


def test_at_a_terminal_the_proposal_is_asked_for(registry, promote):
    promote("first")
    promote("second")
    code, shown = at_a_terminal("n", "rollback", "--reason", "2 oversells")
    assert (code, registry.production(MODEL).version) == (1, 2)
    assert "The champion before was version 1" in shown
    assert "Nothing was changed" in shown
    assert at_a_terminal("", "rollback", "--reason", "2 oversells")[0] == 1, "no is what a bare return means"
    code, shown = at_a_terminal("y", "rollback", "--reason", "2 oversells")
    assert (code, registry.production(MODEL).version) == (0, 1)
    assert "Model version 1 is now in Production" in shown
    assert registry.history(MODEL)[-1].reason == "2 oversells"


def test_where_nothing_is_to_be_proposed(registry, promote):
    promote()
    with pytest.raises(BadInputError, match="no former Production"):
        people.Person(load_config().lifecycle).proposal()
    promote()
    people.Person(load_config().lifecycle).rollback(1, "2 oversells")
    with pytest.raises(BadInputError, match="rollback came from it"):
        people.Person(load_config().lifecycle).proposal()
