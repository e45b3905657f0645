"""Charts as PNG pictures. The same chart gives the same bytes, in any thread.

Figures are drawn through matplotlib's objects, never through ``pyplot``, which keeps every figure alive.
"""

import io
import math
from datetime import date
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from include.retraining.pages.drawing import (
    FONT_SIZE,
    INK,
    LINES,
    alone,
    draw_limit,
    draw_marks,
    draw_zero,
    finite,
    legend_label,
    prepare,
    say_empty,
    shown,
    value_axis,
    with_repeats,
)
from include.retraining.pages.figures import Bars, Chart, Lines
from include.retraining.pages.words import day_text, shown_marks

WIDTH, HEIGHT = 640, 380
"""Pixels in which a picture is shown; it has twice as many each way. One with many groups is higher."""
MANY_GROUPS = 6
"""With more groups the bars lie, so that each name has a line of its own."""
MAX_GROUPS = 40
"""No more groups than these are drawn; the tables have all."""
MAX_LABEL_CHARACTERS = 48
"""What fits below standing bars, all groups together."""

_DPI, _SCALE = 100, 2
_ROW_HEIGHT, _LETTER_WIDTH = 24, 9
_GROUP_HEIGHT, _AROUND_GROUPS = 23, 118
_COLOURS_KEPT = 96


def render_chart(chart: Chart, *, title: bool = True) -> bytes:
    """Return a chart as PNG.

    :param chart: what to draw; its texts are untrusted, and drawn as they are
    :param title: whether the picture has the chart's title in it, for where nothing else says it
    """
    width, height = picture_size(chart)
    layout = ConstrainedLayoutEngine()
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI * _SCALE, layout=layout, facecolor="white")
    axes = figure.add_subplot()
    prepare(axes)
    if isinstance(chart, Lines):
        _draw_lines(axes, chart)
    else:
        _draw_bars(axes, chart)
    above = _put_above(figure, axes, chart.title if title else "", height)
    layout.set(rect=(0, 0, 1, 1 - above / height))
    return _png(figure)


def picture_size(chart: Chart) -> tuple[int, int]:
    """Return width and height in pixels as shown."""
    if isinstance(chart, Bars) and _lying(chart):
        return WIDTH, max(HEIGHT, min(len(chart.groups), MAX_GROUPS) * _GROUP_HEIGHT + _AROUND_GROUPS)
    return WIDTH, HEIGHT


