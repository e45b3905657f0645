"""Step ``ensemble``: weights and correction of the blend, scored fold by fold."""

import logging
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from include.rossmann.config import RossmannConfig
from include.rossmann.ensemble import fold_blends, join, score_folds
from include.rossmann.folds import HOLDOUT
from include.rossmann.kept_folds import FOLDS_FOLDER, load_folds
from include.rossmann.tracking import RetrainRun, connect, fetch, write_json

log = logging.getLogger(__name__)

BLEND_FILE = "blend.json"


def ensemble(config: RossmannConfig, run_id: str) -> dict[str, Any]:
    """Fit the blend on the folds before the holdout and score it on every fold.

    Each fold is scored with the blend that the folds before it give; the oldest fold has none before it and is
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
            frames[booster] = load_folds(fetch(client, member.info.run_id, FOLDS_FOLDER, target))
        table = join(frames)
        blends = fold_blends(table, list(frames))
        blend = blends[HOLDOUT]
        scores = score_folds(table, blends)
        output = scratch / "ensemble"
        output.mkdir()
        write_json(output / BLEND_FILE, {"weights": dict(blend.weights), "factor": blend.factor})
        holdout = scores[HOLDOUT]
        earlier = {number: score.ensemble for number, score in scores.items() if number != HOLDOUT}
        run.log(
            params={"ensemble_space": "log sales", "ensemble_weights_from": "all earlier folds"},
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
        if run.origins > 1:
            from include.rossmann.steps.report import report  # draws pictures, which no other night needs

            report(config, run, table, blends, scratch)
    return {
        "run_id": run_id,
        "weights": {name: round(value, 4) for name, value in blend.weights.items()},
        "factor": round(blend.factor, 4),
        "holdout_rmspe": holdout.ensemble,
        "cv_rmspe": [earlier[number] for number in sorted(earlier)],
        "best_booster": holdout.best_member,
        "gain": holdout.gain,
    }
