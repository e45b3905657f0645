"""One Airflow and one MLflow for all tests of this folder: real servers, real processes, free ports."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from blackouts import Blackout, approve_in_blackout
from compose_stack import ComposeStack, say, settings
from operations import FIRST_REASON, SEEN, Configuration, Operations
from playwright.sync_api import Browser
from servers import started

from include.lifecycle.environment import environment
from local_stack.stack import DAG_ID, Stack
from tests.quick_retrain import publish, quick_config
from tests.ui.airflow_ui import PICTURES, SIZE, AirflowUi, installed_chromium


@dataclass(frozen=True)
class BrokenRuns:
    """Runs of which nothing comes into Staging."""

    spoilt: str
    corrupt: str


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    folder = tmp_path_factory.mktemp("config")
    content = quick_config()
    content["prediction"]["place"] = str(folder / "predictions")
    second = quick_config("churn")
    second["prediction"]["place"] = str(folder / "predictions")
    # another team's: nobody else approves it or rolls it back
    theirs = {"approvers": ["user:omar"], "reason_required": True}
    second["lifecycle"] |= {"approval": second["lifecycle"]["approval"] | {"policy": theirs}}
    second["lifecycle"]["rollback"] = {"policy": theirs}
    Configuration(folder / "churn.yaml", second)
    return Configuration(folder / "rossmann.yaml", content)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, config: Configuration) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("stack"), config.path) as stack:
        yield stack


@pytest.fixture(scope="session")
def spoilt_revision(stack: Stack) -> str:
    """A revision whose newest sales are shuffled, so that no honest forecast passes the gate."""
    commit = publish(stack, "--spoil")
    publish(stack)
    return commit


@pytest.fixture(scope="session")
def corrupt_revision(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A revision whose train.csv has a broken row."""
    folder = tmp_path_factory.mktemp("corrupt")
    for file in (stack.registry / "data").glob("*.csv"):
        shutil.copy(file, folder)
    lines = (folder / "train.csv").read_text().splitlines(keepends=True)
    (folder / "train.csv").write_text("".join([*lines[:500], "7,2014-01-0", *lines[501:]]))
    command = [sys.executable, "-m", "include.models.rossmann", "import-data", str(folder), str(stack.registry)]
    commit = json.loads(stack.processes.run("import-data", command).splitlines()[-1])["commit"]
    publish(stack)
    return str(commit)


@pytest.fixture(scope="session")
def session_operator(stack: Stack, config: Configuration) -> Operations:
    return Operations(stack, config, SEEN)


@pytest.fixture(scope="session")
def first_run(session_operator: Operations, as_user: Callable[[str], AirflowUi]) -> str:
    """The first run, which the operator triggers with the form. It trains while other tests wait."""
    operator, olga = session_operator, as_user("olga")
    operator.api.unpause(DAG_ID)
    dialog = olga.open_trigger_form()
    olga.shoot("1-trigger-form")
    olga.trigger_quick(dialog)
    run = operator.wait("the run", lambda: next(iter(operator.api.active_runs(DAG_ID)), None))
    olga.graph(run.run_id, "2-graph-training")
    olga.page.goto("about:blank")  # an open page asks the API server again and again
    return str(run.run_id)


@pytest.fixture(scope="session")
def broken_runs(
    session_operator: Operations, first_run: str, spoilt_revision: str, corrupt_revision: str
) -> BrokenRuns:
    """Two runs beside the first: on data that no model forecasts, and on data that cannot be read."""
    spoilt, corrupt = (session_operator.trigger(data_revision=item) for item in (spoilt_revision, corrupt_revision))
    return BrokenRuns(spoilt, corrupt)


@pytest.fixture(scope="session")
def first(session_operator: Operations, first_run: str) -> int:
    """The version of the first run, in Production: approved in the browser, or here where that did not come before."""
    operator = session_operator
    if operator.production() is None:
        operator.until_waiting(first_run)
        operator.approve(first_run, FIRST_REASON)
        assert operator.until_end(first_run) == "success", operator.why(first_run)
    return operator.version_of(first_run)


@pytest.fixture(scope="session")
def blackout(session_operator: Operations) -> Blackout:
    """A promotion that waits for the end of a blackout while other tests go on."""
    return approve_in_blackout(session_operator, "policy-blackout")


@pytest.fixture
def operator(session_operator: Operations) -> Iterator[Operations]:
    """The operator, with the configuration restored after the test and no run of it left under way."""
    yield session_operator
    session_operator.config.restore()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with installed_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def as_user(stack: Stack, chromium: Browser) -> Callable[[str], AirflowUi]:
    """Log a user in, each in a browser context of its own, and return what the user sees."""
    seen: dict[str, AirflowUi] = {}

    def log_in(user: str) -> AirflowUi:
        if user not in seen:
            page = chromium.new_context(viewport=SIZE).new_page()
            ui = AirflowUi(page, stack.airflow.url, stack.mlflow.url, PICTURES)
            ui.log_in(user, stack.credentials.password)
            seen[user] = ui
        return seen[user]

    return log_in


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SEEN:
        terminalreporter.section("what the operator saw")
        for line in SEEN:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """The stack of docker-compose.yaml, with one person of each role."""
    assert shutil.which("docker"), "these tests need Docker"
    if given := os.environ.get("RETRAIN_TEST_STACK"):
        found = ComposeStack(Path(given))
        found.make_users()
        with environment(found.mlflow_login):
            yield found
        return
    made = ComposeStack(settings(tmp_path_factory.mktemp("compose")))
    try:
        started = time.monotonic()
        made.up()
        say(f"up in {time.monotonic() - started:.0f} s")
        made.make_users()
        with environment(made.mlflow_login):
            yield made
    finally:
        if os.environ.get("RETRAIN_KEEP_STACK") is None:
            made.down("-v")
