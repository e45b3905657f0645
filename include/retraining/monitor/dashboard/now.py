"""The live figures of now beside what they should be."""

from collections.abc import Iterator
from dataclasses import dataclass

from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.texts import Figures, compared, day_iso, metric_text, row_texts
from include.retraining.monitor.rows import DAY
from include.retraining.monitor.scores import EXPECTED, METRIC, WINDOW
from include.retraining.monitor.signals import Signal
from include.retraining.pages.figures import Verdict
from include.retraining.pages.markup import line, sign

LIMIT_WORDS = {
    Verdict.FAIL: "alarm",
    Verdict.WARN: "beyond limit",
    Verdict.NONE: "not sure",
    Verdict.PASS: "within limit",
}
"""What the live figure is told to be."""


@dataclass(frozen=True)
class Column:
    """The figures of one window.

    :param head: e.g. ``7 days``
    :param row: its figures, with ``expected``
    :param signal: of the night about the metric over this window; None where it is not judged
    """

    head: str
    row: Figures
    signal: Signal | None


def columns(dashboard: Dashboard) -> list[Column]:
    """Return the newest rolling windows; empty where nothing is there."""
    errors = {one.window: one for one in dashboard.signals if one.kind == "error"}
    rolling = dashboard.scores.rolling
    newest = rolling[rolling[DAY] == rolling[DAY].max()].sort_values(WINDOW).to_dict(orient="records")
    return [Column(f"{int(row[WINDOW])} days", row, errors.get(int(row[WINDOW]))) for row in newest]


def now_table(dashboard: Dashboard) -> str:
    """Return the figures of now as HTML, empty where there are none."""
    found = columns(dashboard)
    if not found:
        return ""
    head = "".join(f'<th scope="col">{line(column.head, 40)}</th>' for column in found)
    rows = "\n".join(
        f'<tr class="{kind}"><th scope="row">{line(label, 80)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
        for label, kind, cells in _rows(dashboard, found)
    )
    return (
        f'<figure class="now"><figcaption>{line(_caption(dashboard), 200)}</figcaption>'
        f'<table><thead><tr><th scope="col">Live</th>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>'
        f"{_note(dashboard, found)}</figure>"
    )


def _rows(dashboard: Dashboard, found: list[Column]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield label, class and cells (HTML) of each row."""
    metric = dashboard.metric
    texts = [row_texts(column.row, metric) for column in found]
    live = [_live(dashboard, column, text["metric"]) for column, text in zip(found, texts, strict=True)]
    naive = [_beside(dashboard, column, "naive", text["naive"][2:]) for column, text in zip(found, texts, strict=True)]
    yield dashboard.metric_name, "main", live
    yield "Validation", "", [_beside(dashboard, column, EXPECTED, "none is known") for column in found]
    if any(column.signal for column in found):
        limits = [column.signal.limit if column.signal else None for column in found]
        yield "Limit of the alarm", "", [line(metric_text(metric, limit, "not judged")) for limit in limits]
    yield f"Gate ({'below' if metric.lower_is_better else 'above'})", "", [_gate(dashboard, c) for c in found]
    yield "Naive forecast", "", naive
    yield "Bias", "", [line(text["bias"]) for text in texts]
    yield "Predicted in time", "", [line(text["coverage"]) for text in texts]
    yield "Rows compared", "", [line(text["rows"]) for text in texts]


def _live(dashboard: Dashboard, column: Column, text: str) -> str:
    if column.signal is None:
        return line(text)
    verdict = dashboard.verdict(column.signal)
    return f"<b>{line(text)}</b>{sign(verdict, LIMIT_WORDS[verdict])}"


def _beside(dashboard: Dashboard, column: Column, name: str, why: str) -> str:
    """Return a figure to compare with, and how the live one stands to it."""
    value = float(column.row[name])
    told = compared(dashboard.metric, float(column.row[METRIC]), value)
    text = line(metric_text(dashboard.metric, value, why))
    return f'{text}<span class="than">live {told}</span>' if told else text


def _gate(dashboard: Dashboard, column: Column) -> str:
    if dashboard.gate is None:
        return line("– no gate")
    text, value = line(metric_text(dashboard.metric, dashboard.gate, "unknown")), float(column.row[METRIC])
    if value != value:
        return text
    met = dashboard.metric.gain(value, dashboard.gate) >= 0
    return text + (sign(Verdict.PASS, "met") if met else sign(Verdict.WARN, "not met"))


def _caption(dashboard: Dashboard) -> str:
    newest = dashboard.newest
    until = f"up to {day_iso(newest)}" if newest is not None else "over all rows"
    better = "lower" if dashboard.metric.lower_is_better else "higher"
    return f"{dashboard.metric_name} {until}, {better} is better"


def _note(dashboard: Dashboard, found: list[Column]) -> str:
    ours = None if dashboard.live is None else dashboard.validation.get(dashboard.live)
    expected = [float(column.row[EXPECTED]) for column in found]
    mixed = ours is not None and any(value == value and abs(value - ours) > 1e-12 for value in expected)
    if not mixed:
        return ""
    figure = metric_text(dashboard.metric, ours, "unknown")
    text = (
        f"Version {dashboard.live} had {figure} at validation; windows that reach back to others have a mean of theirs."
    )
    return f'<p class="note">{line(text)}</p>'
