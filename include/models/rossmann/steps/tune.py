"""``tune``: better parameters for a booster, found on the folds before the holdout, as a diff of the configuration."""

import time
from pathlib import Path

from include.lifecycle.config.files import config_text
from include.lifecycle.registry.client import connect
from include.models.rossmann.config import NAME, Booster, RossmannConfig
from include.models.rossmann.folds import make_folds
from include.models.rossmann.matrix import StoredMatrix
from include.models.rossmann.metrics import WORST
from include.models.rossmann.model import MODEL
from include.models.rossmann.steps.features import MATRIX_FILE
from include.models.rossmann.tuning import Search, check_journal, configuration_diff
from include.retraining.run import Origin, RetrainRun
from include.retraining.steps.pull import pull
from include.retraining.steps.train import prepare

FOLDER = "tuning"


def tune(
    config: RossmannConfig, booster: Booster, *, minutes: float, origins: int, journal: Path, revision: str | None
) -> list[str]:
    """Search for a booster's parameters; the newest fold, the holdout, is not looked at.

    :param minutes: how long to go on; a trial that was begun is ended
    :param origins: forecast origins whose mean error is to be least, not counting the holdout's
    :param journal: file of the trials: named again, the search goes on
    :param revision: data revision; by default the configured one
    :return: lines for a terminal, the diff of the configuration among them
    :raises BadInputError: when the data is not usable, its history too short, the file no journal, or the configuration
        has no parameters of the booster
    """
    check_journal(journal)
    text, _ = config_text(NAME)
    configuration_diff(text, booster, {})  # refuses a text that no change can be proposed of, before hours are spent
    asked = Origin(note=f"tuning of {booster}")
    run_id = pull(MODEL, config, asked, revision=revision, backtest_only=True)["run_id"]
    prepare(MODEL, config, run_id)
    run = RetrainRun.of(connect(), config, run_id)
    started = time.monotonic()
    with run.step("tune") as scratch:
        matrix = StoredMatrix.open(run.fetch(f"features/{MATRIX_FILE}", scratch))
        folds = make_folds(matrix, origins, config.forecast.horizon_days, config.forecast.fold_end)
        search = Search(config, booster, matrix, folds, journal)
        search.run(minutes * 60)
        study = search.study
        diff = configuration_diff(text, booster, search.best)
        output = scratch / FOLDER
        output.mkdir()
        study.trials_dataframe().to_csv(output / "trials.csv", index=False)
        (output / "configuration.diff").write_text(diff, encoding="utf-8")
        run.log(
            params={"tuned": booster, "tuning_origins": len(search.folds), "tuning_minutes": minutes}
            | {f"best_{name}": value for name, value in search.best.items()},
            metrics={
                "trials": search.ended,
                "rmspe_without_worst_configured": search.configured_error,
                "rmspe_without_worst_best": study.best_value,
            },
        )
        run.upload(output, FOLDER)
    run.finish()
    return [
        f"{booster}: {search.ended} trials ({search.resumed} of them from before) on {len(search.folds)} origins,"
        f" {(time.monotonic() - started) / 60:.1f} minutes, seed {config.forecast.seed}",
        f"RMSPE without the {WORST} worst rows of each origin: {study.best_value:.4f},"
        f" as configured {search.configured_error:.4f}",
        *(diff.splitlines() or ["The configured parameters are the best of them: nothing to change"]),
        f"Trials: MLflow run {run_id}, artifacts {FOLDER}/; and {journal}: named again, the search goes on",
    ]
