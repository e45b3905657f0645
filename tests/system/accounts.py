"""A real Airflow with several users under an auth manager, a real MLflow, and what each user does there."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from include.local_stack.airflow_api import AirflowApi, until_kept
from include.local_stack.airflow_server import SIMPLE_AUTH_MANAGER, AirflowServer
from include.local_stack.credentials import load_or_create, password_file, write_private
from include.local_stack.mlflow_server import MlflowServer
from include.local_stack.ports import HOST, free_port
from include.local_stack.processes import Processes
from include.local_stack.stack import PROJECT

START_SECONDS = 300.0
BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
ODD = 'zoë o\'hara <b>"x"</b> {{ 7*7 }} ☃'
"""A user's name with all that SQL, HTML, Jinja and JSON would have to escape."""
ROLES = {"olga": "op", "omar": "op", "uwe": "user", "vera": "viewer", ODD: "op"}
"""Users beside the admin. An Op approves, a User may mark by Airflow's permissions, a Viewer may not."""
FAB_AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
MANAGERS = {"simple": SIMPLE_AUTH_MANAGER, "fab": FAB_AUTH_MANAGER}


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
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.url}/api/v2{path}"
            return until_kept(partial(session.request, method, url, json=body, headers=headers, timeout=60))

    def patch(self, path: str, body: Any) -> tuple[int, str]:
        """Change something and return the status and, where it is refused, the sentence."""
        answer = self.send("PATCH", path, body)
        return answer.status_code, "" if answer.ok else str(answer.json().get("detail"))


class Site:
    """The servers, and the logins of all users.

    :param manager: ``simple`` or ``fab``
    :param processes: starts and ends the servers
    """

    def __init__(self, manager: str, processes: Processes) -> None:
        self.processes = processes
        folder = processes.state_dir
        self.credentials = load_or_create(folder)
        self.roles = {user: role.capitalize() if manager == "fab" else role for user, role in ROLES.items()}
        self.mlflow = MlflowServer(folder, free_port())
        self.airflow = AirflowServer(
            folder, free_port(), PROJECT, self.credentials, auth_manager=MANAGERS[manager], users=self.roles
        )
        self.api: AirflowApi = self.airflow.api()
        self._password = self.credentials.password
        self._start(manager)
        self.unwatched = self._start_without_plugin()
        self.accounts = {user: Account(self.airflow.url, self._token(user)) for user in ("admin", *ROLES)}
        self.anonymous = Account(self.airflow.url, None)

    def elsewhere(self, user: str) -> Account:
        """The user at the API server that has no plugin."""
        return Account(self.unwatched, self.accounts[user].token)

    def wait(self, what: str, ask: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
        """Ask until the answer is true; servers that end meanwhile end the wait."""
        deadline = time.monotonic() + seconds
        while not (answer := ask()):
            self.processes.check()
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
            time.sleep(1)
        return answer

    def _environment(self) -> dict[str, str]:
        environment = self.airflow.environment(self.mlflow.url, "")
        folder = {"path": str(Path(__file__).parent / "identity_dags")}
        bundles = [{"name": "identity", "classpath": BUNDLE, "kwargs": folder}]
        environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
        return environment

    def _start(self, manager: str) -> None:
        environment = self._environment()
        self.mlflow.start(self.processes)
        self.airflow.migrate(self.processes, environment)
        self._make_users(manager, environment)
        self.airflow.start(self.processes, environment)
        self.wait("MLflow", lambda: self.mlflow.healthy(self.processes))
        self.wait("Airflow", lambda: not self.airflow.waiting_for(self.processes))

    def _make_users(self, manager: str, environment: dict[str, str]) -> None:
        users = {self.credentials.user: self._password, **dict.fromkeys(ROLES, self._password)}
        if manager == "simple":
            write_private(password_file(self.processes.state_dir), json.dumps(users))
            return
        roles = {self.credentials.user: "Admin", **self.roles}
        file = self.processes.state_dir / "users.json"
        write_private(file, json.dumps([[user, role, self._password] for user, role in roles.items()]))
        command = [sys.executable, str(Path(__file__).with_name("fab_users.py")), str(file)]
        self.processes.run("fab-users", command, **environment)

    def _start_without_plugin(self) -> str:
        """Start a second API server on the same database, which has no plugins; return its URL."""
        port, empty = free_port(), self.processes.state_dir / "no_plugins"
        empty.mkdir()
        environment = {**self._environment(), "AIRFLOW__CORE__PLUGINS_FOLDER": str(empty)}
        command = [sys.executable, "-m", "airflow", "api-server", "--host", HOST, "--port", str(port)]
        self.processes.start("api-server-without-plugin", [*command, "--workers", "1"], **environment)
        url = f"http://{HOST}:{port}"
        self.wait("the second API server", lambda: AirflowApi(url, "", "").health())
        return url

    def _token(self, user: str) -> str:
        with requests.Session() as session:
            session.trust_env = False
            login = {"username": user, "password": self._password}
            answer = session.post(f"{self.airflow.url}/auth/token", json=login, timeout=60)
        assert answer.ok, f"{user} cannot log in: {answer.status_code} {answer.text}"
        return str(answer.json()["access_token"])


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Make calls in the same instant, each in a thread of its own, and return what they returned."""
    calls = list(calls)
    barrier, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def make(number: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        answers[number] = call()

    threads = [threading.Thread(target=make, args=numbered) for numbered in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def run_path(dag_id: str, run_id: str) -> str:
    """The path of a run below ``/api/v2``."""
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
