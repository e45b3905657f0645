"""Values, days and charts in words."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime

from include.lifecycle.untrusted_text import one_line
from include.retraining.pages.figures import Bars, Chart, Lines, Series

_UNITS = ((1e9, 1e9, " bn"), (1e6, 1e6, " M"), (1e4, 1e3, " k"))
"""From which value on, what it is divided by, and what is written behind it."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_GROUPS_TOLD = 12


def day_text(day: str, *, year: bool = True) -> str:
    """Return an ISO date as people read it, e.g. ``3 May 2015``."""
    found = date.fromisoformat(day)
    return f"{found.day} {_MONTHS[found.month - 1]}" + (f" {found.year}" if year else "")


def moment_text(moment: datetime) -> str:
    """Return a time in UTC, e.g. ``2026-11-26 03:12 UTC``; one without a timezone is taken as UTC."""
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{known.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def value_text(value: float, *, percent: bool = False) -> str:
    """Return a value with three significant digits, e.g. ``0.0949``, ``12.3 k`` or ``4.2 %``."""
    if not math.isfinite(value):
        return "none"
    if percent:
        return f"{value * 100:.3g} %".replace("-", "−")
    divisor, unit = next(((by, unit) for least, by, unit in _UNITS if abs(value) >= least), (1.0, ""))
    value /= divisor
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}").replace("-", "−") + unit


def alt_text(chart: Chart) -> str:
    """Return what a chart shows, for who cannot see it, as plain text."""
    told = list(_told_lines(chart) if isinstance(chart, Lines) else _told_bars(chart))
    if chart.limit is not None:
        told.append(f"The {chart.limit_name} is {value_text(chart.limit, percent=chart.percent)}.")
    return " ".join([f"{chart.title} ({chart.y_label}).", *told])


def _told_lines(chart: Lines) -> Iterator[str]:
    if chart.days:
        yield f"{day_text(chart.days[0])} to {day_text(chart.days[-1])}."
    for series in chart.series:
        known = [value for value in series.values if value == value]
        if known:
            middle, least, most = (
                value_text(value, percent=chart.percent) for value in (sum(known) / len(known), min(known), max(known))
            )
            yield f"{series.label}: mean {middle}, from {least} to {most}."
    marks = [f"{label} on {day_text(day)}" for day, label in shown_marks(chart)]
    if marks:
        yield f"Marked: {', '.join(marks)}."


def shown_marks(chart: Lines) -> list[tuple[str, str]]:
    """Return the marks between the first and the last day of a chart, by day."""
    return sorted(mark for mark in chart.marks if chart.days and chart.days[0] <= mark[0] <= chart.days[-1])


def _told_bars(chart: Bars) -> Iterator[str]:
    for position, series in enumerate(chart.series):
        values = [_told_bar(chart, series, position, place) for place in range(len(chart.groups))]
        more = f" and {len(values) - _GROUPS_TOLD} more" if len(values) > _GROUPS_TOLD else ""
        label = f"{series.label}: " if series.label else ""
        yield f"{label}{', '.join(values[:_GROUPS_TOLD])}{more}."


def _told_bar(chart: Bars, series: Series, position: int, place: int) -> str:
    told = f"{one_line(chart.groups[place], 40)} {value_text(series.values[place], percent=chart.percent)}"
    if position >= len(chart.intervals):
        return told
    low, high = (value_text(end, percent=chart.percent) for end in chart.intervals[position][place])
    return f"{told} ({low} to {high})"
