"""A step's process: its lines, its end, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from model_registry.steps.processes import ChildProcess

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def run(code: str, tmp_path: Path) -> tuple[int, list[str], list[str]]:
    out: list[str] = []
    err: list[str] = []
    child = ChildProcess([sys.executable, "-c", code], environment=dict(os.environ), cwd=tmp_path)
    return child.run(out.append, err.append), out, err


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_lines_and_exit_code_come_back(tmp_path: Path) -> None:
    code, out, err = run(
        "import sys; print('one'); print('zwölf'); sys.stderr.write('10%\\r20%\\rdone'); sys.exit(3)", tmp_path
    )
    assert (code, out, err) == (3, ["one", "zwölf"], ["10%", "20%", "done"])


def test_bytes_that_are_no_text_and_endless_lines_do_no_harm(tmp_path: Path) -> None:
    code, out, _ = run(
        "import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n' + b'x' * 300000 + b'\\nlast\\n')", tmp_path
    )
    assert code == 0
    assert out[0] == "\ufffd\ufffd"
    assert out[-1] == "last"


def test_a_signal_that_ends_the_step_is_told(tmp_path: Path) -> None:
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path)[0] == -9
    assert run("import os; os.kill(os.getpid(), 15)", tmp_path)[0] == -15


def test_a_grandchild_that_holds_the_pipes_open_does_not_hold_the_task(tmp_path: Path) -> None:
    started = time.monotonic()
    _, out, _ = run(FAMILY.replace("\ntime.sleep(600)\n", "\n", 1), tmp_path)
    assert time.monotonic() - started < 30
    wait_until_gone(int(out[0]))


def test_terminate_ends_the_whole_family_even_when_it_ignores_sigterm(tmp_path: Path) -> None:
    out: list[str] = []
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY
    child = ChildProcess([sys.executable, "-c", stubborn], environment=dict(os.environ), cwd=tmp_path)
    thread = threading.Thread(target=child.run, args=(out.append, out.append))
    thread.start()
    while not out:
        time.sleep(0.05)
    child.terminate()
    thread.join(20)
    assert not thread.is_alive()
    wait_until_gone(int(out[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux only")
def test_the_family_dies_with_a_task_that_is_killed(tmp_path: Path) -> None:
    task = f"""
import os, sys
from pathlib import Path
from model_registry.steps.processes import ChildProcess
child = ChildProcess([sys.executable, "-c", {FAMILY!r}], environment=dict(os.environ), cwd=Path("."))
child.run(lambda line: print(line, flush=True), lambda line: None)
"""
    plugins = Path(__file__).resolve().parents[2] / "plugins"
    environment = {**os.environ, "PYTHONPATH": str(plugins)}
    process = subprocess.Popen([sys.executable, "-c", task], env=environment, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    assert alive(grandchild)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until_gone(grandchild)
