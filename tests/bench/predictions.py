"""Production and Staging predict what comes next, are compared, and their writing is disturbed: what a reader is left.

    python -m tests.bench.predictions [DATA] [--stores 200] [--months 24] [--behind 28] [--quick]

DATA is a folder with the Kaggle files train.csv, store.csv and future.csv (or .csv.xz); without it data is generated.
Production is trained on the data without its last ``--behind`` days, Staging on all of it. Both predict the future file
at the command line and are compared on rows that neither has seen; then a prediction is killed while it writes, meets a
full disk, and is given a pipe, a symlink and a folder as output. Prints Markdown.
"""

import argparse
import os
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from include.lifecycle.environment import environment
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Decision, Outcome
from include.models.rossmann.config import TABLES, load_config
from include.retraining.data_source.publish import publish_data
from include.retraining.files.destination import temporary_prefix
from include.retraining.predict.formats import sha256
from tests.bench.pipeline import Retrain, data_parser, mlflow_server, plain_files
from tests.bench.tables import table

PATIENCE_SECONDS = 600.0


class Predictions:
    """Predictions at the command line, each a process of its own.

    :param retrain: whose MLflow and data registry
    """

    def __init__(self, retrain: Retrain) -> None:
        self.retrain = retrain
        self.folder = retrain.folder / "output"
        self.folder.mkdir()

    def start(self, output: Path, stage: str = "Production") -> "subprocess.Popen[str]":
        """Begin a prediction."""
        command = self.retrain.command("predict", "--stage", stage, "--output", str(output))
        return subprocess.Popen(
            command, cwd=self.retrain.folder, env=self.retrain.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, output: Path, stage: str = "Production") -> tuple[int, str]:
        """Predict; return exit code and last line."""
        process = self.start(output, stage)
        printed, said = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, (said if process.returncode else printed).strip().splitlines()[-1]

    def killed(self, output: Path) -> tuple[int, str]:
        """Predict and kill it with signal 9 once it has begun to write beside the output."""
        process = self.start(output)
        while process.poll() is None and not leftovers(output):
            time.sleep(0.0005)
        process.kill()
        process.communicate()
        return process.returncode, f"{len(leftovers(output))} unfinished file beside it"


def leftovers(output: Path) -> list[Path]:
    """Return what writing a file that did not end has left beside it."""
    prefix = temporary_prefix(output.name)
    return [path for path in output.parent.iterdir() if path.name.startswith(prefix)]


def main() -> None:
    """Predict, compare, disturb; print."""
    parser = data_parser(__doc__, stores=200, months=24)
    parser.add_argument("--behind", type=int, default=28)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-predictions-") as scratch, mlflow_server(Path(scratch)) as tracking:
        retrain = Retrain(Path(scratch), tracking)
        with environment(retrain.environment):
            two_versions(retrain, given)
            predictions = Predictions(retrain)
            whole = both(predictions)
            compared(retrain)
            recorded()
            disturbed(predictions, whole)


def two_versions(retrain: Retrain, given: argparse.Namespace) -> None:
    """Bring one version into Production, and one that has seen later days into Staging."""
    model = load_config().lifecycle.model
    registry = ModelRegistry(MlflowClient())
    data = plain_files(retrain.folder, given)
    whole = pd.read_csv(data / "train.csv", dtype={"StateHoliday": str})
    days = pd.to_datetime(whole["Date"])
    before = retrain.folder / "before"
    before.mkdir()
    whole[days <= days.max() - pd.Timedelta(days=given.behind)].to_csv(before / "train.csv", index=False)
    (before / "store.csv").write_bytes((data / "store.csv").read_bytes())
    publish_data(TABLES, retrain.folder / "registry", before)
    for number in (1, 2):
        retrain.all(quick=given.quick)
        registry.stage(model, number)
        if number == 1:
            registry.promote(model, number, Decision(Outcome.APPROVED, reason="first"))
            publish_data(TABLES, retrain.folder / "registry", data)


