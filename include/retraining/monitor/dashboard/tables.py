"""Tables of the page: by slice, by version, by version and day."""

import pandas as pd

from include.retraining.monitor.dashboard.charts import slice_name
from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.texts import DASH, Figures, day_iso, metric_text, missing, row_texts
from include.retraining.monitor.rows import DAY, VERSION
from include.retraining.monitor.scores import SLICE, VALUE, WINDOW
from include.retraining.pages.figures import Table

DAYS = 14
MAX_VERSIONS, MAX_SLICES = 12, 60

_ONE_DAY = pd.Timedelta(days=1)


def slice_table(dashboard: Dashboard) -> Table | None:
    """Return the figures of each slice; marked are those whose bias is beyond the limit of slices."""
    figures = dashboard.scores.slices
    if figures.empty:
        return None
    limits = [signal.limit for signal in dashboard.signals if signal.kind == "bias" and signal.subject]
    limit = limits[0] if limits else float("inf")
    rows, marked = [], set[int]()
    for place, row in enumerate(figures.head(MAX_SLICES).to_dict(orient="records")):
        texts = row_texts(row, dashboard.metric)
        rows.append(
            (slice_name(row[SLICE], row[VALUE]), *(texts[name] for name in ("metric", "bias", "rows", "naive")))
        )
        if abs(row["bias"]) >= limit:
            marked.add(place)
    notes = [f"Marked: bias of {limit * 100:.0f} % or more."] if marked else []
    if len(figures) > MAX_SLICES:
        notes.append(f"The first {MAX_SLICES} of {len(figures)} slices.")
    head = ("Slice", dashboard.metric_name, "Bias", "Rows", "Naive forecast")
    return Table(head, tuple(rows), frozenset(marked), " ".join(notes))


def version_table(dashboard: Dashboard) -> Table | None:
    """Return what each version that was in Production was like, the newest first."""
    known = {one.version for one in dashboard.published} | set(dashboard.scores.days[VERSION])
    versions = _by_publication(dashboard, known)
    if not versions:
        return None
    rows = [_version_row(dashboard, version) for version in versions[:MAX_VERSIONS]]
    live = f"Live {dashboard.metric_name}"
    head = ("Version", live, "Validation", "Bias", "Rows", "In Production", "Live figures of")
    note = f"The newest {MAX_VERSIONS} of {len(versions)} versions." if len(versions) > MAX_VERSIONS else ""
    return Table(head, tuple(rows), note=note)


def day_table(dashboard: Dashboard) -> Table | None:
    """Return the figures by version and day of the last two weeks, the newest first."""
    days = dashboard.shown_days[-DAYS:]
    figures = dashboard.scores.days
    part = figures[figures[DAY].isin(days)].sort_values([DAY, VERSION], ascending=False)
    if part.empty:
        return None
    names = ("metric", "bias", "rows", "coverage", "arrived")
    rows = []
    for row in part.to_dict(orient="records"):
        texts = row_texts(row, dashboard.metric)
        rows.append((f"{row[DAY]:%Y-%m-%d %a}", *(texts[name] for name in names), str(row[VERSION])))
    head = ("Day", dashboard.metric_name, "Bias", "Rows", "Predicted", "Arrived", "Version")
    note = "Predicted: share of the rows that came true. Arrived: share of the predicted rows whose actual is there."
    return Table(head, tuple(rows), note=note)


def _version_row(dashboard: Dashboard, version: int) -> tuple[str, ...]:
    metric = dashboard.metric
    validation = metric_text(metric, dashboard.validation.get(version), "none known")
    found = _own_figures(dashboard, version)
    if found is None:
        live, bias, rows, what = missing(_why_no_window(dashboard, version)), DASH, DASH, DASH
    else:
        row, what = found
        texts = row_texts(row, metric)
        live, bias, rows = (texts[name] for name in ("metric", "bias", "rows"))
    name = f"version {version}" + (" (now)" if version == dashboard.live else "")
    return name, live, validation, bias, rows, _times(dashboard, version), what


def _why_no_window(dashboard: Dashboard, version: int) -> str:
    days = dashboard.scores.days
    if not (days.loc[days[VERSION] == version, "rows"] > 0).any():
        return "no actual yet"
    return f"under {dashboard.windows[0]} days alone" if dashboard.windows else "no window"


def _own_figures(dashboard: Dashboard, version: int) -> tuple[Figures, str] | None:
    """Return the newest of the widest windows in which no other version was live, and what it is of.

    Days cannot be put together (a metric is of rows), so a window that holds nothing else is the version's own figure.
    """
    days, rolling = dashboard.scores.days, dashboard.scores.rolling
    predicted = days[days["arrived"].notna()]
    ours = predicted[predicted[VERSION] == version]
    own, others = set(ours[DAY]), set(predicted.loc[predicted[VERSION] != version, DAY])
    for window in reversed(dashboard.windows):
        ends = rolling[(rolling[WINDOW] == window) & rolling[DAY].isin(own) & (rolling["rows"] > 0)]
        for row in ends.sort_values(DAY, ascending=False).to_dict(orient="records"):
            inside = pd.date_range(row[DAY] - (window - 1) * _ONE_DAY, row[DAY])
            if min(own) <= inside[0] and not others.intersection(inside):
                return row, f"{window} days up to {day_iso(row[DAY])}"
    return None


def _times(dashboard: Dashboard, version: int) -> str:
    """Return from when to when a version was in Production."""
    order = sorted(dashboard.published, key=lambda one: one.since)
    found = []
    for place, one in enumerate(order):
        if one.version == version:
            end = day_iso(order[place + 1].since) if place + 1 < len(order) else "now"
            found.append(f"{day_iso(one.since)} to {end}")
    return ", ".join(found) if found else missing("never")


def _by_publication(dashboard: Dashboard, known: set[int]) -> list[int]:
    newest = {one.version: one.since for one in sorted(dashboard.published, key=lambda one: one.since)}
    return sorted(known, key=lambda version: (newest.get(version, pd.Timestamp.min), version), reverse=True)
