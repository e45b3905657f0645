"""The nightly prediction: when it runs, what its form takes, what its step is given in a process and in a container."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import yaml
from airflow.sdk.exceptions import ParamValidationError

from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.load import load_lifecycle_config, load_section
from include.retraining.config.prediction import PredictionConfig
from tests.airflow_home import PROJECT
from tests.bench.parsing import parse

CONFIG = load_lifecycle_config("rossmann")
PREDICTION = load_section(PredictionConfig, "prediction", "rossmann")
FILE = PROJECT / "dags" / "rossmann_predict.py"
SCRIPT = """
import json
from tests.airflow_home import PROJECT, prepare
prepare()
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=str(PROJECT / "dags" / "rossmann_predict.py"))
tasks = [task for dag in bag.dags.values() for task in dag.tasks]
mounts = [[dict(mount) for mount in task.mounts] for task in tasks]
given = [[task.step for task in tasks], [task.env for task in tasks], mounts]
print(json.dumps([list(bag.import_errors.values()), *given]))
"""


ECHO = """
import json, os, sys
given = {name: text for name, text in os.environ.items() if name.startswith("RETRAIN_")}
print(json.dumps({"arguments": sys.argv[1:], **given}))
"""
FORM = {"RETRAIN_DAG_ID", "RETRAIN_DAG_RUN_ID", "RETRAIN_STAGE", "RETRAIN_VERSION", "RETRAIN_DATA_REVISION",
        "RETRAIN_INPUT", "RETRAIN_OUTPUT"}  # fmt: skip


@pytest.fixture
def dag(bag: Any) -> Any:
    return bag.dags["rossmann_predict"]


def test_it_runs_at_night_and_when_another_version_comes_into_production(dag: Any) -> None:
    from airflow.sdk import AssetOrTimeSchedule
    from airflow.sdk.definitions.timetables.trigger import CronTriggerTimetable

    from model_registry.assets import production_asset

    schedule = dag.timetable
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert isinstance(schedule.timetable, CronTriggerTimetable)
    assert schedule.timetable.expression == PREDICTION.schedule.cron
    zone = schedule.timetable.timezone
    assert str(getattr(zone, "name", zone)) == PREDICTION.schedule.timezone
    assert list(schedule.asset_condition.objects) == [production_asset(CONFIG.model)]


def test_airflow_s_scheduler_knows_both_causes(dag: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    known = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert known.timetable.summary == f"Asset or {PREDICTION.schedule.cron}"
    assert [asset.uri for _, asset in known.timetable.asset_condition.iter_assets()] == [
        f"x-mlflow://production/{CONFIG.model}"
    ]


def test_one_task_that_publishes(dag: Any) -> None:
    assert [task.task_id for task in dag.tasks] == ["predict"]
    task = dag.get_task("predict")
    assert task.step == ["predict", "--publish"]
    assert task.mlflow_conn_id == CONFIG.connections.mlflow
    assert task.execution_timeout.total_seconds() == CONFIG.tasks.step_timeout_minutes * 60


def rendered(dag: Any, form: dict[str, Any]) -> dict[str, str]:
    """What the step is given for a form, as Airflow's templates make it."""
    context = {
        "params": {**dag.params.dump(), **form},
        "dag": dag,
        "run_id": "scheduled__2026-11-26T04:00:00+00:00",
        "dag_run": SimpleNamespace(run_after="2026-11-26 04:00:00+00:00"),
    }
    env = dag.get_task("predict").env
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return {name: environment.from_string(text).render(context) for name, text in env.items()}


