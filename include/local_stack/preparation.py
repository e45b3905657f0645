"""What has to be there before the servers start: LightGBM's system library, and data in a registry."""

import ctypes
import importlib.util
import sys
from pathlib import Path

from include.local_stack.errors import StackError
from include.local_stack.processes import Processes

FOLDER = "data_registry"
COMPLETE = "data_registry.complete"


def require_boosters() -> None:
    """Make sure that the boosters can be loaded; pip cannot bring the OpenMP library that LightGBM needs.

    :raises StackError: says how to install what is missing
    """
    package = importlib.util.find_spec("lightgbm")
    if package is None or package.origin is None:
        raise StackError("LightGBM is not installed: run `make setup`")
    # The library alone: importing the package would bring pandas and scipy, seconds on a cold start.
    for library in Path(package.origin).parent.glob("lib/lib_lightgbm.*"):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            raise StackError(_remedy(str(error))) from error


def _remedy(reason: str) -> str:
    if "libgomp" in reason or "libomp" in reason:
        return (
            "LightGBM needs the OpenMP runtime of the system, which pip cannot install:\n"
            "    Debian, Ubuntu:  sudo apt-get install libgomp1\n"
            "    Fedora, RHEL:    sudo dnf install libgomp\n"
            "    macOS:           brew install libomp"
        )
    return f"LightGBM cannot be loaded: {reason}"


def data_registry(processes: Processes, state_dir: Path, data: Path | None) -> Path:
    """Return the stack's data registry, made on the first call, extended when a folder is given.

    :param processes: runs the commands of the forecast
    :param state_dir: folder of the stack
    :param data: folder with train.csv, store.csv and maybe future.csv; None means generated sample data
    :raises StackError: when the data cannot be used
    """
    registry = state_dir / FOLDER
    if data is not None:
        if not data.is_dir():
            raise StackError(
                f"there is no folder {data}: DATA names one with train.csv, store.csv and maybe future.csv"
            )
        _command(processes, "import-data", str(data.resolve()), str(registry))
    elif not (state_dir / COMPLETE).exists():
        _command(processes, "sample", str(registry))
    # Only now: an interrupted start leaves half a registry, which the next one goes on with.
    (state_dir / COMPLETE).touch()
    return registry


def _command(processes: Processes, name: str, *arguments: str) -> None:
    processes.run(name, [sys.executable, "-m", "include.rossmann", name, *arguments])
