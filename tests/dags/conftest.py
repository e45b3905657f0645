"""Fixtures of the DAG tests: an Airflow of their own, and the bag of the shipped DAGs."""

from typing import TYPE_CHECKING

import pytest

from tests.airflow_home import PROJECT, prepare

prepare()

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture(scope="session")
def bag() -> "DagBag":
    """Every DAG in dags/."""
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(dag_folder=str(PROJECT / "dags"))
    assert found.import_errors == {}
    assert found.dags, "dags/ holds no DAG"
    return found
