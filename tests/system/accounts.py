"""A real Airflow with several users under an auth manager, a real MLflow, and what each user does there."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
from servers import BUNDLES, QUICK, ROLES, TEST_DAGS, bundles, until

from local_stack.airflow_api import AirflowApi, until_kept
from local_stack.airflow_server import AirflowServer
from local_stack.credentials import ledger_key_file, load_or_create, write_private
from local_stack.mlflow_server import MlflowServer
from local_stack.ports import HOST
from local_stack.processes import Processes
from local_stack.stack import PROJECT, Stack, clean_environment
from tests.ports import free_port
from tests.stopping import stop_server

START_SECONDS = 300.0
PATIENCE_SECONDS = 300.0
"""For an answer of the API server: on SQLite a request waits for the writes of others."""
UNWATCHED = "api-server-without-plugin"
FAB_AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


@dataclass(frozen=True)
class Account:
    """A user who is logged in, and what the API answers.

    :param url: base URL of the API server
    :param token: None: anonymous
    """

    url: str
    token: str | None

    def send(self, method: str, path: str, body: Any) -> requests.Response:
        """Send a request to what lies below ``/api/v2``, again when SQLite refused it."""
        return self.send_bytes(method, path, json.dumps(body).encode() if body is not None else b"")

    def send_bytes(self, method: str, path: str, body: bytes) -> requests.Response:
        """Send a request with a body as it is."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.url}/api/v2{path}"
            return until_kept(
                partial(session.request, method, url, data=body, headers=headers, timeout=PATIENCE_SECONDS)
            )

    def patch(self, path: str, body: Any) -> tuple[int, str]:
        """Change something and return the status and, where it is refused, the sentence."""
        answer = self.send("PATCH", path, body)
        return answer.status_code, "" if answer.ok else str(answer.json().get("detail"))


class Site:
    """An Airflow with all users, and their logins.

    :param processes: the processes of its servers
    :param airflow: its Airflow, which runs
    :param mlflow: the MLflow to which its connection leads
    """

    def __init__(self, processes: Processes, airflow: AirflowServer, mlflow: MlflowServer) -> None:
        self.processes, self.airflow, self.mlflow = processes, airflow, mlflow
        self.api: AirflowApi = airflow.api()
        self.unwatched = self._start_without_plugin()
        self.accounts = {user: Account(airflow.url, self._token(user)) for user in (airflow.credentials.user, *ROLES)}
        self.anonymous = Account(airflow.url, None)

    def elsewhere(self, user: str) -> Account:
        """The user at the API server that has no plugin."""
        return Account(self.unwatched, self.accounts[user].token)

    def wait(self, what: str, ask: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
        """Ask until the answer is true; servers that end meanwhile end the wait."""
        return until(self.processes, what, ask, seconds)

    def _start_without_plugin(self) -> str:
        """Start a second API server on the same database, which has no plugins; return its URL."""
        port, empty = free_port(), self.processes.state_dir / "no_plugins"
        empty.mkdir()
        environment = self.airflow.environment(self.mlflow.url, "") | {"AIRFLOW__CORE__PLUGINS_FOLDER": str(empty)}
        command = [sys.executable, "-m", "airflow", "api-server", "--host", HOST, "--port", str(port)]
        self.processes.start(UNWATCHED, [*command, "--workers", "1"], **environment)
        url = f"http://{HOST}:{port}"
        self.wait("the second API server", lambda: AirflowApi(url, "", "").health())
        return url

    def _token(self, user: str) -> str:
        with requests.Session() as session:
            session.trust_env = False
            login = {"username": user, "password": self.airflow.credentials.password}
            answer = until_kept(partial(session.post, f"{self.airflow.url}/auth/token", json=login, timeout=60))
        assert answer.ok, f"{user} cannot log in: {answer.status_code} {answer.text}"
        return str(answer.json()["access_token"])


@contextmanager
def simple_site(stack: Stack) -> Iterator[Site]:
    """The stack that is there, whose users SimpleAuthManager knows, and a second API server for as long as it lasts."""
    site = Site(stack.processes, stack.airflow, stack.mlflow)
    try:
        yield site
    finally:
        stop_server(stack.processes, UNWATCHED)


@contextmanager
def fab_site(stack: Stack, folder: Path) -> Iterator[Site]:
    """An Airflow of its own whose users FAB knows, beside a stack and on its MLflow."""
    with Processes(folder, clean_environment(os.environ), PROJECT) as processes:
        credentials = load_or_create(folder)
        write_private(ledger_key_file(folder), ledger_key_file(stack.processes.state_dir).read_text())
        settings = QUICK | {BUNDLES: bundles(tests=TEST_DAGS)}
        airflow = AirflowServer(
            folder, free_port(), PROJECT, credentials, auth_manager=FAB_AUTH_MANAGER, settings=settings
        )
        environment = airflow.environment(stack.mlflow.url, "")
        airflow.migrate(processes, environment)
        users = {credentials.user: "Admin", **{user: role.capitalize() for user, role in ROLES.items()}}
        file = folder / "users.json"
        write_private(file, json.dumps([[user, role, credentials.password] for user, role in users.items()]))
        command = [sys.executable, str(Path(__file__).with_name("fab_users.py")), str(file)]
        processes.run("fab-users", command, **environment)
        airflow.start(processes, environment)
        until(processes, "Airflow", lambda: not airflow.waiting_for(processes), START_SECONDS)
        yield Site(processes, airflow, stack.mlflow)


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Make calls in the same instant, each in a thread of its own, and return what they returned."""
    calls = list(calls)
    barrier = threading.Barrier(len(calls))

    def make(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))
