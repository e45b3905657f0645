"""The steps: what they log, that they can run again, what they refuse."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle.cli import people
from include.lifecycle.cli import record as ledger_commands
from include.lifecycle.errors import ArtifactsChangedError, BadInputError, GateFailedError, TransitionRefusedError
from include.lifecycle.ledger.statements import Validation
from include.lifecycle.moves.integrity import artifact_location
from include.lifecycle.moves.model_registry import ModelRegistry
from include.models.rossmann.config import load_config
from include.models.rossmann.metrics import rmspe
from include.retraining.predict.request import PredictionRequest
from include.retraining.provenance import CodeVersion, code_version
from include.retraining.run import Origin, RetrainRun
from tests.rossmann.command_line import run
from tests.rossmann.conftest import ORIGIN, Retrain, write_config
from tests.rossmann.steps import predict, pull, register, validate

ROOT = Path(__file__).resolve().parents[2]
MODEL = "rossmann-ensemble"


def run_data(retrain: Retrain) -> tuple[dict[str, str], dict[str, float], dict[str, str]]:
    data = MlflowClient().get_run(retrain.run_id).data
    return data.params, data.metrics, data.tags


def test_pull_names_the_data_exactly(retrain: Retrain) -> None:
    result = retrain.results["pull"]
    _, metrics, tags = run_data(retrain)
    assert tags["data.version"] == result["data_version"]
    assert tags["data.registry_commit"] == result["registry_commit"]
    assert result["files"] == {name.removeprefix("data.md5."): v for name, v in tags.items() if "data.md5." in name}
    assert set(result["files"]) == {"data/train.csv", "data/store.csv", "data/future.csv"}  # type: ignore[call-overload]
    assert metrics["data_rows"] == len(retrain.data.train) == result["rows"]
    assert tags["airflow.run_id"] == ORIGIN.dag_run_id
    assert tags["note"] == "a note"


def test_retried_pull_goes_on_with_its_run(retrain: Retrain) -> None:
    assert pull(load_config(), ORIGIN)["run_id"] == retrain.run_id
    assert pull(load_config(), Origin("rossmann_retrain", "manual__other"))["run_id"] != retrain.run_id


def test_a_failed_step_leaves_its_reason_on_the_run(retrain: Retrain, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin("rossmann_retrain", "manual__bad_revision")
    with pytest.raises(BadInputError, match="no-such-branch"):
        pull(load_config(), origin, revision="no-such-branch")
    run = MlflowClient().search_runs(
        [MlflowClient().get_run(retrain.run_id).info.experiment_id], f"tags.`retrain.key` = '{origin.key}'"
    )[0]
    assert run.info.status == "FAILED"
    assert "no-such-branch" in run.data.tags["failure"]


def test_every_booster_is_a_nested_run(retrain: Retrain) -> None:
    run = RetrainRun(MlflowClient(), retrain.run_id)
    for booster in load_config().boosters:
        member = run.member(booster).run
        assert member.data.tags["mlflow.parentRunId"] == retrain.run_id
        assert member.data.params["rounds"] == "15"
        assert member.data.params["learning_rate"] == "0.2"
        assert {"holdout_rmspe", "cv_rmspe_fold1", "cv_rmspe_fold2", "cv_rmspe_fold3"} <= set(member.data.metrics)
        names = {item.path for item in MlflowClient().list_artifacts(member.info.run_id, "member")}
        assert names == {f"member/{n}" for n in ("backtest", "served", "importance.csv")}


def test_ensemble_logs_weights_folds_and_gain(retrain: Retrain) -> None:
    _, metrics, _ = run_data(retrain)
    weights = [value for name, value in metrics.items() if name.startswith("weight_")]
    assert len(weights) == 3
    assert min(weights) >= 0
    assert math.isclose(sum(weights), 1.0)
    members = [value for name, value in metrics.items() if name.startswith("holdout_rmspe_") and "naive" not in name]
    assert math.isclose(metrics["ensemble_gain"], min(members) - metrics["holdout_rmspe"])
    folds = [metrics[f"cv_rmspe_fold{number}"] for number in (1, 2, 3)]
    assert math.isclose(metrics["cv_rmspe_mean"], sum(folds) / 3)


def test_version_says_what_it_is(retrain: Retrain) -> None:
    version = ModelRegistry(MlflowClient()).version(MODEL, retrain.version)
    assert version.tags["training.end"] == str(retrain.data.train["Date"].max().date())
    assert version.tags["data.version"] == retrain.results["pull"]["data_version"]
    assert version.tags["airflow.dag_id"] == "rossmann_retrain"
    assert version.tags["airflow.run_id"] == ORIGIN.dag_run_id
    assert {"code.commit", "code.dirty", "holdout.start", "holdout.end", "holdout_rmspe"} <= set(version.tags)
    assert set(json.loads(version.tags["ensemble.weights"])) == {"lightgbm", "xgboost", "catboost"}
    assert json.loads(version.tags["libraries"])["lightgbm"]
    assert "Weighted blend" in version.description


def test_retried_register_finds_its_version(retrain: Retrain) -> None:
    before = len(MlflowClient().search_model_versions(f"name = '{MODEL}'"))
    assert register(load_config(), retrain.run_id)["version"] == retrain.version
    assert len(MlflowClient().search_model_versions(f"name = '{MODEL}'")) == before


def test_a_twin_from_a_repeated_request_is_removed(retrain: Retrain) -> None:
    client = MlflowClient()
    original = client.get_model_version(MODEL, str(retrain.version))
    twin = client.create_model_version(MODEL, original.source, original.run_id, tags=original.tags)
    assert register(load_config(), retrain.run_id)["version"] == retrain.version
    assert twin.version not in {v.version for v in client.search_model_versions(f"name = '{MODEL}'")}


def test_validation_agrees_with_the_ensemble_step(retrain: Retrain) -> None:
    registry = ModelRegistry(MlflowClient())
    assert "validation.outcome" not in registry.version(MODEL, retrain.version).tags
    result = validate(load_config(), run_id=retrain.run_id)
    _, metrics, _ = run_data(retrain)
    assert result["version"] == retrain.version
    assert math.isclose(result["rmspe"], metrics["holdout_rmspe"], rel_tol=1e-9)
    tags = registry.version(MODEL, retrain.version).tags
    assert tags["validation.outcome"] == "passed"
    assert tags["validation.data_version"] == retrain.results["pull"]["data_version"]
    said = registry.ledger(MODEL).read().statements.validations[retrain.version].what
    assert said.to_dict() == result["validation"]
    assert (said.outcome, said.digest, said.data_version) == ("passed", tags["artifacts.digest"], tags["data.version"])
    assert (float(said.value), float(said.threshold)) == (result["rmspe"], 0.5)
    assert said.rows


def test_what_a_task_validates_the_task_enters_in_the_ledger(retrain: Retrain, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ModelRegistry(MlflowClient())
    monkeypatch.setenv("RETRAIN_IN_AIRFLOW", "1")
    result = validate(load_config(), run_id=retrain.run_id)
    assert registry.version(MODEL, retrain.version).tags["validation.outcome"] == "passed"
    assert registry.ledger(MODEL).read().entries == ()
    with pytest.raises(TransitionRefusedError, match="knows no validation"):
        registry.stage(MODEL, retrain.version)
    registry.validated(Validation.from_dict(json.loads(json.dumps(result["validation"]))))
    assert registry.stage(MODEL, retrain.version).changed


def test_failed_gate_is_recorded_and_stops(retrain: Retrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "RETRAIN_CONFIG", str(write_config(tmp_path / "rossmann.yaml", gate={"metric": "rmspe", "threshold": 0.01}))
    )
    registry = ModelRegistry(MlflowClient())
    with pytest.raises(GateFailedError) as raised:
        validate(load_config(), version=retrain.version)
    said = registry.ledger(MODEL).read().statements.validations[retrain.version].what
    assert raised.value.result is not None
    assert raised.value.result["validation"] == said.to_dict()
    assert (raised.value.result["passed"], said.outcome) == (False, "failed")
    registry.client.set_model_version_tag(MODEL, str(retrain.version), "validation.outcome", "passed")
    with pytest.raises(TransitionRefusedError, match="its gate failed"):
        registry.stage(MODEL, retrain.version)
    done = run("validate", "--version", str(retrain.version))
    assert done.returncode == 3
    assert json.loads(done.stdout.strip().splitlines()[-1])["validation"]["outcome"] == "failed"
    info = registry.version(MODEL, retrain.version)
    assert info.tags["validation.outcome"] == "failed"
    assert info.tags["retrain_required"] == "true"
    assert info.stage == "None"
    with pytest.raises(TransitionRefusedError, match="its gate failed"):
        registry.stage(MODEL, retrain.version)
    monkeypatch.setenv("RETRAIN_CONFIG", str(retrain.config_file))
    validate(load_config(), version=retrain.version)
    tags = registry.version(MODEL, retrain.version).tags
    assert tags["validation.outcome"] == "passed"
    assert "retrain_required" not in tags
    assert registry.stage(MODEL, retrain.version).changed


def test_prediction_records_which_version_made_it(validated: Retrain, tmp_path: Path) -> None:
    retrain = validated
    ModelRegistry(MlflowClient()).stage(MODEL, retrain.version)
    output = tmp_path / "out" / "predictions.csv"
    result = predict(load_config(), PredictionRequest(stage="Staging", output=output))
    table = pd.read_csv(output)
    assert list(table)[:5] == ["Id", "Store", "Date", "Sales", "ModelVersion"]
    assert len(table) == len(retrain.data.future) == result["rows"]
    assert set(table["ModelVersion"]) == {retrain.version}
    run = MlflowClient().get_run(str(result["prediction_run_id"]))
    assert run.data.params["version"] == str(retrain.version)
    assert run.data.tags["data.version"] == retrain.results["pull"]["data_version"]
    assert [path.name for path in output.parent.iterdir()] == ["predictions.csv"]


def test_a_file_changed_in_the_artifact_store_is_named_and_nothing_is_predicted(
    validated: Retrain, tmp_path: Path
) -> None:
    client = MlflowClient()
    registry = ModelRegistry(client)
    info = registry.version(MODEL, validated.version)
    assert len(info.tags["artifacts.digest"]) == 64
    registry.stage(MODEL, info.version)
    location = artifact_location(client, MODEL, info.version).removeprefix("file://")
    weights = next(Path(location).rglob("artifacts/served/**/lightgbm.*"))
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + b"?")
    try:
        with pytest.raises(ArtifactsChangedError, match=rf"served/\S*{weights.name} was changed\)"):
            predict(load_config(), PredictionRequest(stage="Staging", output=tmp_path / "x.csv"))
        with pytest.raises(ArtifactsChangedError):
            validate(load_config(), version=info.version)
    finally:
        weights.write_bytes(before)
    assert not (tmp_path / "x.csv").exists()


def test_prediction_refuses_an_unknown_stage(retrain: Retrain, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'Prod': .*Production or Staging"):
        predict(load_config(), PredictionRequest(stage="Prod", output=tmp_path / "x.csv"))


def test_promotion_and_history_at_the_command_line(validated: Retrain) -> None:
    registry = ModelRegistry(MlflowClient())
    registry.stage(MODEL, validated.version)
    lines = people.Person(load_config().lifecycle).promote(None, "looks right")
    assert lines[0] == f"Model version {validated.version} is now in Production"
    shown = "\n".join(ledger_commands.history(registry, MODEL))
    assert "looks right" in shown
    assert "Staging -> Production" in shown


def test_bad_input_at_the_command_line_is_one_sentence(retrain: Retrain) -> None:
    done = run("validate", "--version", "99")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.sentence.startswith("error: ")
    assert "99" in done.sentence


def test_step_prints_one_json_object_as_its_last_line(retrain: Retrain) -> None:
    command = [sys.executable, "-m", "include.models.rossmann", "validate", "--version", str(retrain.version)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["passed"] is True


def test_missing_server_is_named(retrain: Retrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    done = run("history")
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_URI is not set" in done.sentence


def test_code_version_without_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_version(tmp_path) == CodeVersion("unknown", None)
    monkeypatch.setenv("RETRAIN_CODE_COMMIT", "abc")
    assert code_version(tmp_path) == CodeVersion("abc", None)


def test_rmspe_counts_only_days_with_sales() -> None:
    sales = pd.Series([100.0, 0.0, 200.0]).to_numpy()
    forecast = pd.Series([110.0, 50.0, 180.0]).to_numpy()
    assert math.isclose(rmspe(sales, forecast), 0.1)
