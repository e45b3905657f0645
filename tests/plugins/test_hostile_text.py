"""Untrusted text through the operators: forms, notes, responses and what a step is given."""

import json
from pathlib import Path
from typing import Any

import pytest

from include.lifecycle.registry import ModelRegistry
from include.lifecycle.text import storable
from model_registry.approvals import Recorded, as_reason, decision_of_response
from model_registry.exceptions import LifecycleRefusedError, StepRefusedError
from model_registry.operators import ModelStageOperator
from model_registry.rollback import ModelRollbackOperator
from model_registry.steps import PipelineStepOperator
from tests.hostile import HOSTILE, MARKUP, MEGABYTE
from tests.registry_server import add_version, stage_of

TEXTS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
ECHO = """
import json, os, pathlib
print(json.dumps({"note": os.environ.get("RETRAIN_NOTE"), "files": os.listdir(".")}))
"""


def response(text: str, user: str = "ana") -> dict[str, Any]:
    return {
        "chosen_options": ["Approve"],
        "params_input": {"reason": text},
        "responded_at": "2026-01-01T00:00:00+00:00",
        "responded_by_user": {"id": user, "name": user},
    }


@TEXTS
def test_a_step_is_given_the_text_and_nothing_runs_it(tmp_path: Path, connect: Any, text: str) -> None:
    (tmp_path / "echo_step.py").write_text(ECHO, encoding="utf-8")
    connect("mlflow_default", host="mlflow")
    step = PipelineStepOperator(
        task_id="echo", step=["echo"], module="echo_step", cwd=str(tmp_path), env={"RETRAIN_NOTE": text}
    )
    result = step.execute({})  # type: ignore[typeddict-item]
    assert result["note"] == storable(text)
    assert "pwned" not in result["files"]


def test_a_step_is_given_no_megabyte(tmp_path: Path, connect: Any) -> None:
    connect("mlflow_default", host="mlflow")
    step = PipelineStepOperator(
        task_id="echo", step=["echo"], module="echo_step", cwd=str(tmp_path), env={"RETRAIN_NOTE": MEGABYTE}
    )
    with pytest.raises(StepRefusedError, match="RETRAIN_NOTE is longer than 100000 bytes") as raised:
        step.execute({})  # type: ignore[typeddict-item]
    assert len(str(raised.value)) < 200


@TEXTS
def test_a_response_and_its_way_into_the_registry(mlflow: str, model: str, task: Any, text: str) -> None:
    version = add_version(mlflow, model, stage="Staging")
    decision = decision_of_response(response(text, user=text), dag_id="d", run_id=text)
    task.xcom_push("return_value", Recorded(model, version, decision).to_xcom())
    task.xcoms["await_approval", "return_value"] = task.xcoms.pop(("promote", "return_value"))
    task.states["await_approval"] = "success"
    result = ModelStageOperator(
        task_id="promote", model_name=model, version=version, stage="Production", approval_task_id="await_approval",
        airflow_conn_id=None,
    ).execute(task.context)  # fmt: skip
    json.dumps(result).encode()
    registry = ModelRegistry(tracking_uri=mlflow)
    assert registry.history(model)[-1].reason == as_reason(text)
    description = registry.version(model, version).description
    for markup in MARKUP:
        assert markup not in description


@TEXTS
def test_a_rollbacks_reason(mlflow: str, model: str, task: Any, text: str) -> None:
    for _ in range(2):
        version = add_version(mlflow, model, stage="Staging")
        ModelStageOperator(task_id="promote", model_name=model, version=version, stage="Production").execute(
            task.context
        )
    operator = ModelRollbackOperator(task_id="rollback", model_name=model, version="1", airflow_conn_id=None)
    json.dumps(operator.execute({**task.context, "params": {"reason": text}})).encode()  # type: ignore[typeddict-item]
    assert ModelRegistry(tracking_uri=mlflow).history(model)[-1].reason == as_reason(text)


def test_a_megabyte_of_reason_is_cut_where_a_person_cannot_correct_it(mlflow: str, model: str) -> None:
    decision = decision_of_response(response(MEGABYTE), dag_id="d", run_id="r")
    assert len(decision.reason) == 2000
    assert decision.reason.endswith("…")


@TEXTS
def test_hostile_names_and_versions_are_refused_with_a_sentence(mlflow: str, model: str, task: Any, text: str) -> None:
    add_version(mlflow, model, stage="Staging")
    for arguments in ({"model_name": model, "version": text}, {"model_name": storable(text), "version": "1"}):
        operator = ModelStageOperator(task_id="promote", stage="Production", **arguments)
        with pytest.raises(LifecycleRefusedError) as raised:
            operator.execute(task.context)
        assert len(str(raised.value)) < 2500
    assert stage_of(mlflow, model, 1) == "Staging"
