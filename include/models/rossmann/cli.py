"""Command line of the Rossmann forecast: what any model has, its sample data, and how its parameters are looked for."""

import math
from pathlib import Path
from typing import Annotated

import typer

from include.lifecycle.cli.console import PEOPLE, emit, say, typed
from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import NAME, REFERENCE, TABLES, RossmannConfig, load_config
from include.retraining.cli import DATA, Named, model_app

app = model_app(Named(NAME, RossmannConfig, REFERENCE, steps=("prepare", "train", "combine"), tables=TABLES))


@app.command(rich_help_panel=PEOPLE)
def backtest(
    origins: Annotated[int, typer.Option(min=2, max=60, help="Forecast origins, one every horizon back")] = 6,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer boosting rounds: for experiments")] = False,
    revision: Annotated[str | None, typer.Option(callback=typed, help="Data revision; default: configured")] = None,
    page: Annotated[
        str | None, typer.Option(help="File or fsspec URL to write, NAME.html, with tables and pictures")
    ] = None,
) -> None:
    """Forecast the past from many origins, the full recipe at each; folds that have not changed are kept."""
    from include.models.rossmann.steps.backtest import backtest as run

    say(run(load_config(), origins=origins, quick=quick, revision=revision, page=page))


def _minutes(value: float) -> float:
    """Return minutes that come to an end."""
    if not (math.isfinite(value) and value > 0):
        raise BadInputError(f"--minutes is {value}: give a number above 0")
    return value


@app.command(rich_help_panel=PEOPLE)
def tune(
    booster: Annotated[str, typer.Option(help="lightgbm, xgboost or catboost")],
    minutes: Annotated[float, typer.Option(callback=_minutes, help="How long to go on")] = 30,
    origins: Annotated[int, typer.Option(min=3, max=60, help="Forecast origins before the holdout's")] = 5,
    journal: Annotated[Path, typer.Option(help="File of the trials: named again, the search goes on")] = Path(
        "tuning.journal"
    ),
    revision: Annotated[str | None, typer.Option(callback=typed, help="Data revision; default: configured")] = None,
) -> None:
    """Search for better parameters of a booster on earlier origins; prints the change of the configuration."""
    from include.models.rossmann.steps.tune import tune as run

    config = load_config()
    if booster not in config.boosters:
        raise BadInputError(f"unknown booster {booster!r}: configured are {', '.join(config.boosters)}")
    say(run(config, booster, minutes=minutes, origins=origins, journal=journal, revision=revision))


@app.command(rich_help_panel=DATA)
def sample(
    folder: Annotated[Path, typer.Argument(help="Data registry to create or extend (a git repository)")],
    stores: Annotated[int, typer.Option(min=1, help="Number of stores")] = 120,
    months: Annotated[int, typer.Option(min=1, help="Length of the history")] = 30,
    extra_days: Annotated[int, typer.Option(min=0, help="Days more: the same past, a later revision")] = 0,
    spoil: Annotated[bool, typer.Option("--spoil", help="Shuffle the newest sales, so that the gate fails")] = False,
) -> None:
    """Make a data registry from generated sample data, or add a revision to it."""
    from include.models.rossmann.data.sample import generate
    from include.retraining.data_source.publish import publish_data

    data = generate(stores=stores, months=months, extra_days=extra_days, spoil=spoil)
    commit = publish_data(TABLES, folder, data)
    emit({"registry": str(folder), "commit": commit, "newest": str(data.train["Date"].max().date())})
