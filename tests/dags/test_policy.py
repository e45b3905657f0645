"""What every DAG in dags/ keeps to."""

import ast
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import PROJECT

FILES = sorted((PROJECT / "dags").glob("*.py"))
MAX_LINES = 40


def test_there_are_files() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_named_like_its_dag_or_their_model_and_short(bag: Any, file: Path) -> None:
    found = {dag.dag_id for dag in bag.dags.values() if Path(dag.fileloc) == file}
    kinds = ("retrain", "predict", "monitor", "rollback", "maintenance")
    assert found in ({file.stem}, {f"{file.stem}_{kind}" for kind in kinds})
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_heavy_import_and_no_moving_date(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert modules <= {"datetime", "pendulum", "airflow", "include", "model_registry"}
    calls = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert calls.isdisjoint({"today", "now", "utcnow"})


def test_every_dag_has_owner_tags_docs_and_does_not_catch_up(bag: Any) -> None:
    for dag in bag.dags.values():
        assert dag.owner not in ("", "airflow"), dag.dag_id
        assert dag.tags, dag.dag_id
        assert dag.description, dag.dag_id
        assert len(dag.doc_md or "") > 500, dag.dag_id
        assert dag.catchup is False, dag.dag_id
        assert dag.max_active_runs >= 8, f"{dag.dag_id}: a waiting run must not block the next night"


def test_every_task_has_retries_with_back_off_and_a_time_out(bag: Any) -> None:
    for dag in bag.dags.values():
        for task in dag.tasks:
            name = f"{dag.dag_id}.{task.task_id}"
            assert task.retries >= 1, name
            assert task.retry_exponential_backoff, name
            assert timedelta(0) < task.max_retry_delay <= timedelta(hours=1), name
            assert timedelta(0) < task.execution_timeout <= timedelta(hours=12), name
            assert task.pool == "default_pool", f"{name}: a pool that is missing stops every run"


def test_every_form_field_is_typed_and_described(bag: Any) -> None:
    for dag in bag.dags.values():
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.schema.get("type"), f"{dag.dag_id}: {name}"
            assert param.schema.get("title"), f"{dag.dag_id}: {name}"
            assert param.description, f"{dag.dag_id}: {name}"
            assert param.schema["type"] != "string" or param.schema.get("maxLength"), f"{dag.dag_id}: {name}"


def test_what_a_user_types_reaches_a_step_through_its_environment_only(bag: Any) -> None:
    for dag in bag.dags.values():
        for task in dag.tasks:
            for name in task.template_fields:
                text = repr(getattr(task, name))
                assert name == "env" or "params." not in text, f"{dag.dag_id}.{task.task_id}: {name}"
