"""The model behind MLflow's scoring server and `mlflow models predict`: right, or the model's own sentence with 400.

`test_clean_environment.py` asks a real server; here its handler is called, without the sockets.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import _predict, invocations

from include.lifecycle.errors import BadInputError
from include.models.rossmann.data.load import read_future
from tests.rossmann.conftest import Retrain, use

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
ROW: dict[str, Any] = {
    "Store": 1, "Date": "2014-09-01", "Open": 1, "Promo": 1, "StateHoliday": "0", "SchoolHoliday": 0,
}  # fmt: skip
NEXT = ROW | {"Date": "2014-09-02", "Promo": 0}


@pytest.fixture(scope="module")
def folder(shared_retrain: Retrain, retrain_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The registered model's files."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, shared_retrain, retrain_folder / "mlflow.db")
        target = tmp_path_factory.mktemp("served")
        download_artifacts(f"models:/rossmann-ensemble/{shared_retrain.version}", dst_path=str(target))
        yield target


@pytest.fixture(scope="module")
def model(folder: Path) -> mlflow.pyfunc.PyFuncModel:
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def usual(model: mlflow.pyfunc.PyFuncModel) -> float:
    """What the model says of ``ROW``."""
    return float(model.predict(pd.DataFrame([ROW]))["Sales"].iloc[0])


def post(model: mlflow.pyfunc.PyFuncModel, body: bytes | str, kind: str) -> tuple[int, dict[str, Any]]:
    """Send a body as the server's route does; returns status and answer."""
    try:
        found = invocations(body, kind, model, model.metadata.get_input_schema())
    except MlflowException as error:
        return error.get_http_status_code(), json.loads(error.serialize_as_json())
    return found.status, json.loads(found.response)


def sales(model: mlflow.pyfunc.PyFuncModel, body: bytes | str, kind: str) -> list[float]:
    status, answer = post(model, body, kind)
    assert status == 200, answer
    return [row["Sales"] for row in answer["predictions"]]


def refusal(model: mlflow.pyfunc.PyFuncModel, body: bytes | str, kind: str = JSON) -> str:
    """Send what is refused; returns the sentence."""
    status, answer = post(model, body, kind)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer
    assert "stack_trace" not in answer
    assert "Traceback" not in answer["message"]
    return str(answer["message"]).rpartition("Error: ")[2]


def records(*rows: dict[str, Any]) -> str:
    return json.dumps({"dataframe_records": rows})


def text(*rows: dict[str, Any]) -> str:
    return str(pd.DataFrame(rows).to_csv(index=False))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Store": 1.0, "Open": 1.0, "Promo": 1.0, "SchoolHoliday": 0.0},
        {"Store": "1", "Open": "1", "Promo": " 1.0", "SchoolHoliday": "0"},
        {"Open": True, "Promo": True, "SchoolHoliday": False},
        {"StateHoliday": 0},
        {"StateHoliday": 0.0},
        {"Open": None},
        {"Date": "2014-09-01T00:00:00"},
        {"Date": "2014-09-01T00:00:00.000Z"},
        {"Date": "2014-09-01 00:00:00+02:00"},
        {"Id": 2**70, "Extra": {"a": [1]}},
        {"DayOfWeek": 1},
        {"Sales": None, "Customers": None},
    ],
    ids=str,
)
def test_what_means_the_same_is_forecast_alike(
    model: mlflow.pyfunc.PyFuncModel, usual: float, change: dict[str, Any]
) -> None:
    row = dict(reversed((ROW | change).items()))
    assert sales(model, records(row), JSON) == [usual]
    assert sales(model, text(row), CSV) == [usual]


