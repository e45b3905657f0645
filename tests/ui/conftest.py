"""A real Airflow with an operator and a viewer, a real MLflow, and a real Chromium."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow_ui import ARGUMENTS, SIZE, AirflowUi
from playwright.sync_api import Browser, sync_playwright

from include.local_stack.credentials import password_file, write_private
from include.local_stack.ports import free_port
from include.local_stack.processes import Processes
from include.local_stack.progress import Printer
from include.local_stack.stack import PROJECT, Settings, Stack, clean_environment
from tests.quick_retrain import publish, quick_config

USERS = {"olga": "op", "vera": "viewer"}
PICTURES = Path(os.environ.get("RETRAIN_PICTURES", PROJECT / ".run-ui"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    config = tmp_path_factory.mktemp("config") / "rossmann.yaml"
    config.write_text(yaml.safe_dump(quick_config()))
    state_dir = tmp_path_factory.mktemp("stack")
    environment = clean_environment({**os.environ, "RETRAIN_CONFIG": str(config)})
    with Processes(state_dir, environment, PROJECT) as processes:
        made = Stack(Settings(state_dir, free_port(), free_port()), processes, Printer())
        made.airflow = replace(made.airflow, users=USERS)
        login = made.credentials
        passwords = dict.fromkeys([login.user, *USERS], login.password)
        write_private(password_file(state_dir), json.dumps(passwords))
        publish(made)
        made.start()
        yield made


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def as_user(stack: Stack, chromium: Browser) -> Callable[[str], AirflowUi]:
    """Log a user in, each in a browser context of its own, and return what the user sees."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    seen: dict[str, Any] = {}

    def log_in(user: str) -> AirflowUi:
        if user not in seen:
            page = chromium.new_context(viewport=SIZE).new_page()
            ui = AirflowUi(page, stack.airflow.url, stack.mlflow.url, PICTURES)
            ui.log_in(user, stack.credentials.password)
            seen[user] = ui
        return seen[user]

    return log_in
