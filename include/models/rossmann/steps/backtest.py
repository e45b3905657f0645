"""``backtest``: the retrain's own steps at many forecast origins, without a model at their end."""

import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from include.lifecycle.cli.console import in_words, start_logging
from include.lifecycle.errors import ReportedError
from include.lifecycle.registry.client import connect
from include.models.rossmann.config import Booster, RossmannConfig
from include.models.rossmann.model import MODEL
from include.models.rossmann.steps.report import FOLDER, ORIGINS_FILE, PAGE_FILE
from include.retraining.files import destination
from include.retraining.run import Origin, RetrainRun
from include.retraining.steps.pull import pull
from include.retraining.steps.train import combine, prepare, train


def backtest(
    config: RossmannConfig, *, origins: int, quick: bool, revision: str | None = None, page: str | None = None
) -> list[str]:
    """Run the backtest, the boosters side by side as in a retrain.

    Killed and started again it goes on: folds that are done are found in MLflow.

    :param origins: forecast origins, the newest one horizon before the newest day, the others each a horizon before
    :param revision: data revision; by default the configured one
    :param page: HTML file or fsspec URL to write
    :return: lines for a terminal
    :raises BadInputError: when the data is not usable, or its history too short for so many origins
    """
    if page is not None:
        destination.check(page, (".html", ".htm"))
    started = time.monotonic()
    asked = Origin(note=f"backtest of {origins} origins")
    run_id = pull(MODEL, config, asked, revision=revision, quick=quick, origins=origins, backtest_only=True)["run_id"]
    prepare(MODEL, config, run_id)
    trained = train_all(config, run_id)
    combine(MODEL, config, run_id)
    run = RetrainRun.of(connect(), config, run_id)
    run.finish()
    with TemporaryDirectory(prefix="rossmann-backtest-") as folder:
        made = run.fetch(FOLDER, Path(folder))
        scores = pd.read_csv(made / ORIGINS_FILE)
        if page is not None:
            destination.write(page, (made / PAGE_FILE).read_bytes())
    table = scores.pivot_table(index="origin", columns="forecaster", values="rmspe", sort=False)
    table.loc["mean"] = table.mean()
    folds, kept = (sum(result[name] for result in trained) for name in ("folds_trained", "folds_kept"))
    return [
        "RMSPE by forecast origin:",
        *table.to_string(float_format="{:.4f}".format, index_names=False).splitlines(),
        f"{folds} fits, {kept} folds kept from earlier runs, {(time.monotonic() - started) / 60:.1f} minutes",
        f"Tables, pictures and page: MLflow run {run_id}, artifacts {FOLDER}/",
        *([f"The page: {page}"] if page is not None else []),
    ]


def train_all(config: RossmannConfig, run_id: str) -> list[dict[str, Any]]:
    """Train the boosters, each in a process of its own as a retrain's tasks are, and return what they tell.

    :raises ReportedError: when one fails, or its process is killed
    """
    boosters = list(config.boosters)
    with ProcessPoolExecutor(len(boosters), get_context("spawn"), initializer=begin_process) as processes:
        try:
            return list(processes.map(partial(_train, config, run_id), boosters))
        except BrokenProcessPool as error:
            raise ReportedError(
                "a training process was killed (out of memory?): start the backtest again, what is done is kept"
            ) from error


def begin_process() -> None:
    """Log as the parent does, and end when it ends: one that was killed would leave its trainings to go on unseen."""
    start_logging()
    parent = parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _train(config: RossmannConfig, run_id: str, booster: Booster) -> dict[str, Any]:
    try:
        return train(MODEL, config, run_id, booster)
    except Exception as error:  # noqa: BLE001 -- not all survive the way between two processes
        raise in_words(error) from None
