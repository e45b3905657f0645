"""What the steps of a retrain take, beside what they cannot do without: ratios measured in one run.

    python -m tests.bench.pipeline [DATA] [--stores 1115] [--months 31] [--repeats 5] [--quick] [--json FILE]
    python -m tests.bench.pipeline --growth 0.25 1 4 [--stores 1115] [--row-share 0.125] [--json FILE]

DATA is a folder with the Kaggle files train.csv, store.csv and future.csv (or .csv.xz); without it data of that size is
generated. Each step is a process of its own, as a task is, and asks an MLflow server of this run, as at night; time and
peak memory are those of the process. Prints Markdown. ``--growth`` runs the steps with more and more stores, boosters
with few rounds: memory is that of all rounds, and with all rounds a training's time comes nearer to growing as the rows
do. Where a step fails, a machine too small for it, the steps before it are told.
"""

import argparse
import json
import lzma
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from include.lifecycle.environment import environment
from include.models.rossmann.config import TABLES, load_config
from include.models.rossmann.data.load import read_future, read_store, read_train
from include.models.rossmann.data.sample import generate
from include.models.rossmann.data.schema import check_data
from include.models.rossmann.dataset import with_types
from include.models.rossmann.forecaster import BOOSTERS, Panel
from include.models.rossmann.forecaster.forecast import Forecaster
from include.models.rossmann.forecaster.schema import checked_rows
from include.models.rossmann.matrix import training_blocks
from include.models.rossmann.model import SCHEDULE
from include.retraining.data_source.publish import publish_data
from local_stack.mlflow_server import MlflowServer
from local_stack.processes import Processes
from local_stack.stack import clean_environment
from tests.bench.tables import table
from tests.ports import free_port

PROJECT = Path(__file__).resolve().parents[2]
NAMES = ("train", "store", "future")
GROWTH_ROUNDS = 30
FIRST = """
import sys, time
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pandas.read_parquet(sys.argv[2])
forecast = model.predict(rows)
print(time.time() - float(sys.argv[3]))
"""


@dataclass(frozen=True)
class Taken:
    """What one step took: seconds and bytes of memory at the most, of its process."""

    seconds: float
    peak: int


@dataclass(frozen=True)
class Figure:
    """Something and what it is compared with, in seconds; the best and the middle of the repeats."""

    name: str
    best: float
    middle: float
    against: str
    against_middle: float

    @property
    def ratio(self) -> float:
        """How many times as long as what it is compared with."""
        return self.middle / self.against_middle


