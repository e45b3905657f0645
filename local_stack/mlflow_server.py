"""The MLflow server of the local stack: SQLite and a folder of artifacts, reached on 127.0.0.1 only."""

import sys
from dataclasses import dataclass
from pathlib import Path

import requests

from local_stack.ports import HOST
from local_stack.processes import Processes

NAME = "mlflow"


@dataclass(frozen=True)
class MlflowServer:
    """Where the server keeps what it holds and where it listens."""

    state_dir: Path
    port: int

    @property
    def url(self) -> str:
        """The tracking URI."""
        return f"http://{HOST}:{self.port}"

    def start(self, processes: Processes) -> None:
        """Start the server."""
        folder = self.state_dir / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        processes.start(
            NAME,
            [
                *(sys.executable, "-m", "mlflow", "server"),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
                *("--host", HOST, "--port", str(self.port), "--workers", "1"),
                *("--allowed-hosts", f"{HOST}:{self.port},localhost:{self.port}"),
            ],
            # Background jobs (evaluations of language models) would be three more processes without work.
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )

    def healthy(self, processes: Processes) -> bool:
        """Tell whether the server answers."""
        if not processes.listens(NAME, self.port):
            return False
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False
