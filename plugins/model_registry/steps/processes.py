"""A child process in a group of its own: its output line by line, its end with everything it started."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
MAX_LINE = 100_000
"""Characters of a line that are kept: a step's log is not the place for more."""
KILL_AFTER = 3.0
"""Seconds between SIGTERM and SIGKILL; Airflow itself gives a task five before it kills it."""
_DRAIN = 2.0
_CHUNK = 65_536


class ChildProcess:
    """Run a command and hand on its lines.

    :param command: argument list; no shell is involved
    :param environment: its whole environment
    :param cwd: its working directory
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path) -> None:
        self._command = [sys.executable, "-I", str(LAUNCHER), str(os.getpid()), *command]
        self._environment = dict(environment)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, on_stdout: Callable[[str], None], on_stderr: Callable[[str], None]) -> int:
        """Run it to its end; whatever ends this call ends the process and all that it started.

        :param on_stdout: receives each line of stdout
        :param on_stderr: receives each line of stderr
        :returns: the exit code, negative for a signal
        """
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._pump(self._process, on_stdout, on_stderr)
            return self._process.wait()
        finally:
            self.terminate()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def terminate(self) -> None:
        """End the whole process group: SIGTERM, and SIGKILL for what is still there soon after."""
        process = self._process
        if process is None:
            return
        for sign, patience in ((signal.SIGTERM, KILL_AFTER), (signal.SIGKILL, KILL_AFTER)):
            if not _signal_group(process.pid, sign):
                return
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                process.poll()  # reaps the leader, which otherwise keeps its group alive
                if not _signal_group(process.pid, 0):
                    return
                time.sleep(0.05)

    def _pump(
        self, process: "subprocess.Popen[bytes]", on_stdout: Callable[[str], None], on_stderr: Callable[[str], None]
    ) -> None:
        """Hand on lines until both pipes are closed, or soon after the child ended.

        A grandchild that outlives the child may hold the pipes open for ever.
        """
        with selectors.DefaultSelector() as selector:
            for pipe, receive in ((process.stdout, on_stdout), (process.stderr, on_stderr)):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, Lines(receive))
            ended: float | None = None
            while selector.get_map():
                for key, _ in selector.select(timeout=0.5):
                    data = os.read(key.fd, _CHUNK)
                    if data:
                        key.data.feed(data)
                    else:
                        key.data.finish()
                        selector.unregister(key.fileobj)
                if process.poll() is not None:
                    ended = ended or time.monotonic()
                    if time.monotonic() - ended > _DRAIN:
                        break
            for key in list(selector.get_map().values()):
                key.data.finish()


class Lines:
    """Cut a stream of bytes into lines."""

    def __init__(self, receive: Callable[[str], None]) -> None:
        self._receive = receive
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take a part of the stream and hand on the lines that it ends."""
        # A progress bar redraws its line with carriage returns: each state is a line here.
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._hand_on(line)

    def finish(self) -> None:
        """Hand on what is left when the stream has ended."""
        rest, self._rest = self._rest, b""
        self._hand_on(rest)

    def _hand_on(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip()
        if text:
            self._receive(text[:MAX_LINE])


def _signal_group(group: int, sign: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sign)
        return True
    return False
