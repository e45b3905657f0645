"""What a step logs: with a time at the command line, without one in Airflow, which gives each line its own."""

import os
import re
import subprocess
import sys

import pytest

SAYS = """
import logging, sys
from include.lifecycle.cli.console import run_cli

def command():
    logging.getLogger("include.models.rossmann.x").info("at https://anna:pass-word@example.org/x")
    import mlflow
    logging.getLogger("mlflow.models").warning("at https://anna:pass-word@example.org/x")

sys.exit(run_cli(command))
"""
STAMP = re.compile(r"[0-9]{4}[-/][0-9]{2}[-/][0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


@pytest.mark.parametrize(("in_airflow", "stamps"), [("1", [0, 0]), ("", [1, 1])])
def test_a_line_has_one_time(in_airflow: str, stamps: list[int]) -> None:
    environment = {**os.environ, "RETRAIN_IN_AIRFLOW": in_airflow}
    done = subprocess.run([sys.executable, "-c", SAYS], env=environment, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if "example.org" in line]
    assert [len(STAMP.findall(line)) for line in lines] == stamps
    assert [re.findall("INFO|WARNING", line) for line in lines] == [["INFO"], ["WARNING"]]
    assert "pass-word" not in done.stderr
