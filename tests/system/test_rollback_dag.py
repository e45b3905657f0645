"""A rollback from Airflow's UI on real servers: how long it takes, what it leaves, what it starts."""

import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from operations import MODEL, Operations

from include.lifecycle import tags as tag
from include.lifecycle.environment import environment
from include.lifecycle.moves.integrity import Manifest, download
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Decision, Outcome
from local_stack.stack import Stack
from tests.validations import validation

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

DAG_ID = "rossmann_rollback"
SCRIPT = """
import mlflow.models
import pandas as pd
from mlflow.pyfunc import PythonModel


class Flat(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return model_input.assign(Sales=100.0)


mlflow.models.set_model(Flat())
"""


def champion(stack: Stack, folder: Path) -> int:
    """Register a tiny model with its digests, put it into Production and return its version."""
    client = MlflowClient(stack.mlflow.url)
    registry = ModelRegistry(client)
    script = folder / "model.py"
    script.write_text(SCRIPT)
    with environment({"MLFLOW_TRACKING_URI": stack.mlflow.url}):
        mlflow.set_experiment("rollback")
        with mlflow.start_run() as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(script), input_example=pd.DataFrame({"Store": [1, 2]}),
                pip_requirements=["mlflow"],
            )  # fmt: skip
        held = folder / f"held-{run.info.run_id}"
        download(client, client.get_logged_model(info.model_id).artifact_location, held)
        digest = registry.integrity.record(run.info.run_id, Manifest.of(held))
        if not client.search_registered_models(f"name='{MODEL}'"):
            client.create_registered_model(MODEL)
        tags = {tag.VALIDATION_OUTCOME: tag.PASSED, tag.ARTIFACTS_DIGEST: digest}
        made = client.create_model_version(MODEL, info.model_uri, run.info.run_id, tags=tags, model_id=info.model_id)
        registry.validated(validation(MODEL, int(made.version), digest=digest))
        registry.stage(MODEL, int(made.version))
        registry.promote(MODEL, int(made.version), Decision(Outcome.APPROVED, reason="for the test"))
    return int(made.version)


def test_a_rollback_takes_seconds_and_starts_who_waits_for_a_promotion(
    stack: Stack, operator: Operations, blackout: object, tmp_path: Path
) -> None:
    registry = ModelRegistry(MlflowClient(stack.mlflow.url))
    good, bad = champion(stack, tmp_path), champion(stack, tmp_path)
    for dag_id in (DAG_ID, "on_promotion"):
        operator.wait(f"{dag_id} known", lambda dag_id=dag_id: operator.api.dag(dag_id))
        operator.api.unpause(dag_id)

    started_before = len(_runs(operator, "on_promotion"))
    seconds = []
    for version, form in ((good, {}), (bad, {"version": bad}), (good, {"version": good})):
        started = time.monotonic()
        run_id = operator.api.trigger(DAG_ID, {"reason": "{{ conn.mlflow_default }} oversells", **form})
        while registry.production(MODEL).version != version:
            assert time.monotonic() - started < 300, operator.api.run(DAG_ID, run_id)
            time.sleep(0.2)
        seconds.append(time.monotonic() - started)
        assert operator.until_end(run_id, DAG_ID) == "success"
    operator.saw("rollback", f"from the click to Production: {', '.join(f'{item:.1f}' for item in seconds)} s")
    print(operator.seen[-1])

    event = registry.history(MODEL)[-1]
    assert (event.version, event.archived, event.door) == (good, (bad,), "form")
    assert event.reason == "{{ conn.mlflow_default }} oversells"
    assert (event.user, event.user_source) == (stack.airflow.credentials.user, "airflow run")
    assert "rolled back to version" in operator.tags(bad)["rollback.reason"]
    assert operator.champion() == good
    operator.wait("a run on the promotion", lambda: len(_runs(operator, "on_promotion")) > started_before)

    refused = operator.api.trigger(DAG_ID, {"reason": "there is none", "version": 999})
    assert operator.until_end(refused, DAG_ID) == "failed"
    assert registry.production(MODEL).version == good

    kept = "\n".join(
        path.read_text(errors="replace")
        for path in stack.processes.state_dir.rglob("*")
        if path.is_file() and path.suffix == ".log"
    )
    assert "oversells" in kept, "the tasks' logs were searched"
    assert stack.airflow.credentials.password not in kept
    assert stack.airflow.credentials.jwt_secret not in kept


def _runs(operator: Operations, dag_id: str) -> list:
    return operator.api.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
