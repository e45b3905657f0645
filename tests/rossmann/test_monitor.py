"""Nights of prediction and monitoring on a data registry that delivers day by day, and a real MLflow."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.models.rossmann.config import TABLES, RossmannConfig, load_config
from include.models.rossmann.data.sample import generate
from include.retraining.data_source.publish import publish_data
from include.retraining.predict.request import PredictionRequest
from include.retraining.run import Origin
from include.retraining.steps.monitor import FOLDER, PAGE
from tests.rossmann.conftest import Retrain, write_config
from tests.rossmann.steps import monitor, predict

pytestmark = pytest.mark.long

NIGHTS = 8
LAST = 10
"""The last night that the data registry delivers, counted from 0."""


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data registry that delivers a day more each night; the nights are tags of it."""
    folder = tmp_path_factory.mktemp("deliveries") / "registry"
    for number in range(LAST + 1):
        publish_data(TABLES, folder, generate(stores=8, months=20, extra_days=number))
        subprocess.run(["git", "-C", str(folder), "tag", f"night-{number}"], check=True)
    return folder


@pytest.fixture
def config(validated: Retrain, deliveries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RossmannConfig:
    """The shared retrain's version is in Production."""
    file = write_config(tmp_path / "rossmann.yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["prediction"] = {**content["prediction"], "place": str(tmp_path / "predictions")}
    content["monitor"]["holidays"] = None
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("RETRAIN_CONFIG", str(file))
    monkeypatch.setenv("RETRAIN_DATA_REGISTRY", str(deliveries))
    config = load_config()
    registry = ModelRegistry(MlflowClient(), integrity=config.lifecycle.integrity)
    registry.stage(config.lifecycle.model, validated.version)
    registry.promote(
        config.lifecycle.model, validated.version, Decision(Outcome.APPROVED, "ana", "test", "good", Channel.CLI)
    )
    return config


def night(config: RossmannConfig, number: int) -> str:
    """Production predicts with what was delivered up to a night; return the revision."""
    revision = f"night-{number}"
    delivered = config.data.model_copy(update={"revision": revision})
    config = config.model_copy(update={"data": delivered})
    predict(config, PredictionRequest(publish=True), Origin("rossmann_predict", revision))
    return revision


def test_nights_without_a_fault(config: RossmannConfig, validated: Retrain, tmp_path: Path) -> None:
    first = monitor(config, Origin("rossmann_monitor", "night 0"), revision=night(config, 0))
    assert first["monitor"]["asked"] == ""
    for number in range(1, NIGHTS):
        revision = night(config, number)
    found = monitor(config, Origin("rossmann_monitor", f"night {NIGHTS}"), revision=revision)
    client = MlflowClient()
    run = client.get_run(found["run_id"])
    assert found["version"] == validated.version
    assert found["monitor"]["asked"] == ""
    assert run.info.status == "FINISHED"
    assert 0 < run.data.metrics["live_rmspe_7"] < 0.3
    assert run.data.metrics["live_coverage_7"] == 1.0
    folder = Path(client.download_artifacts(run.info.run_id, FOLDER, str(tmp_path)))
    assert "<script" not in (folder / PAGE).read_text(encoding="utf-8")
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    days = [row for row in figures["days"] if row["rows"]]
    assert len(days) == NIGHTS - 1
    assert all(row["naive"] for row in days), "beside the naive forecast"
    again = monitor(config, Origin("rossmann_monitor", f"night {NIGHTS}"), revision=revision)
    assert again["run_id"] == found["run_id"], "a retried night is the same night"
    assert len(client.search_runs([run.info.experiment_id])) == 2


def test_before_anything_was_predicted(config: RossmannConfig) -> None:
    found = monitor(config)
    assert found["headline"] == "No alarm."
    assert found["monitor"]["raised"] == []


def test_a_fault_raises_an_alarm_and_asks_once(
    config: RossmannConfig, validated: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Production's forecasts become half of what they should be: told, tagged, and one request for a retrain."""
    from include.retraining.steps import predict as step

    real = step.predict_with
    monkeypatch.setattr(step, "predict_with", lambda *given: real(*given) / 2)
    asked, raised = [], []
    for number in range(LAST + 1):
        revision = night(config, number)
        if number < LAST - 5:
            continue
        found = monitor(config, Origin("rossmann_monitor", revision), revision=revision)["monitor"]
        asked += [found["asked"]] if found["asked"] else []
        raised += [kind for _, kind, _ in found["raised"]]
    assert len(asked) == 1
    assert {"error", "bias"} & set(raised)
    registry = ModelRegistry(MlflowClient())
    assert registry.version(config.lifecycle.model, validated.version).tags[tag.MONITOR_ALARMS]


def test_a_night_of_ones_own_choice(config: RossmannConfig) -> None:
    assert monitor(config, revision=night(config, 0), day=pd.Timestamp("2014-09-05"))["day"] == "2014-09-05"
