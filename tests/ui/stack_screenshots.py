"""Take pictures of a running compose stack, in a real Chromium: a finished retrain, a step's log, both logins.

    python tests/ui/stack_screenshots.py [--env-file .env] [--output docs/images]

Looks at the newest retrain that ended well; changes nothing.
"""

import argparse
import re
import shutil
from pathlib import Path
from urllib.parse import quote

from airflow_ui import ARGUMENTS, SIZE, WIDE, AirflowUi
from playwright.sync_api import sync_playwright

from include.local_stack.airflow_api import AirflowApi
from include.local_stack.ports import HOST
from include.local_stack.stack import DAG_ID

STEP = "train_lightgbm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-file", type=Path, default=Path(".env"))
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", options.env_file.read_text(), re.M))
    url, mlflow_url = (f"http://{HOST}:{values[name]}" for name in ("AIRFLOW_PORT", "MLFLOW_PORT"))
    api = AirflowApi(url, "admin", values["AIRFLOW_ADMIN_PASSWORD"])
    found = api.request(
        "GET", f"/dags/{DAG_ID}/dagRuns", params={"state": "success", "order_by": "-run_after", "limit": 1}
    )["dag_runs"]
    if not found:
        raise SystemExit("error: no retrain of this stack has ended well yet: trigger one and approve it")
    run_id = found[0]["dag_run_id"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE)
        ui = AirflowUi(page, url, mlflow_url, options.output)
        page.goto(url)
        ui.shoot("stack-login")
        ui.log_in("admin", values["AIRFLOW_ADMIN_PASSWORD"])
        ui.graph(run_id, "stack-graph")
        task = f"{url}/dags/{DAG_ID}/runs/{quote(run_id)}/tasks/{STEP}"
        page.goto(task)
        ui.shoot("stack-step-log")
        page.goto(f"{task}/details")
        ui.shoot("stack-step-details")
        page.goto(f"{url}/dags/{DAG_ID}/runs/{quote(run_id)}")
        ui.shoot("stack-tasks")
        anonymous = browser.new_context(viewport=WIDE)
        refused = anonymous.new_page()
        refused.goto(mlflow_url)
        AirflowUi(refused, url, mlflow_url, options.output).shoot("stack-mlflow-anonymous")
        known = browser.new_context(
            viewport=SIZE, http_credentials={"username": "admin", "password": values["MLFLOW_ADMIN_PASSWORD"]}
        )
        registry = known.new_page()
        registry.goto(f"{mlflow_url}/#/models")
        AirflowUi(registry, url, mlflow_url, options.output).shoot("stack-mlflow-models")
        browser.close()


if __name__ == "__main__":
    main()
