"""Figures in words: numbers of each kind, and why one is missing."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from include.retraining.monitor.signals import Signal
from include.retraining.protocol import Metric

DASH = "–"
Figures = Mapping[Hashable, Any]
"""One row of a frame of ``Scores``."""


def missing(why: str) -> str:
    """Return what stands for a number that there is none of."""
    return f"{DASH} {why}".rstrip()


def metric_text(metric: Metric, value: float | None, why: str) -> str:
    """Return a figure in the metric's unit.

    :param why: there is none
    """
    if value is None or not math.isfinite(value):
        return missing(why)
    return metric.text(value).replace("-", "−")


def share_text(value: float, why: str, *, signed: bool = False) -> str:
    """Return a share in per cent, or why there is none."""
    if not math.isfinite(value):
        return missing(why)
    text = f"{value * 100:{'+' if signed else ''}.1f} %"
    return ("0 %" if float(text[:-2]) == 0 else text).replace("-", "−")


def count_text(value: float) -> str:
    """Return a number of rows or days."""
    return f"{value:,.0f}" if math.isfinite(value) else missing("unknown")


def day_iso(day: Any) -> str:
    """Return a day in ISO form."""
    return missing("no date") if pd.isna(day) else f"{day:%Y-%m-%d}"


def why_no_figure(row: Figures) -> str:
    """Return why rows have no figure."""
    if row["rows"] > 0:
        return "cannot be told"
    if pd.isna(row["arrived"]):
        return "nothing predicted"
    return "no actual yet" if row["arrived"] == 0 else "no row counts"


def row_texts(row: Figures, metric: Metric) -> dict[str, str]:
    """Return the figures of rows as people read them, by name; why there are none is told with the metric."""
    some = row["rows"] > 0
    return {
        "rows": count_text(row["rows"]),
        "metric": metric_text(metric, row["metric"], why_no_figure(row)),
        "bias": share_text(row["bias"], "actuals sum to 0" if some else "", signed=True),
        "coverage": share_text(row["coverage"], ""),
        "arrived": share_text(row["arrived"], "nothing predicted" if some else ""),
        "naive": metric_text(metric, row["naive"], "none is stored" if some else ""),
    }


def compared(metric: Metric, value: float, other: float) -> str:
    """Return how ``value`` stands to ``other``, e.g. ``7 % worse``; empty where that cannot be told."""
    if not (math.isfinite(value) and math.isfinite(other)) or other == 0:
        return ""
    share = abs(value - other) / abs(other)
    if round(share * 100) == 0:
        return "as good"
    return f"{share * 100:.0f} % {'better' if metric.gain(value, other) > 0 else 'worse'}"


def found_texts(signal: Signal, metric: Metric) -> tuple[str, str]:
    """Return what a signal found and its limit, in the unit of its kind."""
    both = signal.value, signal.limit
    if signal.kind == "error":
        found, limit = (metric_text(metric, value, "unknown") for value in both)
    elif signal.kind in ("bias", "drift") or abs(signal.limit) < 1:
        found = share_text(signal.value, "unknown", signed=signal.kind == "bias")
        limit = ("±" if signal.kind == "bias" else "") + share_text(signal.limit, "unknown")
    else:
        found, limit = (count_text(value) for value in both)
        if signal.kind == "late":
            found, limit = f"{found} days", f"{limit} days"
    return found, limit
