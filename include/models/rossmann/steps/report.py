"""The backtest's report: tables, pictures and a page, logged with the run."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from include.models.rossmann.backtest import ENSEMBLE, EQUAL, Backtest, with_baselines, with_slices
from include.models.rossmann.backtest_page import charts, headline, render
from include.models.rossmann.config import RossmannConfig
from include.models.rossmann.dataset import Dataset, load_dataset
from include.models.rossmann.ensemble import KEYS, equal_blend, told
from include.models.rossmann.folds import HOLDOUT
from include.models.rossmann.forecaster import Blend, Panel
from include.retraining.pages.charts import render_chart
from include.retraining.run import RetrainRun

log = logging.getLogger(__name__)

FOLDER, PAGE_FILE, ORIGINS_FILE = "backtest", "backtest.html", "by_origin.csv"


def report(
    config: RossmannConfig, run: RetrainRun, table: pd.DataFrame, blends: Mapping[int, Blend], scratch: Path
) -> None:
    """Log the backtest's tables, pictures and page with the run.

    :param table: the boosters' forecasts of all folds (``include.models.rossmann.ensemble.join``)
    """
    dataset = load_dataset(run.fetch("data", scratch))
    made = backtest_of(config, dataset, table[table["fold"] < run.origins], blends)
    folder = scratch / FOLDER
    folder.mkdir()
    made.by_origin.to_csv(folder / ORIGINS_FILE, index=False)
    made.by_slice.to_csv(folder / "by_slice.csv", index=False)
    pictures = charts(made)
    page = render(made, pictures, data_version=run.tags.get("data.version", "unknown"), quick=run.quick)
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    for chart in pictures:
        (folder / f"{chart.name}.png").write_bytes(render_chart(chart))
    mean = made.mean
    run.log(
        metrics={f"backtest_rmspe_{name.replace(' ', '_')}": mean["rmspe"][name] for name in made.forecasters}
        | {"backtest_bias": mean["bias"][ENSEMBLE]}
    )
    run.upload(folder, FOLDER)
    log.info("%s", headline(made))


def backtest_of(config: RossmannConfig, dataset: Dataset, table: pd.DataFrame, blends: Mapping[int, Blend]) -> Backtest:
    """Return the backtest's figures."""
    names = list(blends[HOLDOUT].weights)
    horizon = config.forecast.horizon_days
    parts = []
    for number in table["fold"].unique():
        rows = table[table["fold"] == number]
        sales, base, residuals = told(rows, names)
        made = {name: Blend({name: 1.0}).sales(base, residuals) for name in names}
        made[EQUAL] = equal_blend(names).sales(base, residuals)
        made[ENSEMBLE] = blends[int(number)].sales(base, residuals)
        origin = rows["Date"].max() - pd.Timedelta(days=horizon)
        parts.append(rows[KEYS].assign(origin=origin, sales=sales, **made))
    rows = with_slices(pd.concat(parts, ignore_index=True), dataset.train, dataset.stores)
    panel = Panel.from_frames(dataset.train, dataset.stores)
    return Backtest(with_baselines(rows, panel, horizon), tuple(names))
