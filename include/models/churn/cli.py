"""Command line of the churn model: what any model has, and its sample data."""

from pathlib import Path
from typing import Annotated

import typer

from include.lifecycle.cli.console import emit
from include.models.churn.config import NAME, REFERENCE, TABLES, ChurnConfig
from include.retraining.cli import DATA, Named, model_app

app = model_app(Named(NAME, ChurnConfig, REFERENCE, steps=("train",), tables=TABLES), __doc__)


@app.command(rich_help_panel=DATA)
def sample(
    folder: Annotated[Path, typer.Argument(help="Data registry to create or extend (a git repository)")],
    customers: Annotated[int, typer.Option(min=100, help="Customers of whom it is known whether they left")] = 3000,
    more: Annotated[int, typer.Option(min=0, help="Customers more: a later revision")] = 0,
    spoil: Annotated[bool, typer.Option("--spoil", help="Shuffle who left, so that the gate fails")] = False,
) -> None:
    """Make a data registry from generated sample data, or add a revision to it."""
    from include.models.churn.sample import generate
    from include.retraining.data_source.publish import publish_data

    commit = publish_data(TABLES, folder, generate(customers + more, spoil=spoil))
    emit({"registry": str(folder), "commit": commit, "customers": customers + more})
