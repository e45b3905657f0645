"""Everything that somebody with access to MLflow's database can do to a ledger, and what finds it."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from include.lifecycle import tags as tag
from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger import anchors
from include.lifecycle.ledger.anchors import Anchor, head_of
from include.lifecycle.ledger.entries import canonical
from include.lifecycle.ledger.runs import EXPERIMENT, RUN_TAG
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.untrusted_text import text_digest

from .support import MODEL, approved, impatient, stages

LINK = "does not follow from the one before: one of them was changed"


@pytest.fixture
def ledger(mlflow_uri: str, registry: ModelRegistry, add: Callable[..., int], prepared: Any) -> ModelRegistry:
    """Three validations and promotions, 18 entries and 3 borders: runs hold 0-4, 5-10, 11-15 and 16-17.

    Whoever can write to the database removes the anchors that versions carry as well: see ``test_tampering`` for those.
    """
    small = ModelRegistry(tracking_uri=mlflow_uri, run_entries=4)

    def promote_three() -> None:
        for _ in range(3):
            small.stage(MODEL, add())
        for version in (1, 2, 3):
            small.promote(MODEL, version, approved(run_id=f"night-{version}"))

    prepared("three promotions over four runs", promote_three)
    assert [entry.kind[0] for entry in small.ledger(MODEL).read().entries] == list("vbevnbevbenbebenbe")
    assert small.verify(MODEL) == []
    for version in (1, 2, 3):
        small.client.delete_model_version_tag(MODEL, str(version), tag.LEDGER_ANCHOR)
    return small


@pytest.fixture
def sql(mlflow_uri: str) -> Callable[..., int]:
    """Runs a statement in MLflow's database and returns how many rows it changed."""

    def run(statement: str, *values: Any) -> int:
        with closing(sqlite3.connect(mlflow_uri.removeprefix("sqlite:///"))) as database, database:
            return database.execute(statement, values).rowcount

    return run


def entry(registry: ModelRegistry, number: int) -> tuple[str, str, dict[str, Any]]:
    """Return the run, the key and the content of an entry."""
    state = registry.ledger(MODEL).read()
    key = f"{number:08d}"
    run_id = next(run for run in state.runs if key in registry.client.get_run(run).data.params)
    return run_id, key, json.loads(registry.client.get_run(run_id).data.params[key])


def all_anchors(registry: ModelRegistry) -> list[Anchor]:
    return [Anchor(found.number, found.digest) for found in registry.ledger(MODEL).read().entries]


def change(registry: ModelRegistry, sql: Callable[..., int], number: int, text: str) -> None:
    run_id, key, _ = entry(registry, number)
    assert sql("UPDATE params SET value = ? WHERE run_uuid = ? AND key = ?", text, run_id, key) == 1


def recompute(registry: ModelRegistry, sql: Callable[..., int], edit: Callable[[str], str]) -> None:
    """Edit every entry and compute the chain anew, as whoever knows the format can."""
    state = registry.ledger(MODEL).read()
    before = text_digest(state.ledger_id)
    for found in state.entries:
        content = json.loads(edit(found.raw))
        raw = canonical({**content, "prev": before})
        change(registry, sql, found.number, raw)
        before = text_digest(raw)


@pytest.mark.parametrize("number", [0, 2, 3, 4, 9, 10, 16])
def test_a_changed_entry(ledger, sql, number):
    _, _, content = entry(ledger, number)
    change(ledger, sql, number, canonical({**content, "time": "2020-01-01T00:00:00+00:00"}))
    assert ledger.verify(MODEL) == [f"entry {number + 1} {LINK}"]


def test_a_single_letter_in_a_reason(ledger, sql):
    run_id, key, _ = entry(ledger, 12)
    assert sql(
        "UPDATE params SET value = replace(value, 'looks right', 'looks  right') WHERE run_uuid = ? AND key = ?",
        run_id, key,
    )  # fmt: skip
    assert ledger.verify(MODEL) == [f"entry 13 {LINK}"]


def test_the_last_entry_changed_is_found_by_an_anchor_only(ledger, sql):
    kept = all_anchors(ledger)
    _, _, content = entry(ledger, 17)
    content["events"][0]["user"] = "eve"
    change(ledger, sql, 17, canonical(content))
    assert ledger.verify(MODEL) == []
    (problem,) = ledger.verify(MODEL, kept[-1:])
    assert problem.startswith("entry 17 is not what it was: its digest is ")
    assert problem.endswith(f", the anchor says {kept[-1].digest[:16]}")