def test_a_scheduled_run_names_itself_and_asks_for_the_configured_stage(dag: Any) -> None:
    assert rendered(dag, {}) == {
        "RETRAIN_DAG_ID": "rossmann_predict",
        "RETRAIN_DAG_RUN_ID": "scheduled__2026-11-26T04:00:00+00:00",
        "RETRAIN_RUN_AFTER": "2026-11-26 04:00:00+00:00",
        "RETRAIN_STAGE": PREDICTION.stage,
        "RETRAIN_VERSION": "",
        "RETRAIN_DATA_REVISION": "",
        "RETRAIN_INPUT": "",
        "RETRAIN_OUTPUT": "",
    }


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Put back the signal handler that a task run in this process replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_run_in_airflow_gives_the_step_the_form_and_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sigterm: None
) -> None:
    """With a package in place of ``include.models.rossmann`` that only says what it was given."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    package = tmp_path / "include" / "models" / "rossmann"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(ECHO, encoding="utf-8")
    for folder in (package, package.parent, package.parents[1]):
        (folder / "__init__.py").touch()
    monkeypatch.setattr("model_registry.steps.local.PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps({"conn_type": "http", "host": "h", "port": 1}))
    monkeypatch.setenv("RETRAIN_LEDGER_KEY", "a key that no step may see")
    initdb()
    bag = DagBag(dag_folder=str(FILE), bundle_path=FILE.parent, bundle_name="dags")
    run: Any = bag.dags["rossmann_predict"].test(run_conf={"version": 3, "output": "x.csv"})
    (task,) = run.get_task_instances()
    assert str(task.state) == "success"
    given = task.xcom_pull(task_ids="predict")
    assert given.pop("arguments") == ["predict", "--publish"]
    assert datetime.fromisoformat(given.pop("RETRAIN_RUN_AFTER")) == run.run_after
    assert {name: text for name, text in given.items() if name in FORM} == {
        "RETRAIN_DAG_ID": "rossmann_predict",
        "RETRAIN_DAG_RUN_ID": run.run_id,
        "RETRAIN_STAGE": "",
        "RETRAIN_VERSION": "3",
        "RETRAIN_DATA_REVISION": "",
        "RETRAIN_INPUT": "",
        "RETRAIN_OUTPUT": "x.csv",
    }
    assert [name for name in given if "LEDGER_KEY" in name] == []


def test_a_version_takes_the_place_of_the_stage(dag: Any) -> None:
    given = rendered(dag, {"version": 3, "data_revision": "v2", "input": "a/b.csv", "output": "c.parquet"})
    assert (given["RETRAIN_STAGE"], given["RETRAIN_VERSION"]) == ("", "3")
    assert (given["RETRAIN_DATA_REVISION"], given["RETRAIN_INPUT"], given["RETRAIN_OUTPUT"]) == (
        "v2",
        "a/b.csv",
        "c.parquet",
    )


def test_the_step_reads_what_it_is_given(dag: Any) -> None:
    """Every variable of the task is one of the command's, so that none is silently ignored."""
    from include.models.rossmann.cli import app

    command = next(item for item in app.registered_commands if item.callback.__name__ == "predict")
    known = {
        option.envvar
        for hint in command.callback.__annotations__.values()
        for option in getattr(hint, "__metadata__", ())
        if option.envvar
    }
    assert set(dag.get_task("predict").env) == known


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        ({}, True),
        ({"stage": "Staging"}, True),
        ({"stage": "Archived"}, False),
        ({"version": 3}, True),
        ({"version": 0}, False),
        ({"version": "3; rm"}, False),
        ({"input": "campaign/stores.csv", "output": "stores.parquet"}, True),
        ({"input": None, "output": None}, True),
        ({"input": "/etc/passwd"}, False),
        ({"input": "https://example.org/x.csv"}, False),
        ({"output": "../x.csv"}, False),
        ({"output": "a/../../x.csv"}, False),
        ({"output": "s3://bucket/x.csv"}, False),
        ({"output": "x" * 201}, False),
        ({"data_revision": "x" * 201}, False),
    ],
)
def test_the_form(dag: Any, form: dict[str, Any], taken: bool) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    # as the API server does with what the form sends
    params = DagSerialization.from_dict(DagSerialization.to_dict(dag)).params.deep_merge(form)
    if taken:
        assert params.validate()["stage"] == form.get("stage", PREDICTION.stage)
    else:
        with pytest.raises(ParamValidationError):
            params.validate()


def contained(tmp_path: Path, **prediction: object) -> list[Any]:
    """Errors, steps, environments and mounts of the same DAG file under ``runner: docker``, in a process of its own."""
    content = yaml.safe_load((SHIPPED / "rossmann.yaml").read_text(encoding="utf-8"))
    content["prediction"] |= prediction
    (tmp_path / "rossmann.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    environment = {**os.environ, "RETRAIN_RUNNER": "docker", "RETRAIN_CONFIG": str(tmp_path / "rossmann.yaml")}
    environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")])
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_in_a_container_the_place_is_a_volume(dag: Any, tmp_path: Path) -> None:
    errors, (step,), (env,), (mounts,) = contained(tmp_path)
    assert (errors, step) == ([], dag.get_task("predict").step)
    assert env == {**dag.get_task("predict").env, "RETRAIN_PREDICTIONS": "/predictions"}
    assert [(m["Source"], m["Target"], m["Type"], m["ReadOnly"]) for m in mounts] == [
        ("retrain-predictions", "/predictions", "volume", False)
    ]


def test_in_a_container_a_url_needs_no_volume(tmp_path: Path) -> None:
    errors, _, (env,), (mounts,) = contained(tmp_path, place="s3://bucket/out")
    assert (errors, mounts) == ([], [])
    assert env["RETRAIN_PREDICTIONS"] == "s3://bucket/out"


def test_in_a_container_a_folder_that_would_go_with_it_is_refused(tmp_path: Path) -> None:
    (error,), _, _, _ = contained(tmp_path, volume=None)
    assert "name a volume in prediction.volume, or a URL in prediction.place" in error


def test_parsing_imports_no_library_of_machine_learning() -> None:
    assert parse(FILE).heavy == []
