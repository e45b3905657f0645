"""A retrain of minutes: the configuration and the sample data with which the tests start real servers."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

import yaml

from local_stack.preparation import complete_file
from local_stack.stack import PROJECT, Stack

SAMPLE = ("--stores", "40", "--months", "24")


def quick_config(model: str = "rossmann") -> dict[str, Any]:
    """A model's configuration, impatient: short waits, and schedules half a year away.

    A DAG that is unpaused up to five minutes after its hour makes a run of its own.
    """
    content: dict[str, Any] = yaml.safe_load((PROJECT / "include" / "config" / f"{model}.yaml").read_text())
    month = (datetime.now(UTC).month + 5) % 12 + 1
    cron = f"0 0 1 {month} *"
    lifecycle = content["lifecycle"]
    lifecycle["schedule"] = {"cron": cron, "timezone": "UTC"}
    content["prediction"]["schedule"]["cron"] = content["monitor"]["cron"] = cron
    lifecycle["approval"] |= {"poll_seconds": 2}
    if "boosters" in content:
        content["forecast"]["quick_rounds_scale"] = 0.1
        for booster in content["boosters"].values():
            # Three train side by side on as few as two cores.
            booster["threads"] = 1
    lifecycle["tasks"] = {
        **lifecycle.get("tasks", {}), "retries": 4, "retry_delay_seconds": 5, "max_retry_delay_seconds": 10
    }  # fmt: skip
    return content


def publish(stack: Stack, *arguments: str) -> str:
    """Bring the data registry to sample data of a size that trains quickly; return the commit."""
    command = [sys.executable, "-m", "include.models.rossmann", "sample", str(stack.registry), *SAMPLE, *arguments]
    commit = json.loads(stack.processes.run("sample", command).splitlines()[-1])["commit"]
    complete_file(stack.registry).touch()
    return str(commit)