def test_every_form_of_json_is_forecast_alike(model: mlflow.pyfunc.PyFuncModel, usual: float) -> None:
    row = ROW | {"Open": None, "Sales": None}
    for body in (
        {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
        {"inputs": [row]},
        {"inputs": row},
        {"inputs": {name: [value] for name, value in row.items()}},
        {"instances": [row]},
    ):
        assert sales(model, json.dumps(body), JSON) == [usual], body


def test_two_offsets_and_parquet(model: mlflow.pyfunc.PyFuncModel, usual: float) -> None:
    two = [ROW | {"Date": "2014-09-01T00:00:00+02:00"}, NEXT | {"Date": "2014-09-02T00:00:00+01:00"}]
    expected = sales(model, records(ROW, NEXT), JSON)
    assert expected[0] == usual
    assert sales(model, records(*two), JSON) == expected
    data = io.BytesIO()
    pd.DataFrame([ROW, NEXT]).astype({"Date": "datetime64[ms]", "Store": "int16", "Open": "float32"}).to_parquet(data)
    assert sales(model, data.getvalue(), PARQUET) == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Date": "2014-09-01T13:00:00"}, "wrong Date '2014-09-01T13:00:00' in row 1: expected a day"),
        ({"Date": "2014-09-01T22:00:00Z"}, "wrong Date '2014-09-01T22:00:00Z'"),
        ({"Date": "2014-09"}, "wrong Date '2014-09'"),
        ({"Date": "10.09.2014"}, "wrong Date '10.09.2014'"),
        ({"Date": "09/10/2014"}, "wrong Date '09/10/2014'"),
        ({"Date": 1409529600000}, "wrong Date"),
        ({"Date": "9999-12-31"}, "wrong Date '9999-12-31'"),
        ({"Date": None}, "wrong Date"),
        ({"Store": 1.9}, "wrong Store 1.9 in row 1: expected a store number"),
        ({"Store": "x"}, "wrong Store 'x'"),
        ({"Store": 1e300}, "wrong Store 1e+300"),
        ({"Store": 2**70}, "wrong Store"),
        ({"Store": None}, "wrong Store"),
        ({"Store": 999}, "unknown store: store 999 on 2014-09-01; the model knows 8 stores"),
        ({"Promo": "yes"}, "wrong Promo 'yes'"),
        ({"Promo": 0.5}, "wrong Promo: store 1 on 2014-09-01 (Promo 0.5); expected 0 or 1"),
        ({"Promo": None}, "wrong Promo"),
        ({"Promo": float("nan")}, "wrong Promo"),
        ({"Promo": float("inf")}, "wrong Promo"),
        ({"Open": 2}, "wrong Open"),
        ({"StateHoliday": "d"}, "wrong StateHoliday"),
        ({"StateHoliday": None}, "wrong StateHoliday"),
        ({"DayOfWeek": 2}, "DayOfWeek does not fit the date: store 1 on 2014-09-01"),
        ({"DayOfWeek": "Monday"}, "wrong DayOfWeek 'Monday'"),
        ({"Sales": float("inf"), "Customers": 1}, "wrong Sales"),
        ({"Sales": 1e300, "Customers": 1}, "wrong Sales"),
        ({"Sales": "many", "Customers": 1}, "wrong Sales 'many'"),
        ({"Sales": 5}, "Sales without Customers"),
        ({"Sales": 5, "Customers": 1}, "no row to forecast"),
    ],
    ids=str,
)
def test_the_client_reads_the_models_own_sentence(
    model: mlflow.pyfunc.PyFuncModel, change: dict[str, Any], sentence: str
) -> None:
    assert refusal(model, records(ROW | change)).startswith(sentence)
    assert refusal(model, text(ROW | change), CSV).startswith(sentence.partition(" '")[0])


@pytest.mark.parametrize("value", [["2014-09-01"], {"a": 1}, [[1]], {}], ids=str)
@pytest.mark.parametrize("name", ["Store", "Date", "Promo", "StateHoliday", "Sales"])
def test_a_list_or_mapping_is_no_value(model: mlflow.pyfunc.PyFuncModel, name: str, value: object) -> None:
    assert refusal(model, records(ROW | {name: value})).startswith(f"wrong {name}")


@pytest.mark.parametrize(
    "body",
    [
        records(),
        json.dumps({"dataframe_split": {"columns": list(ROW), "data": []}}),
        json.dumps({"instances": []}),
        json.dumps({"inputs": []}),
        json.dumps({"inputs": {name: [] for name in ROW}}),
    ],
)
def test_nothing_is_refused(model: mlflow.pyfunc.PyFuncModel, body: str) -> None:
    assert refusal(model, body).startswith("no rows")


