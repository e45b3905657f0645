"""Parts of pages as HTML: no script, nothing that is fetched, and every text shown as text.

A page can be kept as evidence, mailed and served under ``sandbox; default-src 'none'; style-src 'unsafe-inline';
img-src data:``. Every text that it is made from is untrusted (names, notes, tags that somebody edited).
"""

import base64
import html
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from include.lifecycle.untrusted_text import CONTROL, SURROGATES, one_line
from include.retraining.pages.charts import picture_size, render_chart
from include.retraining.pages.figures import Bars, Chart, Table, Verdict
from include.retraining.pages.style import SIGNS
from include.retraining.pages.words import alt_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
UNIT = re.compile(r"(?<=\d) %")
"""Stays with its number."""
_LONGEST_NUMBER = 26
"""Characters: a column with a longer cell holds words."""


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """Return a page.

    :param title: plain text
    :param style: a style sheet
    :param parts: HTML; empty ones are left out
    """
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{line(title, 160)}</title>",
        f"<style>{style}</style>\n</head>\n<body>\n",
        '<div class="page">',
        *parts,
        "</div>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in lines if part)


def line(text: str, limit: int = 300) -> str:
    """Return plain text as HTML, in one line and cut to ``limit`` characters."""
    return UNIT.sub("\u00a0%", html.escape(one_line(text, limit), quote=True))


def link_list(links: Mapping[str, str]) -> str:
    """Return links as HTML; addresses that are not http or https are left out.

    :param links: label and address
    """
    shown = "".join(
        f'<a href="{html.escape(url, quote=True)}" rel="noopener noreferrer">{line(label, 60)}</a>'
        for label, url in links.items()
        if _is_web_address(url)
    )
    return f'<nav class="links">{shown}</nav>'


def sign(verdict: Verdict, word: str) -> str:
    """Return a verdict as a sign and a word."""
    return f'<span class="verdict {verdict}">{SIGNS[verdict]}{word}</span>'


def chart_figure(chart: Chart) -> str:
    """Return a chart as a picture inside the page, with its title above it and told in words."""
    width, height = picture_size(chart)
    data = base64.b64encode(render_chart(chart, title=False)).decode()
    hint = ' <span class="hint">whiskers: interval</span>' if isinstance(chart, Bars) and chart.intervals else ""
    return (
        f'<figure class="chart"><figcaption>{line(chart.title, 120)}{hint}</figcaption>'
        f'<img width="{width}" height="{height}" alt="{line(alt_text(chart), 1500)}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


def table_figure(table: Table, title: str) -> str:
    """Return a table; where it is wider than the screen it is moved alone, and its first column stays.

    :param title: what it is about, for who cannot see it
    """
    words = [
        place > 0 and any(len(row[place]) > _LONGEST_NUMBER for row in table.rows) for place in range(len(table.head))
    ]
    kinds = [' class="words"' if holds else "" for holds in words]
    head = "".join(f'<th scope="col"{kind}>{line(text, 60)}</th>' for text, kind in zip(table.head, kinds, strict=True))
    rows = "\n".join(_row(row, kinds, marked=place in table.marked) for place, row in enumerate(table.rows))
    note = f'<figcaption class="note">{line(table.note, 400)}</figcaption>' if table.note else ""
    return (
        f'<figure class="table"><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Figures: {line(title, 120)}"><table class="numbers"><thead><tr>{head}</tr></thead><tbody>\n'
        f"{rows}\n</tbody></table></div>{note}</figure>"
    )


def _row(row: tuple[str, ...], kinds: list[str], *, marked: bool) -> str:
    pointer = '<span class="pointer" role="img" aria-label="look here first">▶ </span>' if marked else ""
    first, *others = row
    cells = "".join(f"<td{kind}>{line(text, 200)}</td>" for text, kind in zip(others, kinds[1:], strict=True))
    opening = '<tr class="marked">' if marked else "<tr>"
    return f'{opening}<th scope="row"><span class="name">{pointer}{line(first, 120)}</span></th>{cells}</tr>'


def _is_web_address(url: str) -> bool:
    if CONTROL.search(url) or SURROGATES.search(url) or any(letter.isspace() for letter in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
