"""When each task of an Airflow run worked, and what of the run's time was none of their work.

    python -m tests.bench.timeline STATE_DIR [--dag rossmann_retrain] [--until await_approval] [--picture FILE]

STATE_DIR is that of a `make run`, under way or ended; the newest run of the DAG is read, from Airflow's database (when
it was asked for) and the tasks' logs. Work is what lies between a task's "Pre Execute" and "Post Execute": of a
pipeline step its process, of an operator its calls. All else of the critical path (scheduling, starting a process of
Airflow, parsing the DAG file, pushing the result) is orchestration. Prints Markdown; the picture is a PNG or SVG.
"""

import argparse
import json
import re
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from tests.bench.tables import table

BEGUN, ENDED = "::endgroup::", "::group::Post Execute"
"""Airflow's first line of its kind before a task's work, and its line after it."""
FIT = re.compile(r": Training \w+: \d+ rounds ")


@dataclass(frozen=True)
class Work:
    """One task of a run.

    :param begun: when its process of Airflow wrote its first line
    :param started: when its work started
    :param ended: when its work ended
    :param fits: when each training in it began
    """

    task: str
    begun: datetime
    started: datetime
    ended: datetime
    fits: tuple[datetime, ...]

    @property
    def seconds(self) -> float:
        return (self.ended - self.started).total_seconds()

    @classmethod
    def read(cls, log: Path) -> "Work | None":
        """Read a task's log; None when its work has not ended."""
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        said = [(datetime.fromisoformat(line["timestamp"]), str(line["event"])) for line in lines]
        ends = [time for time, event in said if event == ENDED]
        starts = [time for time, event in said if event == BEGUN]
        if not ends:
            return None
        fits = tuple(time for time, event in said if FIT.search(event))
        return cls(log.parent.name.removeprefix("task_id="), said[0][0], starts[0], ends[0], fits)


def newest_run(state: Path, dag: str) -> tuple[Path, datetime]:
    """Return the folder of the logs of a DAG's newest run, and when it was asked for.

    :raises SystemExit: when there is none
    """
    query = "SELECT run_id, queued_at FROM dag_run WHERE dag_id = ? ORDER BY queued_at DESC"
    with closing(sqlite3.connect(f"file:{state / 'airflow/airflow.db'}?mode=ro", uri=True)) as database:
        for run_id, queued in database.execute(query, (dag,)):
            folder = state / "airflow/logs" / f"dag_id={dag}" / f"run_id={run_id}"
            if folder.is_dir():
                return folder, datetime.fromisoformat(queued).replace(tzinfo=UTC)
    raise SystemExit(f"no run of {dag} below {state} has logs")


def critical_path(works: Sequence[Work], until: str) -> list[Work]:
    """Return the tasks that had to wait for each other, from the first to the last: each began after the one before."""
    last = next((work for work in works if work.task == until), None)
    if last is None:
        raise SystemExit(f"the task {until} has not ended its work; there are {', '.join(work.task for work in works)}")
    path = [last]
    while before := [work for work in works if work.ended < path[0].begun]:
        path.insert(0, max(before, key=lambda work: work.ended))
    return path


def draw(works: Sequence[Work], asked: datetime, picture: Path) -> None:
    """Draw one bar for each task: Airflow's part light, its work dark, a line where a training begins in it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    def at(time: datetime) -> float:
        return (time - asked).total_seconds()

    figure, axes = pyplot.subplots(figsize=(10, 0.4 * len(works) + 1.2), layout="constrained")
    for row, work in enumerate(works):
        axes.barh(row, at(work.started) - at(work.begun), left=at(work.begun), color="#c9d3e0")
        axes.barh(row, work.seconds, left=at(work.started), color="#2f5d8a")
        axes.vlines([at(time) for time in work.fits], row - 0.4, row + 0.4, color="white", linewidth=1)
        axes.text(at(work.ended), row, f" {work.seconds:.0f} s", va="center", fontsize=8)
    axes.set_yticks(range(len(works)), [work.task for work in works])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds after the run was asked for; light: Airflow starts the task; white lines: a fit begins")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=120)


def main() -> int:
    """Read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path)
    parser.add_argument("--dag", default="rossmann_retrain")
    parser.add_argument("--until", default="await_approval")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    folder, asked = newest_run(given.state, given.dag)
    read = (Work.read(log) for log in sorted(folder.glob("task_id=*/attempt=1.log")))
    works = sorted((work for work in read if work is not None), key=lambda work: work.begun)
    path = critical_path(works, given.until)
    before = {work.task: previous.ended for previous, work in pairwise(path)}
    rows = [
        (
            work.task,
            f"{(work.begun - asked).total_seconds():.1f}",
            f"{(work.started - before.get(work.task, asked)).total_seconds():.1f}" if work in path else "",
            f"{work.seconds:.1f}",
            "yes" if work in path else "",
        )
        for work in works
        if work.begun <= path[-1].begun
    ]
    sys.stdout.write(f"## {folder.name}\n\n")
    sys.stdout.write(table(("task", "begins, s", "s from the end before", "its work, s", "critical"), rows))
    whole, own = (path[-1].ended - asked).total_seconds(), sum(work.seconds for work in path)
    sys.stdout.write(
        f"\n{whole:.1f} s from the request to the end of {given.until}; {own:.1f} s of it work on the critical path,"
        f" {whole - own:.1f} s ({(whole - own) / whole:.0%}) orchestration\n"
    )
    if given.picture:
        draw([work for work in works if work.begun <= path[-1].begun], asked, given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
