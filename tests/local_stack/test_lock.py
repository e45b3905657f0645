import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local_stack.errors import StackError
from local_stack.guardian import write_leaders
from local_stack.lock import only_one, stop
from local_stack.sweep import Leader

PROJECT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from local_stack.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()


def test_a_second_stack_is_refused_with_the_way_out(tmp_path, holder):
    with pytest.raises(StackError, match=rf"{holder.pid}.*make stop.*STATE_DIR"), only_one(tmp_path):
        pass


def test_the_lock_dies_with_its_holder(tmp_path, holder):
    holder.kill()
    holder.wait()
    with only_one(tmp_path):
        pass


def test_stop_ends_the_holder(tmp_path, holder):
    assert stop(tmp_path).startswith("Stopped the stack")
    assert holder.wait(timeout=10) != 0


def test_stop_without_a_stack_says_so(tmp_path):
    assert stop(tmp_path).startswith("Nothing runs")
    assert stop(tmp_path / "missing").startswith("Nothing runs")


def test_what_a_killed_stack_left_is_ended_before_a_new_one_starts(tmp_path):
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        write_leaders(tmp_path, [Leader("left", left.pid, psutil.Process(left.pid).create_time())])
        with only_one(tmp_path):
            assert left.wait(timeout=10) is not None
    finally:
        left.kill()


def test_a_recycled_pid_is_spared(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        write_leaders(tmp_path, [Leader("old", other.pid, time.time() - 3600)])
        with only_one(tmp_path):
            assert other.poll() is None
        assert os.getpid() != other.pid
    finally:
        other.kill()
        other.wait()
