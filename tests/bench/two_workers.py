"""The step that reaches a machine's memory first, the training of XGBoost, on two workers beside on one.

    python -m tests.bench.two_workers [DATA] [--stores 1115] [--months 31] [--rounds 100]

XGBoost's own collective takes over: each worker is a process that reads its half of the rows and binds to the tracker
over TCP, as one on another machine would; what they say to each other is histograms, not rows. The worker's training is
the retrain's own function. Prints Markdown: seconds, each worker's peak of memory, and the error on the holdout of what
came of it, beside the same rows in one process. DATA as in ``tests.bench.pipeline``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from xgboost.tracker import RabitTracker

from include.models.rossmann.boosters import train_member
from include.models.rossmann.config import Booster, load_config
from include.models.rossmann.data.load import read_store, read_train
from include.models.rossmann.folds import Fold, make_folds
from include.models.rossmann.forecaster import FEATURE_NAMES, Panel
from include.models.rossmann.forecaster.members import Member
from include.models.rossmann.matrix import StoredMatrix, TrainingMatrix, save_matrix, training_blocks
from include.models.rossmann.metrics import log_deviation
from tests.bench.pipeline import data_parser, peak_memory, plain_files
from tests.bench.tables import table

BOOSTER: Booster = "xgboost"


@dataclass(frozen=True)
class Part(StoredMatrix):
    """A worker's share of the rows: of those that a training draws, every so many-th."""

    number: int
    of: int

    def sample(self, share: float, seed: int | Sequence[int], names: Sequence[str] = FEATURE_NAMES) -> TrainingMatrix:
        """Read this worker's share of a draw."""
        return self._read(np.arange(len(self))[self.keys.drawn(share, seed)][self.number :: self.of], names)


def main() -> int:
    """Measure and print, or be a worker."""
    parser = data_parser(__doc__, stores=1115, months=31)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.rounds)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as scratch:
        data = plain_files(Path(scratch), given)
        settings = load_config().forecast
        panel = Panel.from_frames(read_train(data / "train.csv"), read_store(data / "store.csv"))
        blocks = training_blocks(
            panel, horizon=settings.horizon_days, step=settings.block_step_days, anchor=settings.fold_end
        )
        file = Path(scratch) / "matrix.parquet"
        save_matrix(blocks, file)
        rows = [measured(file, workers, given.rounds) for workers in (1, 2)]
    sys.stdout.write(table(("workers", "s", "peak MB of each", "deviation on the holdout"), rows))
    return 0


def measured(file: Path, workers: int, rounds: int) -> tuple[str, ...]:
    """Train on so many workers; return a row of the table."""
    tracker = RabitTracker(n_workers=workers, host_ip="127.0.0.1")
    tracker.start()
    started = time.perf_counter()
    processes = []
    for number in range(workers):
        worker = {"file": str(file), "number": number, "of": workers, "tracker": tracker.worker_args()}
        command = [sys.executable, "-m", "tests.bench.two_workers", "--rounds", str(rounds), "--worker"]
        processes.append(subprocess.Popen([*command, json.dumps(worker)]))
    peaks = [0] * workers
    while any(process.poll() is None for process in processes) and not any(p.returncode for p in processes):
        peaks = [max(peak, peak_memory(process.pid)) for peak, process in zip(peaks, processes, strict=True)]
        time.sleep(0.05)
    if any(process.returncode for process in processes):
        for process in processes:
            process.kill()  # the other would wait for it
        raise SystemExit("a worker failed")
    seconds = time.perf_counter() - started
    model = xgboost.Booster(model_file=str(file.with_suffix(".ubj")))
    matrix = StoredMatrix.open(file)
    rows = matrix.block(holdout(matrix).end)
    error = log_deviation(rows.residual - Member(BOOSTER, model).predict(rows.features))
    return str(workers), f"{seconds:.0f}", ", ".join(f"{peak / 1e6:.0f}" for peak in peaks), f"{error:.4f}"


def holdout(matrix: StoredMatrix) -> Fold:
    """Return the fold that neither training sees."""
    settings = load_config().forecast
    return make_folds(matrix, 1, settings.horizon_days, settings.fold_end)[-1]


def work(given: dict[str, Any], rounds: int) -> None:
    """Train on this worker's rows, with the others."""
    config, file = load_config(), Path(given["file"])
    whole = StoredMatrix.open(file)
    train = whole.until(holdout(whole).training_end)
    part = Part(train.path, train.keys, train.groups, number=given["number"], of=given["of"])
    settings = config.boosters[BOOSTER].model_copy(update={"rounds": rounds})
    with xgboost.collective.CommunicatorContext(**given["tracker"]):
        member = train_member(BOOSTER, part, settings, seed=config.forecast.seed)
        if xgboost.collective.get_rank() == 0:
            member.native.save_model(file.with_suffix(".ubj"))


if __name__ == "__main__":
    raise SystemExit(main())
