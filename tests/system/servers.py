"""The servers on which all tests of this folder run: one Airflow with several users, one MLflow, free ports.

What makes Airflow wait is set short here, so that a test waits for what happens and not for a timer.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from include.lifecycle.environment import environment as variables
from include.lifecycle.ledger.keys import KEY_FILE_ENV
from local_stack.airflow_api import TaskState
from local_stack.credentials import ledger_key_file, password_file, write_private
from local_stack.processes import Processes
from local_stack.progress import Printer
from local_stack.stack import PROJECT, Settings, Stack, clean_environment
from tests.ports import free_port
from tests.quick_retrain import publish

ODD = 'zoë o\'hara <b>"x"</b> {{ 7*7 }} ☃'
"""A user's name with all that SQL, HTML, Jinja and JSON would have to escape."""
ROLES = {"olga": "op", "omar": "op", "uwe": "user", "vera": "viewer", ODD: "op"}
"""Users beside the admin. An Op approves, a User may mark by Airflow's permissions, a Viewer may not."""

MODELS = ("rossmann", "churn")

BUNDLES = "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
TEST_DAGS = Path(__file__).parent / "dags"
QUICK = {
    # Half of what a test could wait for a triggerer that is gone: its waits go to the next one.
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    # A retrain occupies three slots while it trains: the waits beside it need theirs.
    "CORE__PARALLELISM": "8",
    # The files do not change while the tests run; parsing them again costs a core a few seconds each time.
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "600",
}


def bundles(**folders: Path) -> str:
    """Return Airflow's setting for DAGs in several folders, by the bundle's name."""
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return json.dumps(
        [{"name": name, "classpath": classpath, "kwargs": {"path": str(path)}} for name, path in folders.items()]
    )


@contextmanager
def started(folder: Path, config: Path) -> Iterator[Stack]:
    """Start the stack with sample data and all users, who share a password; it ends with the context.

    :param folder: where its state goes
    :param config: configuration of the first model; those of others lie beside it
    """
    key = {KEY_FILE_ENV: str(ledger_key_file(folder))}
    environment = clean_environment({**os.environ, "RETRAIN_CONFIG": str(config.parent), **key})
    settings = QUICK | {BUNDLES: bundles(dags=PROJECT / "dags", tests=TEST_DAGS)}
    # the tests read and write the ledger as the pipeline does
    with Processes(folder, environment, PROJECT) as processes, variables(key):
        made = Stack(Settings(folder, free_port(), free_port(), models=MODELS), processes, Printer())
        made.airflow = replace(made.airflow, users=ROLES, settings=settings)
        login = made.credentials
        write_private(password_file(folder), json.dumps(dict.fromkeys([login.user, *ROLES], login.password)))
        publish(made)
        made.start()
        yield made


def handed_over(processes: Processes, task: TaskState) -> bool:
    """Whether the scheduler knows that the process which asked has ended.

    An answer in the moments before may cost a retry (apache/airflow#72716), and a mark may be lost; people take longer.
    """
    return tells_the_end((processes.log_dir / "airflow-scheduler.log").read_text("utf-8", "replace"), task)


def tells_the_end(scheduler_log: str, task: TaskState) -> bool:
    """Whether the scheduler's log tells that a process of a task instance has ended."""
    return any("TaskInstance Finished" in line and task.id in line for line in scheduler_log.splitlines())


def until(processes: Processes, what: str, ask: Callable[[], Any], seconds: float) -> Any:
    """Ask until the answer is true and return it; servers that end meanwhile end the wait."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        processes.check()
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)
    return answer
