"""``make new-model NAME=...``: another model, made of the worked example, which runs from the first minute on.

A copy of what is tested does not rot as a template would. What is to be replaced in it is said at the end.
"""

import keyword
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from include.lifecycle.config.names import claimed, shared
from include.lifecycle.errors import BadInputError
from include.lifecycle.yaml_text import parse_yaml

EXAMPLE = "churn"
FILES = (
    f"include/models/{EXAMPLE}",
    f"include/config/{EXAMPLE}.yaml",
    f"dags/{EXAMPLE}.py",
    f"tests/models/test_{EXAMPLE}.py",
)
DAGS = ("maintenance", "monitor", "predict", "retrain", "rollback")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 30


def new_model(project: Path, name: str) -> list[str]:
    """Make the files of a model.

    :param name: of the package, the configuration and the DAGs
    :return: what was made and what comes next, lines for a terminal
    :raises BadInputError: when the name is none, or it or what is named after it is taken
    """
    words_of_python = any(map(keyword.iskeyword, (name, class_name(name))))
    if not NAME.fullmatch(name) or len(name) > LONGEST or words_of_python or parse_yaml(name, "NAME") != name:
        raise BadInputError(
            f"NAME must be small letters, digits and single underscores, at most {LONGEST}, such as churn or"
            f" demand_2, and no word that Python or YAML has a meaning for, found {name[:60]!r}"
        )
    targets = {project / file: project / renamed(file, name) for file in FILES}
    _require_free(project, name, targets.values())
    with tempfile.TemporaryDirectory(prefix=".new-model-", dir=project) as folder:
        made = {target: Path(folder) / str(number) for number, target in enumerate(targets.values())}
        for (source, target), copy in zip(targets.items(), made.values(), strict=True):
            _copy(source, copy, name)
            target.parent.mkdir(parents=True, exist_ok=True)
        for target, copy in made.items():
            copy.replace(target)
    lines = [f"made {target.relative_to(project)}" for target in targets.values()]
    return [
        *lines,
        f"It is the example under another name, and runs: make run MODEL={name}. Make it yours:",
        f"  include/models/{name}/model.py    columns, metric, holdout, train: what is learned from what",
        f"  include/models/{name}/served.py   predicts; copied into each version",
        f"  include/models/{name}/sample.py   sample data, or delete it with its command in cli.py",
        f"  include/config/{name}.yaml        names, gate, approvers, schedules, data registry",
    ]


def renamed(text: str, name: str) -> str:
    """Return a text of the example with another model's name in it, which may hold the example's own."""
    replaced = {
        ", the worked example of a second model": "",
        "# The worked example of a second model.": "#",
        f"customer-{EXAMPLE}": name.replace("_", "-"),
        EXAMPLE: name,
        EXAMPLE.capitalize(): class_name(name),
    }
    return re.sub("|".join(map(re.escape, replaced)), lambda found: replaced[found[0]], text)


def class_name(name: str) -> str:
    """Return what the class of a model is called."""
    return name.title().replace("_", "")


def _require_free(project: Path, name: str, targets: Iterable[Path]) -> None:
    """Check that nothing else in the project has what a model would bring along.

    :raises BadInputError: when one of its files, DAGs, names in MLflow or classes is there already
    """
    dags = (project / f"dags/{name}_{kind}.py" for kind in DAGS)
    tests = (project / "tests").rglob(f"test_{name}.py")  # pytest tells tests apart by their names alone
    if taken := [path for path in (*targets, *dags, *tests) if path.exists()]:
        raise BadInputError(f"{taken[0].relative_to(project)} is there already: choose another name")
    config = f"include/config/{EXAMPLE}.yaml"
    made = claimed(renamed((project / config).read_text(encoding="utf-8"), name))
    if said := shared(made, renamed(config, name), sorted((project / config).parent.glob("*.yaml"))):
        raise BadInputError(f"{said}: choose another name")
    for file in (file for place in FILES for file in (project / place, *(project / place).rglob("*.py"))):
        words = set(re.findall(r"\b[A-Z]\w*", file.read_text(encoding="utf-8") if file.is_file() else ""))
        own = {word for word in words if EXAMPLE.capitalize() in word}
        if both := (words - own) & {renamed(word, name) for word in own}:
            raise BadInputError(
                f"{min(both)} has another meaning in {file.relative_to(project)}, the example: choose another name"
            )


def _copy(source: Path, target: Path, name: str) -> None:
    if source.is_file():
        target.write_text(renamed(source.read_text(encoding="utf-8"), name), encoding="utf-8")
        return
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for file in target.rglob("*.py"):
        file.write_text(renamed(file.read_text(encoding="utf-8"), name), encoding="utf-8")
