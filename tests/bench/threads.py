"""How far the forecasts of two trainings differ: the same once more, and with other numbers of threads.

    python -m tests.bench.threads [--stores 200] [--months 24] [--threads 1 2 4]

Trains each booster as it is configured on generated data, up to a block before the newest one, which it forecasts.
Prints Markdown: the largest difference of a row's forecast from that of the first training, in percent, and the RMSPE.
"""

import argparse
import sys

import numpy as np

from include.models.rossmann.config import load_config
from include.models.rossmann.data.sample import generate
from include.models.rossmann.forecaster import Panel
from include.models.rossmann.matrix import training_blocks
from include.models.rossmann.metrics import rmspe
from include.models.rossmann.training import Trainer
from tests.bench.tables import table
from tests.rossmann.joined import join


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=int, default=200)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    given = parser.parse_args()
    config = load_config()
    data = generate(stores=given.stores, months=given.months)
    matrix = join(training_blocks(Panel.from_frames(data.train, data.store)))
    end = matrix.block_ends[-1]
    train, block = matrix.until(end - np.timedelta64(config.forecast.horizon_days, "D")), matrix.block(end)
    rows = []
    for booster in config.boosters:
        first: np.ndarray | None = None
        for threads in (given.threads[0], *given.threads):
            sys.stderr.write(f"{booster}, {threads} threads ...\n")
            member = Trainer(config.with_booster(booster, threads=threads), booster).fit(train)
            forecast = np.exp(block.base + member.predict(block.features))
            first = forecast if first is None else first
            furthest = 100 * np.abs(forecast / first - 1).max()
            rows.append((booster, str(threads), f"{furthest:.2g} %", f"{rmspe(block.sales, forecast):.5f}"))
    sys.stdout.write(table(("booster", "threads", "furthest row", "RMSPE"), rows))


if __name__ == "__main__":
    main()
