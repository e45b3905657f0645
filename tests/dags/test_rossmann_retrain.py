"""The graph of the nightly retrain, what its tasks are given, and what parsing it costs."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.load import load_lifecycle_config
from tests.airflow_home import PROJECT
from tests.bench.parsing import parse

CONFIG = load_lifecycle_config("rossmann")
BOOSTERS = {"train_lightgbm", "train_xgboost", "train_catboost"}
GRAPH = {
    "pull": {"features"},
    "features": BOOSTERS,
    **{booster: {"ensemble"} for booster in BOOSTERS},
    "ensemble": {"register"},
    "register": {"validate"},
    "validate": {"stage"},
    "stage": {"review"},
    "review": {"await_approval"},
    "await_approval": {"promote", "record_decision"},
    "promote": {"confirm"},
    "confirm": set(),
    "record_decision": set(),
}


@pytest.fixture
def dag(bag: Any) -> Any:
    return bag.dags["rossmann_retrain"]


def test_the_graph(dag: Any) -> None:
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == GRAPH


def test_in_containers_nothing_else_differs(dag: Any) -> None:
    """The same DAG file under ``runner: docker``, in a process of its own: Airflow keeps what it parsed."""
    script = (
        "import json, sys; from tests.airflow_home import PROJECT, prepare; prepare();"
        "from airflow.dag_processing.dagbag import DagBag;"
        "found = DagBag(dag_folder=str(PROJECT / 'dags' / 'rossmann_retrain.py')).dags['rossmann_retrain'];"
        "print(json.dumps([[t.task_id, type(t).__name__, sorted(t.downstream_task_ids), getattr(t, 'step', None),"
        " getattr(t, 'env', None), getattr(t, 'image', None), t.retries, getattr(t, 'environment', None)]"
        " for t in found.tasks]))"
    )
    environment = {**os.environ, "RETRAIN_RUNNER": "docker", "RETRAIN_IMAGE": "trainer@sha256:1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for task_id, kind, downstream, step, env, image, retries, fixed in json.loads(done.stdout.splitlines()[-1]):
        here = dag.get_task(task_id)
        assert (set(downstream), step, env, retries) == (
            set(here.downstream_task_ids),
            getattr(here, "step", None),
            getattr(here, "env", None),
            here.retries,
        )
        if step is not None:
            assert (kind, image) == ("ContainerStepOperator", "trainer@sha256:1")
            assert type(here).__name__ == "PipelineStepOperator"
            text = (SHIPPED / "rossmann.yaml").read_text(encoding="utf-8")
            assert fixed == {"RETRAIN_CONFIG_TEXT_ROSSMANN": text}, "of this model, and of no other"


def test_the_steps_are_constants(dag: Any) -> None:
    steps = {task.task_id: task.step for task in dag.tasks if hasattr(task, "step")}
    assert steps == {
        "pull": ["pull"],
        "features": ["prepare"],
        "train_lightgbm": ["train", "--member", "lightgbm"],
        "train_xgboost": ["train", "--member", "xgboost"],
        "train_catboost": ["train", "--member", "catboost"],
        "ensemble": ["combine"],
        "register": ["register"],
        "validate": ["validate"],
        "review": ["review"],
    }


def test_trigger_rules(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}
    assert {name: rule for name, rule in rules.items() if rule != "all_success"} == {"record_decision": "all_done"}


def test_the_schedule_comes_from_the_configuration(dag: Any) -> None:
    """Every night, and when the monitoring asks for it."""
    nightly = dag.timetable.timetable
    assert str(getattr(nightly.timezone, "name", nightly.timezone)) == CONFIG.schedule.timezone
    assert nightly.expression == CONFIG.schedule.cron
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == [f"retrain of {CONFIG.model}"]
    assert dag.catchup is False


def test_every_stage_handles_the_version_of_this_run(dag: Any) -> None:
    stage, wait, promote = (dag.get_task(name) for name in ("stage", "await_approval", "promote"))
    assert "task_ids='register'" in stage.version
    assert wait.version == promote.version
    assert "task_ids='stage'" in promote.version
    assert (stage.stage, promote.stage) == ("Staging", "Production")
    assert promote.approval_task_id == "await_approval"
    assert stage.require_validation
    assert promote.require_validation


def test_request_and_promotion_apply_the_same_configured_policy(dag: Any) -> None:
    wait, promote = (dag.get_task(name) for name in ("await_approval", "promote"))
    assert wait.policy == promote.policy == CONFIG.approval.policy
    assert wait.policy.reason_required
    assert wait.timezone == promote.timezone == CONFIG.schedule.timezone


def test_the_wait_is_deferrable_and_expires_as_configured(dag: Any) -> None:
    wait = dag.get_task("await_approval")
    assert wait.deferrable
    assert wait.expires_after.total_seconds() == CONFIG.approval.expires_after_days * 86_400


def test_parsing_imports_no_library_of_machine_learning() -> None:
    assert parse(PROJECT / "dags" / "rossmann_retrain.py").heavy == []