class Retrain:
    """The steps of a retrain, each in a process of its own.

    :param folder: where the data registry and the configuration are
    :param tracking: URI of the MLflow that they ask
    :param rounds: of each booster, by default the configured ones
    :param row_share: of the training rows that each booster draws, by default the configured one
    """

    def __init__(self, folder: Path, tracking: str, rounds: int | None = None, row_share: float | None = None) -> None:
        self.folder = folder
        self.taken: dict[str, Taken] = {}
        config = yaml.safe_load((PROJECT / "include/config/rossmann.yaml").read_text(encoding="utf-8"))
        for settings in config["boosters"].values():
            settings["rounds"] = rounds or settings["rounds"]
            settings["row_share"] = row_share or settings["row_share"]
        (folder / "rossmann.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.environment = {
            **clean_environment({name: value for name, value in os.environ.items() if not name.startswith("RETRAIN_")}),
            "MLFLOW_TRACKING_URI": tracking,
            "RETRAIN_DATA_REGISTRY": str(folder / "registry"),
            "RETRAIN_CONFIG": str(folder / "rossmann.yaml"),
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """Return a call of the command line, to be run in ``folder`` with ``environment``."""
        return [sys.executable, "-m", "include.models.rossmann", *arguments]

    def step(self, name: str, *arguments: str) -> dict[str, Any]:
        """Run a step and return what it printed."""
        label = f"train {arguments[1]}" if name == "train" else name
        sys.stderr.write(f"{label} ...\n")
        printed, said = self.folder / "stdout", self.folder / "stderr"
        started = time.perf_counter()
        with printed.open("wb") as out, said.open("wb") as err:
            command = self.command(name, *arguments)
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=out, stderr=err)
            peak = 0
            while process.poll() is None:
                peak = max(peak, peak_memory(process.pid))
                time.sleep(0.02)
        seconds = time.perf_counter() - started
        if process.returncode not in (0, 3):  # 3: the gate
            raise SystemExit(f"{label} failed:\n{said.read_text(errors='replace')[-3000:]}")
        result: dict[str, Any] = json.loads(printed.read_text(encoding="utf-8").splitlines()[-1])
        self.taken[label] = Taken(seconds, peak)
        return result

    def all(self, *, quick: bool = False) -> str:
        """Run them one after the other and return the version's address."""
        run_id = self.step("pull", *(["--quick"] if quick else []))["run_id"]
        self.step("prepare", "--run-id", run_id)
        for booster in BOOSTERS:
            self.step("train", "--member", booster, "--run-id", run_id)
        self.step("combine", "--run-id", run_id)
        registered = self.step("register", "--run-id", run_id)
        self.step("validate", "--run-id", run_id)
        return f"models:/{registered['model']}/{registered['version']}"


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run the local stack's MLflow server on a free port and yield its URI.

    :param folder: where what it holds and its log go
    """
    with Processes(folder, clean_environment(os.environ), PROJECT) as processes:
        server = MlflowServer(folder, free_port())
        server.start(processes)
        while not server.healthy(processes):
            processes.check()
            time.sleep(0.2)
        yield server.url


def peak_memory(pid: int) -> int:
    """Return a process's peak of memory so far in bytes; what wait4 tells is at least that of this process."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    """Measure and print."""
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as scratch:
        result = growth(Path(scratch), given) if given.growth else figures(Path(scratch), given)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = data_parser(__doc__, stores=1115, months=31)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--growth", nargs="*", type=float)
    parser.add_argument("--row-share", type=float, help="of growth; by default as configured")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def data_parser(description: str | None, *, stores: int, months: int) -> argparse.ArgumentParser:
    """Return a command line that says which data is trained on (see ``plain_files``), and whether quickly.

    :param stores: how many are generated where no data is given, by default
    :param months: of how long
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--stores", type=int, default=stores)
    parser.add_argument("--months", type=int, default=months)
    parser.add_argument("--quick", action="store_true")
    return parser


# ---- one size ----


def figures(scratch: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Measure data, features, prediction and the way to the first one; print and return them."""
    data = plain_files(scratch, given)
    publish_data(TABLES, scratch / "registry", data)
    with mlflow_server(scratch) as tracking:
        retrain = Retrain(scratch, tracking)
        version = retrain.all(quick=given.quick)
        with environment(retrain.environment):
            import mlflow.artifacts

            folder = Path(mlflow.artifacts.download_artifacts(version, dst_path=str(scratch / "version")))
        first = [first_prediction(retrain, version, rows_to_forecast(data)) for _ in range(given.repeats)]
    found = [data_and_features(data, given.repeats), prediction(folder, data, given.repeats)]
    steps = {name: asdict(taken) for name, taken in retrain.taken.items()}
    sys.stdout.write("## Steps, one after the other\n\n")
    sys.stdout.write(
        table(
            ("step", "s", "peak MB"),
            [(name, f"{taken.seconds:.1f}", f"{taken.peak / 1e6:.0f}") for name, taken in retrain.taken.items()],
        )
    )
    sys.stdout.write("\n## Beside what they cannot do without\n\n")
    rows = []
    for item in found:
        seconds = [f"{item.best:.2f}", f"{item.middle:.2f}", item.against, f"{item.against_middle:.2f}"]
        rows.append((item.name, *seconds, f"{item.ratio:.1f}"))
    sys.stdout.write(table(("what", "least s", "median s", "beside", "median s", "times"), rows))
    sys.stdout.write(
        f"\nRegistry to first prediction in a fresh process: {statistics.median(first):.1f} s"
        f" ({min(first):.1f} to {max(first):.1f})\n"
    )
    return {"steps": steps, "figures": [asdict(item) | {"ratio": item.ratio} for item in found], "first": first}


def plain_files(scratch: Path, given: argparse.Namespace) -> Path:
    """Return a folder with train.csv, store.csv and future.csv, not compressed: given, or generated."""
    folder = scratch / "data"
    if given.data is None:
        generate(stores=given.stores, months=given.months).write(folder)
        return folder
    folder.mkdir()
    for name in NAMES:
        file = next(given.data.glob(f"{name}.csv*"))
        opened = lzma.open if file.suffix == ".xz" else open
        with opened(file, "rb") as source, (folder / f"{name}.csv").open("wb") as target:
            shutil.copyfileobj(source, target)
    return folder


