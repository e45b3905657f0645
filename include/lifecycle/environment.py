"""Environment variables for a while: the only way to configure some libraries within a process."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from include.lifecycle.errors import RetrainError

OF_ANOTHER_RUN = (
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_CONTEXT",
    "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID",
    "MLFLOW_ENABLE_ASYNC_LOGGING",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING",
)
"""Variables that tell MLflow to go on with some run or model, or to log beside it: what a worker's environment has of
these is another program's. A step names its run itself, and what it logged is there when it goes on."""
PATIENCE_SECONDS = 15.0
_users = threading.Condition()
_shared: dict[str, str | None] = {}
_before: dict[str, str | None] = {}
_count = 0


@contextmanager
def shared_environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables as long as any thread wants these values; who wants others waits for its turn.

    :param values: value by name, None for one that must not be there
    :raises RetrainError: when its turn does not come
    """
    global _count
    wanted = dict(values)
    with _users:
        if not _users.wait_for(lambda: _count == 0 or _shared == wanted, PATIENCE_SECONDS):
            raise RetrainError(f"Other threads need other environment variables for more than {PATIENCE_SECONDS:.0f} s")
        if _count == 0:
            _shared.clear()
            _shared.update(wanted)
            _before.clear()
            _before.update({name: os.environ.get(name) for name in wanted})
            _set(wanted)
        _count += 1
    try:
        yield
    finally:
        with _users:
            _count -= 1
            if _count == 0:
                _set(_before)
                _users.notify_all()


@contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables, and put back what was there. Not for several threads at once.

    :param values: value by name, None for one that must not be there
    """
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
