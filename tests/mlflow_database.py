"""Databases of MLflow on SQLite. Imports MLflow when one is made, not before."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple


def empty_database(path: Path) -> Path:
    """Make a migrated, empty database and return its path."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{path}")
    _initialize_tables(engine)
    engine.dispose()
    return path


class Database(NamedTuple):
    """A MLflow on SQLite, of one test after the other: what MLflow and SQLAlchemy keep of its address stays."""

    file: Path
    artifacts: Path

    @property
    def uri(self) -> str:
        """As MLflow takes it."""
        return f"sqlite:///{self.file}"

    def fill(self, source: Path) -> None:
        """Let it hold what another database holds, whoever has it open, and no artifact."""
        _copy(source, self.file)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def copy(self, target: Path) -> Path:
        """Make another database of what it holds, and return its path."""
        _copy(self.file, target)
        return target


class Prepared:
    """What many tests begin with: made in the first of them, copied from it for the others.

    :param database: of the tests
    :param folder: where the copies go
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.copies: dict[str, Path] = {}

    def __call__(self, name: str, prepare: Callable[[], Any]) -> None:
        """Let the database hold what ``prepare`` makes of an empty one; artifacts are not kept."""
        if name not in self.copies:
            prepare()
            self.copies[name] = self.database.copy(self.folder / f"{len(self.copies)}.db")
            return
        from include.lifecycle.ledger import runs

        self.database.fill(self.copies[name])
        # ids of runs are not unique any more
        runs._closed.clear()
        runs._accounts.clear()


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
