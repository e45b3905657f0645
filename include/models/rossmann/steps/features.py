"""Prepares the training: the training matrix, and how well a naive forecast does."""

import logging
from pathlib import Path
from typing import Any

from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import RossmannConfig
from include.models.rossmann.dataset import load_dataset
from include.models.rossmann.folds import HOLDOUT, make_folds
from include.models.rossmann.forecaster import FEATURE_NAMES, Panel
from include.models.rossmann.matrix import StoredMatrix, save_matrix, training_blocks
from include.models.rossmann.metrics import naive_rmspe
from include.retraining.progress import LogProgress
from include.retraining.run import RetrainRun
from include.retraining.steps.pull import DATA

log = logging.getLogger(__name__)

MATRIX_FILE = "matrix.parquet"


def features(run: RetrainRun, config: RossmannConfig, scratch: Path) -> dict[str, Any]:
    """Compute the training matrix and log it.

    :return: rows, features, size of the file, RMSPE of the naive forecast
    :raises BadInputError: when the history is too short
    """
    settings = config.forecast
    dataset = load_dataset(run.fetch(DATA, scratch))
    panel = Panel.from_frames(dataset.train, dataset.stores)
    try:
        blocks = training_blocks(
            panel,
            horizon=settings.horizon_days,
            step=settings.block_step_days,
            anchor=settings.fold_end,
            max_blocks=settings.max_blocks,
            progress=LogProgress(log, "blocks"),
        )
    except ValueError as error:
        raise BadInputError(str(error)) from error
    output = scratch / "features"
    output.mkdir()
    save_matrix(blocks, output / MATRIX_FILE)
    matrix = StoredMatrix.open(output / MATRIX_FILE)
    folds = make_folds(matrix, config.folds(run.origins), settings.horizon_days, settings.fold_end)
    naive = {fold.number: naive_rmspe(panel, fold.end, settings.horizon_days) for fold in folds}
    megabytes = (output / MATRIX_FILE).stat().st_size / 1e6
    holdout = folds[-1]
    run.log(
        params={
            "block_step_days": settings.block_step_days,
            "max_blocks": settings.max_blocks,
            "features": len(FEATURE_NAMES),
        },
        metrics={"matrix_rows": len(matrix), "matrix_mb": megabytes, "holdout_rmspe_naive": naive[HOLDOUT]}
        | {f"cv_rmspe_naive_fold{number}": value for number, value in naive.items() if number != HOLDOUT},
        tags={"holdout.start": str(holdout.start), "holdout.end": str(holdout.end)},
    )
    run.upload(output, "features")
    return {
        "rows": len(matrix),
        "features": len(FEATURE_NAMES),
        "megabytes": round(megabytes, 1),
        "holdout_rmspe_naive": naive[HOLDOUT],
    }
