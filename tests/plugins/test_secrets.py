"""No secret of a connection reaches a log, an XCom, a rendered field, a run's parameters or an MLflow tag."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.airflow_home import prepare

SECRETS = (
    "pw-of-mlflow-Zq7", "pw-of-git-Wt9", "key-of-the-remote-Vu6", "9d" * 32, "token-of-mlflow-Xr4", "web-hook-Yb2",
    "header-of-a-hook-Mn5", "pw-in-an-address-Kp3", "of-the-worker-Jd8",
)  # fmt: skip
STEP = """
import json, logging, os, sys
logging.basicConfig(stream=sys.stderr)
for name, value in os.environ.items():
    if "PASSWORD" in name or "KEY" in name:
        logging.warning("a careless library logs %s=%s", name, value)
print(json.dumps({"ok": True}))
"""
DAG = """
import json, pathlib
import pendulum
from airflow.sdk import DAG, Param
from include.lifecycle.config.models import NotificationConfig
from model_registry.operators.stage import ModelStageOperator
from model_registry.operators.rollback import ModelRollbackOperator
from model_registry.steps.local import PipelineStepOperator

TOLD = [NotificationConfig(**json.loads(pathlib.Path("CWD/told.json").read_text()))]  # Airflow keeps a DAG's source
with DAG(dag_id="secret_dag", schedule=None, start_date=pendulum.datetime(2026, 1, 1),
         params={"model": Param("m", type="string"), "reason": Param("", type="string")}):
    step = PipelineStepOperator(task_id="step", step=["x"], module="careless_step", cwd="CWD",
                                env={"RETRAIN_NOTE": "{{ params.reason }}"}, data_conn_id="rossmann_data")
    promote = ModelStageOperator(task_id="promote", model_name="{{ params.model }}", version="2", stage="Production",
                                 notifications=TOLD)
    token = ModelStageOperator(task_id="token", model_name="{{ params.model }}", version="2", stage="Production",
                               mlflow_conn_id="mlflow_token", notifications=TOLD)
    back = ModelRollbackOperator(task_id="rollback", model_name="{{ params.model }}", version="1", notifications=TOLD)
    step >> promote >> token >> back
"""


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Put back the signal handler that a task run in this process replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_fake_password_is_found_nowhere(
    mlflow: str,
    mlflow_url: str,
    model: str,
    connect: Any,
    airflow_db: None,
    sigterm: None,
    tmp_path: Path,
    capfd: Any,
    caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.sdk._shared.secrets_masker import redact
    from airflow.sdk.log import mask_secret
    from mlflow import MlflowClient

    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.rules.decisions import Decision, Outcome
    from tests.registry_server import add_version

    mask_secret("https://hooks.example.com")  # a secret with which another one begins
    monkeypatch.setenv("RETRAIN_LEDGER_KEY", SECRETS[3])
    parts = urlsplit(mlflow_url)
    connect("mlflow_default", host=parts.hostname, port=parts.port, login="bot", password=SECRETS[0])
    connect("mlflow_token", host=parts.hostname, port=parts.port, extra={"token": SECRETS[4]})
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS[8])
    extra = {"env": {"AWS_SECRET_ACCESS_KEY": SECRETS[2]}}
    address = f"https://bot:{SECRETS[7]}@git.example.org/d.git"
    connect("rossmann_data", host=address, login="bot", password=SECRETS[1], extra=extra)
    arguments = {"url": f"https://hooks.example.com/{SECRETS[5]}", "headers": {"authorization": SECRETS[6]}}
    told = {"notifier": "tests.plugins.notifiers.Telling", "arguments": arguments}
    (tmp_path / "told.json").write_text(json.dumps(told), encoding="utf-8")
    (tmp_path / "careless_step.py").write_text(STEP, encoding="utf-8")
    registry = ModelRegistry(tracking_uri=mlflow)
    first, _ = (add_version(mlflow, model, stage="Staging") for _ in range(2))
    registry.promote(model, first, Decision(Outcome.APPROVED))

    folder = prepare() / "examples"
    file = folder / "secret_dag.py"
    file.write_text(DAG.replace("CWD", str(tmp_path)), encoding="utf-8")
    try:
        DagBundlesManager().sync_bundles_to_db()
        bag = DagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="examples")
        sync_bag_to_db(bag, "examples", None)
        run = bag.dags["secret_dag"].test(
            run_conf={"model": model, "reason": "{{ conn.mlflow_default.password }} {{ var.value }}"}
        )
    finally:
        file.unlink()
    assert str(run.state) == "success"
    assert registry.production(model).version == first, "promoted and rolled back"

    client = MlflowClient(tracking_uri=mlflow)
    kept = [str(version.to_proto()) for version in client.search_model_versions(f"name='{model}'")]
    kept += [json.dumps(run.data.to_dictionary()) for run in client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()])]  # fmt: skip
    kept += ["\n".join(sqlite3.connect(prepare() / "airflow.db").iterdump())]
    kept += [path.read_text(errors="replace") for path in (prepare() / "logs").rglob("*") if path.is_file()]
    said = capfd.readouterr()
    assert "Telling failed" in caplog.text
    lines = [*said.out.splitlines(), *said.err.splitlines(), *caplog.text.splitlines()]
    careless = [line for line in lines if "a careless library logs" in line or "exceeded with url: https" in line]
    kept += [line for line in lines if line not in careless]
    text = "\n".join(kept)
    assert "conn.mlflow_default.password" in text, "the reason was searched, and Jinja did not render it"
    # dag.test does not mask what it prints; a worker does, with what the tasks told it to hide
    masked = "\n".join(str(redact(line)) for line in careless)
    assert masked.count("***") >= 5
    for secret in SECRETS:
        assert secret not in text
        assert secret not in masked
