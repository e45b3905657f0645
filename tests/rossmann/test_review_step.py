"""The review as a step: on the registered version, kept in MLflow, told to the ledger."""

import hashlib
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.lifecycle.cli import people
from include.lifecycle.cli.console import run_cli
from include.lifecycle.errors import GateFailedError, TransitionRefusedError
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.tags import QUICK, TRUE
from include.lifecycle.views.review import QUICK_WORDS
from include.models.rossmann.cli import app
from include.models.rossmann.config import RossmannConfig, load_config
from tests.rossmann.conftest import Retrain, write_config
from tests.rossmann.steps import review

FAST = {"speed": "off"}


def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **review_section: object) -> RossmannConfig:
    import yaml

    file = write_config(tmp_path / "rossmann.yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["lifecycle"]["approval"]["policy"]["review_required"] = True
    content["review"] |= {"replicates": 200, "rules": FAST, **review_section}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("RETRAIN_CONFIG", str(file))
    return load_config()


def registry_of(config: RossmannConfig) -> ModelRegistry:
    return ModelRegistry(MlflowClient(), integrity=config.lifecycle.integrity)


def test_the_review_of_a_retrain(validated: Retrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(tmp_path, monkeypatch)
    registry, model, client = registry_of(config), config.lifecycle.model, MlflowClient()
    client.set_model_version_tag(model, str(validated.version), QUICK, TRUE)
    registry.stage(model, validated.version)
    with pytest.raises(TransitionRefusedError, match="was not reviewed"):
        people.Person(config.lifecycle).promote(None, "looks right")
    printed = review(config, run_id=validated.run_id)
    said = registry.ledger(model).read().review(validated.version)
    assert said is not None
    assert said.to_dict() == printed["review"]
    run_id, path = said.artifact
    page = Path(client.download_artifacts(run_id, path, str(tmp_path))).read_bytes()
    assert hashlib.sha256(page).hexdigest() == said.page
    assert b"<script" not in page
    assert page.count(QUICK_WORDS.encode()) == 1, "for who reads the page; the ledger keeps what was compared"
    assert QUICK_WORDS not in said.headline
    kept = {Path(item.path).name for item in client.list_artifacts(run_id, path.rpartition("/")[0])}
    assert {"review.html", "review.json", "slices-error-by-weekday.png"} <= kept
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["review_gate_value"] == pytest.approx(run.data.metrics["holdout_rmspe"], abs=1e-6), (
        "the same rows and the same member as the gate's: the same figure"
    )
    assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["unseen-rows"]
    logged = client.get_logged_model(registry.version(model, validated.version).source.removeprefix("models:/"))
    assert {metric.key for metric in logged.metrics or ()} >= {"review_gate_value", "review_bias_bias"}
    people.Person(config.lifecycle).promote(None, "looks right")
    assert registry.production(model) is not None


def test_a_blocked_candidate_goes_back_and_the_exit_code_tells(
    validated: Retrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, monkeypatch, rules={**FAST, "bias": "block"}, limits={"bias": 0.0001})
    registry, model = registry_of(config), config.lifecycle.model
    registry.stage(model, validated.version)
    code = run_cli(lambda: app(["review", "--run-id", validated.run_id], standalone_mode=False))
    told = capsys.readouterr()
    assert code == 3
    result = json.loads(told.out.splitlines()[-1])
    assert result["verdict"] == "fail"
    assert Reviewed.from_dict(result["review"]).titles("fail") == ["Bias overall"]
    info = registry.version(model, validated.version)
    assert info.stage == "None"
    assert info.tags["retrain_required"] == "true"
    assert MlflowClient().get_run(validated.run_id).info.status == "FAILED"
    with pytest.raises(GateFailedError):
        review(config, version=validated.version)


def test_in_airflow_the_task_tells_the_ledger(
    validated: Retrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step has no key to the ledger there: what it prints is what the task enters."""
    config = configured(tmp_path, monkeypatch)
    monkeypatch.setenv("RETRAIN_IN_AIRFLOW", "1")
    printed = review(config, run_id=validated.run_id)
    assert registry_of(config).ledger(config.lifecycle.model).read().review(validated.version) is None
    assert Reviewed.from_dict(printed["review"]).version == validated.version
