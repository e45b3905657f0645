"""Figures of a page as data: tables and charts, and the verdict about what they show. How they look: ``charts``."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Role = Literal["candidate", "production", "actual", "earlier", "live", "recent", "expected"]
"""What a line or bar stands for; each has one colour in every chart. In reviews: the candidate, Production, what came
true, and the same a year before. In the monitoring: what is live, over few days, and what it should be; ``earlier`` is
the former version."""


class Verdict(StrEnum):
    """What is said of one thing that was looked at."""

    PASS = "pass"  # noqa: S105 -- no password
    WARN = "warn"
    FAIL = "fail"
    NONE = "none"
    """It could not be looked at, e.g. there is nothing to compare with; the sentence says why."""


@dataclass(frozen=True)
class Table:
    """Figures: the first column names a row, the others are right-aligned numbers.

    :param head: of each column
    :param rows: texts; as many in each row as in the head
    :param marked: rows (by position) that the reader should look at first
    :param note: one sentence below it
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One line of a chart, or one bar of each group.

    :param label: in the legend; empty: there is nothing to tell apart
    :param values: one for each point of the chart, NaN where there is none
    """

    label: str
    role: Role
    values: tuple[float, ...]


@dataclass(frozen=True)
class Lines:
    """Lines over days.

    :param name: file name without suffix, e.g. ``error-by-day``
    :param days: ISO dates
    :param limit: a horizontal line, e.g. the gate's threshold
    :param marks: days (ISO) of events and their labels, e.g. promotions; those outside ``days`` are left out
    :param percent: the values are shares of a whole, shown in per cent from 0 to 100
    :param both_ways: they are differences instead, above or below 0, and the limit holds on both sides
    :param limit_name: what the limit is called, one word
    """

    name: str
    title: str
    days: tuple[str, ...]
    series: tuple[Series, ...]
    y_label: str
    limit: float | None = None
    marks: tuple[tuple[str, str], ...] = ()
    percent: bool = False
    both_ways: bool = False
    limit_name: str = "limit"


@dataclass(frozen=True)
class Bars:
    """Values of groups side by side, e.g. the error of each store type, with an interval around each where known.

    :param groups: their names, in order
    :param series: one value for each group
    :param intervals: low and high end of each value of each series, where there are any
    :param percent: the values are shares, shown in per cent
    :param limit_name: what the limit is called, one word
    """

    name: str
    title: str
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    y_label: str
    intervals: tuple[tuple[tuple[float, float], ...], ...] = ()
    limit: float | None = None
    percent: bool = False
    limit_name: str = "limit"


Chart = Lines | Bars
