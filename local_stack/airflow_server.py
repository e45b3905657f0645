"""The Airflow of the local stack: API server, scheduler, DAG processor and triggerer on SQLite.

They are started one by one, as ``airflow standalone`` does it, with two differences: each has a log file
of its own and is watched, and none serves logs to the network (all share this machine's disk).
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from include.lifecycle.ledger.keys import KEY_FILE_ENV
from local_stack.airflow_api import AirflowApi
from local_stack.credentials import Credentials, ledger_key_file, password_file
from local_stack.ports import HOST
from local_stack.processes import Processes

# Three boosters train side by side; one more lets an approved promotion pass beside a training night.
PARALLELISM = 4
PRELOADED = (
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
    "mlflow",
)
"""What the process imports from which tasks are forked."""
_PATIENCE, _PATIENCE_IN_REQUESTS = 60, 15
"""Seconds to wait for SQLite's one writer. The API server writes its audit log in the event loop, where a wait may hold
up the very request that it waits for."""
_PREFIX = "airflow-"
_API_SERVER = "airflow-api-server"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
SIMPLE_AUTH_MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
_HEALTH = ("metadatabase", "scheduler", "dag_processor", "triggerer")


@dataclass(frozen=True)
class AirflowServer:
    """Where Airflow keeps what it holds, where it listens and which project it runs.

    :param port: port of the API server on 127.0.0.1
    :param project: folder with dags/, plugins/ and include/
    :param auth_manager: class of the auth manager; users of another than SimpleAuthManager are made elsewhere
    :param users: names and roles of SimpleAuthManager's users beside the admin; their passwords are made elsewhere
    :param settings: more of Airflow's settings, over those made here: ``SECTION__NAME`` and value
    """

    state_dir: Path
    port: int
    project: Path
    credentials: Credentials
    auth_manager: str = SIMPLE_AUTH_MANAGER
    users: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the UI and the API."""
        return f"http://{HOST}:{self.port}"

    @property
    def logs(self) -> Path:
        """Folder of the task logs."""
        return self.state_dir / "airflow" / "logs"

    def api(self) -> AirflowApi:
        """Return a client with the admin's login."""
        return AirflowApi(self.url, self.credentials.user, self.credentials.password)

    def environment(
        self, mlflow_url: str, data_registry: str, others: Mapping[str, Path] | None = None
    ) -> dict[str, str]:
        """Return Airflow's configuration as environment variables.

        :param mlflow_url: tracking URI for the connection ``mlflow_default``
        :param data_registry: URL of the git repository that holds the data
        :param others: folders of those of other models, by the model's name: each has a connection ``NAME_data``
        """
        home = self.state_dir / "airflow"
        users = {self.credentials.user: "admin", **self.users}
        mlflow_host, _, mlflow_port = mlflow_url.removeprefix("http://").partition(":")
        settings = {
            "CORE__DAGS_FOLDER": str(self.project / "dags"),
            "CORE__PLUGINS_FOLDER": str(self.project / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": str(PARALLELISM),
            "CORE__AUTH_MANAGER": self.auth_manager,
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in users.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(self.state_dir)),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": self._database(_PATIENCE),
            "API__HOST": HOST,
            "API__PORT": str(self.port),
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": self.credentials.jwt_secret,
            "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            # A task whose process vanished with an interrupted stack is noticed and retried after a minute.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            # Tasks are forked from a process that has imported what they need: MLflow alone takes each of them seconds.
            "SCHEDULER__MP_START_METHOD": "forkserver",
            "SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join(PRELOADED),
            "LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
            **self.settings,
        }
        connections = {
            "MLFLOW_DEFAULT": {
                "conn_type": "http",
                "host": mlflow_host,
                "port": int(mlflow_port),
                "schema": "http",
            },
            **{
                f"{name.upper()}_DATA": {"conn_type": "generic", "host": str(folder)}
                for name, folder in (others or {}).items()
            },
        }
        return {
            "AIRFLOW_HOME": str(home),
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
            "PYTHONPATH": str(self.project),
            "RETRAIN_DATA_REGISTRY": data_registry,
            **({KEY_FILE_ENV: str(key)} if (key := ledger_key_file(self.state_dir)).exists() else {}),
        }

    def migrate(self, processes: Processes, environment: Mapping[str, str]) -> None:
        """Make or update Airflow's database."""
        (self.state_dir / "airflow").mkdir(parents=True, exist_ok=True)
        processes.run("airflow-db-migrate", [sys.executable, "-m", "airflow", "db", "migrate"], **environment)

    def start(self, processes: Processes, environment: Mapping[str, str]) -> None:
        """Start all parts of Airflow."""
        arguments = {
            "api-server": ["--host", HOST, "--port", str(self.port), "--workers", "1"],
            "scheduler": ["--skip-serve-logs"],
            "triggerer": ["--skip-serve-logs"],
        }
        for component in COMPONENTS:
            patience = _PATIENCE_IN_REQUESTS if component == "api-server" else _PATIENCE
            processes.start(
                f"{_PREFIX}{component}",
                [sys.executable, "-m", "airflow", component, *arguments.get(component, [])],
                **{**environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database(patience)},
            )

    def _database(self, patience: int) -> str:
        """Return the URL of Airflow's database, whose one writer at a time is waited for, in seconds."""
        return f"sqlite:///{self.state_dir / 'airflow' / 'airflow.db'}?timeout={patience}"

    def waiting_for(self, processes: Processes) -> list[str]:
        """Return the parts of Airflow that do not report to be healthy yet."""
        health = self.api().health() if processes.listens(_API_SERVER, self.port) else {}
        if not health:
            return ["api server"]
        return [part.replace("_", " ") for part in _HEALTH if health.get(part) != "healthy"]
