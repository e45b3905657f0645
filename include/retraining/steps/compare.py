"""``compare``: two versions on the same rows that neither was trained on, as a table and a page."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from include.lifecycle.errors import BadInputError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import connect
from include.lifecycle.registry.versions import VersionInfo
from include.retraining.config.review import ItemKey
from include.retraining.files import destination
from include.retraining.pipeline import ConfigT, Pipeline
from include.retraining.review.build import Reviewer
from include.retraining.review.page import render_page
from include.retraining.review.report import Review, Rule, Table
from include.retraining.run import RetrainRun
from include.retraining.steps.pull import DATA
from include.retraining.steps.review import input_of

log = logging.getLogger(__name__)


STAGES = ("Staging", "Production", "Archived", "None")
LEFT_OUT: tuple[ItemKey, ...] = ("environment", "speed", "quality", "consistent", "plausible")
"""Items of the review that say nothing of how two versions differ."""


def compare(
    model: Pipeline[ConfigT, Any], config: ConfigT, ours: str, theirs: str, page: str | None = None
) -> list[str]:
    """Compare two versions.

    :param ours: a stage or a version number
    :param page: HTML file or fsspec URL to write, with tables and pictures
    :return: lines for a terminal
    :raises BadInputError: when one of them does not exist, or both are the same version
    """
    if page is not None:
        destination.check(page, (".html", ".htm"))
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    left, right = (find(registry, config.lifecycle.model, name) for name in (ours, theirs))
    if left.version == right.version:
        raise BadInputError(f"{ours} and {theirs} are both version {left.version}: there is nothing to compare")
    newer = max((left, right), key=lambda info: info.tags.get("training.end", ""))
    with TemporaryDirectory(prefix="retrain-compare-") as folder:
        scratch = Path(folder)
        data = model.restore(RetrainRun(client, newer.run_id).fetch(DATA, scratch))
        given = input_of(model, config, registry, left, right, data, scratch)
        rules: dict[ItemKey, Rule] = {**config.review.rules, **dict.fromkeys(LEFT_OUT, "off")}
        made = Reviewer(given, config.review.model_copy(update={"rules": rules}), scratch).review()
    if page is not None:
        about = "Comparison of two versions", f"{beside(left, right)} Nothing follows from it."
        destination.write(page, render_page(made, about=about).encode())
    return [*told(made, left, right), *([f"The page with pictures: {page}"] if page is not None else [])]


def find(registry: ModelRegistry, model: str, name: str) -> VersionInfo:
    """Return the version that a stage or a number names.

    :raises BadInputError: when it names none
    """
    if name.isascii() and name.isdecimal() and int(name) > 0:
        return registry.version(model, int(name))
    stage = next((stage for stage in STAGES if stage.lower() == name.lower()), None)
    if stage is None:
        raise BadInputError(f"{name!r} is neither a stage ({', '.join(STAGES)}) nor the number of a version")
    return registry.resolve(model, stage)


def beside(left: VersionInfo, right: VersionInfo) -> str:
    """Return which version has which part: the texts of a review speak of the candidate and of Production."""
    return (
        f"Version {left.version} ({left.stage}) as the candidate, version {right.version} ({right.stage}) in the place"
        " of Production."
    )


def told(made: Review, left: VersionInfo, right: VersionInfo) -> list[str]:
    """Return a review as lines for a terminal."""
    lines = [
        beside(left, right),
        made.headline,
        made.rows,
        "",
    ]
    for item in made.items:
        lines.append(f"{item.verdict.upper():5} {item.title}: {item.sentence}")
        if item.key in ("slices", "changes", "better"):
            lines += [line for table in item.tables for line in rows_of(table)]
    return lines


def rows_of(table: Table) -> list[str]:
    """Return a table with aligned columns, indented."""
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    return [
        "      "
        + "  ".join(
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