@pytest.mark.parametrize("number", [0, 1, 2, 3, 6, 16])
def test_a_missing_entry(ledger, sql, number):
    run_id, key, _ = entry(ledger, number)
    assert sql("DELETE FROM params WHERE run_uuid = ? AND key = ?", run_id, key) == 1
    found = ledger.verify(MODEL)
    assert found[:2] == [f"entry {number} is missing", f"entry {number + 1} {LINK}"]


def test_several_missing_entries(ledger, sql):
    run_id, _, _ = entry(ledger, 5)
    assert sql("DELETE FROM params WHERE run_uuid = ? AND key IN ('00000006', '00000007')", run_id) == 2
    assert ledger.verify(MODEL)[:2] == ["entries 6 to 7 are missing", f"entry 8 {LINK}"]


@pytest.mark.parametrize("left", [16, 15, 11, 10, 5, 4, 3, 0])
def test_a_cut_end_is_found_by_an_anchor_only(ledger, sql, left):
    """Whole runs and the entry that names them among it: only what is kept elsewhere shows it."""
    kept = all_anchors(ledger)
    assert sql("DELETE FROM params WHERE key >= ? AND length(key) = 8", f"{left:08d}")
    assert ledger.verify(MODEL) == []
    assert ledger.verify(MODEL, [kept[left - 1]] if left else []) == [], "what is left is what it was"
    assert ledger.verify(MODEL, [kept[left]]) == [
        f"entry {left} was there once and is missing: the ledger was cut after entry {left - 1}"
    ]
    assert len(ledger.verify(MODEL, kept)) == 18 - left


def test_a_cut_end_that_was_written_over(ledger, sql):
    kept = all_anchors(ledger)
    sql("DELETE FROM params WHERE key >= '00000016' AND length(key) = 8")
    ledger.rollback(MODEL, 1, approved("eve"))
    assert ledger.verify(MODEL, kept[:16]) == []
    assert [problem[:30] for problem in ledger.verify(MODEL, kept)] == [
        "entry 16 is not what it was: i", "entry 17 is not what it was: i",
    ]  # fmt: skip


def test_the_entry_that_names_the_next_run_is_gone_or_unreadable(ledger, sql):
    kept = all_anchors(ledger)
    run_id, key, content = entry(ledger, 10)
    for text, found in (
        ("nothing", "entry 10 cannot be read"),
        (canonical({**content, "run": kept[0].digest[:32]}), "is gone: restore MLflow's database"),
        (canonical({**content, "run": run_id}), "turns in a circle"),
    ):
        assert sql("UPDATE params SET value = ? WHERE run_uuid = ? AND key = ?", text, run_id, key) == 1
        assert found in ledger.verify(MODEL)[0]
    sql("DELETE FROM params WHERE run_uuid = ? AND key = ?", run_id, key)
    assert ledger.verify(MODEL) == []
    assert len(ledger.verify(MODEL, kept)) == 8


def test_two_entries_swapped(ledger, sql):
    texts = [canonical(entry(ledger, number)[2]) for number in (2, 3)]
    change(ledger, sql, 2, texts[1])
    change(ledger, sql, 3, texts[0])
    assert ledger.verify(MODEL)[0] == f"entry 2 {LINK}"


def test_an_entry_inserted_where_it_does_not_belong(ledger, sql):
    runs = ledger.ledger(MODEL).read().runs
    for run_id, number in ((runs[0], 12), (runs[1], 3)):
        row = (f"{number:08d}", canonical(entry(ledger, 17)[2]), run_id)
        sql("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", *row)
        assert ledger.verify(MODEL) == [f"entry {number} stands in run {run_id}, where it does not belong"]
        sql("DELETE FROM params WHERE key = ? AND run_uuid = ?", row[0], run_id)
    assert ledger.verify(MODEL) == []


def test_an_entry_appended_without_the_lock(ledger):
    state = ledger.ledger(MODEL).read()
    forged = {**entry(ledger, 17)[2], "prev": state.head, "nonce": "forged", "production": 1}
    assert ledger.ledger(MODEL).append(state.next_number, forged) is not None
    assert ledger.verify(MODEL) == ["entry 18 releases a lock that nobody held"]
    again = ledger.ledger(MODEL).read()
    begin = {"schema": 1, "type": "begin", "nonce": "x", "ttl": 1, "over": None}
    first = ledger.ledger(MODEL).append(19, {**begin, "prev": again.head})
    ledger.ledger(MODEL).append(20, {**begin, "prev": first.digest})
    assert ledger.verify(MODEL)[1:] == ["entry 20 takes a lock that entry 19 held"]


