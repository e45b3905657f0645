"""Untrusted text through the operators: forms, notes, responses and what a step is given."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from include.lifecycle.ledger.statements import as_reason
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.untrusted_text import storable
from model_registry.exceptions import LifecycleRefusedError, StepRefusedError
from model_registry.operators.stage import ModelStageOperator
from model_registry.steps.local import PipelineStepOperator
from tests.hostile import HOSTILE, MARKUP, MEGABYTE
from tests.plugins.api_server import Run
from tests.plugins.asking import approve
from tests.plugins.rollbacks import context, promoted, rollback, triggered
from tests.registry_server import add_version, stage_of

pytestmark = pytest.mark.long

TEXTS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
DOORS = ("mark", "required_actions")
ECHO = """
import json, os, pathlib
print(json.dumps({"note": os.environ.get("RETRAIN_NOTE"), "files": os.listdir(".")}))
"""


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
    with pytest.raises(StepRefusedError, match=r"RETRAIN_NOTE .*100000") as raised:
        step.execute({})  # type: ignore[typeddict-item]
    assert len(str(raised.value)) < 200


@TEXTS
def test_an_answer_and_its_way_into_the_registry(mlflow: str, model: str, task: Any, text: str) -> None:
    version = add_version(mlflow, model, stage="Staging")
    approve(task, model, version, user=text, reason=as_reason(text), requested_by=text)
    result = ModelStageOperator(
        task_id="promote", model_name=model, version=version, stage="Production", approval_task_id="await_approval"
    ).execute(task.context)
    json.dumps(result).encode()
    registry = ModelRegistry(tracking_uri=mlflow)
    event = registry.history(model)[-1]
    assert (event.reason, event.user) == (as_reason(text), storable(text))
    description = registry.version(model, version).description
    for markup in MARKUP:
        assert markup not in description


def typed(run: Run, door: str, text: str) -> Any:
    """Approve with a reason, sent as escaped JSON: a client may send what no text can hold."""
    path, body = {
        "mark": (run.approval, {"new_state": "success", "note": text}),
        "required_actions": (
            f"{run.approval}/-1/hitlDetails", {"chosen_options": ["Approve"], "params_input": {"reason": text}},
        ),
    }[door]  # fmt: skip
    run.ask()
    run.ask_in_required_actions()
    headers = {"Authorization": f"Bearer {run.token('ben')}", "Content-Type": "application/json"}
    return run.client.patch(path, content=json.dumps(body).encode("ascii"), headers=headers)


@pytest.mark.parametrize("text", [text for name, text in HOSTILE.items() if name != "surrogate"])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_typed_in_airflow_is_in_the_ledger(run: Run, door: str, text: str) -> None:
    answer = typed(run, door, text)
    assert answer.status_code == 200, answer.text
    assert run.decided() == ("approved", "ben", as_reason(text), door)


@pytest.mark.parametrize("door", DOORS)
def test_half_a_character_that_airflow_itself_cannot_take_decides_all_or_nothing(run: Run, door: str) -> None:
    with suppress(ValueError):  # Airflow cannot write it into its answer
        typed(run, door, HOSTILE["surrogate"])
    decided = run.state() != "deferred"
    assert run.decided() == (("approved", "ben", as_reason(HOSTILE["surrogate"]), door) if decided else None)


@pytest.mark.parametrize(("door", "status"), [("mark", 422), ("required_actions", 200)])
def test_a_megabyte_typed_in_airflow(run: Run, door: str, status: int) -> None:
    assert typed(run, door, MEGABYTE).status_code == status
    expected = ("approved", "ben", as_reason(MEGABYTE), door)
    assert run.decided() == (expected if status == 200 else None)


@TEXTS
def test_a_rollbacks_reason(mlflow: str, model: str, task: Any, text: str) -> None:
    promoted(mlflow, model)
    triggered(task, model, reason=as_reason(text), user=text)
    json.dumps(rollback(model).execute(context(task))).encode()
    event = ModelRegistry(tracking_uri=mlflow).history(model)[-1]
    assert (event.reason, event.user) == (as_reason(text), storable(text))


@TEXTS
def test_the_reason_of_a_rollback_that_no_login_triggered(mlflow: str, model: str, task: Any, text: str) -> None:
    promoted(mlflow, model)
    json.dumps(rollback(model).execute(context(task, text, user=text))).encode()
    event = ModelRegistry(tracking_uri=mlflow).history(model)[-1]
    assert (event.reason, event.user) == (as_reason(text), storable(text))


def test_a_megabyte_of_reason_is_cut_where_a_person_cannot_correct_it() -> None:
    reason = as_reason(MEGABYTE)
    assert len(reason) == 2000
    assert reason.endswith("…")


@TEXTS
def test_hostile_names_and_versions_are_refused_with_a_sentence(mlflow: str, model: str, task: Any, text: str) -> None:
    add_version(mlflow, model, stage="Staging")
    for arguments in ({"model_name": model, "version": text}, {"model_name": storable(text), "version": "1"}):
        operator = ModelStageOperator(task_id="promote", stage="Production", **arguments)
        with pytest.raises(LifecycleRefusedError) as raised:
            operator.execute(task.context)
        assert len(str(raised.value)) < 2500
    assert stage_of(mlflow, model, 1) == "Staging"
