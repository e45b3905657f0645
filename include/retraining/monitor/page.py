"""The page of the monitoring as one HTML file: is all well with the version in Production, and if not, what to do.

It is made from what a night found, has no script and asks no server for anything.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from include.lifecycle.untrusted_text import one_line
from include.retraining.monitor.dashboard.charts import (
    bias_over_time,
    by_horizon_week,
    by_slice,
    metric_over_time,
    rows_over_time,
)
from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.headline import Card, badge, cards, headline, known_line, tone
from include.retraining.monitor.dashboard.lists import alarm_list, counted, signal_list
from include.retraining.monitor.dashboard.now import now_table
from include.retraining.monitor.dashboard.style import STYLE
from include.retraining.monitor.dashboard.tables import day_table, slice_table, version_table
from include.retraining.pages.figures import Chart, Table
from include.retraining.pages.markup import chart_figure, document, line, link_list, sign, table_figure
from include.retraining.pages.style import SIGNS
from include.retraining.pages.words import moment_text

__all__ = ["Dashboard", "render_dashboard"]


def render_dashboard(dashboard: Dashboard, *, links: Mapping[str, str] | None = None) -> str:
    """Return the page as HTML, always the same for the same night.

    :param dashboard: what the night found; every text is untrusted
    :param links: label and address of pages about the model; addresses that are not http or https are left out
    """
    sections = [section for section in _sections(dashboard) if section.evidence]
    return document(
        f"{badge(dashboard)}: {one_line(dashboard.model, 120)}",
        STYLE,
        [
            _top(dashboard, links or {}),
            _cards(dashboard, {section.key for section in sections}),
            _jump(sections),
            "<main>",
            *map(_section, sections),
            "</main>",
            f'<p class="end">Made {moment_text(dashboard.made)}.</p>',
        ],
    )


@dataclass(frozen=True)
class _Section:
    """A part of the page.

    :param key: its anchor
    :param sentence: plain text below the title
    :param evidence: HTML; a section without any is left out
    """

    key: str
    title: str
    sentence: str
    evidence: str


def _sections(dashboard: Dashboard) -> Iterator[_Section]:
    signals = (
        f"This night: {counted(dashboard)}. Beyond: its limit, and surely. Not sure: beyond it, but that may be chance."
    )
    alarms = "An alarm stays until all of its last windows are calm. ✗ bad, · between, ✓ calm, the newest on the right."
    yield _Section("live", "Live figures", "", _evidence([metric_over_time(dashboard)], first=now_table(dashboard)))
    yield _Section("bias", "Bias and rows", "", _evidence([bias_over_time(dashboard), rows_over_time(dashboard)]))
    yield _Section(
        "parts",
        "Horizon and slices",
        "",
        _evidence([by_horizon_week(dashboard), *by_slice(dashboard)], [slice_table(dashboard)], "slices"),
    )
    yield _Section("alarms", "Alarms", alarms, alarm_list(dashboard))
    yield _Section("signals", "Signals", signals, signal_list(dashboard))
    yield _Section("versions", "Versions", "", _evidence([], [version_table(dashboard)], "versions"))
    yield _Section("days", "Last days", "", _evidence([], [day_table(dashboard)], "days"))


def _evidence(
    charts: Iterable[Chart | None], tables: Iterable[Table | None] = (), title: str = "", *, first: str = ""
) -> str:
    found = [chart_figure(chart) for chart in charts if chart is not None]
    found += [table_figure(table, title) for table in tables if table is not None]
    parts = [part for part in (first, *found) if part]
    return '<div class="evidence">\n' + "\n".join(parts) + "\n</div>" if parts else ""


def _top(dashboard: Dashboard, links: Mapping[str, str]) -> str:
    shown = tone(dashboard)
    sign_of = f'<p class="badge {shown}">{SIGNS[shown]}{line(badge(dashboard))}</p>'
    known = f'<p class="rows">{line(known_line(dashboard), 600)}</p>'
    return (
        f'<header>\n<div class="top"><p class="kicker">Monitoring, {moment_text(dashboard.made)}</p>'
        f"{link_list(links)}\n<h1>{line(dashboard.model, 160)}</h1>{sign_of}</div>\n"
        f'<p class="headline">{line(headline(dashboard), 600)}</p>\n{known}\n'
        "</header>"
    )


def _cards(dashboard: Dashboard, places: set[str]) -> str:
    rows = [_card(card, linked=card.place in places) for card in cards(dashboard)]
    return '<ul class="first" aria-label="Look at these first">\n' + "\n".join(rows) + "\n</ul>" if rows else ""


def _card(card: Card, *, linked: bool) -> str:
    title = line(card.title, 120)
    title = f'<a href="#{card.place}">{title}</a>' if linked else f'<span class="title">{title}</span>'
    since = f' <span class="since">{line(card.since, 60)}</span>' if card.since else ""
    texts = "".join(f"<p>{line(text, 600)}</p>" for text in card.texts if text)
    advice = f'<p class="do">{line(card.advice)}</p>' if card.advice else ""
    return f'<li class="card {card.tone}">{sign(card.tone, card.word)} {title}{since}{texts}{advice}</li>'


def _jump(sections: Iterable[_Section]) -> str:
    shown = "".join(f'<a href="#{section.key}">{section.title}</a>' for section in sections)
    return f'<nav class="jump">{shown}</nav>' if shown else ""


def _section(section: _Section) -> str:
    sentence = f'<p class="sentence">{line(section.sentence, 400)}</p>\n' if section.sentence else ""
    return (
        f'<section class="item card" id="{section.key}">\n<div class="heading"><h2>{section.title}</h2></div>\n'
        f"{sentence}{section.evidence}\n</section>"
    )
