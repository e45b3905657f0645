"""The stack of docker-compose.yaml for real: two workers, containers, roles, a killed worker, backup, rollback.

The tests go on where the one before ended. ``test_compose_faults.py`` is about everything else that can break.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
from compose_stack import (
    MODEL,
    PERSONS,
    ROLLBACK,
    ComposeStack,
    containers,
    docker,
    logs,
    say,
)
from mlflow import MlflowClient

from local_stack.airflow_api import AirflowApi
from local_stack.errors import ApiError
from local_stack.stack import APPROVAL_TASK, DAG_ID, PROJECT
from tests.answers import answer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

ANONYMOUS = "anonymous"
RECORDED = ".run-rows.csv"
SEE, TRIGGER, MARK, ANSWER, ROLL_BACK, PAGE = "see", "trigger", "mark approval", "answer", "roll back", "model page"
MENU = "menu of the models"
STAGE, READ, WRITE = "MLflow stage", "read artifact", "write artifact"
VIEWER = {SEE, PAGE, MENU, READ}
OPERATOR = VIEWER | {TRIGGER}
APPROVER = OPERATOR | {MARK, ANSWER, ROLL_BACK}
MAY: Mapping[str, set[str]] = {
    ANONYMOUS: set(),
    "vera": VIEWER,
    "olga": OPERATOR,
    "anna": APPROVER,
    "adam": APPROVER,
    # MLflow's own administrator and the pipeline's login are nobody in Airflow.
    "MLflow admin": {STAGE, READ, WRITE},
    "pipeline": {STAGE, READ, WRITE},
}
IN_AIRFLOW = (ANONYMOUS, *PERSONS)


class Doors:
    """Asks each door for a person whether it opens, without going through.

    :param stack: with a retrain that waits
    :param run_id: that retrain
    """

    def __init__(self, stack: ComposeStack, run_id: str) -> None:
        self.stack = stack
        self.dag = f"/api/v2/dags/{DAG_ID}"
        self.task = f"{self.dag}/dagRuns/{run_id}/taskInstances/{APPROVAL_TASK}"
        self.root = self._a_run_in_mlflow()

    def _a_run_in_mlflow(self) -> str:
        client = MlflowClient(self.stack.mlflow_url)
        info = client.get_run(client.search_model_versions(f"name = '{MODEL}'")[0].run_id).info
        return f"/api/2.0/mlflow-artifacts/artifacts/{info.experiment_id}/{info.run_id}/artifacts"

    def airflow(self, name: str) -> dict[str, int]:
        """Return the status of each door of Airflow. 403 and 401 refuse; 400 and 422 would have let a true value in."""
        session = requests.Session()
        session.trust_env = False
        url = self.stack.url
        if name != ANONYMOUS:
            answer = session.post(
                f"{url}/auth/token", json={"username": name, "password": self.stack.passwords[name]}, timeout=60
            )
            session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

        def ask(method: str, path: str, **content: object) -> int:
            return session.request(method, url + path, timeout=60, **({"json": content} if content else {})).status_code

        mark = {"new_state": "success", "note": "x"}
        return {
            SEE: ask("GET", self.dag),
            TRIGGER: ask("POST", f"{self.dag}/dagRuns", logical_date=None, conf={"quick": "no boolean"}),
            # Who must be refused tries the mark itself; who may asks for a rehearsal of it.
            MARK: ask("PATCH", f"{self.task}/dry_run" if MARK in MAY[name] else self.task, **mark),
            ANSWER: ask("PATCH", f"{self.task}/-1/hitlDetails", chosen_options=["Approve" if ANSWER not in MAY[name]
                        else "No such option"], params_input={"reason": "x"}),
            ROLL_BACK: ask("POST", f"/api/v2/dags/{ROLLBACK}/dagRuns", logical_date=None, conf={"reason": ""
                           if ROLL_BACK in MAY[name] else "x"}),
            PAGE: ask("GET", "/model-registry/api/models"),
            MENU: ask("GET", "/api/v2/plugins"),  # where Airflow's UI finds the menus of plugins
        }  # fmt: skip

    def mlflow(self, name: str) -> dict[str, int]:
        """Return the status of each door of MLflow."""
        values = self.stack.values
        login = {
            ANONYMOUS: None,
            "MLflow admin": ("admin", values["MLFLOW_ADMIN_PASSWORD"]),
            "pipeline": ("pipeline", values["MLFLOW_PIPELINE_PASSWORD"]),
        }.get(name, (name, self.stack.passwords.get(name, "")))

        def ask(method: str, path: str, **options: object) -> int:
            return requests.request(method, self.stack.mlflow_url + path, auth=login, timeout=60, **options).status_code

        stage = {"name": MODEL, "version": "1", "stage": "Nowhere" if STAGE in MAY[name] else "Production"}
        written = ask("PUT", f"{self.root}/probe.txt", data=b"probe")
        if written == 200:
            ask("DELETE", f"{self.root}/probe.txt")
        return {
            STAGE: ask("POST", "/api/2.0/mlflow/model-versions/transition-stage", json=stage),
            READ: ask("GET", f"{self.root.split('/artifacts/')[0]}/artifacts?path={self.root.split('/artifacts/')[1]}"),
            WRITE: written,
        }


@pytest.fixture(scope="module")
def waiting(compose: ComposeStack) -> str:
    """A retrain in containers that waits for its approval."""
    started = time.monotonic()
    run_id = compose.retrain()
    compose.until_waiting(run_id)
    spread = compose.hosts(run_id)
    say(f"data to approval in {time.monotonic() - started:.0f} s, on {len(set(spread.values()))} workers: {spread}")
    return run_id


def test_the_role_matrix(compose: ComposeStack, waiting: str) -> None:
    doors = Doors(compose, waiting)
    found, expected = {}, {}
    for name, may in MAY.items():
        answers = {**(doors.airflow(name) if name in IN_AIRFLOW else {}), **doors.mlflow(name)}
        say(f"{name} ({PERSONS.get(name, '-')}): " + ", ".join(f"{door} {status}" for door, status in answers.items()))
        found[name] = {door for door, status in answers.items() if status not in (401, 403)}
        expected[name] = may
        assert not any(status >= 500 for status in answers.values())
        if name == ANONYMOUS:
            assert set(answers.values()) == {401}
    assert found == expected
    for url, path in ((compose.url, "/model-registry/"), (compose.mlflow_url, "/"), (compose.mlflow_url, "/signup")):
        assert requests.get(url + path, timeout=60).status_code == 401, path


@pytest.fixture(scope="module")
def first(compose: ComposeStack, waiting: str) -> str:
    """A retrain in containers that an approver brought to Production."""
    with pytest.raises(ApiError, match="among the approvers"):
        compose.as_user("olga").mark(DAG_ID, waiting, APPROVAL_TASK, "success", "me")
    compose.as_user("anna").mark(DAG_ID, waiting, APPROVAL_TASK, "success", "looks right")
    assert compose.until_end(waiting) == "success"
    return waiting


def test_data_to_production_on_two_workers_without_a_shared_disk(compose: ComposeStack, first: str) -> None:
    live = compose.registry().production(MODEL)
    assert (live.version, live.tags["decision.user"], live.tags["decision.reason"]) == (1, "anna", "looks right")
    assert len(set(compose.hosts(first).values())) == 2
    assert containers(run=first) == []
    say(f"MB in MLflow's artifacts after one retrain: {artifacts(compose)}")


def artifacts(stack: ComposeStack) -> dict[str, float]:
    """Size in MB of what the steps stored, by its folder in the run: all that travels between workers."""
    listing = stack.compose("exec", "-T", "mlflow", "find", "/mlflow/artifacts", "-type", "f", "-printf", "%s %P\n")
    sizes: dict[str, float] = {}
    for line in listing.splitlines():
        size, path = line.split(" ", 1)
        where = path.split("/artifacts/", 1)[-1].split("/")[0]
        sizes[where] = sizes.get(where, 0.0) + int(size) / 1e6
    return {where: round(size, 2) for where, size in sorted(sizes.items(), key=lambda item: -item[1])}


def test_a_prediction_in_a_container_says_which_version_made_it(compose: ComposeStack, first: str) -> None:
    try:
        compose.script("stack.sh", "cli", "predict", "--output", RECORDED)
        header, *rows = (PROJECT / RECORDED).read_text().splitlines()
    finally:
        (PROJECT / RECORDED).unlink(missing_ok=True)
    assert len(rows) > 0
    assert {row.split(",")[header.split(",").index("ModelVersion")] for row in rows} == {"1"}


def test_a_worker_that_is_killed_while_it_trains(compose: ComposeStack, first: str) -> None:
    run_id = compose.retrain()
    compose.wait("training", lambda: containers(run=run_id, task="train_lightgbm"))
    worker = compose.wait("its worker", lambda: compose.hosts(run_id).get("train_lightgbm"))
    started = time.monotonic()
    docker("kill", worker)
    time.sleep(10)
    compose.up()
    compose.until_waiting(run_id)
    say(f"a worker killed while training: the approval waits {time.monotonic() - started:.0f} s later")
    assert containers(run=run_id) == []
    assert [info.version for info in compose.registry().versions(MODEL)] == [2, 1]
    answer(compose.as_user("adam"), DAG_ID, run_id, APPROVAL_TASK, "Approve", "as good")
    assert compose.until_end(run_id) == "success"
    assert compose.registry().production(MODEL).version == 2


def test_backup_destroy_restore(compose: ComposeStack, first: str, tmp_path: Path) -> None:
    before = compose.registry().verify(MODEL), [event.digest for event in compose.registry().history(MODEL)]
    in_data = ("exec", "-T", "data", "sh", "-c")
    compose.compose(*in_data, "mkdir /predictions/demand && echo 7 >/predictions/demand/latest.json")
    started = time.monotonic()
    compose.script("backup.sh", str(tmp_path / "backup"))
    saved = time.monotonic()
    compose.down("-v")
    compose.script("restore.sh", str(tmp_path / "backup"))
    compose.up()
    say(f"backup in {saved - started:.0f} s, destroyed, restored and up after {time.monotonic() - saved:.0f} s")
    compose.wait("MLflow", lambda: compose.registry().production(MODEL).version == 2)
    registry = compose.registry()
    assert (registry.verify(MODEL), [event.digest for event in registry.history(MODEL)]) == before
    assert compose.compose(*in_data, "cat /predictions/demand/latest.json") == "7\n"
    assert compose.api.run(DAG_ID, first).state == "success"


def test_the_smoke_check_names_what_is_away(compose: ComposeStack, first: str) -> None:
    assert "FAILED" not in compose.script("stack.sh", "smoke")
    docker("stop", "-t", "1", compose.container("engine"))
    try:
        lines = compose.script("stack.sh", "smoke", check=False).splitlines()
    finally:
        docker("start", compose.container("engine"))
    failed = [line for line in lines if line.startswith("FAILED")]
    say(f"without the engine's filter: {failed}")
    assert failed
    assert all("engine" in line.lower() for line in failed)


def test_a_rollback(compose: ComposeStack, first: str) -> None:
    compose.api.unpause(ROLLBACK)
    with pytest.raises(ApiError, match="olga is not among"):
        compose.as_user("olga").trigger(ROLLBACK, {"reason": "the other was better"})
    anna: AirflowApi = compose.as_user("anna")
    started = time.monotonic()
    run_id = anna.trigger(ROLLBACK, {"reason": "the other was better"})
    compose.wait("the rollback", lambda: compose.registry().production(MODEL).version == 1)
    say(f"rolled back in {time.monotonic() - started:.0f} s")
    assert compose.until_end(run_id, ROLLBACK) == "success"
    assert compose.registry().production(MODEL).tags["decision.user"] == "anna"


# Who can inspect a container commands the Docker engine, and with it the host: its environment is no place to hide a
# secret from them. Each service is given what it needs and no more.
NEEDS = {
    "postgres": {"POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "mlflow": {"MLFLOW_DB_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY"},
    "data": set[str](),
    "engine": set[str](),
}
AIRFLOW_NEEDS = {
    "AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_DB_PASSWORD", "REDIS_PASSWORD",
    "MLFLOW_PIPELINE_PASSWORD",
}  # fmt: skip
NEEDS |= dict.fromkeys(("apiserver", "worker"), AIRFLOW_NEEDS | {"RETRAIN_LEDGER_KEY"})
INIT_NEEDS = AIRFLOW_NEEDS | {"AIRFLOW_ADMIN_PASSWORD", "MLFLOW_ADMIN_PASSWORD"}


def test_secrets_are_where_they_are_needed_and_in_no_log(compose: ComposeStack, first: str) -> None:
    for service, names in compose.services().items():
        expected = NEEDS.get(service, INIT_NEEDS if service == "init" else AIRFLOW_NEEDS)
        for name in names:
            inspected = docker("inspect", name)
            found = {secret for secret, value in compose.secrets.items() if value in inspected}
            say(f"docker inspect {service}: {sorted(found)}")
            assert found <= expected, name
            printed = logs(name)
            assert [secret for secret, value in compose.secrets.items() if value in printed] == [], name
    for task in compose.api.tasks(DAG_ID, first):
        if task.started:
            log = str(compose.api.log(DAG_ID, first, task.task_id, task.try_number))
            assert [secret for secret, value in compose.secrets.items() if value in log] == [], task.task_id
