"""Step ``features``: the training matrix, and how well a naive forecast does."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from include.lifecycle.errors import BadInputError
from include.rossmann.config import RossmannConfig
from include.rossmann.dataset import load_dataset
from include.rossmann.folds import HOLDOUT, make_folds
from include.rossmann.forecaster import FEATURE_NAMES, Panel
from include.rossmann.matrix import build_matrix, save_matrix
from include.rossmann.metrics import naive_rmspe
from include.rossmann.progress import LogProgress
from include.rossmann.tracking import RetrainRun, connect

log = logging.getLogger(__name__)

MATRIX_FILE = "matrix.parquet"


def features(config: RossmannConfig, run_id: str) -> dict[str, Any]:
    """Compute the training matrix and log it.

    :param config: the configuration
    :param run_id: the retrain's MLflow run
    :return: rows, features, size of the file, first and last block
    :raises BadInputError: when the history is too short
    """
    run = RetrainRun(connect(), run_id)
    settings = config.forecast
    with run.step("features"), TemporaryDirectory(prefix="rossmann-features-") as folder:
        scratch = Path(folder)
        dataset = load_dataset(run.fetch("data", scratch))
        panel = Panel.from_frames(dataset.train, dataset.stores)
        try:
            matrix = build_matrix(
                panel,
                horizon=settings.horizon_days,
                step=settings.block_step_days,
                anchor=settings.fold_end,
                max_blocks=settings.max_blocks,
                progress=LogProgress(log, "blocks"),
            )
        except ValueError as error:
            raise BadInputError(str(error)) from error
        folds = make_folds(matrix, run.cv_folds(config), settings.horizon_days, settings.fold_end)
        naive = {fold.number: naive_rmspe(panel, fold.end, settings.horizon_days) for fold in folds}
        output = scratch / "features"
        output.mkdir()
        save_matrix(matrix, output / MATRIX_FILE)
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
        "run_id": run_id,
        "rows": len(matrix),
        "features": len(FEATURE_NAMES),
        "megabytes": round(megabytes, 1),
        "holdout_rmspe_naive": naive[HOLDOUT],
    }
