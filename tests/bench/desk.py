"""What the plugin costs a request that changes something and touches no approval, in Airflow's own API application.

    PYTHONPATH=.:plugins python tests/bench/desk.py [--requests 300]

Requests with and without the plugin's look at their database session take turns, in one process and on one database.
"""

import argparse
import json
import os
import statistics
import time
from typing import Any
from unittest import mock

from tests.airflow_home import prepare

prepare()
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"  # not a line for each request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    wanted = parser.parse_args()

    from airflow.models.variable import Variable
    from airflow.utils.db import initdb

    from model_registry.api_server import middleware
    from tests.plugins.api_server import Run, api_client

    initdb()
    Variable.set("bench", "0")
    asked = []
    with api_client() as client:
        run = Run(client)
        headers = {"Authorization": f"Bearer {run.token('anna')}"}

        def change(number: int) -> float:
            body = {"key": "bench", "value": str(number)}
            started = time.perf_counter()
            answer = client.patch("/api/v2/variables/bench", json=body, headers=headers)
            seconds = time.perf_counter() - started
            assert answer.status_code == 200, answer.text
            return seconds

        def read(*arguments: Any) -> None:
            asked.append(arguments)

        seconds: dict[bool, list[float]] = {True: [], False: []}
        without = mock.patch.object(middleware, "_READING", frozenset({"PATCH"}))
        with mock.patch("model_registry.api_server.desk._Ledgers.of", read):
            for number in range(-20, wanted.requests):
                for looked in (True, False) if number % 2 else (False, True):
                    if looked:
                        taken = change(number)
                    else:
                        with without:
                            taken = change(number)
                    if number >= 0:
                        seconds[looked].append(taken)
    medians = {looked: statistics.median(taken) * 1000 for looked, taken in seconds.items()}
    print(
        json.dumps(
            {
                "requests": wanted.requests,
                "median_ms_with": round(medians[True], 2),
                "median_ms_without": round(medians[False], 2),
                "cost_ms": round(medians[True] - medians[False], 2),
                "reads_of_mlflow": len(asked),
            }
        )
    )


if __name__ == "__main__":
    main()
