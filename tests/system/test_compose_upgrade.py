"""An upgrade of Airflow, with its migrations, while an approval waits: it still waits afterwards, and can be answered.

    python -m pytest -m docker -s tests/system/test_compose_upgrade.py

The stack begins on an image with an earlier minor version of Airflow, made here from ``retrain-airflow``.
"""

import subprocess
import time

import pytest
from compose_stack import MODEL, ComposeStack, say

from local_stack.stack import APPROVAL_TASK, DAG_ID
from tests.answers import answer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

EARLIER = "3.2.2"
IMAGE = f"retrain-airflow:{EARLIER}"
DOCKERFILE = f"""
FROM retrain-airflow:latest
USER 0
RUN python3 -m venv /tmp/uv && /tmp/uv/bin/pip install -q uv \
    && VIRTUAL_ENV=/opt/venv /tmp/uv/bin/uv pip install --system-certs -q --no-cache apache-airflow=={EARLIER} \
    && rm -rf /tmp/uv
USER 10001
"""


@pytest.fixture(scope="module")
def earlier_image() -> str:
    command = ["docker", "build", "--quiet", "--network", "host", "--tag", IMAGE, "-"]
    subprocess.run(command, input=DOCKERFILE, text=True, check=True, capture_output=True)
    return IMAGE


def airflow_version(stack: ComposeStack) -> str:
    return str(stack.api.request("GET", "/version")["version"])


def test_an_upgrade_while_an_approval_waits(compose: ComposeStack, earlier_image: str) -> None:
    now = airflow_version(compose)
    compose.down("-v")
    compose.up(AIRFLOW_IMAGE=earlier_image)
    compose.make_users()
    assert airflow_version(compose) == EARLIER != now
    run_id = compose.retrain()
    compose.until_waiting(run_id)
    started = time.monotonic()
    compose.down()
    compose.up()
    say(f"upgraded from Airflow {EARLIER} to {now} in {time.monotonic() - started:.0f} s while an approval waited")
    assert airflow_version(compose) == now
    time.sleep(30)
    assert compose.state(run_id, APPROVAL_TASK) == "deferred"
    answer(compose.as_user("anna"), DAG_ID, run_id, APPROVAL_TASK, "Approve", "asked before the upgrade")
    assert compose.until_end(run_id) == "success"
    live = compose.registry().production(MODEL)
    assert (live.tags["decision.user"], live.tags["decision.reason"]) == ("anna", "asked before the upgrade")
    assert compose.registry().verify(MODEL) == []
