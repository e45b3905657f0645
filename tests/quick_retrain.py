"""A retrain of minutes: the configuration and the sample data with which the tests start real servers."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

import yaml

from include.local_stack.preparation import COMPLETE
from include.local_stack.stack import PROJECT, Stack

SAMPLE = ("--stores", "40", "--months", "24")


def quick_config() -> dict[str, Any]:
    """The project's configuration, impatient: short waits, and a schedule half a year away."""
    content = yaml.safe_load((PROJECT / "include" / "config" / "rossmann.yaml").read_text())
    month = (datetime.now(UTC).month + 5) % 12 + 1
    lifecycle = content["lifecycle"]
    lifecycle["schedule"] = {"cron": f"0 0 1 {month} *", "timezone": "UTC"}
    lifecycle["approval"] |= {"poll_seconds": 2}
    content["forecast"]["quick_rounds_scale"] = 0.1
    for booster in content["boosters"].values():
        # Three train side by side on as few as two cores.
        booster["threads"] = 1
    lifecycle["tasks"] |= {"retries": 4, "retry_delay_seconds": 5, "max_retry_delay_seconds": 10}
    return content


def publish(stack: Stack, *arguments: str) -> str:
    """Bring the data registry to sample data of a size that trains quickly; return the commit."""
    command = [sys.executable, "-m", "include.rossmann", "sample", str(stack.registry), *SAMPLE, *arguments]
    commit = json.loads(stack.processes.run("sample", command).splitlines()[-1])["commit"]
    (stack.processes.state_dir / COMPLETE).touch()
    return str(commit)
