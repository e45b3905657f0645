"""What a version costs: time to the first row, time for each row, and peak memory, in a process of its own.

    python -m include.retraining.review.probe MODULE:NAME FOLDER ROWS.parquet KNOWN.parquet

prints one JSON object. ``measure`` starts that process and reads it.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import pandas as pd

from include.lifecycle.untrusted_text import one_line
from include.retraining.protocol import RetrainedModel, find_model

TIME_OUT = 1800.0
"""Seconds after which a version counts as too slow to measure."""
PROJECT_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Cost:
    """What a version costs.

    :param first_row: seconds from loading the version to its first prediction, without the imports before it
    :param batch: seconds for all rows
    :param rows: how many those were
    :param peak_mb: most memory that the process held, MB
    """

    first_row: float
    batch: float
    rows: int
    peak_mb: float

    @property
    def row_milliseconds(self) -> float:
        """Milliseconds for each row of the batch."""
        return self.batch / self.rows * 1000 if self.rows else float("nan")

    def best(self, other: "Cost") -> "Cost":
        """Return the lower of two measurements of the same: what else a machine does only adds to them."""
        return Cost(*map(min, astuple(self), astuple(other)))


def measure(model: RetrainedModel, folder: Path, rows: Path, known: Path) -> Cost | str:
    """Measure a version in a process of its own; return the sentence of its error where it has one.

    :param folder: artifacts of the version
    :param rows: Parquet file of rows to predict
    :param known: Parquet file of newer rows with the actual
    """
    command = [sys.executable, "-m", __name__, model.reference, str(folder), str(rows), str(known)]
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    try:
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_OUT, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"it predicted nothing within {TIME_OUT:g} s"
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"it cannot be measured: {one_line(said, 300)}"
    return Cost(**json.loads(lines[-1]))


def main(arguments: list[str]) -> None:
    """Measure in this process and print the result."""
    reference, folder, rows_file, known_file = arguments
    rows, known = pd.read_parquet(rows_file), pd.read_parquet(known_file)
    model = find_model(reference)
    started = time.perf_counter()
    member = model.load(Path(folder)).served
    member.predict(rows.head(1), known)
    first_row = time.perf_counter() - started
    started = time.perf_counter()
    member.predict(rows, known)
    batch = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    sys.stdout.write(json.dumps({"first_row": first_row, "batch": batch, "rows": len(rows), "peak_mb": peak}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
