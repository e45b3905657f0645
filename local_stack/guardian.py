"""Ends a stack's processes when the process that started them dies without doing so (kill -9, a crash).

The guardian reads a pipe that its starter never writes to: the end of the file is the starter's end.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from local_stack.credentials import write_private
from local_stack.sweep import Leader, sweep

_FILE = "processes.json"
_PROJECT = Path(__file__).resolve().parents[1]


def write_leaders(state_dir: Path, leaders: Iterable[Leader]) -> None:
    """Record the processes of a stack, for the guardian and for ``make stop``."""
    write_private(state_dir / _FILE, json.dumps([asdict(leader) for leader in leaders]))


def read_leaders(state_dir: Path) -> list[Leader]:
    """Return the recorded processes of a stack; some may be gone."""
    try:
        return [Leader(**entry) for entry in json.loads((state_dir / _FILE).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def start(state_dir: Path) -> subprocess.Popen[bytes]:
    """Start the guardian of a stack."""
    (state_dir / _FILE).unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "local_stack.guardian", str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=_PROJECT,
        # A session of its own: the Ctrl-C that ends the starter must not end its guardian.
        start_new_session=True,
    )


def dismiss(process: subprocess.Popen[bytes]) -> None:
    """Let the guardian look once more and end."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _watch(state_dir: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 1):
        pass
    sweep(str(state_dir), read_leaders(state_dir), grace=10.0)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
