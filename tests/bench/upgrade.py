"""An approval waits, the package is upgraded, and it is answered; a ledger that had no key is sealed with one.

    python tests/bench/upgrade.py --from COMMIT [--mark success|failed]

Runs the local stack of an earlier commit in a clone until a quick retrain waits for its approval, stops it, brings the
clone to this checkout's commit, starts it on the same state, marks the approval, and checks what came of it. The
packages are those of this virtual environment.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT)]

from include.lifecycle.ledger.keys import KEY_ENV, KEY_FILE_ENV
from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.airflow_api import AirflowApi
from local_stack.credentials import ledger_key_file, load_or_create
from local_stack.errors import ApiError
from local_stack.stack import APPROVAL_TASK, DAG_ID, clean_environment
from tests.ports import free_port

MODEL = "rossmann-ensemble"
PATIENCE_SECONDS = 900.0
Found = TypeVar("Found")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="earlier", required=True, help="the commit before")
    parser.add_argument("--mark", choices=["success", "failed"], default="success")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upgrade-") as folder:
        code, state, ports = Path(folder) / "code", Path(folder) / "state", (free_port(), free_port())
        git(PROJECT, "clone", "--quiet", "--no-hardlinks", str(PROJECT), str(code))
        git(code, "checkout", "--quiet", given.earlier)
        with stack(code, state, ports) as api:
            run_id = until("the run", lambda: next((run.run_id for run in api.active_runs(DAG_ID)), ""))
            until("the approval waits", lambda: api.task(DAG_ID, run_id, APPROVAL_TASK).state == "deferred")
            time.sleep(5)
        print(f"an approval waits on {given.earlier}; the servers are stopped", flush=True)
        git(code, "checkout", "--quiet", git(PROJECT, "rev-parse", "HEAD"))
        began = time.monotonic()
        with stack(code, state, ports) as api:
            registry = ModelRegistry(tracking_uri=f"http://127.0.0.1:{ports[1]}")
            until("the new code asks", lambda: registry.ledger(MODEL).read().statements.asks)
            print(f"asked {time.monotonic() - began:.0f} s after the start of the new one", flush=True)
            began = time.monotonic()
            api.mark(DAG_ID, run_id, APPROVAL_TASK, given.mark, "asked before the upgrade")
            until("the end", lambda: api.run(DAG_ID, run_id).state in ("success", "failed"))
            live, events = registry.production(MODEL), registry.history(MODEL)
            last = events[-1]
            print(
                f"ended {time.monotonic() - began:.1f} s after the mark: {last.outcome} by {last.user}: {last.reason}"
            )
            print(f"in Production: {live.version if live else 'none'}; wrong with the ledger: {registry.verify(MODEL)}")
            good = (live is not None) == (given.mark == "success") and not registry.verify(MODEL)
            good = good and (last.user, last.reason) == ("admin", "asked before the upgrade")
            file = ledger_key_file(state)  # where that commit made one already, nothing is to be sealed
            os.environ |= {KEY_FILE_ENV: str(file)} if file.exists() else {KEY_ENV: secrets.token_hex(32)}
            for arguments in ([] if file.exists() else [["seal-ledger"]]) + [["history", "--verify"]]:
                command = [sys.executable, "-m", "include.models.rossmann", *arguments]
                uri = f"http://127.0.0.1:{ports[1]}"
                environment = {**clean_environment(os.environ), "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(code)}
                done = subprocess.run(command, cwd=code, env=environment, text=True, check=False, capture_output=True)
                print(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}", flush=True)
                good = good and done.returncode == 0
    print("as it should be" if good else "WRONG")
    return int(not good)


@contextmanager
def stack(code: Path, state: Path, ports: tuple[int, int]) -> Iterator[AirflowApi]:
    """Run the local stack of a checkout, and stop it as Ctrl-C does."""
    options = ["--state-dir", str(state), "--airflow-port", str(ports[0]), "--mlflow-port", str(ports[1]), "--quick"]
    module = "local_stack" if (code / "local_stack").is_dir() else "include.local_stack"  # where it was once
    command = [sys.executable, "-m", module, "run", *options]
    environment = {**clean_environment(os.environ), "PYTHONPATH": str(code)}
    log = code.parent / "stack.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=code, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        until("Airflow", lambda: (state / "credentials.json").exists())
        login = load_or_create(state)
        api = AirflowApi(f"http://127.0.0.1:{ports[0]}", login.user, login.password)
        until("the DAG", lambda: process.poll() is None and api.dag(DAG_ID))
        yield api
    except BaseException:
        print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def until(what: str, ask: Callable[[], Found]) -> Found:
    """Return what is asked for once it is there; a server that is not up yet is asked again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if found := ask():
                return found
        except (ApiError, OSError):
            pass
        time.sleep(1)
    raise SystemExit(f"{what}: not within {PATIENCE_SECONDS:.0f} s")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
