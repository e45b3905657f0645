"""What a newcomer does first: clone, `make run APPROVE=1`: both models are live, and nothing is left running."""

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.ports import is_free
from tests.ports import free_port

pytestmark = [pytest.mark.smoke, pytest.mark.timeout(1800)]

PROJECT = Path(__file__).resolve().parents[2]
MODEL, SECOND = "rossmann-ensemble", "customer-churn"


def git(*arguments: str, cwd: Path) -> str:
    identity = {"GIT_AUTHOR_NAME": "ci", "GIT_AUTHOR_EMAIL": "ci@localhost"}
    identity |= {"GIT_COMMITTER_NAME": "ci", "GIT_COMMITTER_EMAIL": "ci@localhost"}
    # The checkout may belong to another user than the one who tests it.
    command = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, env={**os.environ, **identity}
    ).stdout


@pytest.fixture
def clone(tmp_path: Path):
    """A repository with exactly what git would hand out: no state, nothing ignored."""
    target = tmp_path / "clone"
    target.mkdir()
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=PROJECT).split("\0"):
        source = PROJECT / name
        if name and source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    git("init", "--quiet", cwd=target)
    git("add", "--all", cwd=target)
    git("commit", "--quiet", "--message", "clone", cwd=target)
    yield target
    subprocess.run(["make", "stop", f"VENV={sys.prefix}"], cwd=target, check=False)
    shutil.rmtree(target, ignore_errors=True)


def left_behind(folder: Path) -> list[str]:
    """Processes that work in the folder or were started from it."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            here = [*(process.info["cmdline"] or []), process.cwd(), process.exe()]
        except (psutil.Error, OSError):
            continue
        if any(str(folder) in part for part in here):
            found.append(f"{process.info['pid']} {' '.join(process.info['cmdline'])}")
    return found


def test_make_run_approve_in_a_fresh_clone(clone: Path):
    airflow_port, mlflow_port = free_port(), free_port()
    # The environment that `make setup` made for the checkout serves the clone: its requirements are the same.
    arguments = ["make", "run", "APPROVE=1", f"AIRFLOW_PORT={airflow_port}", f"MLFLOW_PORT={mlflow_port}"]
    arguments += ["MODEL=rossmann churn", f"VENV={sys.prefix}"]
    # As a newcomer's shell: nothing of the tests' own environment.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RETRAIN_", "MLFLOW_", "AIRFLOW_", "PYTEST_", "VIRTUAL_ENV", "PYTHONPATH", "MAKE"))
    }
    start = time.monotonic()
    log = clone.parent / "make-run.log"
    with log.open("w") as output:
        done = subprocess.run(
            arguments, cwd=clone, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    text = log.read_text()
    print(text)
    print(f"make run APPROVE=1 in a fresh clone: {time.monotonic() - start:.0f} s")
    assert done.returncode == 0
    assert text.count("Model version 1 is now in Production") == 2
    for model in (MODEL, SECOND):
        check_registry(clone / ".run" / "mlflow" / "mlflow.db", model)
    left = list(csv.DictReader((clone / ".run" / "churn-predictions.csv").open()))
    assert {row["ModelVersion"] for row in left} == {"1"}
    assert all(0 <= float(row["Left"]) <= 1 for row in left)
    rows = list(csv.DictReader((clone / ".run" / "predictions.csv").open()))
    assert {row["ModelVersion"] for row in rows} == {"1"}
    assert all(float(row["Sales"]) >= 0 for row in rows)
    assert left_behind(clone) == []
    assert is_free(airflow_port)
    assert is_free(mlflow_port)
    assert git("status", "--porcelain", cwd=clone) == "", "make run left files that git does not ignore"


def check_registry(database: Path, model: str) -> None:
    """Version 1 of a model passed its gate, was approved by the admin with a reason, and is live."""
    registry = ModelRegistry(tracking_uri=f"sqlite:///{database}")
    (info,) = registry.versions(model)
    assert (info.version, info.stage, sorted(info.aliases)) == (1, "Production", ["champion"])
    assert info.tags["validation.outcome"] == "passed"
    decided = {name: info.tags[f"decision.{name}"] for name in ("outcome", "user", "reason")}
    assert decided == {"outcome": "approved", "user": "admin", "reason": "Approved by make run APPROVE=1"}
    (promotion,) = [event for event in registry.history(model) if event.is_promotion]
    assert (promotion.version, promotion.user, promotion.reason) == (1, "admin", decided["reason"])
    assert registry.verify(model) == []
