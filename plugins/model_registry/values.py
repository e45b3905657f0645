"""Checks of constructor arguments and of rendered templates."""

import re

from model_registry.effects import APPROVAL_OPERATORS
from model_registry.exceptions import LifecycleRefusedError


def constant(task_id: str, name: str, value: object) -> None:
    """Check an argument that the DAG's author gave.

    :raises ValueError: when it is empty
    """
    if value is None or value == "":
        raise ValueError(f"{task_id}: {name} must not be empty")


def known_operator(operator: object) -> None:
    """Check that Airflow's API server knows an operator that asks: it sees the class's name alone.

    :raises ValueError: for a subclass, whose marks it would not see
    """
    if type(operator).__name__ not in APPROVAL_OPERATORS:
        raise ValueError(
            f"{type(operator).__name__}: marks of a subclass are not seen in Airflow's API server, which knows"
            f" {' and '.join(sorted(APPROVAL_OPERATORS))}: use one of them"
        )


def rendered_text(task_id: str, name: str, value: object) -> str:
    """Return a rendered text.

    :raises LifecycleRefusedError: when it is empty
    """
    text = str(value if value is not None else "").strip()
    if not text or text == "None":
        raise LifecycleRefusedError(f"{task_id}: {name} is empty: {_MARKED}")
    return text


def rendered_version(task_id: str, value: object) -> int:
    """Return a rendered version number.

    :raises LifecycleRefusedError: when it is not one
    """
    text = rendered_text(task_id, "version", value)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise LifecycleRefusedError(f"{task_id}: version must be a number, found {text[:40]!r}")
    return int(text)


_MARKED = (
    "the task it comes from left no result, as when it was marked success by hand. Clear that task so that it runs"
)
