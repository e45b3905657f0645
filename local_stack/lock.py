"""One stack per state folder: a lock that its holder's death releases."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from local_stack.errors import StackError
from local_stack.guardian import read_leaders
from local_stack.sweep import sweep

_FILE = "lock"
_STOP_SECONDS = 60.0


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Hold the lock of a state folder, after ending what a killed stack may have left there.

    :param state_dir: folder of the stack; it exists
    :raises StackError: when another process holds it
    """
    descriptor = os.open(state_dir / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _take(descriptor):
            raise StackError(
                f"a stack already runs from {state_dir} (process {_holder(descriptor)}): stop it with Ctrl-C"
                " there or `make stop`, or choose another folder and other ports"
                " (STATE_DIR=.run2 AIRFLOW_PORT=8081 MLFLOW_PORT=5001)"
            )
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        sweep(str(state_dir), read_leaders(state_dir))
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0).decode()
    return int(text) if text.isdigit() else 0


def stop(state_dir: Path) -> str:
    """Stop the stack of a state folder from another terminal.

    :return: what was done, as a sentence
    :raises StackError: when something could not be ended
    """
    path = state_dir / _FILE
    if not path.exists():
        return f"Nothing runs from {state_dir}"
    said = f"Nothing runs from {state_dir}"
    descriptor = os.open(path, os.O_RDWR)
    try:
        if not _take(descriptor):
            holder = _holder(descriptor)
            if holder:
                os.kill(holder, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while not _take(descriptor):
                if time.monotonic() > deadline:
                    raise StackError(f"process {holder} does not stop: end it with kill -9 {holder}, then try again")
                time.sleep(0.2)
            said = f"Stopped the stack of {state_dir}"
        left = sweep(str(state_dir), read_leaders(state_dir))
        if left:
            raise StackError(f"these processes could not be ended: {', '.join(left)}")
    finally:
        os.close(descriptor)
    return said
