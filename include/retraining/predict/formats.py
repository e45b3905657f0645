"""Predictions as files: the same columns and values in every format, the same bytes for the same predictions.

Each row says which version predicted it, in which stage that was, from which day on it forecast and which run made it,
because a CSV file has no other place for that; Parquet has it in the file's metadata as well. So that a repeated run
makes the same bytes, none of it is a clock's or an MLflow run's: the run is named by whoever starts it.
"""

import gzip
import hashlib
import io
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.retraining.output_names import Format

VERSION = "ModelVersion"
STAGE = "ModelStage"
ORIGIN = "ForecastOrigin"
RUN = "RunId"
STAMPED = (VERSION, STAGE, ORIGIN, RUN)
"""Columns that every row of a prediction ends in."""


@dataclass(frozen=True)
class Facts:
    """What made a prediction.

    :param model: registered model
    :param version: the one version that all rows are of
    :param stage: in which it was when it was loaded
    :param origin: newest day that was known to it, None for a model without time
    :param run: the run, the same each time it is repeated
    """

    model: str
    version: int
    stage: str
    origin: date | None
    run: str

    @property
    def metadata(self) -> dict[str, str]:
        """As Parquet keeps it."""
        return {
            "model": self.model,
            "model.version": str(self.version),
            "model.stage": self.stage,
            "forecast.origin": str(self.origin or ""),
            "run": self.run,
        }


def stamped(table: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """Return a table of predictions with what made it behind each row, whole numbers as int64, others as float64.

    Those are what every reader of a CSV file makes of it, however small the numbers were in memory; Arrow's columns
    stay as they are.

    :param table: one row a prediction
    """
    result = table.drop(columns=[name for name in STAMPED if name in table])
    wide = {"i": "int64", "u": "int64", "f": "float64"}
    plain = {name: kind for name, kind in result.dtypes.items() if isinstance(kind, np.dtype)}
    result = result.astype({name: wide[kind.kind] for name, kind in plain.items() if kind.kind in wide})
    made: dict[str, Any] = {VERSION: facts.version, STAGE: facts.stage, ORIGIN: facts.origin, RUN: facts.run}
    return result.assign(**made)


def render(table: pd.DataFrame, kind: Format, facts: Facts) -> bytes:
    """Return a table as a file: the same bytes for the same table.

    :param table: as ``stamped`` returns it
    """
    if kind == "parquet":
        return _parquet(table, facts)
    text = table.to_csv(index=False, lineterminator="\n").encode()
    if kind == "csv":
        return text
    packed = io.BytesIO()
    # neither the time nor a file's name in the header
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as file:
        file.write(text)
    return packed.getvalue()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _parquet(table: pd.DataFrame, facts: Facts) -> bytes:
    # a column of days without any is one of days all the same
    arrays = {
        name: pa.array(column, type=pa.date32() if name == ORIGIN else None, from_pandas=True)
        for name, column in table.items()
    }
    content = pa.table(arrays).replace_schema_metadata(facts.metadata)
    sink = io.BytesIO()
    pq.write_table(content, sink, compression="zstd", version="2.6")
    return sink.getvalue()
