"""Airflow's API server killed at every step of a decision: is a mark a decision in the ledger, and only then?

    python tests/bench/outbox_kills.py [--outcome success|failed]

A process of its own handles one request, a mark of the approval task, in Airflow's own API application on SQLite,
with a real MLflow, and is killed with signal 9 before each statement that it sends to Airflow's database, each commit
and each request to MLflow. Then the next API server delivers what was left. A mark that Airflow's database kept must
have exactly one decision of that user in the ledger, one that it did not keep none.
"""

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "plugins")]
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
warnings.simplefilter("ignore")

from tests.airflow_home import prepare

prepare()

from tests.bench.servers import mlflow_server

APPROVAL = "await_approval"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--outcome", choices=["success", "failed"], default="success")
    outcome = parser.parse_args().outcome
    os.environ["RETRAIN_LEDGER_KEY"] = "5a" * 32
    with tempfile.TemporaryDirectory(prefix="outbox-") as folder, mlflow_server("sqlite", Path(folder)) as url:
        parts = urlsplit(url)
        connection = {"conn_type": "http", "host": parts.hostname, "port": parts.port, "schema": "http"}
        os.environ["AIRFLOW_CONN_MLFLOW_DEFAULT"] = json.dumps(connection)
        from airflow.utils.db import initdb

        initdb()
        logging.disable(logging.CRITICAL)
        points, wrong, at = [], 0, 0
        print(f"{'':3} {f'mark {outcome}, killed before':58} {'is now':8} {'decided':19}")
        while True:
            run_id = in_child(prepare_run)
            died = in_child(lambda run_id=run_id, at=at: mark(run_id, outcome, at))
            marked, decided, late = in_child(lambda run_id=run_id: recover(run_id))
            expected = ["ben"] if marked == outcome else []
            good = decided == expected and late == 0
            wrong += not good
            verdict = "as it should be" if good else "WRONG"
            print(f"{at:3} {died or '(nothing: it is done)':58} {marked:8} {decided!s:19} {verdict}", flush=True)
            points.append(died)
            at += 1
            if not died:
                break
    print(f"\n{len(points)} points, {wrong} wrong")
    return int(wrong > 0)


def in_child(act: Callable[[], Any]) -> Any:
    """Return what a process of its own, a copy of this one, returns; for one that is killed, what it did last."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _fresh_connections()
            global _tell
            _tell = os.fdopen(writing, "w", buffering=1)
            _tell.write(json.dumps({"result": act()}) + "\n")
        except BaseException as error:  # noqa: BLE001 -- told to the parent
            _tell.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = [json.loads(line) for line in lines]
    os.waitpid(child, 0)
    last = said[-1]
    if "error" in last:
        raise SystemExit(last["error"])
    return last.get("result", last.get("before"))


_tell: Any = sys.stderr


def _fresh_connections() -> None:
    from airflow import settings

    settings.dispose_orm(do_log=False)
    settings.configure_orm(disable_connection_pool=True)


def prepare_run() -> str:
    """Trigger a run and ask, as the sensor does."""
    from tests.plugins.api_server import Run, api_client

    with api_client() as client:
        run = Run(client)
        run.ask()
        return run.run_id


def mark(run_id: str, state: str, at: int) -> str | None:
    """Mark the approval of a run, and die before the step number ``at``."""
    from requests.adapters import HTTPAdapter
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from model_registry.api_server import outbox
    from tests.plugins.api_server import Run, api_client

    steps = 0

    def before(what: str) -> None:
        nonlocal steps
        if steps == at:
            _tell.write(json.dumps({"before": what}) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1

    outbox.start = lambda: None  # the thread that delivers what was left would do this request's work
    with api_client() as client:
        run = Run.__new__(Run)
        run.client, run.dag_id, run.task_id, run.run_id = client, "example_other_model", APPROVAL, run_id
        token = run.token("ben")
        headers = {"Authorization": f"Bearer {token}"}

        def statement(connection: Any, cursor: Any, text: str, *_: Any) -> None:
            before(f"Airflow's database: {' '.join(text.split()[:3])}"[:58])

        event.listen(Engine, "before_cursor_execute", statement)
        event.listen(Engine, "commit", lambda connection: before("Airflow's database: COMMIT"))
        send = HTTPAdapter.send

        def told(self: Any, request: Any, *arguments: Any, **more: Any) -> Any:
            before(f"MLflow: {request.method} {urlsplit(request.url).path.removeprefix('/api/2.0/mlflow')}")
            return send(self, request, *arguments, **more)

        HTTPAdapter.send = told  # type: ignore[method-assign]
        answer = client.patch(run.approval, json={"new_state": state, "note": "because"}, headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
    return None


def recover(run_id: str) -> tuple[str, list[str], int]:
    """Deliver what was left, as the next API server does; return the task's state and who decided in the ledger."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    from model_registry.api_server import outbox
    from tests.plugins.api_server import said

    outbox._deliver()
    with create_session() as session:
        state = session.query(TaskInstance).filter_by(run_id=run_id, task_id=APPROVAL).one().state
    statements = said()
    asks = [ask.id for ask in statements.asks.values() if ask.place.run_id == run_id]
    decided = [statements.decided[ask].what.decision.user for ask in asks if ask in statements.decided]
    return str(state), decided, len(statements.late)


if __name__ == "__main__":
    sys.exit(main())
