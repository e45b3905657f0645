"""One server of a stack goes away while the others run."""

from collections.abc import Callable
from functools import partial

import psutil

from local_stack.processes import Processes, Started
from local_stack.sweep import Leader, sweep


def stop_server(processes: Processes, name: str, grace: float = 15.0) -> Callable[[], Started]:
    """End one server and what it started; return what starts it again.

    :param grace: seconds before what is left is killed
    """
    server = processes.servers.pop(name)
    leader = Leader(name, server.process.pid, psutil.Process(server.process.pid).create_time())
    # A mark that nobody carries: only descent and session count here.
    sweep(f"{processes.state_dir}#{name}", [leader], grace=grace)
    server.process.wait()
    return partial(processes.start, name, server.process.args, **server.environment)
