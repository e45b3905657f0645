"""A model's YAML file, read with what the environment sets, and checked: every wrong field in one sentence."""

import copy
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from include.lifecycle.config.files import config_text
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.config.names import require_own_names
from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line, without_credentials
from include.lifecycle.yaml_text import parse_yaml

APPROVERS_ENV = "RETRAIN_APPROVERS"
_DEPLOYED = {
    "RETRAIN_RUNNER": ("runner",),
    "RETRAIN_IMAGE": ("containers", "image"),
    "RETRAIN_NETWORK": ("containers", "network"),
    "RETRAIN_ENGINE": ("containers", "engine"),
}

MAX_PROBLEMS = 10
"""How many wrong fields one error names."""

Model = TypeVar("Model", bound=BaseModel)


def read_config(name: str, path: str | Path | None = None) -> tuple[dict[str, Any], str]:
    """Return the configuration's mapping of sections, with what the environment sets, and where it comes from.

    :param path: the YAML file; by default see ``config_text``
    :raises BadInputError: when it cannot be read, is not YAML, names a key twice, or holds no mapping
    """
    text, source = config_text(name, path)
    content = copy.deepcopy(_parsed(text, source))
    if not isinstance(content, dict):
        raise BadInputError(f"the configuration {source} must be a mapping of sections, found {type(content).__name__}")
    if isinstance(content.get("lifecycle"), dict):
        if (found := content["lifecycle"].get("name", name)) != name:
            raise BadInputError(
                f"the configuration {source} is of the model {one_line(str(found), 40)!r}, not {name!r}"
            )
        content["lifecycle"] = _deployed(name, {**content["lifecycle"], "name": name})
    return content, source


@lru_cache(maxsize=256)
def _parsed(text: str, source: str) -> Any:
    """Return what a configuration's text says, to be copied.

    The same text is not parsed twice: a DAG file has several DAGs, each page shows all models, and each asks.
    """
    return parse_yaml(text, f"the configuration {source}")


def validate_section(model: type[Model], content: object, source: str) -> Model:
    """Validate what a YAML file holds.

    :param source: file (and section) named in the error
    :raises BadInputError: names every wrong field, what was found and what was expected
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'the section'}:"
            f" {problem['msg'].removeprefix('Value error, ')} (found {_found(problem['loc'], problem['input'])})"
            for problem in error.errors(include_url=False)
        ]
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        told = "; ".join(one_line(problem) for problem in problems[:MAX_PROBLEMS])
        raise BadInputError(f"configuration {source}: {told}{more}") from error


def _found(place: tuple[int | str, ...], value: object) -> str:
    """Return what was found as everybody may read it.

    What notifiers are given may be secret, and so may what is in a mapping of which something else is wrong.
    """
    if "arguments" in place:
        return f"a {type(value).__name__}, not shown here"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value)) or 'nothing'}"[:80]
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list) for item in value):
        return f"a list of {len(value)}"
    return f"{without_credentials(repr(value)):.80}"


def load_section(section: type[Model], key: str, name: str, path: str | Path | None = None) -> Model:
    """Read and validate one section of a model's configuration; one that is not there has its defaults.

    :param path: the YAML file; by default see ``config_text``
    :raises BadInputError: names file, field, value and what was expected
    """
    content, source = read_config(name, path)
    return validate_section(section, content.get(key, {}), f"{source}, section {key}")


def load_lifecycle_config(name: str, path: str | Path | None = None) -> LifecycleConfig:
    """Read and validate the ``lifecycle`` section of a model's configuration.

    :param path: the YAML file; by default see ``config_text``
    :raises BadInputError: names file, field, value and what was expected; or another model has a name of this one
    """
    content, source = read_config(name, path)
    if "lifecycle" not in content:
        raise BadInputError(f"the configuration {source} has no section 'lifecycle'")
    config = validate_section(LifecycleConfig, content["lifecycle"], f"{source}, section lifecycle")
    if path is None:
        require_own_names(config)
    return config


def named_model(name: str) -> str | None:
    """Return the registered model that a configuration names, however wrong the rest of it is; None for none."""
    try:
        content = parse_yaml(config_text(name)[0], name)
    except BadInputError:
        return None
    lifecycle = content.get("lifecycle") if isinstance(content, dict) else None
    model = lifecycle.get("model") if isinstance(lifecycle, dict) else None
    return model if isinstance(model, str) and model else None


def _deployed(name: str, lifecycle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section ``lifecycle`` with what the environment sets: what differs between deployments of one file.

    A variable holds for every model, or with ``_NAME`` behind it for one: ``RETRAIN_APPROVERS_CHURN``. The approvers of
    every model are those of a model that names none: they take the decision from nobody whom its own file names.

    :raises BadInputError: when approvers are set and name nobody
    """

    def variable(key: str) -> str:
        return os.environ.get(f"{key}_{name.upper()}") or os.environ.get(key, "")

    content = dict(lifecycle)
    for key, place in _DEPLOYED.items():
        if text := variable(key):
            content = _put(content, place, text)
    own = os.environ.get(f"{APPROVERS_ENV}_{name.upper()}")
    if named := own or os.environ.get(APPROVERS_ENV):
        approvers = [found.strip() for found in named.split(",") if found.strip()]
        if not approvers:
            raise BadInputError(
                f"{APPROVERS_ENV} names nobody, found {named!r}: name them as in role:Approver,user:anna, or unset it"
            )
        content = _put(content, ("approval", "policy", "approvers"), approvers, over=bool(own))
    return content


def _put(section: Any, place: Sequence[str], value: object, *, over: bool = True) -> Any:
    """Return a section with a field set; what stands where a section belongs stays: validation says what it is.

    :param section: None where the file does not have it
    :param place: of the field
    :param over: whether what the field says already gives way
    """
    if not place:
        return value if over or not section else section
    if section is None:
        section = {}
    if not isinstance(section, Mapping):
        return section
    return {**section, place[0]: _put(section.get(place[0]), place[1:], value, over=over)}
