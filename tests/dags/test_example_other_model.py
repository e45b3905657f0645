"""The README's example for another model runs on a real MLflow server."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import example_bag

MODEL = "churn-classifier"


@pytest.fixture
def mlflow(mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of its own: on the shared one, other tests tell the ledger of this model about versions too."""
    from tests.registry_server import lead_to, mlflow_server

    with mlflow_server(tmp_path, mlflow_template) as url:
        yield lead_to(monkeypatch, url)


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Put back the signal handler that a task run in this process replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_example_stages_waits_and_promotes(mlflow: str, sigterm: None) -> None:
    from airflow.utils.db import initdb

    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.rules.decisions import Channel, Decision, Outcome
    from tests.registry_server import add_version, stage_of, tags_of

    initdb()
    bag = example_bag()
    old = add_version(mlflow, MODEL, stage="Production")
    version = add_version(mlflow, MODEL)

    def approve_from_the_command_line() -> None:
        registry = ModelRegistry(tracking_uri=mlflow)
        while version not in {ask.version for ask in registry.ledger(MODEL).read().statements.asks.values()}:
            time.sleep(0.2)
        registry.promote(MODEL, version, Decision(Outcome.APPROVED, user="carl", reason="by hand", door=Channel.CLI))

    person = threading.Thread(target=approve_from_the_command_line, daemon=True)
    person.start()
    run: Any = bag.dags["example_other_model"].test(run_conf={"version": version})
    person.join(60)
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    assert states == {
        "stage": "success",
        "await_approval": "success",
        "promote": "success",
        "record_decision": "skipped",
    }
    assert (stage_of(mlflow, MODEL, version), stage_of(mlflow, MODEL, old)) == ("Production", "Archived")
    assert tags_of(mlflow, MODEL, version)["decision.user"] == "carl"
