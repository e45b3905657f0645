"""``python -m include.retraining new-model NAME``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from include.lifecycle.cli.console import run_cli, say

PROJECT = Path(__file__).resolve().parents[2]
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def retraining() -> None:
    """What serves every model."""


@app.command(name="new-model")
def new_model(name: Annotated[str, typer.Argument(help="Name of its package, configuration and DAGs")]) -> None:
    """Make another model, from the worked example."""
    from include.retraining.scaffold import new_model as run

    say(run(PROJECT, name))


sys.exit(run_cli(app))
