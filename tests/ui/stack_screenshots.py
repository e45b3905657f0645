"""Take pictures of a running compose stack, in a real Chromium: a finished retrain, a step's log, Airflow's login.

    PYTHONPATH=. python tests/ui/stack_screenshots.py [--env-file .env] [--output docs/images]

Looks at the newest retrain that ended well; changes nothing.
"""

import re
from pathlib import Path
from urllib.parse import quote

from airflow_ui import ARGUMENTS, SIZE, AirflowUi
from arguments import picture_arguments
from playwright.sync_api import sync_playwright

from local_stack.airflow_api import AirflowApi
from local_stack.stack import DAG_ID
from tests.compose_files import read_settings

STEP = "train_lightgbm"


def main() -> None:
    parser = picture_arguments(__doc__)
    parser.add_argument("--env-file", type=Path, default=Path(".env"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    values = read_settings(options.env_file)
    url, mlflow_url = (values[name] for name in ("AIRFLOW_URL", "MLFLOW_URL"))
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
        page.get_by_role("button", name=re.compile("full ?screen", re.IGNORECASE)).click()
        ui.shoot("stack-step-log")
        # MLflow's login is the browser's own dialog, which no picture shows.
        known = browser.new_context(
            viewport=SIZE, http_credentials={"username": "admin", "password": values["MLFLOW_ADMIN_PASSWORD"]}
        )
        registry = known.new_page()
        looking = AirflowUi(registry, url, mlflow_url, options.output)
        looking.model_version("rossmann-ensemble", 1)
        looking.shoot("stack-mlflow-version")
        browser.close()


if __name__ == "__main__":
    main()
