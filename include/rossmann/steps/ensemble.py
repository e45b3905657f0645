"""Step ``ensemble``: weights and correction of the blend, scored fold by fold."""

import logging
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from include.lifecycle.errors import BadInputError
from include.rossmann.config import RossmannConfig
from include.rossmann.ensemble import BlendScore, equal_blend, fit_blend, score_blend
from include.rossmann.folds import HOLDOUT
from include.rossmann.forecaster import Blend
from include.rossmann.steps.train import PREDICTIONS_FILE
from include.rossmann.tracking import RetrainRun, connect, fetch, write_json

log = logging.getLogger(__name__)

BLEND_FILE = "blend.json"
KEYS = ["fold", "Store", "Date"]


def ensemble(config: RossmannConfig, run_id: str) -> dict[str, Any]:
    """Fit the blend on the fold before the holdout and score it on every fold.

    Each fold is scored with the blend that the fold before it gives; the oldest fold has none before it and is
    scored with equal weights and no correction. Backtest and served member share one blend: what validation
    scores is what will be served.

    :param config: the configuration
    :param run_id: the retrain's MLflow run
    :return: weights, correction factor, RMSPE of the ensemble, gain over the best booster
    """
    client = connect()
    run = RetrainRun(client, run_id)
    with run.step("ensemble"), TemporaryDirectory(prefix="rossmann-ensemble-") as folder:
        scratch = Path(folder)
        frames: dict[str, pd.DataFrame] = {}
        for booster in config.boosters:
            member = run.member(booster)
            target = scratch / booster
            target.mkdir()
            frames[booster] = pd.read_parquet(fetch(client, member.info.run_id, f"member/{PREDICTIONS_FILE}", target))
        blend, scores = blend_folds(join(frames), list(frames))
        output = scratch / "ensemble"
        output.mkdir()
        write_json(output / BLEND_FILE, {"weights": dict(blend.weights), "factor": blend.factor})
        holdout = scores[HOLDOUT]
        earlier = {number: score.ensemble for number, score in scores.items() if number != HOLDOUT}
        run.log(
            params={"ensemble_space": "log sales", "ensemble_weights_from": "fold 1"},
            metrics={
                "holdout_rmspe": holdout.ensemble,
                "cv_rmspe_mean": statistics.fmean(earlier.values()),
                "cv_rmspe_std": statistics.pstdev(earlier.values()),
                "ensemble_gain": holdout.gain,
                "ensemble_factor": blend.factor,
            }
            | {f"cv_rmspe_fold{number}": value for number, value in earlier.items()}
            | {f"holdout_rmspe_{name}": value for name, value in holdout.members.items()}
            | {f"weight_{name}": value for name, value in blend.weights.items()},
        )
        run.upload(output, "ensemble")
    return {
        "run_id": run_id,
        "weights": {name: round(value, 4) for name, value in blend.weights.items()},
        "factor": round(blend.factor, 4),
        "holdout_rmspe": holdout.ensemble,
        "cv_rmspe": [earlier[number] for number in sorted(earlier)],
        "best_booster": holdout.best_member,
        "gain": holdout.gain,
    }


def join(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one frame with a column for each booster's prediction.

    :param frames: predictions of each booster (see ``fold_predictions``)
    :raises BadInputError: when the boosters did not predict the same rows
    """
    names = list(frames)
    table = frames[names[0]].rename(columns={"residual": names[0]})
    for name in names[1:]:
        other = frames[name]
        if len(other) != len(table) or not np.array_equal(other[KEYS].to_numpy(), table[KEYS].to_numpy()):
            raise BadInputError(
                f"{name} predicted other rows than {names[0]}: the boosters were trained on different features;"
                " clear the training tasks and run them again"
            )
        table[name] = other["residual"].to_numpy()
    return table


def blend_folds(table: pd.DataFrame, names: list[str]) -> tuple[Blend, dict[int, BlendScore]]:
    """Score every fold with the blend that the fold before it gives.

    :param table: predictions of all folds
    :param names: the boosters
    :return: the blend of the holdout (fitted on fold 1), the scores by fold
    """
    blend = equal_blend(names)
    scores: dict[int, BlendScore] = {}
    for number in sorted(table["fold"].unique(), reverse=True):
        rows = table[table["fold"] == number]
        sales, base = column(rows, "sales"), column(rows, "base")
        residuals = {name: column(rows, name) for name in names}
        used = blend
        scores[int(number)] = score_blend(used, sales, base, residuals)
        log.info("Fold %d: ensemble RMSPE %.4f, %s", number, scores[int(number)].ensemble, scores[int(number)].members)
        blend = fit_blend(sales, base, residuals)
    return used, scores


def column(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """Return a column as a float64 array."""
    return rows[name].to_numpy(dtype=np.float64)
