"""The asset of a model's Production version: which tasks make an event of it, and what that starts."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import prepare

prepare()

PRODUCER = """
import pendulum
from airflow.sdk import DAG, Param
from model_registry.operators.stage import ModelStageOperator
from model_registry.operators.rollback import ModelRollbackOperator

with DAG(dag_id="asset_producer", schedule=None, start_date=pendulum.datetime(2026, 1, 1),
         params={"version": Param(1, type="integer"), "reason": Param("bad figures", type="string")}):
    ModelStageOperator(task_id="promote", model_name="MODEL", version="{{ params.version }}", stage="Production")

with DAG(dag_id="asset_rollback", schedule=None, start_date=pendulum.datetime(2026, 1, 1),
         params={"version": Param(1, type="integer"), "reason": Param("bad figures", type="string")}):
    ModelRollbackOperator(task_id="rollback", model_name="MODEL", version="{{ params.version }}")
"""
CONSUMER = """
import pendulum
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
from model_registry.assets import production_asset

with DAG(dag_id="asset_consumer", schedule=[production_asset("MODEL")], start_date=pendulum.datetime(2026, 1, 1),
         is_paused_upon_creation=False):
    EmptyOperator(task_id="consume")
"""
MODEL = "asset-model ü"


@pytest.fixture
def mlflow(mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    from tests.registry_server import lead_to, shared_server

    return lead_to(monkeypatch, shared_server(tmp_path_factory.mktemp("mlflow-server"), mlflow_template))


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Put back the signal handler that a task run in this process replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def dags() -> Iterator[dict[str, Any]]:
    """Producer and consumer, known to an Airflow of their own."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    folder = prepare() / "examples"
    for name, code in (("asset_producer", PRODUCER), ("asset_consumer", CONSUMER)):
        (folder / f"{name}.py").write_text(code.replace("MODEL", MODEL), encoding="utf-8")
    try:
        bag = DagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="examples")
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "examples", None)
        yield bag.dags
    finally:
        for name in ("asset_producer", "asset_consumer"):
            (folder / f"{name}.py").unlink()


def extras() -> list[dict[str, Any]]:
    """Return what the asset's events carry, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from model_registry.assets import production_asset

    asset = production_asset(MODEL)
    with create_session() as session:
        query = (
            select(AssetEvent)
            .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            .where(AssetModel.name == asset.name, AssetModel.uri == asset.uri)
        )
        return [dict(event.extra) for event in session.scalars(query.order_by(AssetEvent.id))]


def queued() -> list[str]:
    """Return the DAGs for which the scheduler has a run to start."""
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return list(session.scalars(select(AssetDagRunQueue.target_dag_id)))


def run(dag: Any, version: int) -> str:
    return str(dag.test(run_conf={"version": version}).state)


def test_a_promotion_and_a_rollback_make_one_event_each_and_start_who_waits_for_it(
    mlflow: str, dags: dict[str, Any], sigterm: None
) -> None:
    from include.lifecycle.ledger.anchors import Anchor, sign
    from include.lifecycle.ledger.keys import Keyring
    from include.lifecycle.moves.model_registry import ModelRegistry
    from tests.registry_server import add_version, stage_of

    first, second = (add_version(mlflow, MODEL, stage="Staging") for _ in range(2))
    assert run(dags["asset_producer"], first) == "success"
    registry = ModelRegistry(tracking_uri=mlflow)
    event = registry.history(MODEL)[-1]
    assert extras() == [
        {
            "model": MODEL,
            "version": first,
            "previous": None,
            "user": "unknown",
            "reason": "",
            "ledger_entry": event.entry,
            "ledger_digest": event.digest,
            "ledger_anchor": sign(
                Keyring.from_environment(), MODEL, Anchor(event.entry, event.digest), "mlflow_default"
            ),
            "artifacts_digest": None,
        }
    ]
    assert queued() == ["asset_consumer"]

    assert run(dags["asset_producer"], first) == "success"
    assert len(extras()) == 1, "a retry that finds it done makes no second event"

    assert run(dags["asset_producer"], second) == "success"
    assert run(dags["asset_rollback"], first) == "success"
    assert stage_of(mlflow, MODEL, first) == "Production"
    assert [(extra["version"], extra["previous"]) for extra in extras()] == [
        (first, None),
        (second, first),
        (first, second),
    ]
    assert extras()[-1]["reason"] == "bad figures"


def test_a_refused_promotion_makes_no_event(mlflow: str, dags: dict[str, Any], sigterm: None) -> None:
    from tests.registry_server import add_version

    before = len(extras())
    version = add_version(mlflow, MODEL, passed=False, stage="Staging")
    assert run(dags["asset_producer"], version) == "failed"
    assert len(extras()) == before


def test_the_uri_is_valid_for_any_name() -> None:
    from model_registry.assets import production_asset, promotions_of

    assert production_asset("demand").uri == "x-mlflow://production/demand"
    assert production_asset(MODEL).uri == "x-mlflow://production/asset-model%20%C3%BC"
    assert promotions_of("{{ params.model }}", {"task_id": "t"}) == {"task_id": "t"}
    assert len(promotions_of("m", {"outlets": [production_asset("x")]})["outlets"]) == 2
