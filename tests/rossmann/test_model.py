"""The registered model: what it carries, what it predicts, what it refuses."""

import ast
import re
import shutil
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from include.models.rossmann import packaging
from include.models.rossmann.data.load import read_train
from include.models.rossmann.data.sample import generate
from include.models.rossmann.dataset import with_types
from include.models.rossmann.packaging import FORECASTER, package_ensemble
from tests.rossmann.conftest import Retrain

MODEL = "rossmann-ensemble"


@pytest.fixture
def model(retrain: Retrain, monkeypatch: pytest.MonkeyPatch) -> mlflow.pyfunc.PyFuncModel:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    return mlflow.pyfunc.load_model(f"models:/{MODEL}/{retrain.version}")


@pytest.fixture
def files(retrain: Retrain, tmp_path: Path) -> Path:
    return Path(download_artifacts(f"models:/{MODEL}/{retrain.version}", dst_path=str(tmp_path)))


@pytest.fixture
def future(retrain: Retrain) -> pd.DataFrame:
    return with_types(retrain.data.future)


def test_future_rows_are_predicted_in_their_order(model: mlflow.pyfunc.PyFuncModel, future: pd.DataFrame) -> None:
    shuffled = future.sample(frac=1.0, random_state=1)
    forecast = model.predict(shuffled)
    assert forecast["Store"].tolist() == shuffled["Store"].tolist()
    assert (forecast.loc[(shuffled["Open"] == 0).to_numpy(), "Sales"] == 0).all()
    assert (forecast.loc[(shuffled["Open"] == 1).to_numpy(), "Sales"] > 0).all()


def test_nothing_in_the_artifact_is_pickled(files: Path) -> None:
    # a model that is loaded in place leaves bytecode beside its code
    kept = [path for path in files.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    suffixes = {path.suffix for path in kept} - {""}
    assert suffixes <= {".py", ".txt", ".ubj", ".cbm", ".json", ".parquet", ".yaml"}
    assert sorted(path.name for path in files.rglob("members/*") if "served" in path.parts) == [
        "catboost.cbm",
        "lightgbm.txt",
        "xgboost.ubj",
    ]


def test_requirements_are_exact_and_know_no_airflow(files: Path) -> None:
    lines = (files / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[a-z]+==[0-9.]+", line) for line in lines), lines
    assert {line.split("==")[0] for line in lines} == {
        "mlflow", "numpy", "pandas", "pyarrow", "lightgbm", "xgboost", "catboost",
    }  # fmt: skip
    conda = yaml.safe_load((files / "conda.yaml").read_text())
    assert set(lines) == set(conda["dependencies"][-1]["pip"])


def test_every_library_that_the_carried_code_imports_is_required(files: Path) -> None:
    imported = {name for path in (files / "code").rglob("*.py") for name in absolute_imports(path)}
    required = {line.split("==")[0] for line in (files / "requirements.txt").read_text().split()}
    assert imported - set(sys.stdlib_module_names) <= required


def test_signature_and_example(model: mlflow.pyfunc.PyFuncModel, files: Path) -> None:
    # types of MLflow would change what the model is to check: a time of day, a half, a day in another order
    assert model.metadata.get_input_schema() is None
    assert model.metadata.metadata["inputs"] == {
        "required": ["Store", "Date", "Promo", "StateHoliday", "SchoolHoliday"],
        "optional": ["Open", "DayOfWeek", "Sales", "Customers"],
    }
    assert model.metadata.get_output_schema().input_names() == ["Store", "Date", "Sales"]
    example = model.metadata.load_input_example(str(files))
    assert len(model.predict(example)) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: rows.assign(Store=9999), r"9999"),
        (lambda rows: rows.drop(columns="Promo"), r"missing column Promo"),
        (lambda rows: rows.assign(Date=rows["Date"] + pd.Timedelta(days=60)), r"store 1 on 20\d\d-.*the horizon"),
        (lambda rows: rows.assign(Date=rows["Date"] - pd.Timedelta(days=60)), r"outside the horizon"),
        (lambda rows: rows.assign(StateHoliday="x"), r"StateHoliday"),
        (lambda rows: pd.concat([rows, rows]), r"than one row .* store 1 "),
    ],
)
def test_what_cannot_be_forecast_is_named(
    model: mlflow.pyfunc.PyFuncModel, future: pd.DataFrame, change: object, sentence: str
) -> None:
    assert callable(change)
    rows = future[future["Store"] == 1]
    with pytest.raises(Exception, match=sentence):
        model.predict(change(rows))


