"""No process survives: forked children, sessions of their own, stubborn ones, a killed starter."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local_stack.errors import ProcessEndedError, StackError
from local_stack.processes import Processes
from tests.stopping import stop_server

PROJECT = Path(__file__).resolve().parents[2]

# Writes its pid, and that of children in its own session, in another session, and orphaned ones.
OFFSPRING = """
import os, subprocess, sys, time, pathlib
folder = pathlib.Path(sys.argv[1])
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
def note(name, pid): (folder / name).write_text(str(pid))
note("itself", os.getpid())
note("child", subprocess.Popen(sleeper).pid)
note("session", subprocess.Popen(sleeper, start_new_session=True).pid)
forks = "import subprocess, sys; quiet = subprocess.DEVNULL; print(subprocess.Popen(sys.argv[2:], "
forks += "stdout=quiet, stderr=quiet, start_new_session=sys.argv[1] == 'session').pid)"
def orphan(kind):
    made = subprocess.run([sys.executable, "-c", forks, kind, *sleeper], capture_output=True, text=True)
    return made.stdout.strip()
note("orphan", orphan("same"))
note("lost", orphan("session"))
(folder / "ready").touch()
time.sleep(600)
"""
STUBBORN = """
import signal, sys, time, pathlib
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(600)
"""
NAMES = ("itself", "child", "session", "orphan", "lost")


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids(folder):
    return {name: int((folder / name).read_text()) for name in NAMES}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "pids"
    path.mkdir()
    return path


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path / "state", os.environ, tmp_path)
    with made:
        yield made


def test_all_offspring_ends_with_the_block(processes, folder):
    processes.start("offspring", [sys.executable, "-c", OFFSPRING, str(folder)])
    wait_for((folder / "ready").exists)
    started = pids(folder)
    assert all(runs(pid) for pid in started.values())
    processes.stop()
    assert not {name for name, pid in started.items() if runs(pid)}


def test_what_ignores_signals_is_killed(processes, folder):
    server = processes.start("stubborn", [sys.executable, "-c", STUBBORN, str(folder)])
    wait_for((folder / "ready").exists)
    processes.stop(grace=0.5)
    assert not runs(server.process.pid)


def test_hurry_cuts_the_grace_short(processes, folder):
    processes.start("stubborn", [sys.executable, "-c", STUBBORN, str(folder)])
    wait_for((folder / "ready").exists)
    processes.hurry()
    start = time.monotonic()
    processes.stop(grace=60)
    assert time.monotonic() - start < 20


def test_others_are_left_alone(tmp_path, folder):
    mine = Processes(tmp_path / "mine", os.environ, tmp_path)
    other = Processes(tmp_path / "other", os.environ, tmp_path)
    with other:
        server = other.start("server", [sys.executable, "-c", "import time; time.sleep(600)"])
        with mine:
            mine.start("server", [sys.executable, "-c", "import time; time.sleep(600)"])
        assert server.process.poll() is None


def test_one_server_stops_alone_and_starts_again(processes):
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    one = processes.start("one", sleeper)
    two = processes.start("two", sleeper)
    start_again = stop_server(processes, "one")
    assert one.process.poll() is not None
    assert two.process.poll() is None
    assert start_again().process.poll() is None


def test_a_server_that_ends_by_itself_is_named_with_its_last_line_and_log(processes):
    server = processes.start("mlflow", [sys.executable, "-c", "print('no disk'); raise SystemExit(3)"])
    server.process.wait()
    with pytest.raises(ProcessEndedError) as ended:
        processes.check()
    assert all(part in str(ended.value) for part in ("mlflow ended", "exit status 3", "no disk\n", "mlflow.log"))


def test_only_the_own_server_counts_as_listening(processes, tmp_path):
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        port = foreign.getsockname()[1]
        processes.start("other", [sys.executable, "-c", "import time; time.sleep(600)"])
        assert not processes.listens("other", port)
    listen = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    processes.start("server", [sys.executable, "-c", listen])
    wait_for(lambda: processes.listens("server", port))


def test_run_returns_stdout_and_fails_with_the_last_line(processes):
    assert processes.run("good", [sys.executable, "-c", "print('yes')"]).strip() == "yes"
    with pytest.raises(StackError, match=r"no data\n.*bad\.log"):
        processes.run("bad", [sys.executable, "-c", "import sys; sys.exit('error: no data')"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_guardian_ends_everything_when_the_starter_dies(tmp_path, folder, number):
    starter = f"""
import os, sys, time
from pathlib import Path
from local_stack.processes import Processes
from tests.stopping import stop_server
with Processes(Path({str(tmp_path / "state")!r}), os.environ, Path({str(tmp_path)!r})) as processes:
    processes.start("offspring", [sys.executable, "-c", {OFFSPRING!r}, {str(folder)!r}])
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", starter], cwd=PROJECT)
    try:
        wait_for((folder / "ready").exists)
        started = pids(folder)
        process.send_signal(number)
        process.wait(timeout=30)
        wait_for(lambda: not any(runs(pid) for pid in started.values()))
    finally:
        process.kill()
