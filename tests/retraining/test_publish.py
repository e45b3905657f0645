"""Publishing: dated names, a pointer that is written last, and what retention leaves alone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
import yaml

from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.load import load_section
from include.lifecycle.errors import BadInputError
from include.retraining.config.prediction import PredictionConfig
from include.retraining.predict.formats import Facts, sha256
from include.retraining.predict.places import LocalFiles, Place, open_place
from include.retraining.predict.publish import (
    LATEST,
    Publication,
    as_description,
    as_json,
    pointer_name,
    publish,
    publish_named,
)
from include.retraining.predict.retention import remove_old

MODEL = "demand"
NIGHT = datetime(2026, 11, 26, 4, tzinfo=UTC)


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    files = fsspec.filesystem("memory")
    yield open_place(str(tmp_path / "place") if request.param == "folder" else "memory://place")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def publication(
    days: int = 0, *, hours: int = 0, version: int = 7, run: str = "", content: bytes = b"1", **facts: str
) -> Publication:
    """The predictions of a night some days later."""
    moment = NIGHT + timedelta(days=days, hours=hours)
    made = Facts(MODEL, version, facts.get("stage", "Production"), date(2026, 11, 25), run or f"night {moment}")
    files = {"parquet": b"P" + content, "csv": b"C" + content}
    return Publication(made, str(moment.date()), moment, files, {"rows": 3})


def pointed(place: Place, name: str = LATEST) -> dict[str, object]:
    found = as_description(place.read(f"{MODEL}/{name}"))
    assert found is not None
    return found


def files_of(place: Place, *nights: str) -> list[str]:
    """Every file below the dated folders, but for descriptions."""
    return [
        f"{night}/{name}"
        for night in (nights or tuple(name for name in place.names(MODEL) if name.startswith("20")))
        for name in place.names(f"{MODEL}/{night}")
        if not name.endswith(".json")
    ]


def test_the_pointer_names_both_files_with_their_digests(place: Place) -> None:
    outputs, latest = publish(place, publication(), pointer=LATEST)
    assert latest
    said = pointed(place)
    assert (said["model"], said["version"], said["stage"], said["rows"]) == (MODEL, 7, "Production", 3)
    assert (said["forecast_origin"], said["night"]) == ("2026-11-25", "2026-11-26")
    for kind, item in outputs.items():
        named = said["files"][kind]  # type: ignore[index]
        assert named["name"].startswith("2026-11-26/demand-v7-")
        assert named["name"].endswith(f".{kind}")
        assert item.name == f"{MODEL}/{named['name']}"
        content = place.read(item.name)
        assert content is not None
        assert sha256(content) == named["sha256"] == item.sha256
        assert len(content) == named["bytes"]
    assert len(files_of(place)) == 2


def test_the_same_night_twice_is_the_same_files(place: Place) -> None:
    def everything() -> dict[str, bytes | None]:
        names = [f"{MODEL}/{LATEST}", *(f"{MODEL}/2026-11-26/{name}" for name in place.names(f"{MODEL}/2026-11-26"))]
        return {name: place.read(name) for name in names}

    publish(place, publication(), pointer=LATEST)
    before = everything()
    publish(place, publication(), pointer=LATEST)
    assert everything() == before
    assert len(before) == 4


def test_what_a_pointer_named_once_never_changes(place: Place) -> None:
    first, _ = publish(place, publication(run="r"), pointer=LATEST)
    publish(place, publication(run="r", content=b"other data"), pointer=LATEST)
    publish(place, publication(run="r", version=8), pointer=LATEST)
    publish(place, publication(run="another run of this night"), pointer=LATEST)
    assert len(files_of(place)) == 8
    for item in first.values():
        assert sha256(place.read(item.name) or b"") == item.sha256


def test_a_publication_that_fails_leaves_the_pointer_and_what_it_names(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = publish(place, publication(), pointer=LATEST)
    before, write = place.read(f"{MODEL}/{LATEST}"), place.write
    for failing in (".csv", ".parquet", ".json"):

        def refuse(name: str, data: bytes, failing: str = failing) -> None:
            if name.endswith(failing):
                raise BadInputError("no space is left there")
            write(name, data)

        monkeypatch.setattr(place, "write", refuse)
        with pytest.raises(BadInputError, match="no space"):
            publish(place, publication(1), pointer=LATEST)
        assert place.read(f"{MODEL}/{LATEST}") == before
    assert {sha256(place.read(item.name) or b"") for item in first.values()} == {i.sha256 for i in first.values()}
    monkeypatch.setattr(place, "write", write)
    assert publish(place, publication(1), pointer=LATEST)[1]
    # whatever the failures left is known to be ours
    publish(place, publication(9), pointer=LATEST)
    remove_old(place, MODEL, days=1)
    assert {name.split("/")[0] for name in files_of(place)} == {"2026-12-05"}


def test_the_pointer_is_written_last(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = [], place.write

    def watch(name: str, data: bytes) -> None:
        written.append(name.rpartition(".")[2] if LATEST not in name else LATEST)
        write(name, data)

    monkeypatch.setattr(place, "write", watch)
    publish(place, publication(), pointer=LATEST)
    assert written == ["json", "parquet", "csv", LATEST]


def test_an_older_run_that_is_repeated_does_not_become_the_newest(place: Place) -> None:
    publish(place, publication(), pointer=LATEST)
    publish(place, publication(1, version=8), pointer=LATEST)
    _, latest = publish(place, publication(version=9), pointer=LATEST)
    assert not latest
    assert pointed(place)["version"] == 8
    assert publish(place, publication(1, hours=2, version=9), pointer=LATEST)[1], "a second run of that night"
    assert pointed(place)["version"] == 9


def test_what_is_not_usual_is_published_beside(place: Place) -> None:
    publish(place, publication(), pointer=LATEST)
    _, latest = publish(place, publication(1, version=3), pointer=None)
    assert (latest, pointed(place)["version"]) == (False, 7)
    assert pointer_name("Production", "Production") == LATEST
    assert pointer_name("Staging", "Production") == "latest-staging.json"
    assert pointer_name("Staging", "Staging") == LATEST
    publish(place, publication(1, version=8, stage="Staging"), pointer="latest-staging.json")
    assert (pointed(place)["version"], pointed(place, "latest-staging.json")["version"]) == (7, 8)


def test_a_damaged_pointer_is_written_anew(place: Place) -> None:
    for damage in (b"", b"{", b"[]", b'{"files": {}}', b"\xff"):
        place.write(f"{MODEL}/{LATEST}", damage)
        assert as_description(place.read(f"{MODEL}/{LATEST}")) is None
        assert publish(place, publication(), pointer=LATEST)[1]
        assert pointed(place)["version"] == 7


def test_a_name_from_a_form_meets_no_published_file(place: Place) -> None:
    outputs, _ = publish(place, publication(), pointer=LATEST)
    taken = outputs["csv"].name.removeprefix(f"{MODEL}/")
    item = publish_named(place, MODEL, taken, b"somebody's")
    assert item.name == f"{MODEL}/named/{taken}"
    assert place.read(item.name) == b"somebody's"
    assert place.read(outputs["csv"].name) == b"C1"
    for name in ("../latest.json", "/etc/x.csv", "s3://bucket/x.csv"):
        with pytest.raises(BadInputError, match="output must be"):
            publish_named(place, MODEL, name, b"1")


def test_nights_that_are_old_enough_go(place: Place) -> None:
    for days in (0, 8, 9, 10):
        publish(place, publication(days), pointer=LATEST)
    removed = remove_old(place, MODEL, days=1)
    assert sorted(name.split("/")[1] for name in removed) == ["2026-11-26"] * 3 + ["2026-12-04"] * 3
    assert {name.split("/")[0] for name in files_of(place)} == {"2026-12-05", "2026-12-06"}
    assert "2026-11-26" not in place.names(MODEL)
    assert remove_old(place, MODEL, days=1) == []


def test_so_many_runs_stay_however_old(place: Place) -> None:
    for days in (0, 1, 20):
        publish(place, publication(days), pointer=LATEST)
    assert remove_old(place, MODEL) == []
    assert remove_old(place, MODEL, runs=3) == []
    remove_old(place, MODEL, runs=2, days=1)
    assert {name.split("/")[0] for name in files_of(place)} == {"2026-11-27", "2026-12-16"}


def test_what_a_pointer_names_stays(place: Place) -> None:
    publish(place, publication(version=5, stage="Staging"), pointer="latest-staging.json")
    publish(place, publication(1), pointer=LATEST)
    publish(place, publication(30, version=3), pointer=None)
    assert remove_old(place, MODEL, days=1) == []
    assert len(files_of(place)) == 6
    publish(place, publication(31), pointer=LATEST)
    assert {name.split("/")[1] for name in remove_old(place, MODEL, days=1)} == {"2026-11-27"}


def test_while_a_pointer_cannot_be_read_nothing_goes(place: Place) -> None:
    publish(place, publication(), pointer=LATEST)
    publish(place, publication(30), pointer=LATEST)
    place.write(f"{MODEL}/latest-staging.json", b"{")
    assert remove_old(place, MODEL, days=1) == []
    assert len(files_of(place)) == 4


def test_what_somebody_else_put_there_or_changed_stays(place: Place) -> None:
    outputs, _ = publish(place, publication(), pointer=LATEST)
    theirs = {
        f"{MODEL}/2026-11-26/notes.txt": b"mine",
        f"{MODEL}/2026-11-26/demand-v7-00000000.csv": b"named like ours",
        f"{MODEL}/2026-11-26/other.json": b'{"files": {}}',
        f"{MODEL}/2026-11-26/lure.json": as_json({
            "written_by": "include.retraining.predict", "run_after": "2026-11-26T00:00:00+00:00",
            "files": {"csv": {"name": "../other/x.csv", "sha256": sha256(b"elsewhere")}},
        }),
        "other/x.csv": b"elsewhere",
        f"{MODEL}/2026-01-01/x.csv": b"no description",
        f"{MODEL}/named/x.csv": b"by name",
        outputs["csv"].name: b"edited by hand",
    }  # fmt: skip
    for name, data in theirs.items():
        place.write(name, data)
    publish(place, publication(30), pointer=LATEST)
    removed = remove_old(place, MODEL, days=1)
    assert sorted(name.rpartition(".")[2] for name in removed) == ["json", "parquet"]
    assert {name: place.read(name) for name in theirs} == theirs


def test_a_link_in_place_of_a_file_stays_with_what_it_points_to(tmp_path: Path) -> None:
    place = LocalFiles(tmp_path / "place")
    outputs, _ = publish(place, publication(), pointer=LATEST)
    file, elsewhere = place.root / outputs["csv"].name, tmp_path / "elsewhere.csv"
    file.replace(elsewhere)
    file.symlink_to(elsewhere)
    publish(place, publication(30), pointer=LATEST)
    remove_old(place, MODEL, days=1)
    assert file.is_symlink()
    assert elsewhere.read_bytes() == b"C1"


def test_runs_that_end_together_leave_the_newest(tmp_path: Path) -> None:
    """The one that reads the pointer first and writes it last must not put the older run back."""
    from concurrent.futures import ThreadPoolExecutor

    place = LocalFiles(tmp_path)
    for start in range(0, 40, 8):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda days: publish(place, publication(days), pointer=LATEST), range(start + 8, start, -1)))
        assert pointed(place)["run"] == publication(start + 8).facts.run


def test_the_repository_s_configuration_holds_and_is_the_default() -> None:
    content = yaml.safe_load((SHIPPED / "rossmann.yaml").read_text(encoding="utf-8"))
    assert PredictionConfig.model_validate(content["prediction"]) == load_section(
        PredictionConfig, "prediction", "rossmann"
    )
    assert set(content["prediction"]) == set(PredictionConfig.model_fields)
    assert PredictionConfig() == load_section(PredictionConfig, "prediction", "rossmann"), (
        "the comments in the file tell what holds without it"
    )


def test_the_place_is_independent_of_where_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = PredictionConfig(place="out", inputs="in")
    assert config.where == str(SHIPPED.parents[1] / "out")
    assert config.inputs_place == str(SHIPPED.parents[1] / "in")
    assert config.docker_volume == "retrain-predictions"
    monkeypatch.setenv("RETRAIN_PREDICTIONS_VOLUME", "/srv/predictions")
    assert config.docker_volume == "/srv/predictions"
    monkeypatch.setenv("RETRAIN_PREDICTIONS", "s3://bucket/out")
    assert (config.where, config.docker_volume) == ("s3://bucket/out", None)
    monkeypatch.setenv("RETRAIN_PREDICTIONS", str(tmp_path))
    assert config.where == str(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("stage", "Prod", r"stage: .*'Production' or 'Staging'"),
        ("formats", ["xlsx"], r"formats\.0: .*'csv'"),
        ("formats", [], "formats: .*at least 1"),
        ("keep_days", 0, "keep_days"),
        ("keep_runs", 0, "keep_runs"),
        ("place", "simplecache::s3://x", "place: .*one URL"),
        ("place", "", "place: "),
        ("place", "ftp://ana:pw@host/out", "place: .*user and password"),
        ("inputs", "{{ x }}", "inputs: .*one URL"),
        ("schedule", {"cron": "5"}, r"schedule\.cron: .*five cron"),
        ("keep", 3, "keep: Extra inputs"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: object, expected: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({"prediction": {field: value}}))
    with pytest.raises(BadInputError, match=expected):
        load_section(PredictionConfig, "prediction", "rossmann", file)


def test_a_run_of_another_day_has_other_names() -> None:
    ours = publication()
    assert replace(ours, night="2026-11-27").stem != ours.stem
