"""How charts are drawn: colours, lines and labels, the same in every chart.

A role has one colour in every chart; the colours differ for colour-blind people too, and in print the line styles do.
"""

import math
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import get_font
from matplotlib.ticker import FuncFormatter, MaxNLocator

from include.lifecycle.untrusted_text import one_line
from include.retraining.pages.figures import Role, Series
from include.retraining.pages.words import value_text

_DOTS = (0, (1.2, 1.2))
LINES: dict[Role, dict[str, Any]] = {
    "candidate": {"color": "#0072b2", "linestyle": "-", "linewidth": 3.2, "zorder": 3.0},
    "production": {"color": "#d55e00", "linestyle": (0, (5, 1.2)), "linewidth": 1.9, "zorder": 4.0},
    "actual": {"color": "#24292f", "linestyle": "-", "linewidth": 1.3, "zorder": 5.0},
    "earlier": {"color": "#8c959f", "linestyle": _DOTS, "linewidth": 2.0, "zorder": 2.0},
    "live": {"color": "#0072b2", "linestyle": "-", "linewidth": 3.2, "zorder": 3.0},
    "recent": {"color": "#56b4e9", "linestyle": "-", "linewidth": 1.7, "zorder": 2.5},
    "expected": {"color": "#24292f", "linestyle": _DOTS, "linewidth": 2.0, "zorder": 4.5},
}
"""The line of each role; its colour, after Okabe and Ito, is that of bars too. The widest line is below, so that lines
on each other are all seen; what days are noisy in lies below that."""
INK, FONT_SIZE = "#24292f", 12.5
_LIMIT, _GRID, _AXIS, _ZERO = "#8250a8", "#dfe3e8", "#8c959f", "#57606a"
_MARK_ROWS = 3
"""Rows in which labels of marks stand above each other where they are close."""
_LETTER_SHARE = 0.0165
"""Of the width of the plot, that a letter of a mark's label takes."""

Values = npt.NDArray[np.float64]


def prepare(axes: Axes) -> None:
    """Give a plot its frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_AXIS)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=FONT_SIZE, colors=INK, color=_AXIS, length=3)


def draw_limit(axes: Axes, limit: float, *, lying: bool = False, percent: bool = False, name: str = "limit") -> None:
    """Draw a limit across a plot, with its value beside it.

    :param lying: the values go from left to right
    """
    if not math.isfinite(limit):
        return
    look: dict[str, Any] = {"color": _LIMIT, "linestyle": (0, (6, 3)), "linewidth": 1.6, "zorder": 3.5}
    label: dict[str, Any] = {"textcoords": "offset points", "size": 12, "color": _LIMIT}
    value = value_text(limit, percent=percent)
    if lying:
        axes.axvline(limit, **look)
        label |= {"xycoords": axes.get_xaxis_transform(), "xytext": (0, 3), "ha": "center", "va": "bottom"}
        axes.annotate(f"{name} {value}", (limit, 1.0), **label)
    else:
        axes.axhline(limit, **look)
        label |= {"xycoords": axes.get_yaxis_transform(), "xytext": (4, 0), "va": "center"}
        axes.annotate(f"{name}\n{value}", (1.0, limit), **label)


def draw_zero(axes: Axes, *, lying: bool = False) -> None:
    """Draw the line from which bars, or values of both signs, are read."""
    draw = axes.axvline if lying else axes.axhline
    draw(0, color=_ZERO, linewidth=1, zorder=3)


def draw_marks(axes: Axes, marks: Sequence[tuple[str, str]]) -> None:
    """Draw a vertical line for each event, its label above the plot; where there is no room, without one.

    :param marks: ISO days within the plot, in order, and labels
    """
    low, high = axes.get_xlim()
    ends = [-math.inf] * _MARK_ROWS
    for day, text in marks:
        at, label = float(date.fromisoformat(day).toordinal()), shown(text, 16)
        place = (at - low) / (high - low)
        half = _LETTER_SHARE * (len(label) + 1) / 2
        axes.axvline(at, color=INK, linewidth=1.1, linestyle=(0, (2, 2)), zorder=1.9)
        row = next((row for row, end in enumerate(ends) if place - half >= end), None)
        if row is None:
            continue
        ends[row] = place + half
        look: dict[str, Any] = {"textcoords": "offset points", "size": 12, "color": INK, "ha": "center", "va": "bottom"}
        axes.annotate(label, (at, 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 2 + 14 * row), **look)


def value_axis(axes: Axes, axis: Axis, *, percent: bool) -> None:
    """Give the axis of the values its numbers and grid."""
    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: value_text(value, percent=percent)))
    axis.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.set_ymargin(0.08) if axis is axes.yaxis else axes.set_xmargin(0.08)


def say_empty(axes: Axes) -> None:
    """Say that a plot has no values."""
    axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", size=13, color=_ZERO)
    axes.set_xticks([])
    axes.set_yticks([])


def with_repeats(series: Sequence[Series]) -> list[tuple[Series, bool]]:
    """Return each series, and whether one before it has its role and so its colour."""
    return [(one, one.role in {other.role for other in series[:place]}) for place, one in enumerate(series)]


def finite(values: Sequence[float]) -> Values:
    """Return values, NaN in the place of infinite ones."""
    found = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def alone(values: Values) -> npt.NDArray[np.bool_]:
    """Return which values have none beside them: a line does not show them."""
    there = np.pad(np.isfinite(values), 1)
    found: npt.NDArray[np.bool_] = there[1:-1] & ~there[:-2] & ~there[2:]
    return found


def legend_label(series: Series) -> str:
    """Return what the legend says; matplotlib leaves out what begins with an underscore."""
    label = shown(series.label, 28)
    return f" {label}" if label.startswith("_") else label


def shown(text: str, limit: int) -> str:
    """Return text that is drawn as it is: no formula in it, and a box for each letter that the font lacks."""
    letters = (letter if ord(letter) in _letters() else "□" for letter in one_line(text, limit))
    return "".join(letters).replace("$", r"\$")


@cache
def _letters() -> frozenset[int]:
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return frozenset(get_font(font).get_charmap())