def test_a_history_computed_anew_is_found_by_any_anchor(ledger, sql):
    kept = all_anchors(ledger)
    recompute(ledger, sql, lambda raw: raw.replace('"user":"ana"', '"user":"eve"'))
    assert ledger.verify(MODEL) == [], "whoever may write the database may write a chain that holds"
    first = next(number for number, anchor in enumerate(kept) if ledger.verify(MODEL, [anchor]))
    assert first == 12, "the first entry that was edited: every anchor from there on shows it"
    assert len(ledger.verify(MODEL, kept)) == 6
    assert "eve" in {event.user for event in ledger.history(MODEL)}


def test_the_pointer_turned_to_a_forged_ledger(ledger, sql):
    kept = all_anchors(ledger)
    client = ledger.client
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    forged = client.create_run(experiment).info.run_id
    _, _, content = entry(ledger, 0)
    client.log_param(forged, "00000000", canonical({**content, "prev": text_digest(forged)}))
    assert sql("UPDATE experiment_tags SET value = ? WHERE key = ?", forged, RUN_TAG) == 1
    other = ModelRegistry(tracking_uri=ledger.tracking_uri)
    assert other.verify(MODEL) == []
    assert len(other.verify(MODEL, kept)) == 18


def test_deleted_and_restored(ledger, sql):
    runs = ledger.ledger(MODEL).read().runs
    for run_id in runs:
        assert sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", run_id) == 1
        assert f"`mlflow runs restore --run-id {run_id}`" in ledger.verify(MODEL)[0]
        sql("UPDATE runs SET lifecycle_stage = 'active' WHERE run_uuid = ?", run_id)
    assert ledger.verify(MODEL) == []


def test_promotions_go_on_behind_an_unreadable_last_entry(ledger, sql):
    change(ledger, sql, 17, "{}")
    hasty = impatient(ledger)
    assert hasty.rollback(MODEL, 1, approved("eve")).changed
    assert stages(hasty)[1] == "Production"
    assert ledger.verify(MODEL)[0] == "entry 17 cannot be read"


# ---- anchors ----


def test_an_anchor_is_read_as_people_copy_it(ledger):
    head = head_of(ledger.ledger(MODEL).read())
    assert str(head) == f"ledger entry 17, digest {head.digest[:16]}"
    for text in (f"17:{head.digest}", f" 17:{head.digest[:16].upper()} "):
        assert ledger.verify(MODEL, [Anchor.parse(text)]) == []
    for text in ("17", "17:", "17:3fa9", f"x:{head.digest}", f"17:{head.digest}0", "17:" + "g" * 20):
        with pytest.raises(BadInputError, match="ENTRY:DIGEST"):
            Anchor.parse(text)
    assert len(ledger.verify(MODEL, [(17, head.digest[:8])])) == 1, "too short to prove anything"


def test_anchors_are_collected_in_a_file(tmp_path, ledger):
    file, state = tmp_path / "kept" / "anchors.jsonl", ledger.ledger(MODEL).read()
    for anchor in all_anchors(ledger):
        anchors.append(file, MODEL, state.ledger_id, anchor)
    anchors.append(file, "other", "another run", Anchor(99, "f" * 64))
    assert anchors.read(file, MODEL) == all_anchors(ledger)
    assert ledger.verify(MODEL, anchors.read(file, MODEL)) == []


def test_a_line_that_a_full_disk_cut_spoils_no_other(tmp_path):
    file = tmp_path / "anchors.jsonl"
    anchors.append(file, MODEL, "run", Anchor(1, "a" * 64))
    file.write_bytes(file.read_bytes() + b'{"entry": 2, "di')
    anchors.append(file, MODEL, "run", Anchor(3, "c" * 64))
    with pytest.raises(BadInputError, match=r"anchors\.jsonl, line 2 "):
        anchors.read(file, MODEL)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "", lines[2]]))
    assert [anchor.entry for anchor in anchors.read(file, MODEL)] == [1, 3]
    with pytest.raises(BadInputError, match="cannot be read"):
        anchors.read(tmp_path / "none", MODEL)


def test_anchors_are_kept_in_files_only(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("kept.jsonl")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(OSError, match="is no file"):
            anchors.append(place, MODEL, "run", Anchor(1, "a" * 64))
    anchors.append(tmp_path / "link", MODEL, "run", Anchor(1, "a" * 64))
    assert (tmp_path / "link").is_symlink()
    assert anchors.read(tmp_path / "kept.jsonl", MODEL) == [Anchor(1, "a" * 64)]
