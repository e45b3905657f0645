"""The MLflow run of a retrain: whose it is."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError
from include.lifecycle.registry.client import ensure_experiment
from include.retraining.config.model import ModelConfig
from include.retraining.run import Origin, RetrainRun

GATE = {"metric": "auc", "threshold": 0.7}


def config(experiment: str) -> ModelConfig:
    lifecycle = {"model": experiment, "experiment": experiment, "owner": "team", "gate": GATE}
    return ModelConfig.model_validate({"lifecycle": lifecycle})


def test_a_run_is_found_by_its_own_model_and_by_no_other(mlflow_uri: str, tmp_path: Path) -> None:
    client, own, other = MlflowClient(mlflow_uri), config("own"), config("other")
    made = RetrainRun.open(client, own, Origin("retrain", "night"))
    assert RetrainRun.of(client, own, made.run_id).run_id == made.run_id
    ensure_experiment(client, other.lifecycle.experiment)
    for wrong in (other, config("not-there")):
        with pytest.raises(BadInputError, match=made.run_id):
            RetrainRun.of(client, wrong, made.run_id)


def test_a_members_run_and_one_made_by_hand_are_no_retrain(mlflow_uri: str) -> None:
    client, own = MlflowClient(mlflow_uri), config("own")
    made = RetrainRun.open(client, own, Origin("retrain", "night"))
    by_hand = client.create_run(made.run.info.experiment_id).info.run_id
    for run_id in (made.open_member("lightgbm").run_id, by_hand, "0" * 32):
        with pytest.raises(BadInputError, match=run_id):
            RetrainRun.of(client, own, run_id)
