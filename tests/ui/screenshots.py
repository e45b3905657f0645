"""Take the README's pictures by using a running `make run` as a person does, in a real Chromium.

    PYTHONPATH=. python tests/ui/screenshots.py [--state-dir .run] [--output docs/images]

Triggers a run through the form (quick), waits until it trains, looks at the approval in both places, approves by
marking the task success with a note, and ends at the finished graph, the version's page in MLflow, and what MLflow
records of a prediction. A review shows most where a version of older data is live: `make run APPROVE=1`,
`python -m include.models.rossmann sample .run/data_registry --extra-days 21`, `make run`, then this with `--run` and
the name of the run that waits.
"""

import json
import time
from pathlib import Path
from typing import Any

import requests
from airflow_ui import ARGUMENTS, SIZE, WIDE, AirflowUi
from arguments import picture_arguments
from playwright.sync_api import Page, sync_playwright

from local_stack.airflow_api import AirflowApi
from local_stack.credentials import load_or_create
from local_stack.ports import HOST
from local_stack.stack import APPROVAL_TASK, DAG_ID

PREDICT, EXPERIMENT = "rossmann_predict", "rossmann-forecasting-predictions"
NOTE = "Holdout error well below the gate, weights plausible"


class Tour(AirflowUi):
    def __init__(self, page: Page, api: AirflowApi, mlflow_url: str, output: Path) -> None:
        super().__init__(page, api.url, mlflow_url, output)
        self.api = api

    def trigger(self) -> str:
        before = {run.run_id for run in self.api.active_runs(DAG_ID)}
        dialog = self.open_trigger_form()
        self.shoot("trigger-form")
        self.trigger_quick(dialog)
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

    def required_actions(self, run_id: str) -> None:
        self.page.goto(f"{self.url}/required_actions")
        self.page.set_viewport_size(WIDE)
        self.shoot("required-actions")
        self.page.set_viewport_size(SIZE)
        self.open_approval(run_id, "required_actions")
        self.shoot("approval-in-the-task")

    def approve(self, run_id: str) -> None:
        self.open_approval(run_id)
        dialog = self.open_mark("Success")
        self.write_note(dialog, NOTE)
        self.shoot("mark-success")
        self.confirm(dialog)

    def ask_mlflow(self, method: str, path: str, content: dict[str, object] | None = None) -> dict[str, Any]:
        session = requests.Session()
        session.trust_env = False
        answer = session.request(method, f"{self.mlflow_url}/api/2.0/mlflow/{path}", json=content, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def live_version(self) -> str:
        found = self.ask_mlflow("GET", "model-versions/search")["model_versions"]
        live = next(v for v in found if v["current_stage"] == "Production")
        self.model_version(live["name"], live["version"])
        self.shoot("mlflow-version")
        return str(live["version"])

    def prediction(self, version: str) -> None:
        """Predict with the form, and look at the run that recorded what a version predicted."""
        self.send(self.open_trigger_form(PREDICT))
        named = {"filter": f"name = '{EXPERIMENT}'", "max_results": 1}  # the first prediction makes it
        found = self.wait_for(lambda: self.ask_mlflow("POST", "experiments/search", named).get("experiments"))
        asked = {
            "experiment_ids": [found[0]["experiment_id"]],
            "filter": f"attributes.status = 'FINISHED' and tags.`model.version` = '{version}'",
            "max_results": 1,
        }
        run = self.wait_for(lambda: self.ask_mlflow("POST", "runs/search", asked).get("runs"))[0]["info"]
        self.mlflow_run(run["experiment_id"], run["run_id"])
        self.shoot("mlflow-prediction")


def main() -> None:
    parser = picture_arguments(__doc__)
    parser.add_argument("--state-dir", type=Path, default=Path(".run"))
    parser.add_argument("--airflow-port", type=int, default=8080)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--run", help="A run that waits for its approval: the tour starts there")
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
        tour.prediction(tour.live_version())
        browser.close()
    print(json.dumps(tour.states(run_id)))


if __name__ == "__main__":
    main()
