import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from local_stack import preparation
from local_stack.airflow_server import AirflowServer
from local_stack.credentials import Credentials
from local_stack.errors import StackError
from local_stack.session import how_to_approve
from local_stack.stack import PROJECT, clean_environment


@pytest.fixture
def environment(tmp_path):
    airflow = AirflowServer(tmp_path, 18080, PROJECT, Credentials("admin", 'pass"word', "secret"))
    return airflow.environment("http://127.0.0.1:15000", "/data")


def test_airflow_listens_on_this_machine_only(environment):
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_tasks_are_forked_from_a_process_that_has_imported_mlflow(environment):
    assert environment["AIRFLOW__SCHEDULER__MP_START_METHOD"] == "forkserver"
    preloaded = environment["AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"].split(",")
    assert "mlflow" in preloaded
    assert all(map(find_spec, preloaded)), "Python says nothing of a name that it cannot import there"


def test_every_address_follows_the_port(environment):
    assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:18080"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert json.loads(environment["AIRFLOW_CONN_MLFLOW_DEFAULT"])["port"] == 15000


def test_no_password_of_airflow_is_in_the_environment_of_its_tasks(environment):
    assert not [name for name, text in environment.items() if 'pass"word' in text]


def test_the_project_is_what_airflow_runs(environment):
    assert Path(environment["AIRFLOW__CORE__DAGS_FOLDER"]).parent == PROJECT
    assert environment["PYTHONPATH"] == str(PROJECT)
    assert environment["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_settings_of_another_airflow_or_mlflow_stay_out():
    kept = clean_environment(
        {
            "AIRFLOW_HOME": "/a",
            "AIRFLOW__CORE__EXECUTOR": "x",
            "MLFLOW_TRACKING_URI": "http://prod",
            "HOME": "/h",
        }
    )
    assert kept["HOME"] == "/h"
    assert not {"AIRFLOW_HOME", "AIRFLOW__CORE__EXECUTOR", "MLFLOW_TRACKING_URI"} & set(kept)


def test_a_proxy_is_not_asked_for_this_machine():
    kept = clean_environment({"http_proxy": "http://proxy", "no_proxy": "intern"})
    assert kept["no_proxy"] == "intern,127.0.0.1,localhost"
    assert kept["NO_PROXY"] == "127.0.0.1,localhost"


def test_interpreters_by_name_are_those_of_this_environment():
    assert clean_environment({"PATH": "/usr/bin"})["PATH"].endswith(f"{os.pathsep}/usr/bin")


def cannot_load(reason):
    def load(path):
        raise OSError(reason)

    return load


def test_the_boosters_load_here():
    preparation.require_boosters()


@pytest.mark.parametrize(
    "library", ["libgomp.so.1: cannot open shared object file", "Library not loaded: libomp.dylib"]
)
def test_a_missing_openmp_says_how_to_get_it(monkeypatch, library):
    monkeypatch.setattr(preparation.ctypes, "CDLL", cannot_load(library))
    with pytest.raises(StackError, match=r"install libgomp1[\s\S]*install libomp"):
        preparation.require_boosters()


def test_another_reason_is_passed_on(monkeypatch):
    monkeypatch.setattr(preparation.ctypes, "CDLL", cannot_load("wrong ELF class"))
    with pytest.raises(StackError, match="wrong ELF class"):
        preparation.require_boosters()


def test_a_data_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StackError, match="there is no folder"):
        preparation.data_registry(None, "rossmann", tmp_path, tmp_path / "missing")


def test_how_to_approve_names_the_very_task():
    text = "\n".join(how_to_approve("http://127.0.0.1:8080", "rossmann_retrain", "manual__2026-01-01T00:00:00+00:00"))
    assert "/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/await_approval" in text
