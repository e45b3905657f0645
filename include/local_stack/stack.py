"""The local stack as a whole: one folder of state, an MLflow, an Airflow, and the way up to a ready DAG."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from include.local_stack import credentials
from include.local_stack.airflow_api import AirflowApi
from include.local_stack.airflow_server import AirflowServer
from include.local_stack.errors import ApiError, StackError
from include.local_stack.mlflow_server import MlflowServer
from include.local_stack.ports import HOST, NamedPort, require_free
from include.local_stack.preparation import data_registry, require_boosters
from include.local_stack.processes import Processes
from include.local_stack.progress import Printer, duration

PROJECT = Path(__file__).resolve().parents[2]
DAG_ID = "rossmann_retrain"
APPROVAL_TASK = "await_approval"
_START_SECONDS = 420.0
_DUE_RUN_SECONDS = 30.0


@dataclass(frozen=True)
class Settings:
    """What a person may choose.

    :param state_dir: folder for databases, models, logs and passwords
    :param airflow_port: port of Airflow on 127.0.0.1
    :param mlflow_port: port of MLflow on 127.0.0.1
    :param data: folder with real data; None means generated sample data
    """

    state_dir: Path
    airflow_port: int = 8080
    mlflow_port: int = 5000
    data: Path | None = None


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without settings of another Airflow or MLflow and without a proxy for 127.0.0.1.

    :param environment: usually that of this process
    """
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

    :param settings: folder, ports, data
    :param processes: starts and ends the servers; made with ``clean_environment``
    :param printer: where progress is shown
    """

    def __init__(self, settings: Settings, processes: Processes, printer: Printer) -> None:
        self.settings = settings
        self.processes = processes
        self.printer = printer
        self.credentials = credentials.load_or_create(processes.state_dir)
        self.mlflow = MlflowServer(processes.state_dir, settings.mlflow_port)
        self.airflow = AirflowServer(processes.state_dir, settings.airflow_port, PROJECT, self.credentials)
        self.api: AirflowApi = self.airflow.api()
        self.registry = processes.state_dir / "data_registry"

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
        self.registry = data_registry(self.processes, self.processes.state_dir, self.settings.data)
        environment = self.airflow.environment(self.mlflow.url, str(self.registry))
        self.airflow.migrate(self.processes, environment)
        self.airflow.start(self.processes, environment)
        self._wait("MLflow", lambda: self.mlflow.healthy(self.processes))
        self._wait("Airflow", lambda: not self.airflow.waiting_for(self.processes))
        self._wait(f"the DAG {DAG_ID}", self._dag_known)

    def _dag_known(self) -> bool:
        try:
            if self.api.dag(DAG_ID) is not None:
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

    def start_retrain(self, *, quick: bool = False, note: str | None = None) -> tuple[str, bool]:
        """Return the run to follow: one that is under way, else a new one.

        Unpausing can make Airflow start the night's run at once, when its time has just passed or was missed;
        that run is then the one to follow, so that there is never a second beside it.

        :param quick: value of the form's switch for a new run
        :param note: note on a new run
        :return: the run's id, and whether it is new
        """
        running = self.api.active_runs(DAG_ID)
        if running:
            self.api.unpause(DAG_ID)
            return running[0].run_id, False
        dag = self.api.dag(DAG_ID) or {}
        self.api.unpause(DAG_ID)
        due = dag.get("next_dagrun_run_after")
        if due and _epoch(due) <= time.time():
            self.printer.step("A scheduled run is due: following that one")
            deadline = time.monotonic() + _DUE_RUN_SECONDS
            while time.monotonic() < deadline:
                running = self.api.active_runs(DAG_ID)
                if running:
                    return running[0].run_id, False
                time.sleep(1)
        conf = {"quick": True} if quick else {}
        return self.api.trigger(DAG_ID, conf, note), True

    def command(self, name: str, *arguments: str) -> str:
        """Run a command of the forecast's command line against this stack and return what it printed.

        :param name: such as ``predict``
        :param arguments: what follows it
        """
        return self.processes.run(
            name,
            [sys.executable, "-m", "include.rossmann", name, *arguments],
            MLFLOW_TRACKING_URI=self.mlflow.url,
            RETRAIN_DATA_REGISTRY=str(self.registry),
        )


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
