"""Sentences about what is wrong with a table: what was found, where, how often, what was expected."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pandera.errors

SHOWN = 3
"""How many offending rows a sentence names."""
MOST = 6
"""How many problems of one file an error lists."""


def table_problems(error: pandera.errors.SchemaErrors, frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each problem that pandera found.

    :param frame: the validated table, with a plain index 0, 1, 2 ...
    """
    problems = []
    for found in error.schema_errors:
        reason = found.reason_code.name if found.reason_code else ""
        column = found.column_name if found.column_name in frame.columns else None
        expected = str(getattr(found.check, "error", "") or found.check)
        if reason == "COLUMN_NOT_IN_DATAFRAME":
            problems.append(f"no column {_values(found.failure_cases)}")
        elif reason == "SERIES_CONTAINS_NULLS":
            problems.append(f"{column} is missing in {row_names(frame, found.failure_cases['index'])}")
        elif reason == "CHECK_ERROR" and column:
            problems.append(f"{column} holds {frame[column].dtype}, expected {expected}")
        elif reason == "CHECK_ERROR":
            continue  # a check of rows that a missing or unreadable column, named above, made impossible
        elif column and isinstance(found.check_output, pd.Series):
            wrong = found.check_output.index[~found.check_output.astype(bool)]
            problems.append(f"{column} is {row_names(frame, wrong, value=column)}, expected {expected}")
        elif isinstance(found.check_output, pd.Series):
            wrong = found.check_output.index[~found.check_output.astype(bool)]
            name = str(found.check.name)
            problems.append(f"{name} in {row_names(frame, wrong, show=_mentioned(name, frame))}, expected {expected}")
        else:
            problems.append(f"{column or 'the table'}: found {_values(found.failure_cases)}, expected {expected}")
    return problems


def _mentioned(text: str, frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns that a check's name speaks of, to show their values."""
    return tuple(name for name in frame.columns if name in text.split() and name not in ("Store", "Date"))


def _values(cases: Any) -> str:
    values = cases["failure_case"].tolist() if isinstance(cases, pd.DataFrame) else [cases]
    return ", ".join(str(value) for value in values[:SHOWN])


def row_names(frame: pd.DataFrame, labels: Iterable[int], show: Sequence[str] = (), value: str | None = None) -> str:
    """Name a few rows by store and day, and say how many more there are.

    :param show: columns whose values follow in brackets
    :param value: column whose value comes first
    """
    rows = frame.loc[list(labels)]
    names = []
    for _, row in rows.head(SHOWN).iterrows():
        before = f"{_plain(row[value])} in " if value else ""
        after = ", ".join(f"{name} {_plain(row[name])}" for name in show)
        names.append(f"{before}{_row_name(row)}{f' ({after})' if after else ''}")
    more = f" and {len(rows) - SHOWN:,} more rows" if len(rows) > SHOWN else ""
    return ", ".join(names) + more


def _row_name(row: "pd.Series[Any]") -> str:
    store = f"store {_plain(row['Store'])}" if "Store" in row.index else f"row {row.name}"
    if "Date" not in row.index:
        return store
    day = row["Date"]
    return f"{store} on {day:%Y-%m-%d}" if isinstance(day, pd.Timestamp) else f"{store} on {_plain(day)}"


def _plain(value: Any) -> str:
    if value is None or value != value or value is pd.NaT:
        return "missing"
    if isinstance(value, float | np.floating):
        return f"{float(value):.12g}"
    return str(value)


def listed(problems: list[str]) -> str:
    """Return the problems of one file in one line."""
    more = f"; and {len(problems) - MOST} more problems" if len(problems) > MOST else ""
    return "; ".join(problems[:MOST]) + more
