"""Folds that have not changed are not trained again, and nothing that has changed is taken for the same."""

import ast
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError
from include.models.rossmann import boosters, kept_folds
from include.models.rossmann.config import TABLES, load_config
from include.models.rossmann.data.sample import generate
from include.models.rossmann.folds import Fold, make_folds
from include.models.rossmann.kept_folds import FOLDS_FOLDER, KEY_TAG, KeptFolds, fold_forecast, fold_key
from include.models.rossmann.matrix import ARRAYS, TrainingMatrix
from include.models.rossmann.steps.backtest import backtest, train_all
from include.models.rossmann.training import Trainer
from include.retraining.data_source.publish import publish_data
from include.retraining.run import Origin, RetrainRun
from tests.rossmann.conftest import Retrain
from tests.rossmann.steps import features, pull, train

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = {"rounds": 15, "threads": 1, "seed": 7, "learning_rate": 0.2, "libraries": {"lightgbm": "4.7.0"}}


@pytest.fixture(scope="module")
def fold(matrix: TrainingMatrix) -> Fold:
    return make_folds(matrix, 3, 42)[1]


def changed(matrix: TrainingMatrix, row: int, name: str) -> TrainingMatrix:
    """Return a matrix in which one value is another."""
    values = getattr(matrix, name).copy()
    values.flat[row * (values[0].size)] += np.timedelta64(1, "D") if values.dtype.kind == "M" else 1
    return replace(matrix, **{name: values})


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "block_end"])
@pytest.mark.parametrize("where", ["training", "fold"])
def test_another_row_is_another_fold(matrix: TrainingMatrix, fold: Fold, name: str, where: str) -> None:
    row = 0 if where == "training" else int(np.flatnonzero(matrix.block_end == fold.end)[0])
    other = changed(matrix, row, name)
    assert fold_key(other.block_digests(), fold, SETTINGS) != fold_key(matrix.block_digests(), fold, SETTINGS)


def test_what_comes_after_a_fold_changes_nothing(matrix: TrainingMatrix, fold: Fold) -> None:
    later = changed(matrix, len(matrix) - 1, "features")
    key = fold_key(matrix.block_digests(), fold, SETTINGS)
    assert fold_key(later.block_digests(), fold, SETTINGS) == key
    assert fold_key(matrix.until(fold.end).block_digests(), fold, SETTINGS) == key


