"""Combines the boosters: weights of the blend, scored fold by fold."""

import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from include.models.rossmann.config import RossmannConfig
from include.models.rossmann.ensemble import fold_blends, join, score_folds
from include.models.rossmann.folds import HOLDOUT
from include.models.rossmann.forecaster.forecast import BLEND_FILE
from include.models.rossmann.kept_folds import FOLDS_FOLDER, load_folds
from include.retraining.run import RetrainRun, write_json


def ensemble(run: RetrainRun, config: RossmannConfig, scratch: Path) -> dict[str, Any]:
    """Fit the blend on the folds before the holdout and score it on every fold.

    Each fold is scored with the blend that the folds before it give; the oldest fold has none before it and is
    scored with equal weights. Backtest and served member share one blend: what validation scores is what will be
    served.

    :return: weights, RMSPE of the ensemble, gain over the best booster
    """
    frames: dict[str, pd.DataFrame] = {}
    for booster in config.boosters:
        target = scratch / booster
        target.mkdir()
        frames[booster] = load_folds(run.member(booster).fetch(FOLDS_FOLDER, target))
    table = join(frames)
    blends = fold_blends(table, list(frames))
    blend = blends[HOLDOUT]
    scores = score_folds(table, blends)
    output = scratch / "ensemble"
    output.mkdir()
    write_json(output / BLEND_FILE, {"weights": dict(blend.weights)})
    holdout = scores[HOLDOUT]
    earlier = {number: score.ensemble for number, score in scores.items() if number != HOLDOUT}
    run.log(
        params={"ensemble_space": "log sales", "ensemble_weights_from": "all earlier folds"},
        metrics={
            "holdout_rmspe": holdout.ensemble,
            "cv_rmspe_mean": statistics.fmean(earlier.values()),
            "cv_rmspe_std": statistics.pstdev(earlier.values()),
            "ensemble_gain": holdout.gain,
        }
        | {f"cv_rmspe_fold{number}": value for number, value in earlier.items()}
        | {f"holdout_rmspe_{name}": value for name, value in holdout.members.items()}
        | {f"weight_{name}": value for name, value in blend.weights.items()},
    )
    run.upload(output, "ensemble")
    if run.origins > 1:
        from include.models.rossmann.steps.report import report  # draws pictures, which no other night needs

        report(config, run, table, blends, scratch)
    return {
        "weights": {name: round(value, 4) for name, value in blend.weights.items()},
        "holdout_rmspe": holdout.ensemble,
        "cv_rmspe": [earlier[number] for number in sorted(earlier)],
        "best_booster": holdout.best_member,
        "gain": holdout.gain,
    }
