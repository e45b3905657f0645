"""Step ``train``: one booster on every fold, on the days before the holdout, and on everything."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from include.rossmann.boosters import importance, train_member, trained_rounds
from include.rossmann.config import Booster, RossmannConfig
from include.rossmann.folds import HOLDOUT, Fold, make_folds
from include.rossmann.forecaster import Blend, Member
from include.rossmann.matrix import TrainingMatrix, load_matrix
from include.rossmann.metrics import rmspe
from include.rossmann.progress import LogProgress
from include.rossmann.steps.features import MATRIX_FILE
from include.rossmann.tracking import RetrainRun, connect, log_values, upload
from include.rossmann.versions import library_versions

log = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.parquet"


def train(config: RossmannConfig, run_id: str, booster: Booster) -> dict[str, Any]:
    """Train a booster and log it as a nested MLflow run.

    Its rounds are fixed by the configuration, so no fold and least of all the holdout has a say in them. The
    backtest member is the one that forecasts the holdout; the served member is trained on everything.

    :param config: the configuration
    :param run_id: the retrain's MLflow run
    :param booster: lightgbm, xgboost or catboost
    :return: the booster's run id, RMSPE on the holdout and on each fold
    """
    client = connect()
    run = RetrainRun(client, run_id)
    with run.step(f"train {booster}"), TemporaryDirectory(prefix=f"rossmann-{booster}-") as folder:
        scratch = Path(folder)
        matrix = load_matrix(run.fetch(f"features/{MATRIX_FILE}", scratch))
        member_run = run.open_member(booster)
        trainer = _Trainer(config, booster, quick=run.quick)
        predictions, scores, backtest = trainer.forecast_folds(matrix)
        log.info("%s: training the served member on all %d rows", booster, len(matrix))
        served = trainer.fit(matrix)
        output = scratch / "member"
        for name, member in (("backtest", backtest), ("served", served)):
            (output / name).mkdir(parents=True)
            member.save(output / name)
        predictions.to_parquet(output / PREDICTIONS_FILE, compression="zstd", index=False)
        importance(served).to_csv(output / "importance.csv", index=False)
        upload(client, member_run, output, "member")
        log_values(
            client,
            member_run,
            params=trainer.params() | {"training_rows": len(matrix), "trained_rounds": trained_rounds(served)},
            metrics={f"cv_rmspe_fold{number}": score for number, score in scores.items() if number != HOLDOUT}
            | {"holdout_rmspe": scores[HOLDOUT]},
        )
        client.set_terminated(member_run)
    return {"run_id": run_id, "booster": booster, "booster_run_id": member_run, "holdout_rmspe": scores[HOLDOUT]}


class _Trainer:
    """One booster with its settings of this run."""

    def __init__(self, config: RossmannConfig, booster: Booster, *, quick: bool) -> None:
        self.booster = booster
        self.settings = config.boosters[booster]
        self.forecast = config.forecast
        self.rounds_scale = config.forecast.quick_rounds_scale if quick else 1.0

    def params(self) -> dict[str, Any]:
        """Return what the booster's MLflow run names as parameters."""
        return {
            "booster": self.booster,
            "library_version": library_versions([self.booster])[self.booster],
            "rounds": self.settings.rounds,
            "rounds_scale": self.rounds_scale,
            "threads": self.settings.threads,
            "seed": self.forecast.seed,
        } | dict(self.settings.params)

    def fit(self, matrix: TrainingMatrix) -> Member:
        """Train on all rows of a matrix."""
        return train_member(
            self.booster,
            matrix,
            params=self.settings.params,
            rounds=self.settings.rounds,
            threads=self.settings.threads,
            seed=self.forecast.seed,
            rounds_scale=self.rounds_scale,
            progress=LogProgress(log, f"{self.booster} rounds"),
        )

    def forecast_folds(self, matrix: TrainingMatrix) -> tuple[pd.DataFrame, dict[int, float], Member]:
        """Forecast every fold with a member trained up to the day before it.

        :return: predictions of all folds, RMSPE by fold, the backtest member
        """
        frames = []
        scores = {}
        folds = make_folds(matrix, self.forecast.cv_folds, self.forecast.horizon_days)
        for fold in folds:
            member = self.fit(matrix.until(fold.training_end))
            frame = fold_predictions(matrix, fold, member)
            scores[fold.number] = rmspe(
                frame["sales"].to_numpy(),
                Blend({self.booster: 1.0}).sales(
                    frame["base"].to_numpy(), {self.booster: frame["residual"].to_numpy()}
                ),
            )
            log.info(
                "%s: fold %d, %s to %s, RMSPE %.4f",
                self.booster,
                fold.number,
                fold.start,
                fold.end,
                scores[fold.number],
            )
            frames.append(frame)
        return pd.concat(frames, ignore_index=True), scores, member


def fold_predictions(matrix: TrainingMatrix, fold: Fold, member: Member) -> pd.DataFrame:
    """Return the rows of a fold with the member's prediction.

    :return: fold, Store, Date, sales (euros), base (log), residual (log; the prediction)
    """
    block = matrix.block(fold.end)
    return pd.DataFrame(
        {
            "fold": fold.number,
            "Store": block.store,
            "Date": block.date.astype("datetime64[s]"),
            "sales": block.sales,
            "base": block.base,
            "residual": member.predict(block.features),
        }
    )