@pytest.mark.parametrize(
    "other",
    [
        {"rounds": 16},
        {"threads": 2},
        {"seed": 8},
        {"learning_rate": 0.1},
        {"libraries": {"lightgbm": "4.7.1"}},
        {"device": "gpu"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_are_another_fold(matrix: TrainingMatrix, fold: Fold, other: dict[str, Any]) -> None:
    digests = matrix.block_digests()
    assert fold_key(digests, fold, SETTINGS | other) != fold_key(digests, fold, SETTINGS)


@pytest.mark.parametrize("module", ["boosters", "matrix", "members", "training"])
def test_other_training_code_is_another_fold(
    matrix: TrainingMatrix, fold: Fold, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str
) -> None:
    before = fold_key(matrix.block_digests(), fold, SETTINGS)
    code = {path.stem: path for path in kept_folds.TRAINING_CODE}
    changed = tmp_path / code[module].name
    changed.write_bytes(code[module].read_bytes() + b"\n")
    monkeypatch.setattr(kept_folds, "TRAINING_CODE", tuple({**code, module: changed}.values()))
    assert fold_key(matrix.block_digests(), fold, SETTINGS) != before


def test_all_that_trains_is_in_the_key_or_in_what_the_key_digests() -> None:
    package = Path(str(boosters.__file__)).parent
    told_otherwise = {"config.py"}  # by the settings
    features = {path for path in (package / "forecaster").iterdir() if path.stem != "members"}  # by the rows
    reached, left = set[Path](), [package / "training.py"]
    while left:
        path = left.pop()
        reached.add(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
            base = path.parent if node.level else PROJECT
            module = base.joinpath(*(node.module or "").split("."))
            files = [module.with_suffix(".py"), *(module / f"{name.name}.py" for name in node.names)]
            found = {file for file in files if file.is_file() and file.is_relative_to(package)}
            left += found - features - reached
    assert {path for path in reached if path.name not in told_otherwise} == set(kept_folds.TRAINING_CODE)


@pytest.mark.parametrize("field", ["rounds", "threads", "device", "row_share", "leave_out", "params", "seed", "quick"])
def test_the_settings_that_train_are_in_the_key(field: str) -> None:
    config = load_config()
    booster, forecast = config.boosters["xgboost"], config.forecast
    before = Trainer(config, "xgboost", quick=False).settings_key()
    update: dict[str, Any] = {
        "rounds": 7,
        "threads": 3,
        "device": "gpu",
        "row_share": 0.3,
        "leave_out": ["horizon"],
        "params": {**booster.params, "max_depth": 3},
    }
    if field in update:
        boosters = {**config.boosters, "xgboost": booster.model_copy(update={field: update[field]})}
        config = config.model_copy(update={"boosters": boosters})
    elif field == "seed":
        config = config.model_copy(update={"forecast": forecast.model_copy(update={"seed": 1})})
    assert Trainer(config, "xgboost", quick=field == "quick").settings_key() != before


@pytest.fixture
def kept(mlflow_uri: str, tmp_path: Path, matrix: TrainingMatrix, fold: Fold) -> tuple[KeptFolds, str, pd.DataFrame]:
    """A fold's forecast that a run keeps under the key ``abc``."""
    client = MlflowClient(mlflow_uri)
    experiment = client.create_experiment("folds", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    block = matrix.block(fold.end)
    frame = fold_forecast(block, np.linspace(-0.1, 0.1, len(block)))
    folds = KeptFolds(client, experiment)
    folds.keep(run_id, fold, "abc", frame, tmp_path)
    return folds, run_id, frame


def test_a_kept_fold_is_found_by_its_key_alone(
    kept: tuple[KeptFolds, str, pd.DataFrame], matrix: TrainingMatrix, fold: Fold, tmp_path: Path
) -> None:
    folds, _, frame = kept
    block = matrix.block(fold.end)
    found = folds.find(fold, "abc", block, tmp_path)
    assert found is not None
    assert np.array_equal(found["residual"], frame["residual"])
    assert folds.find(fold, "abd", block, tmp_path) is None
    other = Fold.of(2, fold.end - np.timedelta64(42, "D"), 42)
    assert folds.find(other, "abc", matrix.block(other.end), tmp_path) is None


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "not a number", "other rows", "other sales"])
def test_a_damaged_one_is_trained_again(
    kept: tuple[KeptFolds, str, pd.DataFrame], matrix: TrainingMatrix, fold: Fold, tmp_path: Path, damage: str
) -> None:
    folds, run_id, frame = kept
    file = tmp_path / "artifacts" / run_id / "artifacts" / FOLDS_FOLDER / f"{fold.end}.parquet"
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "flipped":
        content = bytearray(file.read_bytes())
        content[4:60] = bytes(255 - byte for byte in content[4:60])
        file.write_bytes(content)
    else:
        other = {
            "not a number": frame.assign(residual=np.nan),
            "other rows": frame.iloc[:-1],
            "other sales": frame.assign(sales=frame["sales"] + 1),
        }[damage]
        other.to_parquet(file, index=False)
    assert folds.find(fold, "abc", matrix.block(fold.end), tmp_path) is None


@pytest.mark.long
def test_the_next_night_trains_the_holdout_and_the_served_member_only(retrain: Retrain, tmp_path: Path) -> None:
    config, client = load_config(), MlflowClient()
    publish_data(TABLES, tmp_path / "registry", generate(stores=8, months=20, extra_days=1))
    config = config.model_copy(update={"data": config.data.model_copy(update={"registry": str(tmp_path / "registry")})})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RETRAIN_DATA_REGISTRY")
        night = pull(config, Origin("rossmann_retrain", "the next night"))
    features(config, night["run_id"])
    result = train(config, night["run_id"], "lightgbm")
    assert (result["folds_kept"], result["folds_trained"]) == (3, 1)
    first, second = (RetrainRun(client, run).member("lightgbm") for run in (retrain.run_id, night["run_id"]))
    same = {name: key for name, key in first.tags.items() if name.startswith(KEY_TAG)}.items() & second.tags.items()
    assert len(same) == 3
    for name, _ in same:
        file = f"{FOLDS_FOLDER}/{name.removeprefix(KEY_TAG)}.parquet"
        frames = []
        for run in (first, second):
            (tmp_path / run.run_id).mkdir(exist_ok=True)
            frames.append(pd.read_parquet(run.fetch(file, tmp_path / run.run_id)))
        assert frames[0].equals(frames[1])


@pytest.mark.long
def test_a_backtest_goes_on_where_it_was_killed(retrain: Retrain, tmp_path: Path) -> None:
    config, client = load_config(), MlflowClient()

    def keys() -> set[str]:
        runs = client.search_runs([client.get_run(retrain.run_id).info.experiment_id], max_results=1000)
        return {value for run in runs for name, value in run.data.tags.items() if name.startswith(KEY_TAG)}

    before = keys()
    command = [sys.executable, "-m", "include.models.rossmann", "backtest", "--origins", "2"]
    with subprocess.Popen(command, cwd=PROJECT, start_new_session=True) as begun:
        while keys() == before and begun.poll() is None:
            time.sleep(0.1)
        os.killpg(begun.pid, signal.SIGKILL)
    more = len(keys() - before)
    assert more > 0
    page = tmp_path / "page.html"
    lines = backtest(config, origins=2, quick=False, page=str(page))
    # two origins need the holdout and four folds before it; the shared retrain made three of them, and its holdout
    assert any(line.startswith(f"{3 - more} fits, {12 + more} folds kept") for line in lines), lines
    assert "Mean RMSPE over 2 forecast origins" in page.read_text()
    run = MlflowClient().get_run(lines[-2].split()[6].rstrip(","))
    assert run.info.status == "FINISHED"
    assert {"backtest_rmspe_ensemble", "backtest_rmspe_naive", "backtest_rmspe_seasonal_naive"} <= set(run.data.metrics)
    assert run.data.metrics["backtest_rmspe_ensemble"] < run.data.metrics["backtest_rmspe_naive"]


def test_what_a_training_beside_others_refuses_is_its_sentence(mlflow_uri: str) -> None:
    with pytest.raises(BadInputError, match="no run '0123'"):
        train_all(load_config(), "0123")
