"""Charts of the live figures: over time, by weeks of the horizon, by slice."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.texts import day_iso
from include.retraining.monitor.rows import DAY, VERSION
from include.retraining.monitor.scores import EXPECTED, HORIZON_WEEK, METRIC, SLICE, VALUE, WINDOW
from include.retraining.pages.figures import Bars, Lines, Role, Series


def metric_over_time(dashboard: Dashboard) -> Lines | None:
    """Return the live metric over rolling windows beside what it should be; None where nothing has a day."""
    title = dashboard.metric_name
    series = [*_rolling_series(dashboard, METRIC)]
    if not series:
        return None
    expected = _rolling_values(dashboard, dashboard.windows[-1], EXPECTED)
    if np.isfinite(expected).any():
        series.append(Series("validation", "expected", expected))
    better = "lower" if dashboard.metric.lower_is_better else "higher"
    return Lines(
        "live-metric",
        f"{title} over time, {better} is better",
        _iso_days(dashboard),
        tuple(series),
        title,
        limit=dashboard.gate,
        marks=promotions(dashboard),
        limit_name="gate",
    )


def bias_over_time(dashboard: Dashboard) -> Lines | None:
    """Return by which share predictions together were too high or too low; None where nothing has a day."""
    series = tuple(_rolling_series(dashboard, "bias"))
    if not series:
        return None
    limits = [signal.limit for signal in dashboard.signals if signal.kind == "bias" and not signal.subject]
    return Lines(
        "bias",
        "Bias over time: above 0 is too high",
        _iso_days(dashboard),
        series,
        "bias",
        limit=limits[0] if limits else None,
        marks=promotions(dashboard),
        percent=True,
        both_ways=True,
    )


def rows_over_time(dashboard: Dashboard) -> Lines | None:
    """Return which share of the rows was predicted, and of which the actual came, by day."""
    days = dashboard.shown_days
    if not days:
        return None
    # where two versions share a day, the one that lacks more rows is told
    by_day = dashboard.scores.days.groupby(DAY)[["coverage", "arrived"]].min().reindex(days)
    # without time nothing tells which rows should have been predicted
    predicted = [Series("predicted", "live", _floats(by_day["coverage"]))] if by_day["coverage"].notna().any() else []
    arrived = Series("actual arrived", "actual", _floats(by_day["arrived"]))
    return Lines(
        "rows",
        "Rows by day: predicted, and actual arrived" if predicted else "Predicted rows by day: actual arrived",
        _iso_days(dashboard),
        (*predicted, arrived),
        "share of rows",
        marks=promotions(dashboard),
        percent=True,
    )


def by_horizon_week(dashboard: Dashboard) -> Bars | None:
    """Return the metric by weeks of the horizon, of the live version and the one before it; None without weeks."""
    figures = dashboard.scores.horizon
    known = figures[figures["rows"] > 0]
    weeks = sorted(known[HORIZON_WEEK].unique())
    if not weeks:
        return None
    series = []
    for version, role in _told_versions(dashboard, set(known[VERSION])):
        values = known[known[VERSION] == version].set_index(HORIZON_WEEK)[METRIC].reindex(weeks)
        series.append(Series(f"version {version}", role, _floats(values)))
    title = dashboard.metric_name
    return Bars(
        "horizon",
        f"{title} by week of the horizon",
        tuple(f"week {int(week)}" for week in weeks),
        tuple(series),
        title,
        limit=dashboard.gate,
        limit_name="gate",
    )


def by_slice(dashboard: Dashboard) -> Iterator[Bars]:
    """Yield metric and bias of each slice."""
    figures = dashboard.scores.slices
    known = figures[figures["rows"] > 0]
    if known.empty:
        return
    groups = tuple(slice_name(name, value) for name, value in zip(known[SLICE], known[VALUE], strict=True))
    title, window = dashboard.metric_name, slice_window(dashboard)
    metric = (Series("", "live", _floats(known[METRIC])),)
    bias = (Series("", "live", _floats(known["bias"])),)
    yield Bars("slices", f"{title} by slice, {window}", groups, metric, title, limit=dashboard.gate, limit_name="gate")
    yield Bars("slices-bias", f"Bias by slice, {window}", groups, bias, "above 0: too high", percent=True)


def slice_name(column: object, value: object) -> str:
    """Return what a slice is called."""
    return f"{column} {value}"


def slice_window(dashboard: Dashboard) -> str:
    """Return which rows the figures of slices are from."""
    return f"last {dashboard.windows[-1]} days" if dashboard.windows else "all rows"


def promotions(dashboard: Dashboard) -> tuple[tuple[str, str], ...]:
    """Return on which day which version was published."""
    return tuple((day_iso(one.since), f"v{one.version}") for one in dashboard.published if not pd.isna(one.since))


def _told_versions(dashboard: Dashboard, known: set[int]) -> Iterator[tuple[int, Role]]:
    """Yield the live version and the one that was published before it, where they have figures."""
    order = [one.version for one in sorted(dashboard.published, key=lambda one: one.since)]
    others = [version for version in reversed(order) if version != dashboard.live and version in known]
    if others:
        yield others[0], "earlier"
    if dashboard.live in known and dashboard.live is not None:
        yield dashboard.live, "live"
    elif not others:
        yield max(known), "live"


def _rolling_series(dashboard: Dashboard, column: str) -> Iterator[Series]:
    """Yield the longest and the shortest rolling window."""
    windows = dashboard.windows if dashboard.shown_days else []
    if windows:
        yield Series(f"{windows[-1]} days", "live", _rolling_values(dashboard, windows[-1], column))
    if len(windows) > 1:
        yield Series(f"{windows[0]} days", "recent", _rolling_values(dashboard, windows[0], column))


def _rolling_values(dashboard: Dashboard, window: int, column: str) -> tuple[float, ...]:
    rolling = dashboard.scores.rolling
    values = rolling[rolling[WINDOW] == window].set_index(DAY)[column]
    return _floats(values.reindex(dashboard.shown_days))


def _iso_days(dashboard: Dashboard) -> tuple[str, ...]:
    return tuple(day_iso(day) for day in dashboard.shown_days)


def _floats(values: pd.Series) -> tuple[float, ...]:
    return tuple(float(value) for value in values.to_numpy(dtype=np.float64))
