"""What parsing a DAG file costs beyond Airflow itself: CPU time, and whether it loads a library of machine learning."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROUNDS = 5
SCRIPT = """
import json, sys, time
import airflow.sdk, airflow.triggers.base, airflow.listeners, httpx, pydantic, yaml
from airflow.sdk import DAG, CronTriggerTimetable, Param, chain
started = time.process_time()
import runpy
runpy.run_path(sys.argv[1])
spent = time.process_time() - started
heavy = ("mlflow", "pandas", "numpy", "sklearn", "lightgbm", "xgboost", "catboost", "dvc", "include.models.rossmann")
print(json.dumps([spent, [name for name in heavy if name in sys.modules]]))
"""


@dataclass(frozen=True)
class Parsed:
    """What parsing one file took, in CPU seconds, and the heavy libraries that it loaded."""

    seconds: float
    heavy: list[str]


def parse(file: Path) -> Parsed:
    """Parse a DAG file in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")])}
    command = [sys.executable, "-c", SCRIPT, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return Parsed(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    for file in sorted((PROJECT / "dags").glob("*.py")):
        seconds = statistics.median(parse(file).seconds for _ in range(ROUNDS))
        sys.stdout.write(f"{file.stem:24} {seconds:5.2f} s of CPU to parse, beyond Airflow itself\n")


if __name__ == "__main__":
    main()
