"""Find and end every process of one local stack, forked grandchildren and orphans included.

Three signs tell a process of the stack, because each misses some: descent from a process that was started
(orphans lose it), the session of one (children may open their own) and a mark in the environment (processes
that rename themselves overwrite it, as Airflow's servers do).
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil

MARK = "RETRAIN_LOCAL_STACK"
_PATIENCE_AFTER_KILL = 10.0


@dataclass(frozen=True)
class Leader:
    """A process that the stack started as the leader of a session; the time tells it from a namesake."""

    name: str
    pid: int
    created: float

    def alive(self) -> bool:
        """Tell whether this very process still exists."""
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.created) < 1.0)
        except psutil.Error:
            return False


def _own_line() -> set[int]:
    """Return the pids that are never swept: this process and its ancestors."""
    try:
        return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    except psutil.Error:
        return {os.getpid(), os.getppid()}


def _has_sign(process: psutil.Process, mark: str, sessions: set[int]) -> bool:
    with contextlib.suppress(OSError):
        if os.getsid(process.pid) in sessions:
            return True
    try:
        return bool(process.environ().get(MARK) == mark)
    except (psutil.Error, OSError):
        return False


def members(
    mark: str, sessions: set[int], *, whole_offspring: bool = False, spared: Iterable[int] = ()
) -> set[psutil.Process]:
    """Return the living processes of a stack.

    :param sessions: the sessions of the processes that were started for it
    :param spared: pids that are never counted, beside this process and its ancestors
    """
    out_of_reach = _own_line() | set(spared)
    found: set[psutil.Process] = set()
    roots = [os.getpid(), *sessions] if whole_offspring else list(sessions)
    for root in roots:
        with contextlib.suppress(psutil.Error):
            found.update(psutil.Process(root).children(recursive=True))
    found.update(process for process in psutil.process_iter() if _has_sign(process, mark, sessions))
    return {process for process in found if process.pid not in out_of_reach and _runs(process)}


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _reap() -> None:
    """Collect orphans that became children of this process, so that they do not stay as zombies."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError, OSError):
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def _send(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(number)


def sweep(
    mark: str,
    leaders: Sequence[Leader],
    *,
    grace: float = 15.0,
    whole_offspring: bool = False,
    spared: Iterable[int] = (),
    hurry: Callable[[], bool] = lambda: False,
) -> list[str]:
    """End every process of a stack: ask first, force after ``grace`` seconds.

    :param mark: the value of the environment's mark
    :param leaders: the processes that were started for the stack
    :param grace: seconds between asking (SIGTERM) and forcing (SIGKILL)
    :param whole_offspring: end every descendant of this process as well
    :param hurry: asked while waiting; true cuts the grace short
    :return: what could not be ended, as "name (pid)"; empty when all is gone
    """
    asked: set[psutil.Process] = set()
    seen: set[psutil.Process] = set()
    # A session outlives its leader, so what was there at first stays on the list.
    sessions = {leader.pid for leader in leaders if leader.alive()}
    spared = set(spared)
    force_at = time.monotonic() + grace
    give_up_at = force_at + _PATIENCE_AFTER_KILL
    while True:
        seen |= members(mark, sessions, whole_offspring=whole_offspring, spared=spared)
        alive = {process for process in seen if _runs(process)}
        if whole_offspring:
            _reap()
        if not alive:
            return []
        now = time.monotonic()
        if now > give_up_at:
            return sorted(f"{_name(process)} ({process.pid})" for process in alive)
        if now >= force_at or hurry():
            _send(alive, signal.SIGKILL)
        else:
            _send(alive - asked, signal.SIGTERM)
            asked |= alive
        time.sleep(0.1)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "process"
