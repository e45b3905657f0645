"""How long one request to MLflow may take, and so how long a lock's holder counts as alive.

A holder of the promotion lock gives up past half its time to live, which is safe only when a single request, with
all its retries, ends within the other half. MLflow's own defaults (120 s and 7 retries) would make that 40 minutes, so
``bounded_requests`` sets tighter limits while the lock is held, where the environment does not set any. A holder
declares its time to live, which follows from the settings of *its* process, in the entry that takes the lock.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
    MLFLOW_HTTP_REQUEST_BACKOFF_JITTER,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)

from include.lifecycle.environment import environment

CLIENT_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # a server that asks for a pause of minutes would hold the lock for them
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""MLflow's settings while a process holds the promotion lock, unless its environment sets others."""

MIN_TIME_TO_LIVE = 60.0
"""Seconds. MLflow's SQLite store waits up to 20 s for the database, which stays below half of this."""
LONGEST_BACKOFF = 120.0
"""Seconds: urllib3 waits no longer than this between two tries."""


@contextmanager
def bounded_requests() -> Iterator[None]:
    """Bound this process's requests to MLflow (those of its other threads too) until the block ends."""
    added = {name: value for name, value in CLIENT_LIMITS.items() if name not in os.environ}
    with environment(added):
        yield


def longest_request() -> float:
    """Return how many seconds one request may take with this process's MLflow settings, retries included."""
    timeout, retries = _setting(MLFLOW_HTTP_REQUEST_TIMEOUT), int(_setting(MLFLOW_HTTP_REQUEST_MAX_RETRIES))
    factor, jitter = _setting(MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR), _setting(MLFLOW_HTTP_REQUEST_BACKOFF_JITTER)
    waits = sum(min(LONGEST_BACKOFF, factor * 2.0**number + jitter) for number in range(retries))
    # one time-out to connect and one to read, for each try
    return 2 * timeout * (retries + 1) + waits


def time_to_live(tracking_uri: str) -> float:
    """Return how many seconds a lock that this process takes now stays valid without a sign of life.

    :param tracking_uri: where MLflow is; requests to a database are bounded by the database
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return MIN_TIME_TO_LIVE
    return max(MIN_TIME_TO_LIVE, 2 * longest_request())


def _setting(variable: Any) -> float:
    """Return one of MLflow's settings, from the environment or its default."""
    return float(variable.get())
