"""Every module of include/ imports with what its requirements bring; `make test-ml` runs this where Airflow is not."""

import importlib
import pkgutil

import include


def test_every_module_imports() -> None:
    names = [found.name for found in pkgutil.walk_packages(include.__path__, "include.")]
    names = [name for name in names if not name.endswith("__main__")]
    assert {"include.lifecycle.moves.model_registry", "include.models.rossmann.cli"} <= set(names)
    for name in names:
        importlib.import_module(name)