@pytest.mark.parametrize("name", ["Store", "Date", "Promo", "StateHoliday", "SchoolHoliday"])
def test_a_missing_column_is_named(model: mlflow.pyfunc.PyFuncModel, name: str) -> None:
    without = {column: value for column, value in ROW.items() if column != name}
    for body, kind in ((records(without), JSON), (text(without), CSV)):
        assert refusal(model, body, kind).startswith(f"missing column {name}: expected Store, Date")


def test_what_is_no_table_is_refused(model: mlflow.pyfunc.PyFuncModel) -> None:
    for body in ({"inputs": [1, 2]}, {"inputs": "x"}, {"inputs": {"Store": [1, 2], "Date": [1]}}, {"instances": [[1]]}):
        assert refusal(model, json.dumps(body))
    twice = {"columns": ["Store", *ROW], "data": [[2, *ROW.values()]]}
    assert "the column Store is given twice" in refusal(model, json.dumps({"dataframe_split": twice}))


def test_a_row_among_many_is_named(model: mlflow.pyfunc.PyFuncModel) -> None:
    rows = [ROW, NEXT, ROW | {"Store": 2, "Date": "2014-09-01 06:00"}]
    assert refusal(model, records(*rows)).startswith("wrong Date '2014-09-01 06:00' in row 3: ")


@pytest.mark.parametrize(
    "change",
    [
        {"Date": "2014-09-01 13:00"}, {"Date": "2014-09"}, {"Date": "01.09.2014"}, {"Date": "1850-01-01"}, {"Date": ""},
        {"Store": 1.5}, {"Store": ""}, {"Store": "one"}, {"Promo": ""}, {"Promo": "1.5"}, {"Promo": 400},
        {"SchoolHoliday": "inf"}, {"StateHoliday": ""}, {"Open": "inf"}, {"DayOfWeek": "Mon"}, {"DayOfWeek": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_command_line_refuses_the_server_refuses(
    model: mlflow.pyfunc.PyFuncModel, tmp_path: Path, change: dict[str, Any]
) -> None:
    content = text(ROW | change)
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(BadInputError, match=next(iter(change))):
        read_future(tmp_path / "rows.csv")
    assert next(iter(change)) in refusal(model, content, CSV)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_mlflow_models_predict(folder: Path, tmp_path: Path, usual: float, kind: str) -> None:
    given, output = tmp_path / f"rows.{kind}", tmp_path / "out.json"
    given.write_text(text(ROW | {"Id": 7}, NEXT) if kind == "csv" else records(ROW | {"Id": 7}, NEXT))
    _predict(str(folder), str(given), str(output), kind)
    found = json.loads(output.read_text())["predictions"]
    assert [(row["Store"], row["Date"][:10]) for row in found] == [(1, "2014-09-01"), (1, "2014-09-02")]
    assert found[0]["Sales"] == usual
    given.write_text(text(ROW | {"Date": "2014-09-01 08:00"}) if kind == "csv" else records(ROW | {"Store": "x"}))
    with pytest.raises(MlflowException, match=r"(Date '2014-09-01 08:00'|Store 'x') in row 1"):
        _predict(str(folder), str(given), str(output), kind)


@pytest.mark.parametrize("kind", ["datetime64[ms]", "datetime64[ms, UTC]"])
def test_a_time_of_day_in_typed_days_is_refused(model: mlflow.pyfunc.PyFuncModel, tmp_path: Path, kind: str) -> None:
    rows = pd.DataFrame([ROW, NEXT | {"Date": "2014-09-02T06:00:00"}]).astype({"Date": kind})
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(BadInputError, match="Date"):
        read_future(tmp_path / "rows.parquet")
    assert refusal(model, (tmp_path / "rows.parquet").read_bytes(), PARQUET).startswith("wrong Date")


def test_values_of_several_types_in_one_column_are_forecast_alike(model: mlflow.pyfunc.PyFuncModel) -> None:
    mixed = records(ROW | {"Store": 1.0, "Promo": 1.0, "StateHoliday": "0.0"}, NEXT | {"Store": "1", "Promo": "0"})
    assert sales(model, mixed, JSON) == sales(model, records(ROW, NEXT), JSON)
