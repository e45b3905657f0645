"""Forecasts of folds, kept in MLflow: what has not changed since an earlier run is not trained again.

A fold's key is a digest of everything that decides its forecast: the training rows and the fold's own rows as
the matrix holds them (so the data and the code of the features), the booster's parameters, rounds, threads and seed,
the libraries and the code that draws rows and trains. Another key, another fold: nothing has to be known to be out of
date.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError
from include.models.rossmann import boosters, matrix, training
from include.models.rossmann.folds import Fold
from include.models.rossmann.forecaster import members
from include.models.rossmann.forecaster.panel import Day
from include.models.rossmann.matrix import TrainingMatrix
from include.retraining.run import RetrainRun
from include.retraining.tables import read_file

log = logging.getLogger(__name__)

FOLDS_FOLDER = "folds"
KEY_TAG = "retrain.fold."
"""Prefix of the tag that holds the key of the fold that ends on the day after it."""

MOST_RUNS = 3
"""How many runs that kept a fold are looked at, the newest first; each later night keeps it again."""

TRAINING_CODE = tuple(Path(str(module.__file__)) for module in (boosters, matrix, members, training))
"""Code that decides what a member makes of a matrix, and which of its rows it learns from."""


def fold_key(digests: Mapping[Day, str], fold: Fold, settings: Mapping[str, Any]) -> str:
    """Return the key of a fold.

    :param digests: digest of each block of the matrix (``TrainingMatrix.block_digests``)
    :param settings: what is told to the training, the libraries' versions among it
    """
    content = {
        "training": [digest for end, digest in sorted(digests.items()) if end <= fold.training_end],
        "fold": digests[fold.end],
        "settings": dict(settings),
        "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in TRAINING_CODE],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fold_forecast(block: TrainingMatrix, residual: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return the rows of a fold with a member's forecast.

    :param residual: (rows,) the forecast
    :return: Store, Date, sales (euros), base (log), residual (log; the forecast)
    """
    return pd.DataFrame(
        {
            "Store": block.store,
            "Date": block.date.astype("datetime64[s]"),
            "sales": block.sales,
            "base": block.base,
            "residual": residual,
        }
    )


class KeptFolds:
    """The forecasts of one booster's folds, by key."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    def find(self, fold: Fold, key: str, block: TrainingMatrix, scratch: Path) -> pd.DataFrame | None:
        """Return a fold's forecast as an earlier run kept it, None when none did or it is damaged."""
        found = f"tags.`{KEY_TAG}{fold.end}` = '{key}'"
        newest = ["attributes.start_time DESC"]
        for run in self.client.search_runs([self.experiment_id], found, order_by=newest, max_results=MOST_RUNS):
            target = scratch / run.info.run_id
            target.mkdir(exist_ok=True)
            try:
                kept = RetrainRun(self.client, run).fetch(f"{FOLDS_FOLDER}/{fold.end}.parquet", target)
                frame = read_file(kept)
                expected = fold_forecast(block, frame["residual"].to_numpy(dtype=np.float64))
                same = all(np.array_equal(frame[name], expected[name]) for name in expected)
                if not same or not np.isfinite(expected["residual"]).all():
                    raise ValueError("other rows than the fold has")
            except (BadInputError, KeyError, ValueError) as error:
                log.warning("The fold that ends on %s is trained again: run %s, %s", fold.end, run.info.run_id, error)
                continue
            log.info("The fold that ends on %s has not changed since run %s", fold.end, run.info.run_id)
            return frame
        return None

    def keep(self, run_id: str, fold: Fold, key: str, frame: pd.DataFrame, scratch: Path) -> None:
        """Keep a fold's forecast with a run: first the file, then the tag that it is found by."""
        path = scratch / f"{fold.end}.parquet"
        frame.to_parquet(path, compression="zstd", index=False)
        self.client.log_artifact(run_id, str(path), FOLDS_FOLDER)
        self.client.set_tag(run_id, f"{KEY_TAG}{fold.end}", key)


def load_folds(folder: Path) -> pd.DataFrame:
    """Return the forecasts of all folds of a run.

    :param folder: one file for each fold, named by its last day
    :return: fold (0 is the newest, the holdout) and what ``fold_forecast`` gives, the oldest fold first
    """
    files = sorted(folder.glob("*.parquet"))
    frames = [
        pd.read_parquet(file).assign(fold=number) for number, file in zip(range(len(files))[::-1], files, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)