def test_newer_history_in_the_input_moves_the_origin(
    retrain: Retrain, model: mlflow.pyfunc.PyFuncModel, future: pd.DataFrame
) -> None:
    later = generate(stores=8, months=20, extra_days=60)
    known_until = retrain.data.train["Date"].max()
    newer = with_types(later.train[later.train["Date"] > known_until])
    rows = with_types(later.future)
    with pytest.raises(Exception, match="outside the horizon"):
        model.predict(rows)
    forecast = model.predict(pd.concat([newer, rows], ignore_index=True))
    assert len(forecast) == len(rows)
    assert forecast["Date"].min() == later.train["Date"].max() + pd.Timedelta(days=1)
    level = later.train[later.train["Sales"] > 0].groupby("Store")["Sales"].median()
    predicted = forecast[forecast["Sales"] > 0].groupby("Store")["Sales"].median()
    assert np.abs(np.log(predicted / level)).max() < 0.5


def test_backtest_member_has_never_seen_the_holdout(retrain: Retrain, model: mlflow.pyfunc.PyFuncModel) -> None:
    backtest = model.unwrap_python_model().backtest()
    holdout_start = retrain.data.train["Date"].max() - pd.Timedelta(days=41)
    assert pd.Timestamp(backtest.training_end) == holdout_start - pd.Timedelta(days=1)
    assert pd.Timestamp(backtest.panel.newest_sales_day) == pd.Timestamp(backtest.training_end)


def test_two_versions_with_different_feature_code_live_in_one_process(
    retrain: Retrain, model: mlflow.pyfunc.PyFuncModel, files: Path, future: pd.DataFrame, tmp_path: Path
) -> None:
    other_source = tmp_path / "forecaster"
    shutil.copytree(FORECASTER, other_source, ignore=shutil.ignore_patterns("__pycache__"))
    blend = other_source / "blend.py"
    changed = blend.read_text().replace("np.exp(log_sales)", "2.0 * np.exp(log_sales)")
    assert changed != blend.read_text()
    blend.write_text(changed)
    folders = {role: next(files.rglob(role)) for role in ("served", "backtest")}
    build = tmp_path / "build"
    build.mkdir()
    run = MlflowClient().create_run(MlflowClient().get_run(retrain.run_id).info.experiment_id)
    changed_version = package_ensemble(
        folders, build, run_id=run.info.run_id, tags={}, description="", source=other_source
    )
    info = changed_version.log({})
    shutil.rmtree(build)
    other = mlflow.pyfunc.load_model(info.model_uri)
    first, second = model.predict(future)["Sales"], other.predict(future)["Sales"]
    np.testing.assert_allclose(second, 2.0 * first, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(future)["Sales"], first)
    packages = {name.split(".")[0] for name in sys.modules if name.startswith(packaging.PACKAGE_PREFIX)}
    assert len(packages) >= 2


def test_carried_package_imports_nothing_of_this_project() -> None:
    for path in FORECASTER.glob("*.py"):
        assert "include" not in absolute_imports(path), path


def test_history_travels_with_the_model(retrain: Retrain, model: mlflow.pyfunc.PyFuncModel) -> None:
    carried = model.unwrap_python_model().served.panel
    train = read_train_of(retrain)
    assert pd.Timestamp(carried.newest_sales_day) == train["Date"].max()


def absolute_imports(path: Path) -> set[str]:
    """Return the top-level packages that a module imports by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def read_train_of(retrain: Retrain) -> pd.DataFrame:
    """Return the history in the data registry's working copy."""
    return read_train(retrain.data_registry / "data" / "train.csv")
