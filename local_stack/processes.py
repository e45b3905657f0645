"""Processes of the local stack: each in a session of its own, with a log file, and none left behind."""

import contextlib
import ctypes
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TypeAlias

import psutil

from local_stack import guardian
from local_stack.errors import ProcessEndedError, StackError
from local_stack.sweep import MARK, Leader, sweep

_PR_SET_CHILD_SUBREAPER = 36
Stream: TypeAlias = int | IO[bytes]


@dataclass(frozen=True)
class Started:
    """A server that was started, the file that holds what it prints, and its own part of the environment."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str] = field(repr=False)


def _adopt_orphans() -> None:
    """Become the parent of orphaned descendants (Linux), so that none can hide from the sweep."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def last_lines(log: Path, count: int = 1) -> str:
    """Return the last lines of a log file that are not empty, or an empty string."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])


class Processes:
    """Starts the processes of one stack and ends them all when its block ends, however it ends.

    A guardian process watches this one through a pipe and sweeps when it dies without having done so.

    :param state_dir: folder of the stack; its path is the mark of the stack's processes
    :param environment: environment of every process started here
    :param adopting: this process exists for the stack alone: all its descendants are the stack's, orphans too
    """

    def __init__(self, state_dir: Path, environment: Mapping[str, str], cwd: Path, *, adopting: bool = False) -> None:
        self.state_dir = state_dir.resolve()
        self.log_dir = self.state_dir / "logs"
        self.environment = {**environment, MARK: str(self.state_dir)}
        self.cwd = cwd
        self.servers: dict[str, Started] = {}
        self._leaders: list[Leader] = []
        self._guardian: subprocess.Popen[bytes] | None = None
        self._hurry = False
        self._adopting = adopting
        if adopting:
            _adopt_orphans()

    def __enter__(self) -> "Processes":
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._guardian = guardian.start(self.state_dir)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def hurry(self) -> None:
        """Cut the grace of a stop short."""
        self._hurry = True

    def start(self, name: str, argv: Sequence[str], **environment: str) -> Started:
        """Start a server.

        :param name: its name in messages and the stem of its log file
        """
        log = self.log_dir / f"{name}.log"
        with log.open("ab") as output:
            process = self._spawn(name, argv, environment, output, subprocess.STDOUT)
        self.servers[name] = Started(name, process, log, environment)
        return self.servers[name]

    def run(self, name: str, argv: Sequence[str], **environment: str) -> str:
        """Run a command to its end and return what it wrote to stdout; stderr goes to its log file.

        :param name: its name in messages and the stem of its log file
        :raises StackError: when it fails; the message ends with its last line and the log's path
        """
        log = self.log_dir / f"{name}.log"
        with log.open("ab") as errors:
            process = self._spawn(name, argv, environment, subprocess.PIPE, errors)
            output, _ = process.communicate()
        text = output.decode("utf-8", errors="replace")
        if process.returncode != 0:
            reason = last_lines(log) or text.strip() or f"exit status {process.returncode}"
            raise StackError(f"{name} failed: {reason}\nLog: {log}")
        return text

    def check(self) -> None:
        """Make sure that every server still runs.

        :raises ProcessEndedError: names the first that ended, its last line and its log
        """
        for server in self.servers.values():
            status = server.process.poll()
            if status is not None:
                raise ProcessEndedError(
                    f"{server.name} ended by itself (exit status {status}): "
                    f"{last_lines(server.log) or 'it printed nothing'}\nLog: {server.log}"
                )

    def listens(self, name: str, port: int) -> bool:
        """Tell whether a server, or a process that it started, listens on a port.

        An answer on the port is not enough: it may come from the server of somebody else, while ours is about
        to find the port taken.
        """
        try:
            leader = psutil.Process(self.servers[name].process.pid)
            family = [leader, *leader.children(recursive=True)]
            connections = [found for process in family for found in process.net_connections("tcp")]
        except psutil.Error:
            return False
        return any(found.status == psutil.CONN_LISTEN and found.laddr.port == port for found in connections)

    def stop(self, grace: float = 10.0) -> None:
        """End every process of the stack.

        :param grace: seconds before what does not listen is killed
        :raises StackError: names what could not be ended
        """
        left = sweep(
            str(self.state_dir),
            self._leaders,
            grace=grace,
            whole_offspring=self._adopting,
            spared=[self._guardian.pid] if self._guardian else [],
            hurry=lambda: self._hurry,
        )
        for server in self.servers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(timeout=1)
        self.servers.clear()
        if self._guardian is not None:
            guardian.dismiss(self._guardian)
            self._guardian = None
        if left:
            raise StackError(f"these processes could not be ended: {', '.join(left)}")

    def _spawn(
        self, name: str, argv: Sequence[str], more: Mapping[str, str], output: Stream, errors: Stream
    ) -> subprocess.Popen[bytes]:
        """Start a process as the leader of a session of its own, and record it."""
        environment = {**self.environment, **more}
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd=self.cwd,
            start_new_session=True,
        )
        try:
            created = psutil.Process(process.pid).create_time()
        except psutil.Error:
            created = time.time()
        self._leaders.append(Leader(name, process.pid, created))
        guardian.write_leaders(self.state_dir, self._leaders)
        return process
