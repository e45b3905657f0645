"""Where the models' configurations lie: in this repository, in the environment's folder, or in a variable."""

import os
import re
from pathlib import Path

from include.lifecycle.errors import BadInputError
from include.lifecycle.yaml_text import read_text

CONFIG_ENV = "RETRAIN_CONFIG"
_TEXT_ENV = "RETRAIN_CONFIG_TEXT"
SHIPPED = Path(__file__).resolve().parents[2] / "config"
"""Folder of the configurations that come with the package, ``NAME.yaml`` each."""
_SUFFIXES = (".yaml", ".yml")


def configured_models() -> tuple[str, ...]:
    """Return the names of the models that a configuration comes with, or that the environment's folder adds.

    :raises BadInputError: see ``config_files``
    """
    return tuple(sorted(config_files()))


def config_files() -> dict[str, Path]:
    """Return the configuration file of each model, by the model's name.

    ``RETRAIN_CONFIG`` names a folder, whose ``NAME.yaml`` replaces the one in this repository, or one such file. A file
    of another case or suffix is there under the name that it should have: reading it says so.

    :raises BadInputError: when the environment names what is not there, a folder without configurations, or a file
        that is named after no model: the configurations of this repository would hold in silence
    """
    shipped = _by_model(SHIPPED)
    if not (named := os.environ.get(CONFIG_ENV)):
        return shipped
    own = Path(named)
    try:
        found = _by_model(own) if own.is_dir() else None
    except OSError as error:
        raise BadInputError(f"{CONFIG_ENV} names {own}, which cannot be read: {error.strerror}") from error
    if found:
        return {**shipped, **found}
    if found is not None:
        raise BadInputError(f"{CONFIG_ENV} names the folder {own}, which holds no configuration: expected NAME.yaml")
    expected = [f"{model}.yaml" for model in sorted(shipped)]
    if own.name not in expected:
        raise BadInputError(
            f"{CONFIG_ENV} names {own}, which is no folder, and no file that is named after its model: expected one of"
            f" {', '.join(expected)}"
        )
    return {**shipped, own.stem: own}


def config_text(name: str, path: str | Path | None = None) -> tuple[str, str]:
    """Return a model's configuration as text, and where it comes from: the file, unless the environment holds the text.

    :param path: the YAML file; by default the text of ``text_variable``, else see ``config_files``
    :raises BadInputError: when it cannot be read, is not called ``NAME.yaml``, or the environment holds the text of
        other models only; see ``config_files``
    """
    if path is not None:
        return read_text(Path(path), "the configuration"), str(path)
    own, given = text_variable(name), sorted(key for key in os.environ if key.startswith(_TEXT_ENV) and os.environ[key])
    if own in given:
        return os.environ[own], own
    if given:
        raise BadInputError(
            f"{given[0]} is no configuration of {name!r}: give it as {own}, or unset what begins with {_TEXT_ENV}"
        )
    file = config_files().get(name, SHIPPED / f"{name}.yaml")
    if file.name != f"{name}.yaml":
        raise BadInputError(f"the configuration {file} must be called {name}.yaml, found {file.name!r}: rename it")
    return read_text(file, "the configuration"), str(file)


def text_variable(name: str) -> str:
    """Return the environment variable that holds a model's configuration as text.

    A step in a container is given it: the file lies where Airflow runs, and what is in the image is another one.
    """
    return f"{_TEXT_ENV}_{name.upper()}"


def _by_model(folder: Path) -> dict[str, Path]:
    """Return what lies in a folder and looks like a configuration, by the model that it is named after.

    Of two that are, such as ``churn.yml`` and ``churn.yaml``, the one that is misnamed: else it would not count.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."):
            model = re.sub(r"[^a-z0-9_]", "_", file.stem.lower())
            if model not in found or file.name != f"{model}.yaml":
                found[model] = file
    return found
