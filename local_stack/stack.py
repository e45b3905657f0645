"""The local stack as a whole: one folder of state, an MLflow, an Airflow, and the way up to a ready DAG."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from local_stack import credentials
from local_stack.airflow_api import AirflowApi
from local_stack.airflow_server import AirflowServer
from local_stack.errors import ApiError, StackError
from local_stack.mlflow_server import MlflowServer
from local_stack.ports import HOST, NamedPort, require_free
from local_stack.preparation import DEFAULT_MODEL, data_registry, registry_folder, require_boosters
from local_stack.processes import Processes
from local_stack.progress import Printer, duration

PROJECT = Path(__file__).resolve().parents[1]
DAG_ID = f"{DEFAULT_MODEL}_retrain"
APPROVAL_TASK = "await_approval"
_START_SECONDS = 420.0
_DUE_RUN_SECONDS = 30.0


@dataclass(frozen=True)
class Settings:
    """What a person may choose.

    :param state_dir: folder for databases, models, logs and passwords
    :param data: folder with real data of the first model; None means generated sample data
    :param models: what is retrained here, by the names of their packages
    """

    state_dir: Path
    airflow_port: int = 8080
    mlflow_port: int = 5000
    data: Path | None = None
    models: tuple[str, ...] = (DEFAULT_MODEL,)

    @property
    def dag_ids(self) -> tuple[str, ...]:
        """The DAGs that retrain them."""
        return tuple(f"{name}_retrain" for name in self.models)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without settings of another Airflow or MLflow and without a proxy for 127.0.0.1."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("AIRFLOW_", "MLFLOW_")) and name != "RETRAIN_DATA_REGISTRY"
    }
    local = f"{HOST},localhost"
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = f"{kept[name]},{local}" if kept.get(name) else local
    # Interpreters started by name (git hooks, dvc) are those of this virtual environment.
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept.update(
        PYTHONPATH=str(PROJECT),
        PYTHONUNBUFFERED="1",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        DO_NOT_TRACK="1",
        # Three boosters share this machine's cores: a thread that waits for work must not spin on one.
        OMP_WAIT_POLICY="PASSIVE",
    )
    return kept


class Stack:
    """MLflow and Airflow of one state folder.

    :param processes: starts and ends the servers; made with ``clean_environment``
    """

    def __init__(self, settings: Settings, processes: Processes, printer: Printer) -> None:
        self.settings = settings
        self.processes = processes
        self.printer = printer
        self.credentials = credentials.load_or_create(processes.state_dir)
        self.mlflow = MlflowServer(processes.state_dir, settings.mlflow_port)
        self.airflow = AirflowServer(processes.state_dir, settings.airflow_port, PROJECT, self.credentials)
        self.api: AirflowApi = self.airflow.api()
        self.registries = {name: registry_folder(processes.state_dir, name) for name in settings.models}

    @property
    def registry(self) -> Path:
        """The data registry of the first model."""
        return self.registries[self.settings.models[0]]

    def start(self) -> None:
        """Check, prepare and start everything, until the retrain's DAG is known to Airflow.

        :raises StackError: says what is missing or went wrong, and where the log is
        """
        require_free(
            [
                NamedPort("Airflow", self.settings.airflow_port, "AIRFLOW_PORT=8081 (--airflow-port 8081)"),
                NamedPort("MLflow", self.settings.mlflow_port, "MLFLOW_PORT=5001 (--mlflow-port 5001)"),
            ]
        )
        require_boosters()
        self.mlflow.start(self.processes)
        self.printer.step("Preparing the data registry and Airflow's database")
        for number, name in enumerate(self.settings.models):
            data_registry(self.processes, name, self.registries[name], self.settings.data if number == 0 else None)
        others = {name: folder for name, folder in self.registries.items() if name != self.settings.models[0]}
        environment = self.airflow.environment(self.mlflow.url, str(self.registry), others)
        self.airflow.migrate(self.processes, environment)
        self.airflow.start(self.processes, environment)
        self._wait("MLflow", lambda: self.mlflow.healthy(self.processes))
        self._wait("Airflow", lambda: not self.airflow.waiting_for(self.processes))
        for dag_id in self.settings.dag_ids:
            self._wait(f"the DAG {dag_id}", partial(self._dag_known, dag_id))

    def _dag_known(self, dag_id: str) -> bool:
        try:
            if self.api.dag(dag_id) is not None:
                return True
            errors = self.api.import_errors()
        except ApiError as error:
            if error.status in (0, 500, 503):
                return False
            raise
        if errors:
            raise StackError("Airflow cannot read the DAGs: " + "; ".join(errors))
        return False

    def _wait(self, what: str, ready: Callable[[], bool], limit: float = _START_SECONDS) -> None:
        start = time.monotonic()
        while not ready():
            self.processes.check()
            waited = time.monotonic() - start
            if waited > limit:
                raise StackError(f"{what} was not ready after {duration(waited)}. Logs: {self.processes.log_dir}")
            self.printer.status(f"Starting {what}: {duration(waited)}")
            time.sleep(0.5)
        self.printer.step(f"{what} is ready")

    def start_retrain(self, dag_id: str = DAG_ID, *, quick: bool = False) -> tuple[str, bool]:
        """Return the run to follow: one that is under way, else a new one.

        Unpausing can make Airflow start the night's run at once, when its time has just passed or was missed;
        that run is then the one to follow, so that there is never a second beside it.

        :return: the run's id, and whether it is new
        """
        running = self.api.active_runs(dag_id)
        if running:
            self.api.unpause(dag_id)
            return running[0].run_id, False
        dag = self.api.dag(dag_id) or {}
        self.api.unpause(dag_id)
        due = dag.get("next_dagrun_run_after")
        if due and _epoch(due) <= time.time():
            self.printer.step("A scheduled run is due: following that one")
            deadline = time.monotonic() + _DUE_RUN_SECONDS
            while time.monotonic() < deadline:
                running = self.api.active_runs(dag_id)
                if running:
                    return running[0].run_id, False
                time.sleep(1)
        conf = {"quick": True} if quick else {}
        return self.api.trigger(dag_id, conf), True

    def command(self, name: str, *arguments: str, model: str | None = None) -> str:
        """Run a command of a model's command line against this stack and return what it printed.

        :param name: such as ``predict``
        """
        model = model or self.settings.models[0]
        return self.processes.run(
            name,
            [sys.executable, "-m", f"include.models.{model}", name, *arguments],
            MLFLOW_TRACKING_URI=self.mlflow.url,
            RETRAIN_DATA_REGISTRY=str(self.registries[model]),
        )


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
