"""What has to be there before the servers start: LightGBM's system library, and data in a registry."""

import ctypes
import importlib.util
import sys
from pathlib import Path

from local_stack.errors import StackError
from local_stack.processes import Processes

FOLDER = "data_registry"
DEFAULT_MODEL = "rossmann"
"""The model whose registry has the plain name: state folders of earlier versions have only that one."""


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


def registry_folder(state_dir: Path, model: str) -> Path:
    """Return where the data registry of a model goes."""
    return state_dir / (FOLDER if model == DEFAULT_MODEL else f"{FOLDER}_{model}")


def complete_file(registry: Path) -> Path:
    """Return the file that tells that a data registry is whole."""
    return registry.with_name(f"{registry.name}.complete")


def data_registry(processes: Processes, model: str, registry: Path, data: Path | None) -> None:
    """Make a model's data registry, on the first call, or extend it when a folder is given.

    :param data: folder with a file for each of its tables; None means generated sample data
    :raises StackError: when the data cannot be used
    """
    complete = complete_file(registry)
    if data is not None:
        if not data.is_dir():
            raise StackError(f"there is no folder {data}: DATA names one with a file for each table of the model")
        _command(processes, model, "import-data", str(data.resolve()), str(registry))
    elif not complete.exists():
        _command(processes, model, "sample", str(registry))
    # Only now: an interrupted start leaves half a registry, which the next one goes on with.
    complete.touch()


def _command(processes: Processes, model: str, name: str, *arguments: str) -> None:
    processes.run(f"{model}-{name}", [sys.executable, "-m", f"include.models.{model}", name, *arguments])
