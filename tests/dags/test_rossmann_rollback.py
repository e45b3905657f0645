"""The rollback's graph and form, with one person and with two, and the weekly upkeep's."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import ParamValidationError

from include.lifecycle.config.approval import RollbackConfig
from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.load import load_lifecycle_config
from tests.airflow_home import PROJECT


@pytest.fixture
def dag(bag: Any) -> Any:
    return bag.dags["rossmann_rollback"]


def test_one_person_is_enough_by_default(dag: Any) -> None:
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == {
        "check": {"rollback"},
        "rollback": set(),
    }
    rollback = dag.get_task("rollback")
    assert rollback.approval_task_id is None
    assert rollback.integrity == "required"
    assert dag.get_task("check").step == ["check"]


def test_a_second_person_can_be_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    content = yaml.safe_load((SHIPPED / "rossmann.yaml").read_text(encoding="utf-8"))
    content["lifecycle"]["rollback"] |= {"require_second_person": True, "expires_after_hours": 2}
    file = tmp_path / "rossmann.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("RETRAIN_CONFIG", str(file))
    bag = DagBag(dag_folder=str(PROJECT / "dags" / "rossmann_rollback.py"))
    assert bag.import_errors == {}
    dag = bag.dags["rossmann_rollback"]
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == {
        "check": {"await_approval"},
        "await_approval": {"rollback"},
        "rollback": set(),
    }
    assert dag.get_task("await_approval").response_timeout.total_seconds() == 7200
    assert dag.get_task("rollback").policy.four_eyes
    assert dag.get_task("rollback").approval_task_id == "await_approval"


def test_a_policy_that_nobody_could_meet_is_refused() -> None:
    with pytest.raises(ValueError, match="require_second_person"):
        RollbackConfig.model_validate({"policy": {"four_eyes": True}})
    for possible in ({"approvers": ["role:Admin"]}, {"approvers": ["user:ana"]}, {}):
        assert RollbackConfig.model_validate({"policy": possible})
    with pytest.raises(ValueError, match="exempt from blackouts"):
        RollbackConfig.model_validate({"policy": {"evidence_max_age_days": 3}})


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        ({"reason": "3 oversells", "version": 2}, True),
        ({"reason": "3 oversells"}, True),
        ({"reason": "3 oversells", "version": None}, True),
        ({}, False),
        ({"reason": ""}, False),
        ({"reason": " \n"}, False),
        ({"reason": "x" * 1001}, False),
        ({"reason": "x", "version": 0}, False),
        ({"reason": "x", "version": "2; DROP TABLE"}, False),
    ],
)
def test_the_form(dag: Any, form: dict[str, Any], taken: bool) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    # as the API server does with what the form sends
    params = DagSerialization.from_dict(DagSerialization.to_dict(dag)).params.deep_merge(form)
    if taken:
        assert params.validate()["reason"] == "3 oversells"
    else:
        with pytest.raises(ParamValidationError):
            params.validate()


def test_the_upkeep_deletes_only_when_told(bag: Any) -> None:
    dag = bag.dags["rossmann_maintenance"]
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == {
        "reconcile": {"retention"},
        "retention": set(),
    }
    assert dag.params["delete"] is False
    assert dag.get_task("retention").config == load_lifecycle_config("rossmann").retention