def data_and_features(data: Path, repeats: int) -> Figure:
    """Reading, checking and features, beside pyarrow's reading of the history."""
    import pyarrow.csv

    train = data / "train.csv"

    def ours() -> None:
        frame, stores = read_train(train), read_store(data / "store.csv")
        check_data(frame, stores, None, freshness_days=None, horizon_days=42)
        settings = load_config().forecast
        panel = Panel.from_frames(frame, stores)
        for _ in training_blocks(panel, horizon=42, step=settings.block_step_days, anchor=settings.fold_end):
            pass  # a step writes block after block

    return compare("data and features", ours, "pyarrow reads the CSV", lambda: pyarrow.csv.read_csv(train), repeats)


def prediction(folder: Path, data: Path, repeats: int) -> Figure:
    """A forecast of raw rows, beside the boosters' own calls on a matrix that is there."""
    import mlflow.pyfunc

    model: Forecaster = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model().served
    rows = rows_to_forecast(data)
    asked = checked_rows(rows, model.panel.stores.store)
    opened = asked[asked["Open"] == 1]
    matrix, _ = model._features(model.panel, model.panel.newest_sales_day, opened)
    own = lambda: [member.predict(matrix) for member in model.members.values()]  # noqa: E731
    return compare(f"forecast of {len(rows)} rows", lambda: model.forecast(rows), "the boosters' calls", own, repeats)


def first_prediction(retrain: Retrain, version: str, rows: pd.DataFrame) -> float:
    """Return the seconds from the start of a process to the first forecast of a version of the registry."""
    file = retrain.folder / "first.parquet"
    rows.to_parquet(file)
    started = time.time()
    command = [sys.executable, "-c", FIRST, version, str(file), repr(started)]
    done = subprocess.run(command, env=retrain.environment, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def rows_to_forecast(data: Path) -> pd.DataFrame:
    """Return the rows of the future file, as a model takes them."""
    future = read_future(data / "future.csv")
    return with_types(future[SCHEDULE].fillna({"Open": 1.0}))


def compare(name: str, ours: Callable[[], Any], against: str, theirs: Callable[[], Any], repeats: int) -> Figure:
    """Measure two things in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for taken, call in zip(seconds, (ours, theirs), strict=True):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return Figure(name, min(seconds[0]), statistics.median(seconds[0]), against, statistics.median(seconds[1]))


# ---- more and more stores ----


def growth(scratch: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the steps with several numbers of stores; print and return time and memory of each."""
    found: dict[int, dict[str, Taken]] = {}
    for factor in given.growth:
        stores = max(4, round(given.stores * factor))
        folder = scratch / str(stores)
        folder.mkdir()
        sys.stderr.write(f"{stores} stores\n")
        publish_data(TABLES, folder / "registry", generate(stores=stores, months=given.months, extra_days=0))
        with mlflow_server(folder) as tracking:
            retrain = Retrain(folder, tracking, GROWTH_ROUNDS, given.row_share)
            try:
                retrain.all()
            except SystemExit as error:
                sys.stderr.write(f"{error}\n")
        found[stores] = retrain.taken
        shutil.rmtree(folder)
    sizes = list(found)
    least = found[sizes[0]]
    sizes_told = ", ".join(map(str, sizes))
    sys.stdout.write(f"## Growth: seconds, and peak MB, with {sizes_told} stores, {GROWTH_ROUNDS} rounds\n\n")
    head = ("step", *(f"{size} s" for size in sizes), *(f"{size} MB" for size in sizes), "times as long")
    rows = []
    for step in least:
        taken = [found[size].get(step) for size in sizes]
        newest = taken[-1]
        rows.append(
            (
                step,
                *(f"{item.seconds:.1f}" if item else "-" for item in taken),
                *(f"{item.peak / 1e6:.0f}" if item else "-" for item in taken),
                f"{newest.seconds / least[step].seconds:.1f}" if newest else "-",
            )
        )
    sys.stdout.write(table(head, rows))
    return {str(size): {name: asdict(item) for name, item in taken.items()} for size, taken in found.items()}


if __name__ == "__main__":
    sys.exit(main())
