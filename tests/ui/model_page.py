"""Take the pictures of the page of the models, on a replay, in a real Chromium, desk and phone.

    python tests/bench/replay.py --state-dir FOLDER && python tests/ui/model_page.py FOLDER [--output docs/images]

Starts MLflow on the replay's state and Airflow's API server with the plugin, puts the run whose version waits into
Airflow's database, logs in through the form, and opens the page from Airflow's navigation.
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from arguments import picture_arguments

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "plugins")]

from tests.airflow_home import PASSWORD, prepare  # noqa: E402
from tests.ui.airflow_ui import ARGUMENTS, AirflowUi  # noqa: E402

HOME = prepare()

DESK, PHONE = {"width": 1280, "height": 1320}, {"width": 390, "height": 844}
USER = "vera"


def put_waiting_run(mlflow: str) -> None:
    """Make the Airflow run in which the replay's last version waits, with its task deferred."""
    from datetime import UTC, datetime, timedelta

    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session
    from fastapi.testclient import TestClient

    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.views.overview import overview
    from model_registry.approval.triggers import ModelApprovalTrigger
    from tests.bench.replay import MODEL

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    folder = PROJECT / "dags"
    sync_bag_to_db(DagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="dags"), "dags", None)
    waiting = overview(ModelRegistry(tracking_uri=mlflow), MODEL).waiting[0]
    assert waiting.run is not None
    dag_id, run_id = waiting.run
    from airflow.api_fastapi.app import create_app

    with TestClient(create_app(apps="core")) as client:
        token = client.post("/auth/token", json={"username": "anna", "password": PASSWORD}).json()["access_token"]
        body = {"logical_date": None, "conf": {}, "dag_run_id": run_id.replace("scheduled__", "manual__")}
        answer = client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.is_success, answer.text
    expires_at = (datetime.now(UTC) + timedelta(days=6, hours=5)).isoformat()
    trigger = ModelApprovalTrigger(
        model_name=MODEL, version=waiting.version, ti_id="x", mlflow_conn_id="mlflow_default", poll_seconds=30.0,
        expires_at=expires_at,
    )  # fmt: skip
    with create_session() as session:
        row = Trigger.from_object(trigger)
        session.add(row)
        session.flush()
        for task in session.query(TaskInstance).filter_by(run_id=body["dag_run_id"]):
            task.state = "success"
            if task.task_id == "await_approval":
                task.state, task.trigger_id, task.start_date = "deferred", row.id, datetime.now(UTC)
    # The API gives no run the name of a scheduled one.
    with closing(sqlite3.connect(HOME / "airflow.db")) as database, database:
        for table in ("dag_run", "task_instance"):
            database.execute(f"UPDATE {table} SET run_id = ? WHERE run_id = ?", (run_id, body["dag_run_id"]))


def shoot(page: Any, path: Path, **options: Any) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=path, **options)
    print(path, path.stat().st_size // 1000, "kB")


def pictures(url: str, output: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = browser.new_context(viewport=DESK)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        answer = page.goto(f"{url}/model-registry/")
        assert answer.status == 401
        page.get_by_role("link", name="Log in").click()
        page.fill("input[name=username]", USER)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(f"{url}/model-registry/")
        page = AirflowUi(page, url, "", output).open_models()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.get_by_role("link", name="rossmann-ensemble").click()
        page.get_by_role("heading", name="Ledger").wait_for()
        shoot(page, output / "model-page.png")
        page.get_by_role("link", name="Older").click()
        page.get_by_text("Page 2 of").wait_for()
        page.get_by_role("link", name="Newer").click()
        page.get_by_text("Page 1 of").wait_for()
        page.set_viewport_size(PHONE)
        page.evaluate("window.scrollTo(0, 0)")
        shoot(page, output / "model-page-phone.png")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"the page is {wide} px wider than the phone"
        print("console:", problems)
        browser.close()


def main() -> None:
    parser = picture_arguments(__doc__)
    parser.add_argument("state", type=Path, help="the folder that the replay left")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    from tests.ports import free_port
    from tests.registry_server import mlflow_server

    port = free_port()
    os.environ["AIRFLOW__API__BASE_URL"] = url = f"http://127.0.0.1:{port}"
    with mlflow_server(options.state.resolve()) as mlflow:
        parts = urlsplit(mlflow)
        connection = {"conn_type": "http", "host": parts.hostname, "port": parts.port, "schema": "http"}
        os.environ["AIRFLOW_CONN_MLFLOW_DEFAULT"] = json.dumps(connection)
        put_waiting_run(mlflow)
        command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "NO_PROXY": "127.0.0.1"}
        with (HOME / "api-server.log").open("wb") as log:
            server = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log, env=environment)
        try:
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline:
                try:
                    if httpx.get(f"{url}/api/v2/version", trust_env=False).is_success:
                        break
                except httpx.HTTPError:
                    time.sleep(0.5)
            pictures(url, options.output, options.chromium)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
