"""One Airflow and one MLflow for all tests of this folder: real servers, real processes, free ports."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_stack import ComposeStack, say, settings
from operations import SEEN, Configuration, Operations

from include.lifecycle.environment import environment
from include.local_stack.ports import free_port
from include.local_stack.processes import Processes
from include.local_stack.progress import Printer
from include.local_stack.stack import PROJECT, Settings, Stack, clean_environment
from tests.quick_retrain import publish, quick_config

BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    return Configuration(tmp_path_factory.mktemp("config") / "rossmann.yaml", quick_config())


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, config: Configuration) -> Iterator[Stack]:
    state_dir: Path = tmp_path_factory.mktemp("stack")
    environment = clean_environment({**os.environ, "RETRAIN_CONFIG": str(config.path)})
    folders = {"dags": PROJECT / "dags", "doors": Path(__file__).parent / "dags"}
    environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(
        [{"name": name, "classpath": BUNDLE, "kwargs": {"path": str(path)}} for name, path in folders.items()]
    )
    processes = Processes(state_dir, environment, PROJECT)
    with processes:
        made = Stack(Settings(state_dir, free_port(), free_port()), processes, Printer())
        publish(made)
        made.start()
        yield made


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
    command = [sys.executable, "-m", "include.rossmann", "import-data", str(folder), str(stack.registry)]
    commit = json.loads(stack.processes.run("import-data", command).splitlines()[-1])["commit"]
    publish(stack)
    return str(commit)


@pytest.fixture(scope="session")
def session_operator(stack: Stack, config: Configuration) -> Operations:
    return Operations(stack, config, SEEN)


@pytest.fixture
def operator(session_operator: Operations) -> Iterator[Operations]:
    """The operator, with the configuration restored after the test and no run of it left under way."""
    yield session_operator
    session_operator.config.restore()


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
