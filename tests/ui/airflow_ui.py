"""Airflow's and MLflow's UI as a person uses them: log in, trigger, look, mark, answer, take a picture."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Error, Locator, Page, sync_playwright

from local_stack.stack import APPROVAL_TASK, DAG_ID, PROJECT

SIZE = {"width": 1440, "height": 900}
# The graph is long and low.
WIDE = {"width": 1440, "height": 480}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SETTLE_MS = 2500
TOAST = "[data-scope=toast][data-part=root]"
PICTURES = Path(os.environ.get("RETRAIN_PICTURES", PROJECT / ".run-ui"))


@contextmanager
def installed_chromium() -> Iterator[Browser]:
    """The Chromium, or Chrome, of this machine, for the thread that enters."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class AirflowUi:
    """A browser's page on Airflow.

    :param page: the page
    :param url: base URL of Airflow
    :param mlflow_url: base URL of MLflow
    :param output: folder for the pictures
    """

    def __init__(self, page: Page, url: str, mlflow_url: str, output: Path) -> None:
        self.page, self.url, self.mlflow_url, self.output = page, url, mlflow_url, output

    def shoot(self, name: str, *, toast: bool = False) -> None:
        """Take a picture.

        :param name: stem of its file
        :param toast: with the message that goes away by itself; else wait until it has, for it covers the page
        """
        if not toast:
            self.page.wait_for_timeout(SETTLE_MS)
            self._wait_for_toasts_to_go()
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"{name}.png"
        self.page.screenshot(path=path)
        print(path)

    def _wait_for_toasts_to_go(self) -> None:
        try:
            self.page.wait_for_function(f"!document.querySelector('{TOAST}')", timeout=15_000)
        except Error:  # a picture with a message is better than none
            print("still shown:", self.page.locator(TOAST).all_inner_texts())

    def toast(self) -> str:
        """Wait for a message and return its text."""
        shown = self.page.locator(TOAST).first
        shown.wait_for()
        # It slides in.
        self.page.wait_for_timeout(500)
        return shown.inner_text()

    def log_in(self, user: str, password: str) -> None:
        """Log in at the form."""
        self.page.goto(self.url)
        self.page.fill("input[name=username]", user)
        self.page.fill("input[name=password]", password)
        self.page.click("[type=submit]")
        self.page.wait_for_url(f"{self.url}/")

    def open_models(self) -> Page:
        """Open *Browse > Models*, which is a page of its own, and return it."""
        self.page.goto(self.url)
        self.page.get_by_role("button", name="Browse").click()
        with self.page.expect_popup() as opened:
            self.page.get_by_role("menuitem", name="Models").click()
        return opened.value

    def open_trigger_form(self, dag_id: str = DAG_ID) -> Locator:
        """Open the form with which a DAG is triggered, by default the retrain."""
        self.page.goto(f"{self.url}/dags/{dag_id}")
        self.page.get_by_role("button", name="Trigger").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Trigger").wait_for()
        return dialog

    def trigger_quick(self, dialog: Locator) -> None:
        """Switch to a quick run and send the form."""
        dialog.locator("label", has=self.page.locator("input[type=checkbox]")).first.click()
        self.send(dialog)

    def send(self, dialog: Locator) -> None:
        """Send the form with which a DAG is triggered."""
        self._send(dialog.get_by_role("button", name="Trigger"), "POST", r"/dagRuns$")

    def _send(self, button: Locator, method: str, path: str) -> None:
        """Press a button, again when the database refused: SQLite does, when another process wrote meanwhile."""
        for _ in range(4):
            with self.page.expect_response(
                lambda answer: answer.request.method == method and bool(re.search(path, answer.url.split("?")[0]))
            ) as sent:
                button.click()
            if sent.value.status != 500:
                return
            self.page.wait_for_timeout(SETTLE_MS)

    def run_url(self, run_id: str, dag_id: str = DAG_ID) -> str:
        """Address of a run."""
        return f"{self.url}/dags/{dag_id}/runs/{quote(run_id)}"

    def open_approval(self, run_id: str, tab: str = "", dag_id: str = DAG_ID) -> None:
        """Open the approval of a run, at a tab such as ``required_actions``."""
        self.page.goto(f"{self.run_url(run_id, dag_id)}/tasks/{APPROVAL_TASK}/{tab}".rstrip("/"))
        self.page.wait_for_timeout(SETTLE_MS)

    def graph(self, run_id: str, name: str) -> None:
        """Take a picture of a run's graph."""
        self.page.goto(self.run_url(run_id))
        self.page.get_by_role("button", name="Show Graph").click()
        self.page.wait_for_timeout(SETTLE_MS)
        self.page.get_by_role("button", name="Collapse Details Panel").click()
        self.page.set_viewport_size(WIDE)
        self.page.add_style_tag(content=".react-flow__minimap { display: none }")
        self.page.locator(".react-flow__controls-fitview").click()
        self.shoot(name)
        self.page.set_viewport_size(SIZE)

    def open_mark(self, state: str) -> Locator:
        """Open the dialog that marks the task that is shown, as ``Success`` or ``Failed``."""
        self.page.locator("button", has_text="/").last.click()
        self.page.get_by_role("menuitem", name=state).click()
        return self.page.get_by_role("dialog")

    def write_note(self, dialog: Locator, note: str) -> None:
        """Write a note into the dialog."""
        dialog.get_by_role("button", name="Note").click()
        dialog.get_by_text("Add a note").last.click()
        dialog.locator("textarea").fill(note)
        # The field keeps its text when it loses the focus.
        dialog.get_by_role("heading").first.click()

    def confirm(self, dialog: Locator) -> None:
        """Send the mark."""
        self._send(dialog.get_by_role("button", name="Confirm"), "PATCH", rf"/{APPROVAL_TASK}(/-1)?$")

    def model_version(self, model: str, version: int | str) -> None:
        """Open a version's page in MLflow."""
        self._open_in_mlflow(f"models/{quote(model)}/versions/{version}")

    def mlflow_run(self, experiment_id: str, run_id: str) -> None:
        """Open a run's page in MLflow."""
        self._open_in_mlflow(f"experiments/{experiment_id}/runs/{run_id}")

    def _open_in_mlflow(self, path: str) -> None:
        self.page.goto(f"{self.mlflow_url}/#/{path}")
        self.page.wait_for_timeout(SETTLE_MS)
        # A browser that was never here before is shown what is around prompts and agents.
        training = self.page.get_by_text("Model training", exact=True)
        if training.is_visible():
            training.click()
            self.page.wait_for_timeout(SETTLE_MS)
            self.page.goto(f"{self.mlflow_url}/#/{path}")
        assistant = self.page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
        self.page.wait_for_timeout(SETTLE_MS)
        if assistant.is_visible():
            assistant.click()
