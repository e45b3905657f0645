"""The churn model through every step, on an MLflow of its own: from customers to a version that is watched."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle.cli import people
from include.lifecycle.errors import BadInputError, GateFailedError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.models.churn.config import NAME, TABLES, ChurnConfig
from include.models.churn.model import HOLDOUT, MODEL, PARTS
from include.models.churn.sample import generate
from include.retraining.data_source.publish import publish_data
from include.retraining.predict.request import PredictionRequest
from include.retraining.run import Origin
from include.retraining.steps.check import check
from include.retraining.steps.compare import compare
from include.retraining.steps.monitor import monitor
from include.retraining.steps.predict import predict
from include.retraining.steps.pull import pull
from include.retraining.steps.register import register
from include.retraining.steps.review import review
from include.retraining.steps.train import train
from include.retraining.steps.validate import validate
from include.retraining.table_model import MEMBER


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An MLflow and a data registry of the test's own."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("RETRAIN_DATA_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("RETRAIN_PREDICTIONS", str(tmp_path / "predictions"))
    config = ChurnConfig.of(NAME).lifecycle
    for name in (config.experiment, config.predictions_experiment, config.monitoring_experiment):
        MlflowClient().create_experiment(name, artifact_location=(tmp_path / "artifacts").as_uri())
    return tmp_path


def bring(place: Path, customers: int, **more: Any) -> None:
    publish_data(TABLES, place / "registry", generate(customers, **more))


def retrained(config: ChurnConfig) -> int:
    """Retrain, and return the version."""
    run_id = pull(MODEL, config, Origin(), quick=True)["run_id"]
    train(MODEL, config, run_id, MEMBER)
    made = register(MODEL, config, run_id)
    assert register(MODEL, config, run_id) == made, "a second try finds the version of the first"
    return int(made["version"])


def test_from_customers_to_a_version_that_is_watched(place: Path) -> None:
    config = ChurnConfig.of(NAME)
    config = config.model_copy(
        update={"review": config.review.model_copy(update={"replicates": 200, "rules": {"speed": "off"}})}
    )
    name = config.lifecycle.model
    registry = ModelRegistry(MlflowClient(), integrity=config.lifecycle.integrity)
    for version, customers in ((1, 1500), (2, 1800)):
        bring(place, customers)
        assert retrained(config) == version
        result = validate(MODEL, config, version=version)
        assert result["passed"]
        assert 0.75 < result["auc"] <= 1
        registry.stage(name, version)
        assert review(MODEL, config, version=version)["verdict"] != "fail"
        people.Person(config.lifecycle).promote(version, "good")
    assert compare(MODEL, config, "1", "2")[0].startswith("Version 1 (Archived) as the candidate")
    assert check(MODEL, config)["version"] == 1

    asked = predict(MODEL, config, PredictionRequest(publish=True), Origin("churn_predict", "night"))
    assert (asked["version"], asked["rows"], asked["latest"], asked["forecast_origin"]) == (2, 300, True, None)
    (file,) = (place / "predictions").rglob("*.parquet")
    table = pd.read_parquet(file)
    assert list(table)[:2] == ["Customer", "Left"]
    assert table["Left"].between(0, 1).all()
    bring(place, 2100)  # of those it is known now
    night = monitor(MODEL, config, Origin("churn_monitor", "night"))
    assert (night["version"], night["monitor"]["raised"]) == (2, [])


def test_a_gate_that_is_not_passed_is_about_what_lies_above(place: Path) -> None:
    bring(place, 1500, spoil=True)
    config = ChurnConfig.of(NAME)
    with pytest.raises(GateFailedError, match=r"auc 0\.\d+ is not above 0\.75"):
        validate(MODEL, config, version=retrained(config))


def test_no_part_of_what_is_scored_has_seen_the_holdout(place: Path) -> None:
    bring(place, 1500)
    config = ChurnConfig.of(NAME)
    version = retrained(config)
    registry = ModelRegistry(MlflowClient())
    loaded = MODEL.load(registry.download(registry.version(config.lifecycle.model, version), place / "version"))
    rows = generate(1500).customers
    np.testing.assert_array_equal(loaded.backtest.unseen(rows), rows["Customer"] % PARTS == HOLDOUT)
    assert not loaded.served.unseen(rows).any()
    assert loaded.served.unseen(generate(1600).customers).sum() == 100


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("Left", 2, r"Left .*line 2 is 2.* 0 or 1"),
        ("Plan", "gold", r"Plan .*line 2 .*'gold'.* plus"),
        ("Age", "old", r"Age .*line 2 .*'old'.* number"),
        ("Calls", float("inf"), r"Calls .*line 2 .*inf.* number"),
        ("Customer", 2, r"a second row of Customer 2"),
    ],
)
def test_a_table_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, column: str, value: object, expected: str
) -> None:
    rows = generate(100).customers.astype(object)
    rows.loc[0, column] = value
    rows.to_csv(tmp_path / "customers.csv", index=False)
    with pytest.raises(BadInputError, match=r"customers\.csv: " + expected):
        MODEL.read({"customers": tmp_path / "customers.csv"}, ChurnConfig.of(NAME))