def _put_above(figure: Figure, axes: Axes, title: str, height: int) -> int:
    """Put title and legend above the plot; return the pixels that they take."""
    taken = 0
    if title:
        figure.text(0.01, 1 - 6 / height, shown(title, 52), va="top", size=13, weight="bold", color=INK)
        taken += _ROW_HEIGHT + 4
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        room = max(map(len, labels)) * _LETTER_WIDTH + 60
        columns = max(1, min(len(labels), WIDTH // room))
        look: dict[str, Any] = {"fontsize": FONT_SIZE, "labelcolor": INK, "handlelength": 1.7, "borderaxespad": 0.2}
        look |= {"loc": "upper left", "bbox_to_anchor": (0.0, 1 - taken / height), "ncols": columns, "frameon": False}
        figure.legend(handles, labels, **look).set_in_layout(False)
        taken += math.ceil(len(labels) / columns) * _ROW_HEIGHT + 8
    return taken


def _draw_lines(axes: Axes, chart: Lines) -> None:
    days = np.asarray([date.fromisoformat(day).toordinal() for day in chart.days], dtype=np.int64)
    for series, again in with_repeats(chart.series):
        values = finite(series.values)
        look = LINES[series.role] | ({"linestyle": (0, (3, 1, 1, 1))} if again else {})
        axes.plot(days, values, label=legend_label(series), **look)
        single = alone(values) if len(days) > 20 else np.isfinite(values)
        axes.plot(days[single], values[single], "o", color=look["color"], markersize=4, zorder=4)
    if chart.limit is not None:
        for limit in (chart.limit, -chart.limit) if chart.both_ways else (chart.limit,):
            draw_limit(axes, limit, percent=chart.percent, name=chart.limit_name)
    value_axis(axes, axes.yaxis, percent=chart.percent)
    if chart.both_ways:
        draw_zero(axes)
    elif chart.percent:
        axes.set_ylim(-0.02, 1.04)
    axes.set_ylabel(shown(chart.y_label, 34), size=FONT_SIZE, color=INK)
    if not len(days):
        say_empty(axes)
        return
    ticks = sorted({round(place) for place in np.linspace(0, len(days) - 1, min(len(days), 4))})
    labels = [day_text(chart.days[place], year=False) for place in ticks]
    labels[0] += f"\n{chart.days[0][:4]}"
    if chart.days[-1][:4] != chart.days[0][:4]:
        labels[-1] += f"\n{chart.days[-1][:4]}"
    axes.set_xticks([float(days[place]) for place in ticks], labels)
    draw_marks(axes, shown_marks(chart))


def _draw_bars(axes: Axes, chart: Bars) -> None:
    lying, kept = _lying(chart), min(len(chart.groups), MAX_GROUPS)
    places = np.arange(kept, dtype=np.float64)
    thick = 0.78 / max(1, len(chart.series))
    draw = axes.barh if lying else axes.bar
    for position, (series, again) in enumerate(with_repeats(chart.series)):
        values = finite(series.values)[:kept]
        at = places + (position - (len(chart.series) - 1) / 2) * thick
        look: dict[str, Any] = {"color": LINES[series.role]["color"], "alpha": 0.5 if again else 1.0, "zorder": 2}
        draw(at, values, thick * 0.92, label=legend_label(series), **look)
        if position < len(chart.intervals):
            ends = np.asarray(chart.intervals[position][:kept], dtype=np.float64).reshape(-1, 2)
            reach = np.abs(np.stack([values - ends[:, 0], ends[:, 1] - values]))
            known = np.isfinite(reach).all(axis=0)
            x, y = (values, at) if lying else (at, values)
            whiskers: dict[str, Any] = {
                "fmt": "none",
                "ecolor": "#1f2328",
                "elinewidth": 1.3,
                "capsize": 3,
                "zorder": 5,
            }
            whiskers["xerr" if lying else "yerr"] = reach[:, known]
            axes.errorbar(x[known], y[known], **whiskers)
    if chart.limit is not None:
        draw_limit(axes, chart.limit, lying=lying, percent=chart.percent, name=chart.limit_name)
    names = [shown(group, 24 if lying else 20) for group in chart.groups[:kept]]
    label = shown(chart.y_label, 44 if lying else 34)
    draw_zero(axes, lying=lying)
    if lying:
        axes.set_yticks(places, names)
        axes.set_ylim(kept - 0.4, -0.6)
        value_axis(axes, axes.xaxis, percent=chart.percent)
        left_out = f"; first {kept} of {len(chart.groups)} groups" if kept < len(chart.groups) else ""
        axes.set_xlabel(label + left_out, size=FONT_SIZE, color=INK)
    else:
        axes.set_xticks(places, names)
        value_axis(axes, axes.yaxis, percent=chart.percent)
        axes.set_ylabel(label, size=FONT_SIZE, color=INK)
        axes.set_xlim(-0.6, max(kept, 1) - 0.4)
    if not kept:
        say_empty(axes)


def _lying(chart: Bars) -> bool:
    longest = max((len(group) for group in chart.groups), default=0)
    return len(chart.groups) > MANY_GROUPS or longest * len(chart.groups) > MAX_LABEL_CHARACTERS


def _png(figure: Figure) -> bytes:
    """Return a figure as PNG with a palette: a third of the bytes, and no date or version in it."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="rgba", dpi=_DPI * _SCALE)
    width, height = (round(inches * _DPI * _SCALE) for inches in figure.get_size_inches())
    picture = Image.frombytes("RGBA", (width, height), drawn.getvalue()).convert("RGB")
    buffer = io.BytesIO()
    reduced = picture.quantize(_COLOURS_KEPT, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
