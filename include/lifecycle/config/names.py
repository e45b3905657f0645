"""Names in MLflow are one model's: two that share one would write into each other's ledger and runs."""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import yaml

from include.lifecycle.config.files import config_files, text_variable
from include.lifecycle.config.models import LifecycleConfig, experiments_of
from include.lifecycle.errors import BadInputError
from include.lifecycle.yaml_text import read_text

Names = frozenset[tuple[str, str]]
"""What a configuration claims in MLflow: the field that names it, and the name."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast one: the files of all other models are read at each parse of a DAG file."""


def require_own_names(config: LifecycleConfig) -> None:
    """Check that no other model that is configured claims one of a model's names.

    Both are refused: nobody can tell whose the name is. Where the environment holds the configuration as text there is
    nothing to compare with: it was checked where the files lie.

    :raises BadInputError: names both files, the fields and the names
    """
    if os.environ.get(text_variable(config.name)):
        return
    files = {name: file for name, file in config_files().items() if file.name == f"{name}.yaml"}
    own = files.pop(config.name, config.name)
    if said := shared(_names(config.model, config.experiment), own, files.values()):
        raise BadInputError(f"{said}: give each model its own")


def shared(names: Names, source: str | Path, others: Iterable[Path]) -> str | None:
    """Say what a configuration shares with others, None for nothing.

    :param others: with one that cannot be read nothing is shared, and reading it says why
    """
    for other in others:
        try:
            both = names & claimed(read_text(other, "the configuration"))
        except BadInputError:
            continue
        if both:
            first = dict(sorted(both, reverse=True))  # of three experiments the one that the file names
            said = " and ".join(f"the same {field} {name!r}" for field, name in sorted(first.items()))
            return f"{source} and {other} lead to {said}"
    return None


@lru_cache(maxsize=256)
def claimed(text: str) -> Names:
    """Return what a configuration's text claims, nothing where it cannot be told.

    The same text is not read twice: a DAG file has several DAGs, and each asks.
    """
    try:
        section = yaml.load(text, _LOADER)["lifecycle"]  # noqa: S506 - a SafeLoader
        return _names(section["model"], section["experiment"])
    except Exception:  # noqa: BLE001 -- whatever is wrong with it, the model whose it is says so
        return frozenset()


def _names(model: str, experiment: str) -> Names:
    experiments = (("lifecycle.experiment", name) for name in experiments_of(experiment))
    return frozenset({("lifecycle.model", model), *experiments})
