"""A real MLflow server on SQLite or on a private PostgreSQL, for as long as a context lasts."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.mlflow_database import empty_database
from tests.ports import free_port
from tests.registry_server import _wait

DRIVER = "RETRAIN_BENCH_POSTGRES_DRIVER"
"""Folder with psycopg2, which only the server of a benchmark needs: ``pip install --target FOLDER psycopg2-binary``."""


@contextmanager
def mlflow_server(backend: str, folder: Path, *, workers: int = 2, store: str | None = None) -> Iterator[str]:
    """Run ``mlflow server`` and yield its URL.

    :param backend: sqlite or postgresql
    :param folder: where its database and artifacts go
    :param workers: processes that answer requests
    :param store: SQLAlchemy URL of a database that is there already
    """
    with ExitStack() as stack:
        if store is None and backend == "postgresql":
            store = stack.enter_context(postgresql(folder / "postgresql"))
        elif store is None:
            store = f"sqlite:///{empty_database(folder / 'mlflow.db')}"
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", str(workers), "--backend-store-uri", store]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        path = os.pathsep.join(filter(None, [os.environ.get(DRIVER), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONPATH": path}
        log = folder / "server.log"
        with log.open("wb") as out:
            server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, env=environment)
        try:
            _wait(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a private PostgreSQL cluster from the system's packages and yield its SQLAlchemy URL."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    folder.mkdir(mode=0o700)
    port, data, log = free_port(), folder / "data", folder / "log"
    # PostgreSQL does not run as root
    as_owner: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        for parent in folder.parents:
            if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
        as_owner = ["runuser", "-u", "postgres", "--"]
    run([*as_owner, str(programs[-1] / "initdb"), "-D", str(data), "-U", "bench", "--auth=trust"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [*as_owner, str(programs[-1] / "pg_ctl"), "-D", str(data), "-w"]
    run([*control, "-l", str(log), "-o", options, "start"])
    try:
        run([str(programs[-1] / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "mlflow"])
        yield f"postgresql+psycopg2://bench@127.0.0.1:{port}/mlflow"
    finally:
        run([*control, "-m", "immediate", "stop"])


def run(command: list[str]) -> None:
    """Run a command in a folder that everybody may read; its output is shown when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")


@contextmanager
def read_only(folder: Path) -> Iterator[str]:
    """Run a second server on the SQLite database of the first, which it may not write; yield its URL.

    :param folder: the first server's
    """
    beside = folder / "read-only"
    beside.mkdir(exist_ok=True)
    with mlflow_server(
        "sqlite", beside, workers=1, store=f"sqlite:///file:{folder / 'mlflow.db'}?mode=ro&uri=true"
    ) as url:
        yield url
