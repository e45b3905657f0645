"""Take the README's pictures by using a running `make run` as a person does, in a real Chromium.

    python tests/ui/screenshots.py [--state-dir .run] [--output docs/images]

Triggers a run through the form (quick), waits until it trains, looks at the approval in both places, approves by
marking the task success with a note, and ends at the finished graph and the version's page in MLflow.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import requests
from playwright.sync_api import Page, sync_playwright

from include.local_stack.airflow_api import AirflowApi
from include.local_stack.credentials import load_or_create
from include.local_stack.ports import HOST
from include.local_stack.stack import APPROVAL_TASK, DAG_ID

SIZE = {"width": 1440, "height": 900}
# The graph is long and low.
WIDE = {"width": 1440, "height": 480}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NOTE = "Holdout error well below the gate, weights plausible"
SETTLE_MS = 2500


class Tour:
    def __init__(self, page: Page, api: AirflowApi, mlflow_url: str, output: Path) -> None:
        self.page, self.api, self.mlflow_url, self.output = page, api, mlflow_url, output

    def shoot(self, name: str) -> None:
        self.page.wait_for_timeout(SETTLE_MS)
        # Toasts cover what the picture is about and go away by themselves.
        self.page.wait_for_function("!document.querySelector('[data-scope=toast][data-part=root]')", timeout=15_000)
        path = self.output / f"{name}.png"
        self.page.screenshot(path=path)
        print(path)

    def log_in(self, user: str, password: str) -> None:
        self.page.goto(self.api.url)
        self.page.fill("input[name=username]", user)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(f"{self.api.url}/")

    def trigger(self) -> str:
        before = {run.run_id for run in self.api.active_runs(DAG_ID)}
        self.page.goto(f"{self.api.url}/dags/{DAG_ID}")
        self.page.get_by_role("button", name="Trigger").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Trigger").wait_for()
        self.shoot("trigger-form")
        dialog.locator("label", has=self.page.locator("input[type=checkbox]")).first.click()
        dialog.get_by_role("button", name="Trigger").click()
        return self.wait_for(
            lambda: next((r.run_id for r in self.api.active_runs(DAG_ID) if r.run_id not in before), "")
        )

    def wait_for(self, ask, seconds: float = 1200.0):
        deadline = time.monotonic() + seconds
        while not (answer := ask()):
            if time.monotonic() > deadline:
                raise SystemExit("waited too long")
            time.sleep(1)
        return answer

    def states(self, run_id: str) -> dict[str, str | None]:
        return {task.task_id: task.state for task in self.api.tasks(DAG_ID, run_id)}

    def graph(self, run_id: str, name: str) -> None:
        self.page.goto(self.run_url(run_id))
        self.page.get_by_role("button", name="Show Graph").click()
        self.page.wait_for_timeout(SETTLE_MS)
        self.page.get_by_role("button", name="Collapse Details Panel").click()
        self.page.set_viewport_size(WIDE)
        self.page.add_style_tag(content=".react-flow__minimap { display: none }")
        self.page.locator(".react-flow__controls-fitview").click()
        self.shoot(name)
        self.page.set_viewport_size(SIZE)

    def run_url(self, run_id: str) -> str:
        return f"{self.api.url}/dags/{DAG_ID}/runs/{quote(run_id)}"

    def required_actions(self, run_id: str) -> None:
        self.page.goto(f"{self.api.url}/required_actions")
        self.page.set_viewport_size(WIDE)
        self.shoot("required-actions")
        self.page.set_viewport_size(SIZE)
        self.page.goto(f"{self.run_url(run_id)}/tasks/{APPROVAL_TASK}/required_actions")
        self.shoot("approval-in-the-task")

    def approve(self, run_id: str) -> None:
        self.page.goto(f"{self.run_url(run_id)}/tasks/{APPROVAL_TASK}")
        self.page.wait_for_timeout(SETTLE_MS)
        self.page.locator("button", has_text="/").last.click()
        self.page.get_by_role("menuitem", name="Success").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Note").click()
        dialog.get_by_text("Add a note").last.click()
        dialog.locator("textarea").fill(NOTE)
        # The field keeps its text when it loses the focus.
        dialog.get_by_role("heading").first.click()
        self.shoot("mark-success")
        dialog.get_by_role("button", name="Confirm").click()

    def model_version(self) -> None:
        session = requests.Session()
        session.trust_env = False
        answer = session.get(f"{self.mlflow_url}/api/2.0/mlflow/model-versions/search", timeout=30)
        answer.raise_for_status()
        live = next(v for v in answer.json()["model_versions"] if v["current_stage"] == "Production")
        self.page.goto(f"{self.mlflow_url}/#/models/{quote(live['name'])}/versions/{live['version']}")
        assistant = self.page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
        self.page.wait_for_timeout(SETTLE_MS)
        if assistant.is_visible():
            assistant.click()
        self.shoot("mlflow-version")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-dir", type=Path, default=Path(".run"))
    parser.add_argument("--airflow-port", type=int, default=8080)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--run", help="A run that waits for its approval: the tour starts there")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    login = load_or_create(options.state_dir.resolve())
    api = AirflowApi(f"http://{HOST}:{options.airflow_port}", login.user, login.password)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE)
        tour = Tour(page, api, f"http://{HOST}:{options.mlflow_port}", options.output)
        tour.log_in(login.user, login.password)
        run_id = options.run
        if not run_id:
            run_id = tour.trigger()
            tour.wait_for(lambda: list(tour.states(run_id).values()).count("running") >= 2)
            tour.graph(run_id, "graph-training")
        tour.wait_for(lambda: tour.states(run_id)[APPROVAL_TASK] == "deferred")
        tour.required_actions(run_id)
        tour.approve(run_id)
        tour.wait_for(lambda: api.run(DAG_ID, run_id).state in ("success", "failed"))
        tour.graph(run_id, "graph-finished")
        tour.model_version()
        browser.close()
    print(json.dumps(tour.states(run_id)))


if __name__ == "__main__":
    main()
