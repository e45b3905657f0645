"""Run a step so that it dies with the Airflow task that started it. Standard library only.

Run as ``python launcher.py PARENT_PID COMMAND...`` in a process group of its own. The kernel (Linux) tells
this process when its parent is gone, however the parent ended; it then kills the whole group: a task that
was killed with SIGKILL leaves no training behind that would go on beside its own retry.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code.

    :param arguments: the parent's process id, then the command
    """
    parent, command = int(arguments[0]), arguments[1:]
    signal.signal(signal.SIGHUP, lambda *_: os.killpg(0, signal.SIGKILL))
    # SIGTERM reaches the whole group: the step ends in its own way, and this process after it. A handler
    # rather than SIG_IGN, which the step would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
        if os.getppid() != parent:  # it died before the tie was made
            return 1
    code = subprocess.call(command)
    if code < 0:  # tell the parent about the signal as the step itself would have
        if -code in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
