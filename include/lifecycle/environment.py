"""Environment variables for a while: the only way to configure some libraries within a process."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from include.lifecycle.errors import ReportedError

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


@dataclass
class _Use:
    """A variable that threads use: its value, what stood there before, and how many they are."""

    value: str | None
    before: str | None
    threads: int = 0


_changed = threading.Condition()
_used: dict[str, _Use] = {}


@contextmanager
def shared_environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables as long as any thread wants them so; who wants one otherwise waits for its turn.

    :param values: value by name, None for one that must not be there
    :raises ReportedError: when its turn does not come
    """

    def free() -> bool:
        return all(name not in _used or _used[name].value == value for name, value in values.items())

    with ExitStack() as stack:
        with _changed:
            if not _changed.wait_for(free, PATIENCE_SECONDS):
                raise ReportedError(
                    f"Other threads need other environment variables for more than {PATIENCE_SECONDS:.0f} s"
                )
            for name, value in values.items():
                stack.enter_context(_using(name, value))
        yield


@contextmanager
def _using(name: str, value: str | None) -> Iterator[None]:
    """Use one variable, which is free or has the value."""
    with _changed:
        if name not in _used:
            before = os.environ.get(name)
            _set({name: value})  # raises where no variable can hold the value
            _used[name] = _Use(value, before)
        _used[name].threads += 1
    try:
        yield
    finally:
        with _changed:
            _used[name].threads -= 1
            if not _used[name].threads:
                _set({name: _used.pop(name).before})
                _changed.notify_all()


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
