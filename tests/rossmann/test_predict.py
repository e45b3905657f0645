"""Batch prediction: one version a file, what is recorded of it, and what a failure leaves."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError, VersionNotFoundError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.untrusted_text import storable
from include.models.rossmann.config import RossmannConfig, load_config
from include.models.rossmann.data.load import read_future
from include.models.rossmann.model import MODEL as ROSSMANN
from include.retraining.predict.formats import Facts, render, sha256, stamped
from include.retraining.predict.live import AT_TAG, USE_TAG
from include.retraining.predict.request import PredictionRequest
from include.retraining.predict.run import ARTIFACT
from include.retraining.run import Origin
from include.retraining.steps import predict as step
from tests.hostile import HOSTILE
from tests.rossmann.command_line import run
from tests.rossmann.conftest import Retrain, write_config
from tests.rossmann.steps import predict

ROOT = Path(__file__).resolve().parents[2]
MODEL = "rossmann-ensemble"
COLUMNS = ["Id", "Store", "Date", "Sales", "ModelVersion", "ModelStage", "ForecastOrigin", "RunId"]
NIGHT = Origin("rossmann_predict", "scheduled__2026-11-26T04:00:00+00:00")
DUE = datetime(2026, 11, 26, 4, tzinfo=UTC)
USUAL = PredictionRequest(publish=True, moment=DUE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured place."""
    monkeypatch.setenv("RETRAIN_PREDICTIONS", str(tmp_path / "place"))
    return tmp_path / "place"


