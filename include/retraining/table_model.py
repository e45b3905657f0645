"""What most models share: one table of rows with their actual, and maybe one of rows to predict.

A model derives from ``TableModel`` and says what only it knows; each method can be replaced.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import numpy as np
import pandas as pd

from include.lifecycle.errors import BadInputError
from include.retraining.config.model import FUTURE
from include.retraining.pipeline import ConfigT, DataFacts
from include.retraining.protocol import Columns, Mask, Metric, RowRule, Values
from include.retraining.provenance import LIBRARIES
from include.retraining.tables import FILE, SHOWN, Convert, read_table

if TYPE_CHECKING:
    from include.retraining.run import RetrainRun

log = logging.getLogger(__name__)

KNOWN, ASKED = "known.parquet", "asked.parquet"
MEMBER = "model"
"""Name of a model's only member."""


@dataclass(frozen=True)
class TableData:
    """Rows with their actual, rows to predict, and what was odd about them."""

    known: pd.DataFrame
    asked: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()


class TableModel(Generic[ConfigT]):
    """Base of a model whose data is one table.

    :cvar reference: ``module:NAME`` of the model's object
    :cvar about: what it predicts, a sentence
    :cvar columns: what the columns of its rows mean
    :cvar metric: what it is measured by
    :cvar table: name of the table with the actuals in ``data.paths``
    :cvar inputs: columns of rows to predict, keys among them, with how each is read
    :cvar known: columns that only the table with the actuals has, the actual among them
    """

    reference: ClassVar[str]
    about: ClassVar[str]
    columns: ClassVar[Columns]
    metric: ClassVar[Metric]
    table: ClassVar[str]
    inputs: ClassVar[Mapping[str, Convert]]
    known: ClassVar[Mapping[str, Convert]]
    horizon_days: ClassVar[int | None] = None
    rules: ClassVar[Sequence[RowRule]] = ()
    libraries: ClassVar[Sequence[str]] = LIBRARIES
    decimals: ClassVar[int | None] = None
    facts: ClassVar[Mapping[str, str]] = {}

    def check(self, config: ConfigT) -> None:
        """Refuse settings before anything is done: by default none."""

    def counts(self, rows: pd.DataFrame) -> Mask:
        """Return which rows are scored: by default all."""
        return np.ones(len(rows), dtype=bool)

    def read(self, files: Mapping[str, Path], config: ConfigT) -> TableData:  # noqa: ARG002 -- for those that derive
        """Read the tables, and check that there are rows, and none twice.

        :raises BadInputError: names file, lines, what was found and expected
        """
        known = read_table(files[self.table], {**self.inputs, **self.known})
        asked = self.read_asked(files[FUTURE]) if FUTURE in files else None
        self.check_rows(known)
        log.info("Data: %d rows, %d to predict", len(known), 0 if asked is None else len(asked))
        return TableData(known, asked)

    def read_asked(self, path: Path) -> pd.DataFrame:
        """Read rows to predict.

        :raises BadInputError: as ``read``
        """
        asked = read_table(path, self.inputs)
        self.check_rows(asked)
        return asked

    def check_rows(self, rows: pd.DataFrame) -> None:
        """Check that there are rows, and none twice.

        :raises BadInputError: names the keys
        """
        file, keys = rows.attrs.get(FILE, "the table"), list(self.columns.keys)
        if rows.empty:
            raise BadInputError(f"{file}: no rows, expected at least one")
        if (twice := rows.duplicated(keys)).any():
            shown = "; ".join(
                ", ".join(f"{name} {value}" for name, value in row.items())
                for row in rows.loc[twice, keys].head(SHOWN).to_dict("records")
            )
            raise BadInputError(f"{file}: a second row of {shown}, expected one for each {', '.join(keys)}")

    def save(self, data: TableData, folder: Path) -> None:
        """Write data as Parquet files."""
        data.known.to_parquet(folder / KNOWN, compression="zstd", index=False)
        if data.asked is not None:
            data.asked.to_parquet(folder / ASKED, compression="zstd", index=False)

    def restore(self, folder: Path) -> TableData:
        """Read what ``save`` wrote."""
        asked = folder / ASKED
        return TableData(pd.read_parquet(folder / KNOWN), pd.read_parquet(asked) if asked.exists() else None)

    def describe(self, data: TableData, config: ConfigT) -> DataFacts:  # noqa: ARG002 -- for those that derive
        """Return what is recorded of data: how many rows, and with time its newest day."""
        newest = self.newest(data)
        tags = {"training.end": str(newest.date())} if newest is not None else {}
        return DataFacts(metrics={"data_rows": len(data.known)}, tags=tags, told={"rows": len(data.known)})

    def warnings(self, data: TableData) -> Sequence[str]:
        """Return what the checks found odd."""
        return data.warnings

    def newest(self, data: TableData) -> pd.Timestamp | None:
        """Return the newest day of the actuals, None for a model without time."""
        time = self.columns.time
        return pd.Timestamp(data.known[time].max()) if time is not None else None

    def rows(self, data: TableData) -> pd.DataFrame:
        """Return the rows with their actual."""
        return data.known

    def next_rows(self, data: TableData) -> pd.DataFrame:
        """Return the rows to predict; where there are none, known ones without their actual."""
        return data.asked if data.asked is not None else data.known.drop(columns=self.columns.actual)

    def asked(self, data: TableData) -> pd.DataFrame | None:
        """Return the rows to predict."""
        return data.asked

    def naive(self, predictions: pd.DataFrame, data: TableData) -> Values:  # noqa: ARG002 -- for those that derive
        """Return naive predictions: by default none."""
        return np.full(len(predictions), np.nan)

    def members(self, config: ConfigT) -> Sequence[str]:  # noqa: ARG002 -- for those that derive
        """Return the names of what is trained on its own: by default one."""
        return (MEMBER,)

    def prepare(self, run: "RetrainRun", config: ConfigT, scratch: Path) -> Mapping[str, Any]:
        """Make what all members train on: by default nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no step prepare")

    def combine(self, run: "RetrainRun", config: ConfigT, scratch: Path) -> Mapping[str, Any]:
        """Make one model of the members: by default there is one."""
        raise NotImplementedError(f"{type(self).__name__} has no step combine")
