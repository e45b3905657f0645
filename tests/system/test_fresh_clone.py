"""What a newcomer does first: clone, `make run APPROVE=1`; then nothing is left running."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from include.local_stack.ports import free_port, is_free

pytestmark = [pytest.mark.clone, pytest.mark.timeout(2700)]

PROJECT = Path(__file__).resolve().parents[2]


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
    """A repository with exactly what git would hand out: no environment, no state, nothing ignored."""
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
    if (target / ".venv").exists():
        subprocess.run(["make", "stop"], cwd=target, check=False)
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
    arguments = ["make", "run", "APPROVE=1", f"AIRFLOW_PORT={airflow_port}", f"MLFLOW_PORT={mlflow_port}"]
    # As a newcomer's shell: no environment of the tests, so that the clone makes its own.
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
    assert "Model version 1 is now in Production" in text
    assert (clone / ".run" / "predictions.csv").stat().st_size > 0
    assert left_behind(clone) == []
    assert is_free(airflow_port)
    assert is_free(mlflow_port)
    assert git("status", "--porcelain", cwd=clone) == "", "make run left files that git does not ignore"
