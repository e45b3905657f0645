"""The backtest as one HTML file: tables, pictures, and the sentence that matters."""

import pandas as pd

from include.models.rossmann.backtest import ENSEMBLE, NAIVE, SEASONAL, SLICES, Backtest
from include.models.rossmann.metrics import WORST
from include.retraining.pages.figures import Bars, Chart, Lines, Role, Series, Table
from include.retraining.pages.markup import chart_figure, document, line, table_figure
from include.retraining.pages.style import STYLE

SEED = 1


def headline(made: Backtest) -> str:
    """Return what the backtest says in one sentence."""
    mean, best = made.mean["rmspe"], made.best_booster
    gain = made.gain(best, seed=SEED)
    share, below = 1 - mean[ENSEMBLE] / mean[best], 1 - mean[ENSEMBLE] / mean[NAIVE]
    return (
        f"Mean RMSPE over {made.rows['origin'].nunique()} forecast origins: ensemble {mean[ENSEMBLE]:.4f},"
        f" best booster ({best}) {mean[best]:.4f}, naive {mean[NAIVE]:.4f}, seasonal naive {mean[SEASONAL]:.4f}."
        f" The ensemble is {share:.1%} below the best booster and {below:.1%} below the naive forecast; its gain over"
        f" {best} on all days together is {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})."
    )


def origin_table(made: Backtest, column: str, *, percent: bool = False) -> Table:
    """Return one kind of error of each forecaster at each origin, and its mean."""
    scores = made.by_origin.pivot(index="origin", columns="forecaster", values=column)[list(made.forecasters)]
    shown = ("{:+.1%}" if percent else "{:.4f}").format
    names = [*(f"{pd.Timestamp(origin):%Y-%m-%d}" for origin in scores.index.to_numpy()), "mean"]
    values = [*scores.to_numpy(dtype=float), scores.mean().to_numpy(dtype=float)]
    rows = tuple((name, *map(shown, found)) for name, found in zip(names, values, strict=True))
    return Table(("Forecast origin", *made.forecasters), rows)


def slice_table(made: Backtest, column: str) -> Table:
    """Return RMSPE and bias by one slice, all origins together."""
    rows = made.by_slice
    rows = rows[rows["slice"] == column]
    head = (SLICES[column], "rows", *(f"{name}" for name in made.forecasters), "bias of the ensemble")
    lines = []
    for value in sorted(rows["value"].unique()):
        of = rows[rows["value"] == value].set_index("forecaster")
        errors = (f"{float(of['rmspe'][name]):.4f}" for name in made.forecasters)
        lines.append((str(value), str(of["rows"].iloc[0]), *errors, f"{float(of['bias'][ENSEMBLE]):+.1%}"))
    return Table(head, tuple(lines))


def charts(made: Backtest) -> list[Chart]:
    """Return the pictures: error by origin with its interval, error by week of the horizon, error by day."""
    roles: tuple[Role, ...] = ("candidate", "production", "earlier")
    shown = tuple(zip((ENSEMBLE, made.best_booster, NAIVE), roles, strict=True))
    origins = sorted(made.rows["origin"].unique())
    intervals = [made.interval(origin, seed=SEED) for origin in origins]
    by_origin = made.by_origin.set_index(["forecaster", "origin"])["rmspe"]
    weeks = made.by_slice.query("slice == 'week'").set_index(["forecaster", "value"])["rmspe"]
    names = sorted(made.rows["week"].unique())
    by_day = daily(made.rows, [name for name, _ in shown])
    return [
        Bars(
            "error-by-origin",
            "RMSPE by forecast origin",
            tuple(f"{pd.Timestamp(origin):%Y-%m-%d}" for origin in origins),
            tuple(Series(name, role, tuple(by_origin[name][origin] for origin in origins)) for name, role in shown),
            "RMSPE",
            (tuple((interval.low, interval.high) for interval in intervals),),
        ),
        Bars(
            "error-by-week",
            "RMSPE by week of the horizon, all origins",
            tuple(f"week {week}" for week in names),
            tuple(Series(name, role, tuple(weeks[name][str(week)] for week in names)) for name, role in shown),
            "RMSPE",
        ),
        Lines(
            "error-by-day",
            "RMSPE by day",
            tuple(f"{day:%Y-%m-%d}" for day in by_day.index),
            tuple(Series(name, role, tuple(by_day[name])) for name, role in shown),
            "RMSPE",
            marks=tuple((f"{pd.Timestamp(origin) + pd.Timedelta(days=1):%Y-%m-%d}", "origin") for origin in origins),
        ),
    ]


def daily(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return the RMSPE of each day: a row a day, a column for each of the names."""
    squared = pd.DataFrame({name: ((rows[name] - rows["sales"]) / rows["sales"]) ** 2 for name in names})
    return squared.groupby(rows["Date"].to_numpy()).mean() ** 0.5


def render(made: Backtest, pictures: list[Chart], *, data_version: str, quick: bool) -> str:
    """Return the page, always the same for the same backtest.

    :param pictures: what ``charts`` makes of them
    """
    tables = [
        ("RMSPE", origin_table(made, "rmspe")),
        (f"RMSPE without the {WORST} worst rows of each origin", origin_table(made, "rmspe_without_worst")),
        ("Bias: share by which all forecasts together are too high", origin_table(made, "bias", percent=True)),
        *((f"RMSPE by {label}", slice_table(made, column)) for column, label in SLICES.items()),
    ]
    note = "A quick run with few boosting rounds: only a try. " if quick else ""
    about = f"{note}{len(made.rows)} rows with sales, data version {data_version}"
    parts = [
        f'<header><h1>Backtest</h1><p class="headline">{line(headline(made), 800)}</p>'
        f'<p class="rows">{line(about, 300)}</p></header>',
        "<main>",
        *(f'<section class="item card">{chart_figure(chart)}</section>' for chart in pictures),
        *(
            f'<section class="item card"><h2>{line(title, 120)}</h2>{table_figure(table, title)}</section>'
            for title, table in tables
        ),
        "</main>",
    ]
    return document("Backtest", STYLE, parts)
