"""Trains one booster on every fold, on the days before the holdout, and on everything."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from include.models.rossmann.boosters import importance, trained_rounds
from include.models.rossmann.config import Booster, RossmannConfig
from include.models.rossmann.folds import HOLDOUT, make_folds
from include.models.rossmann.kept_folds import KeptFolds, fold_forecast, fold_key
from include.models.rossmann.matrix import StoredMatrix
from include.models.rossmann.metrics import rmspe
from include.models.rossmann.steps.features import MATRIX_FILE
from include.models.rossmann.training import Trainer
from include.retraining.pipeline import TrainedMember
from include.retraining.run import RetrainRun

log = logging.getLogger(__name__)


def train(run: RetrainRun, config: RossmannConfig, booster: Booster, member_run: str, scratch: Path) -> TrainedMember:
    """Train a booster.

    Its rounds are fixed by the configuration, so no fold and least of all the holdout has a say in them. The
    backtest member is the one that forecasts the holdout; the served member is trained on everything. A
    cross-validation fold that an earlier run, or an earlier try, has trained from the same is not trained again.

    :param booster: lightgbm, xgboost or catboost
    :return: both members, RMSPE on the holdout, how many folds were trained and how many kept
    """
    client = run.client
    matrix = StoredMatrix.open(run.fetch(f"features/{MATRIX_FILE}", scratch))
    trainer = Trainer(config, booster, quick=run.quick)
    kept = KeptFolds(client, run.run.info.experiment_id)
    digests = matrix.block_digests()
    scores: dict[int, float] = {}
    reused = 0
    folds = make_folds(matrix, config.folds(run.origins), config.forecast.horizon_days, config.forecast.fold_end)
    for fold in folds:
        block = matrix.block(fold.end)
        key = fold_key(digests, fold, trainer.settings_key())
        # the holdout's member is needed itself: validation scores it
        frame = kept.find(fold, key, block, scratch) if fold.number != HOLDOUT or run.backtest_only else None
        if frame is None:
            backtest = trainer.fit(matrix.until(fold.training_end))
            frame = fold_forecast(block, backtest.predict(block.features))
        else:
            reused += 1
        kept.keep(member_run, fold, key, frame, scratch)
        scores[fold.number] = member_rmspe(frame)
        log.info("%s: fold %d, %s to %s, RMSPE %.4f", booster, fold.number, fold.start, fold.end, scores[fold.number])
    params, output = trainer.params(), None
    if not run.backtest_only:
        log.info("%s: training the served member on all %d rows", booster, len(matrix))
        served = trainer.fit(matrix)
        output = scratch / "member"
        for name, member in (("backtest", backtest), ("served", served)):
            (output / name).mkdir(parents=True)
            member.save(output / name)
        importance(served).to_csv(output / "importance.csv", index=False)
        params |= {"training_rows": len(matrix), "trained_rounds": trained_rounds(served)}
    return TrainedMember(
        folder=output,
        params=params,
        metrics={f"cv_rmspe_fold{number}": score for number, score in scores.items() if number != HOLDOUT}
        | {"holdout_rmspe": scores[HOLDOUT], "folds_kept": reused},
        told={
            "holdout_rmspe": scores[HOLDOUT],
            "folds_trained": len(folds) - reused,
            "folds_kept": reused,
        },
    )


def member_rmspe(frame: pd.DataFrame) -> float:
    """Return the RMSPE of a member alone on a fold (see ``fold_forecast``)."""
    sales, base, residual = (frame[name].to_numpy(dtype=np.float64) for name in ("sales", "base", "residual"))
    return rmspe(sales, np.exp(base + residual))