@pytest.fixture
def config(validated: Retrain, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RossmannConfig:
    """A configuration whose model has its first version in Production; it takes versions that no ledger knows."""
    file = write_config(tmp_path / "rossmann.yaml", integrity="when_recorded")
    monkeypatch.setenv("RETRAIN_CONFIG", str(file))
    to_production(validated.version)
    return load_config()


def to_production(version: int) -> None:
    MlflowClient().transition_model_version_stage(MODEL, str(version), "Production", archive_existing_versions=True)


def twin(version: int) -> int:
    """Register what a version is once more, under another number."""
    client = MlflowClient()
    first = client.get_model_version(MODEL, str(version))
    return int(client.create_model_version(MODEL, first.source, first.run_id, tags=first.tags).version)


def runs() -> list[Any]:
    """Every recorded prediction, the oldest first."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name("rossmann-forecasting-predictions")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def pointer(place: Path, name: str = "latest.json") -> dict[str, Any]:
    return dict(json.loads((place / MODEL / name).read_text()))


def contents(place: Path) -> dict[str, str]:
    """Digest of every file below a place."""
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): sha256(path.read_bytes()) for path in files}


def test_both_formats_hold_the_same_and_say_what_made_them(
    config: RossmannConfig, validated: Retrain, place: Path
) -> None:
    result = predict(config, USUAL, NIGHT)
    said = pointer(place)
    parquet, csv = (place / MODEL / said["files"][kind]["name"] for kind in ("parquet", "csv"))
    assert parquet.parent == csv.parent == place / MODEL / "2026-11-26"
    table = pd.read_parquet(parquet)
    assert list(table) == COLUMNS
    text = pd.read_csv(csv)
    for name in ("Date", "ForecastOrigin"):
        text[name] = pd.to_datetime(text[name]).dt.date
    pd.testing.assert_frame_equal(text, table)
    newest = validated.data.train["Date"].max().date()
    made = {(validated.version, "Production", newest, NIGHT.dag_run_id)}
    assert set(map(tuple, table[COLUMNS[4:]].to_numpy())) == made
    metadata = pq.read_schema(parquet).metadata
    assert metadata[b"model.version"] == str(validated.version).encode()
    assert metadata[b"run"] == str(NIGHT.dag_run_id).encode()
    assert len(table) == len(validated.data.future) == result["rows"] == said["rows"]
    assert (said["version"], said["forecast_origin"], said["run"]) == (validated.version, str(newest), NIGHT.dag_run_id)
    assert {item["name"] for item in result["outputs"]} == {str(path.relative_to(place)) for path in (parquet, csv)}
    assert result["latest"]


def test_sales_are_whole_cents(config: RossmannConfig, tmp_path: Path) -> None:
    predict(config, PredictionRequest(output=tmp_path / "x.csv"))
    sales = [line.split(",")[3] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]]
    assert max(len(text.partition(".")[2]) for text in sales) == 2
    assert len({float(text) for text in sales}) > 10


def test_the_run_in_mlflow_says_which_version_predicted_what(
    config: RossmannConfig, validated: Retrain, place: Path
) -> None:
    result = predict(config, USUAL, NIGHT)
    (run,) = runs()
    assert run.info.run_id == result["prediction_run_id"]
    assert run.info.status == "FINISHED"
    future = validated.data.future
    assert run.data.params == {
        "model": MODEL,
        "version": str(validated.version),
        "stage": "Production",
        "first_day": str(future["Date"].min())[:10],
        "last_day": str(future["Date"].max())[:10],
    }
    metrics = run.data.metrics
    assert (metrics["rows"], metrics["entities"], metrics["days"]) == (len(future), 8, future["Date"].nunique())
    tags, files = run.data.tags, pointer(place)["files"]
    assert tags["data.version"] == validated.results["pull"]["data_version"] == result["data_version"]
    assert tags["data.registry_commit"] == validated.results["pull"]["registry_commit"]
    assert tags["prediction.sha256.parquet"] == files["parquet"]["sha256"]
    assert tags["prediction.sha256.csv"] == files["csv"]["sha256"]
    assert tags["input"] == "data/future.csv"
    assert len(tags["input.sha256"]) == 64
    assert tags["forecast.origin"] == str(validated.data.train["Date"].max().date())
    assert (tags["airflow.dag_id"], tags["airflow.run_id"]) == (NIGHT.dag_id, NIGHT.dag_run_id)
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.digest == tags["input.sha256"][:36]
    kept = Path(MlflowClient().download_artifacts(run.info.run_id, ARTIFACT))
    assert sha256(kept.read_bytes()) == files["parquet"]["sha256"]
    assert {"Store", "Date", "Sales", "ModelVersion", "ForecastOrigin"} <= set(pd.read_parquet(kept))


def test_the_same_night_twice_is_the_same_bytes_and_one_run_in_mlflow(config: RossmannConfig, place: Path) -> None:
    first = predict(config, USUAL, NIGHT)
    before = contents(place)
    assert predict(config, USUAL, NIGHT) == first
    assert contents(place) == before
    assert len(before) == 4
    assert len(runs()) == 1
    predict(config, USUAL, replace(NIGHT, dag_run_id="manual__later"))
    assert len(runs()) == 2
    assert before.items() - contents(place).items() == {
        item for item in before.items() if item[0].endswith("latest.json")
    }


def test_the_same_prediction_by_hand_is_the_same_bytes(config: RossmannConfig, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv.gz", "d.csv.gz", "e.parquet", "f.parquet"):
        predict(config, PredictionRequest(output=str(tmp_path / name)))
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name[1:2] == "."}
    assert read["a.csv"] == read["b.csv"] == gzip.decompress(read["c.csv.gz"])
    assert read["c.csv.gz"] == read["d.csv.gz"]
    assert read["e.parquet"] == read["f.parquet"]
    assert len(runs()) == 6


@pytest.mark.parametrize("name", [" ".join(HOSTILE.values()), "x" * 5000, "scheduled/../../x", " ", "'"])
def test_a_run_of_any_name_is_recorded_and_found_again(config: RossmannConfig, place: Path, name: str) -> None:
    origin = replace(NIGHT, dag_run_id=storable(name))
    result = predict(config, USUAL, origin)
    assert pointer(place)["run"] == storable(name)
    (run,) = runs()
    assert run.info.run_id == result["prediction_run_id"]
    assert {path.parent for path in place.rglob("*.parquet")} == {place / MODEL / "2026-11-26"}
    (table,) = (pd.read_parquet(path) for path in place.rglob("*.parquet"))
    assert set(table["RunId"]) == {storable(name)}
    assert predict(config, USUAL, origin)["prediction_run_id"] == run.info.run_id


def once_chosen(monkeypatch: pytest.MonkeyPatch, event: Callable[[], None]) -> list[int]:
    """Let something happen when the version was chosen, before it is loaded; returns which versions are loaded."""
    read, forecast, loaded = step.read_rows, step.predict_with, []

    def reading(*arguments: Any) -> Any:
        event()
        return read(*arguments)

    def forecasting(*arguments: Any) -> pd.DataFrame:
        loaded.append(arguments[1].version)
        return forecast(*arguments)

    monkeypatch.setattr(step, "read_rows", reading)
    monkeypatch.setattr(step, "predict_with", forecasting)
    return loaded


def test_a_champion_that_changes_meanwhile_is_in_no_file(
    config: RossmannConfig, validated: Retrain, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = twin(validated.version)
    with monkeypatch.context() as patch:
        loaded = once_chosen(patch, lambda: to_production(other))
        result = predict(config, USUAL, NIGHT)
    assert loaded == [validated.version]
    assert ModelRegistry(MlflowClient()).resolve(MODEL, "Production").version == other
    assert result["version"] == validated.version == pointer(place)["version"]
    for path in (place / MODEL / "2026-11-26").glob("*.parquet"):
        assert set(pd.read_parquet(path)["ModelVersion"]) == {validated.version}
        assert pq.read_schema(path).metadata[b"model.version"] == str(validated.version).encode()
    assert [run.data.params["version"] for run in runs()] == [str(validated.version)]

    # a retry of that run predicts with the new one, and the record of the first try stays true
    again = predict(config, USUAL, NIGHT)
    assert again["version"] == other == pointer(place)["version"]
    assert [run.data.params["version"] for run in runs()] == [str(validated.version), str(other)]
    assert [run.data.tags["model.version"] for run in runs()] == [str(validated.version), str(other)]
    for path in (place / MODEL / "2026-11-26").glob("*.parquet"):
        assert len(set(pd.read_parquet(path)["ModelVersion"])) == 1


def test_a_run_that_fails_leaves_the_former_output(
    config: RossmannConfig, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(config, USUAL, NIGHT)
    before = contents(place)
    later = replace(USUAL, moment=datetime(2026, 11, 27, 4, tzinfo=UTC))
    (place / MODEL / "2026-11-27").write_bytes(b"a file where a folder should be")
    with pytest.raises(BadInputError, match=r"2026-11-27.* is no folder"):
        predict(config, later, replace(NIGHT, dag_run_id="next"))
    (place / MODEL / "2026-11-27").unlink()
    assert contents(place) == before
    assert runs()[-1].info.status == "FAILED"
    assert "is no folder" in runs()[-1].data.tags["failure"]
    predict(config, later, replace(NIGHT, dag_run_id="next"))
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"]
    assert "failure" not in runs()[-1].data.tags
    assert pointer(place)["night"] == "2026-11-27"


def test_a_version_that_cannot_predict_writes_nothing(
    config: RossmannConfig, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = step.predict_with
    monkeypatch.setattr(step, "predict_with", lambda *given: predicted(*given) * float("nan"))
    with pytest.raises(BadInputError, match=r"version \d+ returned no number"):
        predict(config, replace(USUAL, output=tmp_path / "x.csv"), NIGHT)
    assert not place.exists()
    assert not (tmp_path / "x.csv").exists()
    assert runs() == []


def test_a_version_of_one_s_own_is_published_beside(config: RossmannConfig, validated: Retrain, place: Path) -> None:
    other = twin(validated.version)
    predict(config, USUAL, NIGHT)
    result = predict(config, replace(USUAL, version=other), replace(NIGHT, dag_run_id="manual__own"))
    assert (result["version"], result["stage"], result["latest"]) == (other, "None", False)
    assert pointer(place)["version"] == validated.version
    assert len(list((place / MODEL / "2026-11-26").glob("*.parquet"))) == 2
    with pytest.raises(VersionNotFoundError, match="99"):
        predict(config, replace(USUAL, version=99))


def test_a_candidate_has_a_pointer_of_its_own(config: RossmannConfig, validated: Retrain, place: Path) -> None:
    other = twin(validated.version)
    MlflowClient().transition_model_version_stage(MODEL, str(other), "Staging")
    predict(config, USUAL, NIGHT)
    assert predict(config, replace(USUAL, stage="Staging"), replace(NIGHT, dag_run_id="manual__s"))["latest"]
    assert pointer(place)["version"] == validated.version
    assert pointer(place, "latest-staging.json")["version"] == other


def test_a_run_says_whether_consumers_got_it(
    config: RossmannConfig, validated: Retrain, place: Path, tmp_path: Path
) -> None:
    """Only that is live; what the first night published stays so when it is run again after the second."""
    other = twin(validated.version)
    MlflowClient().transition_model_version_stage(MODEL, str(other), "Staging")
    rows = tmp_path / "rows.csv"
    validated.data.future.head(3).to_csv(rows, index=False)
    second = replace(USUAL, moment=datetime(2026, 11, 27, 4, tzinfo=UTC))
    asked = [
        (USUAL, "published"),
        (second, "published"),
        (USUAL, "beside"),  # the first night, by another run
        (replace(second, stage="Staging"), "beside"),
        (replace(second, version=validated.version), "beside"),
        (replace(second, output_name="own.csv"), "beside"),
        (PredictionRequest(output=tmp_path / "own.csv"), "beside"),
        (replace(second, input_file=rows), "aside"),
    ]
    origins = [NIGHT, *(replace(NIGHT, dag_run_id=f"run {number}") for number in range(1, len(asked)))]
    for (request, _), origin in zip(asked, origins, strict=True):
        predict(config, request, origin)
    assert [run.data.tags[USE_TAG] for run in runs()] == [use for _, use in asked]
    first = runs()[0].data.tags
    predict(config, USUAL, NIGHT)
    again = runs()[0].data.tags
    assert (again["latest"], again[USE_TAG], again[AT_TAG]) == ("false", "published", first[AT_TAG])
    assert pointer(place)["night"] == "2026-11-27"


def test_rows_and_a_name_from_a_form(config: RossmannConfig, validated: Retrain, place: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    validated.data.future.head(3).to_csv(inputs / "three.csv", index=False)
    config = config.model_copy(update={"prediction": config.prediction.model_copy(update={"inputs": str(inputs)})})
    predict(config, USUAL, NIGHT)
    before = contents(place)
    asked = replace(USUAL, input_name="three.csv", output_name="campaign/three.csv.gz")
    result = predict(config, asked, replace(NIGHT, dag_run_id="manual__three"))
    assert (result["rows"], result["latest"], result["input"]) == (3, False, "three.csv")
    assert result["input_sha256"] == sha256((inputs / "three.csv").read_bytes())
    named = f"{MODEL}/named/campaign/three.csv.gz"
    assert {name for name, _ in contents(place).items() - before.items()} == {named}
    assert len(pd.read_csv(place / named)) == 3
    dated = predict(config, replace(asked, output_name=None), replace(NIGHT, dag_run_id="manual__dated"))
    assert not dated["latest"]
    assert pointer(place)["rows"] == len(validated.data.future)


IDS = {
    "whole numbers": ["3", "1", "2"],
    "beyond int64": ["9223372036854775808", "123456789012345678901234567890", "-1"],
    "beyond a float's precision": ["9007199254740993", "9007199254740992", "900719925474099311"],
    "some missing": ["9007199254740993", "", "2"],
    "all missing": ["", "", ""],
    "text": ["a,b", 'say "x"', "Übergröße ☃"],
    "leading zeros": ["007", "07", "7"],
    "what readers take for nothing": ["NA", "null", "nan"],
    "what readers take for numbers": ["1e5", "1.0", "0x10"],
    "what readers take for days or truth": ["2014-09-01", "True", "-0"],
    "spaces and markup": [" 7", "7 ", "=1+1{{ 7 * 7 }}"],
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS.keys())
def test_ids_come_back_from_csv_as_they_were(tmp_path: Path, ids: list[str]) -> None:
    rows = pd.DataFrame(
        {"Id": ids, "Store": 1, "Date": "2014-09-01", "Promo": 1, "StateHoliday": 0, "SchoolHoliday": 0}
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    kept = through_prediction(tmp_path / "rows.csv")
    facts = Facts(MODEL, 1, "Production", None, "r")
    text = render(stamped(kept, facts), "csv", facts).decode()
    assert [row["Id"] for row in csv.DictReader(io.StringIO(text))] == ids
    arrow = pq.read_table(io.BytesIO(render(stamped(kept, facts), "parquet", facts))).column("Id").to_pylist()
    assert ["" if value is None else str(value) for value in arrow] == ids


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([3, 1, 2], pa.int64()),
        pa.array([3, 1, 2], pa.uint8()),
        pa.array([2**64 - 1, 1, 2], pa.uint64()),
        pa.array([2**53 + 1, None, 2], pa.int64()),
        pa.array([None, None, None], pa.int32()),
        pa.array([Decimal("12345678901234567890.5"), None, Decimal("1")]),
        pa.array([1.5, None, 2.0], pa.float64()),
        pa.array(["007", None, "NA"], pa.string()),
        pa.array(["007", "x", "007"]).dictionary_encode(),
        pa.array([b"\xff\x00", b"", None], pa.binary()),
        pa.array([datetime(2014, 9, 1), None, datetime(1600, 1, 1)], pa.timestamp("us")),
        pa.array([True, None, False]),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_come_back_from_parquet_as_they_were(tmp_path: Path, ids: pa.Array) -> None:
    more = {"Store": 1, "Date": "2014-09-01", "Promo": 1, "StateHoliday": "0", "SchoolHoliday": 0}
    columns = {"Id": ids} | {name: pa.array([value] * 3) for name, value in more.items()}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    facts = Facts(MODEL, 1, "Production", None, "r")
    kept = stamped(through_prediction(tmp_path / "rows.parquet"), facts)
    found = pq.read_table(io.BytesIO(render(kept, "parquet", facts))).column("Id")
    assert found.to_pylist() == ids.to_pylist()
    assert render(kept, "csv", facts)


def through_prediction(path: Path) -> pd.DataFrame:
    """Return the table that is written for a file of rows, as if each was forecast to sell 1."""
    rows = read_future(path)
    return step.prediction_table(rows, np.ones(len(rows)), ROSSMANN, 1)


def test_ids_of_any_kind_go_through_a_whole_prediction(
    config: RossmannConfig, validated: Retrain, tmp_path: Path
) -> None:
    rows = validated.data.future.head(3).assign(Id=["007", "123456789012345678901234567890", None])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    rows.to_parquet(tmp_path / "rows.parquet")
    for kind in ("csv", "parquet"):
        output = tmp_path / f"out.{kind}"
        predict(config, PredictionRequest(input_file=tmp_path / f"rows.{kind}", output=output))
    with (tmp_path / "out.csv").open() as file:
        assert [row["Id"] for row in csv.DictReader(file)] == ["007", "123456789012345678901234567890", ""]
    assert pq.read_table(tmp_path / "out.parquet").column("Id").to_pylist() == [*rows["Id"].tolist()[:2], None]


def test_a_weekday_that_is_not_the_dates_is_refused(config: RossmannConfig, validated: Retrain, tmp_path: Path) -> None:
    rows = validated.data.future.head(3).assign(DayOfWeek=3)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(BadInputError, match=r"csv: wrong DayOfWeek .*store 1 "):
        predict(config, PredictionRequest(input_file=tmp_path / "rows.csv", output=tmp_path / "x.csv"))


def test_the_newest_history_moves_the_origin(config: RossmannConfig, validated: Retrain, tmp_path: Path) -> None:
    rows = validated.data.future
    day = rows["Date"].min()
    known = rows.assign(Sales=float("nan"), Customers=float("nan"))
    known.loc[known["Date"] == day, ["Sales", "Customers"]] = 4000.0
    known.to_csv(tmp_path / "rows.csv", index=False)
    result = predict(config, PredictionRequest(input_file=tmp_path / "rows.csv", output=tmp_path / "x.parquet"))
    assert result["forecast_origin"] == str(pd.Timestamp(day).date())
    assert set(pd.read_parquet(tmp_path / "x.parquet")["ForecastOrigin"]) == {pd.Timestamp(day).date()}


def test_only_what_the_nights_predict_may_become_the_newest(validated: Retrain) -> None:
    config = load_config()
    usual = [PredictionRequest(), PredictionRequest(stage="Staging"), PredictionRequest(revision="main")]
    own = [
        PredictionRequest(version=1),
        PredictionRequest(revision="v1"),
        PredictionRequest(input_name="x.csv"),
        PredictionRequest(input_file=Path("x.csv")),
    ]
    assert [request.is_usual(config) for request in usual + own] == [True] * 3 + [False] * 4


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (PredictionRequest(), "output FILE, or --publish"),
        (PredictionRequest(output="x.txt"), r"'x\.txt' names no format"),
        (PredictionRequest(output="x.csv", stage="Prod"), "unknown stage 'Prod'"),
        (PredictionRequest(output="x.csv", stage="Staging", version=1), "stage and a version"),
        (PredictionRequest(output="x.csv", output_name="y.csv"), "it needs --publish"),
        (PredictionRequest(publish=True, output_name="../y.csv"), "output must be"),
        (PredictionRequest(publish=True, output_name="y.json"), "names no format"),
        (PredictionRequest(publish=True, input_name="/etc/passwd"), "input must be"),
        (PredictionRequest(publish=True, input_name="a.csv", input_file=Path("b.csv")), "exclude one another"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(
    request_: PredictionRequest, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BadInputError, match=expected):
        predict(load_config(), request_)


def test_the_command_line_as_the_dag_calls_it(config: RossmannConfig, validated: Retrain, place: Path) -> None:
    form = {
        "RETRAIN_DAG_ID": str(NIGHT.dag_id),
        "RETRAIN_DAG_RUN_ID": str(NIGHT.dag_run_id),
        "RETRAIN_RUN_AFTER": "2026-11-26 23:30:00+00:00",
        "RETRAIN_STAGE": "Production",
        "RETRAIN_VERSION": "",
        "RETRAIN_DATA_REVISION": "",
        "RETRAIN_INPUT": "",
        "RETRAIN_OUTPUT": "",
    }
    command = [sys.executable, "-m", "include.models.rossmann", "predict", "--publish"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **form})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert pointer(place)["night"] == "2026-11-27", "the date of the configured timezone"
    assert (pointer(place)["version"], pointer(place)["run"]) == (validated.version, NIGHT.dag_run_id)
    assert result["latest"]
    assert f"Predicted {result['rows']} rows with {MODEL} version {validated.version} (Production)" in done.stdout
    refused = run("predict", "--publish", **form | {"RETRAIN_OUTPUT": "/etc/x.csv"})
    assert refused.returncode == 2
    assert refused.sentence.startswith("error: the output must be a name such as")


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (("--output", "x.xlsx"), {}, "names no format"),
        (("--publish", "--version", "-1"), {}, "the version must be a whole number"),
        (("--publish", "--run-after", "yesterday"), {}, "expected a time with its timezone"),
        (("--publish",), {"RETRAIN_RUN_AFTER": "2026-11-26T04:00"}, "expected a time with its timezone"),
        ((), {}, "give --output FILE, or --publish"),
    ],
)
def test_bad_input_at_the_command_line_is_one_sentence(
    arguments: tuple[str, ...], variables: dict[str, str], expected: str
) -> None:
    done = run("predict", *arguments, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.sentence.startswith("error: ")
    assert expected in done.sentence


def test_an_output_that_is_never_replaced_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(BadInputError, match="is a folder"):
        predict(load_config(), PredictionRequest(output=tmp_path / "x.csv"))