def both(predictions: Predictions) -> Path:
    """Predict with both versions, into both formats; print what the files hold and return Production's Parquet."""
    rows = []
    for stage in ("Production", "Staging"):
        for ending in ("parquet", "csv"):
            output = predictions.folder / f"{stage.lower()}.{ending}"
            code, said = predictions.run(output, stage)
            if code:
                raise SystemExit(said)
            frame = pd.read_parquet(output) if ending == "parquet" else pd.read_csv(output)
            versions = ", ".join(map(str, frame["ModelVersion"].unique()))
            total, digest = f"{frame['Sales'].sum():.2f}", sha256(output.read_bytes())[:16]
            rows.append((output.name, str(len(frame)), versions, total, digest))
    print(table(("file", "rows", "ModelVersion", "sum of Sales", "SHA-256"), rows))
    return predictions.folder / "production.parquet"


def compared(retrain: Retrain) -> None:
    """Compare both versions; print what is said, and the page's size."""
    page = retrain.folder / "compare.html"
    command = retrain.command("compare", "--page", str(page))
    done = subprocess.run(command, cwd=retrain.folder, env=retrain.environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(f"```\n{done.stdout.rstrip()}\n```\n\nPage: {page.stat().st_size / 1e6:.2f} MB\n")


def recorded() -> None:
    """Print what MLflow keeps of the predictions."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(load_config().lifecycle.predictions_experiment)
    if experiment is None:
        raise SystemExit("MLflow has no record of predictions")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    print("MLflow's record of the first:\n")
    kept = sorted({**runs[0].data.params, **runs[0].data.tags, **runs[0].data.metrics}.items())
    print(table(("name", "value"), [(name, f"{value}"[:80]) for name, value in kept if not name.startswith("mlflow.")]))


def disturbed(predictions: Predictions, whole: Path) -> None:
    """Disturb predictions; print what each left."""
    folder = predictions.retrain.folder / "disturbed"
    folder.mkdir()
    output = folder / "forecast.parquet"
    output.write_bytes(b"former")
    rows = list[tuple[str, ...]]()

    def look(what: str, run: Callable[[], tuple[int, str]], after: Callable[[], str]) -> None:
        code, said = run()
        rows.append((what, str(code), said[:140].replace("|", "/"), after()))

    def former() -> str:
        return "former file as it was" if output.read_bytes() == b"former" else "CHANGED"

    def through_link() -> str:
        return "link kept, target is the forecast" if link.is_symlink() and same_rows(target, whole) else "WRONG"

    look("`kill -9` while it writes", lambda: predictions.killed(output), former)
    full = folder / "full.csv"
    full.symlink_to("/dev/full")
    look("a full device", lambda: predictions.run(full), lambda: "still a link" if full.is_symlink() else "REPLACED")
    inner = folder / "folder.csv"
    inner.mkdir()
    look("a folder", lambda: predictions.run(inner), lambda: "still a folder" if inner.is_dir() else "REPLACED")
    target, link = folder / "target.parquet", folder / "link.parquet"
    target.write_bytes(b"former")
    link.symlink_to(target.name)
    look("a symlink", lambda: predictions.run(link), through_link)
    look("a pipe that is read", *through_a_pipe(predictions, folder / "pipe.parquet", whole))
    look("the killed one again", lambda: predictions.run(output), lambda: after_kill(output, whole))
    print(table(("output", "exit", "said", "left"), rows))


def same_rows(path: Path, other: Path) -> bool:
    """Whether two files hold the same forecast."""
    columns = ["Store", "Date", "Sales", "ModelVersion"]
    return pd.read_parquet(path)[columns].equals(pd.read_parquet(other)[columns])


def after_kill(output: Path, whole: Path) -> str:
    """Say whether the second try wrote the whole file, and removed what the first one left."""
    complete = same_rows(output, whole) and not leftovers(output)
    return "whole, nothing unfinished beside it" if complete else "WRONG"


def through_a_pipe(
    predictions: Predictions, pipe: Path, whole: Path
) -> tuple[Callable[[], tuple[int, str]], Callable[[], str]]:
    """Return a prediction into a pipe which a thread reads, and what came through."""
    os.mkfifo(pipe)
    received = pipe.with_name("received.parquet")
    reader = threading.Thread(target=lambda: received.write_bytes(pipe.read_bytes()), daemon=True)
    reader.start()

    def after() -> str:
        reader.join(timeout=10)
        is_pipe = stat.S_ISFIFO(pipe.stat().st_mode)
        return "still a pipe, the reader has the forecast" if is_pipe and same_rows(received, whole) else "WRONG"

    return lambda: predictions.run(pipe), after


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    main()
