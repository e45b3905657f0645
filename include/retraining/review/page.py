"""The review of a candidate as one HTML file that a person decides from.

It has no script and asks no server for anything; every text of a review is untrusted, and shown as text (``markup``).
"""

import html
import re
from collections.abc import Mapping

from include.lifecycle.untrusted_text import one_line, shorten, storable
from include.retraining.pages.markup import chart_figure, document, line, link_list, sign, table_figure
from include.retraining.pages.style import SIGNS, STYLE
from include.retraining.pages.words import moment_text
from include.retraining.review.report import Item, Review, Verdict
from include.retraining.review.summary import WORDS, consequence, counts, short_result, shown_verdict


def render_page(review: Review, *, links: Mapping[str, str] | None = None, about: tuple[str, str] | None = None) -> str:
    """Return the page as HTML, always the same for the same review.

    :param links: label and address of pages about the version; addresses that are not http or https are left out
    :param about: what the page is and a sentence on what follows from it; by default a review that is decided from
    """
    anchors = _anchors(review)
    title = f"Version {review.version} of {one_line(review.model, 120)}"
    parts = [
        _top(review, title, links or {}, *(about or ("Review of a candidate", consequence(review)))),
        _first(review, anchors),
        _checklist(review, anchors),
        _facts(review),
        "<main>",
        *(_section(item, anchor) for item, anchor in zip(review.items, anchors, strict=True)),
        "</main>",
        f'<p class="end">Made {moment_text(review.made)}. The digest of this review is in the promotion ledger.</p>',
    ]
    return document(f"{short_result(review)}: {title}", STYLE, parts)


def _top(review: Review, title: str, links: Mapping[str, str], kind: str, lead: str) -> str:
    tone = shown_verdict(review)
    badge = f'<p class="badge {tone}">{SIGNS[tone]}{line(short_result(review))}</p>'
    return (
        f'<header>\n<div class="top"><p class="kicker">{line(kind, 60)}, '
        f"{moment_text(review.made)}</p>{link_list(links)}\n<h1>{line(title, 160)}</h1>{badge}</div>\n"
        f'<p class="lead ask">{line(lead, 300)}</p>\n'
        f'<p class="headline">{line(review.headline, 600)}</p>\n<p class="rows">{line(review.rows, 600)}</p>\n'
        "</header>"
    )


def _first(review: Review, anchors: list[str]) -> str:
    """Return what failed or is warned of, the worst first."""
    rows = [
        f'<li class="card {item.verdict}">{_verdict(item.verdict)}<a href="#{anchor}">{line(item.title, 120)}</a>'
        f"<p>{line(item.sentence, 600)}</p></li>"
        for verdict in (Verdict.FAIL, Verdict.WARN)
        for item, anchor in zip(review.items, anchors, strict=True)
        if item.verdict is verdict
    ]
    return '<ul class="first" aria-label="Look at these first">\n' + "\n".join(rows) + "\n</ul>" if rows else ""


def _checklist(review: Review, anchors: list[str]) -> str:
    rows = "\n".join(
        f'<tr class="{item.verdict}"><th scope="row" class="key"><a href="#{anchor}">{line(item.title, 120)}</a></th>'
        f'<td class="said">{_verdict(item.verdict)}</td><td class="found">{line(item.sentence, 600)}</td></tr>'
        for item, anchor in zip(review.items, anchors, strict=True)
    )
    head = "<tr><th>Check</th><th>Verdict</th><th>What was found</th></tr>"
    return (
        '<section class="overview card" id="checklist">\n<div class="heading"><h2>Checklist</h2>'
        f'<p class="tally">{line(counts(review))}</p></div>\n'
        f'<table class="checks"><thead>{head}</thead><tbody>\n{rows}\n</tbody></table>\n</section>'
    )


def _facts(review: Review) -> str:
    if not review.facts:
        return ""
    rows = "\n".join(
        f"<div><dt>{line(label, 80)}</dt><dd>{html.escape(shorten(storable(text).strip(), 500))}</dd></div>"
        for label, text in review.facts.items()
    )
    return f'<dl class="facts card">\n{rows}\n</dl>'


def _section(item: Item, anchor: str) -> str:
    evidence = "\n".join([*map(chart_figure, item.charts), *(table_figure(table, item.title) for table in item.tables)])
    return (
        f'<section class="item card {item.verdict}" id="{anchor}">\n'
        f'<div class="heading"><h2>{line(item.title, 120)}</h2>{_verdict(item.verdict)}'
        f'<a class="back" href="#checklist">Checklist ↑</a></div>\n'
        f'<p class="sentence">{line(item.sentence, 600)}</p>\n'
        + (f'<div class="evidence">\n{evidence}\n</div>\n' if evidence else "")
        + "</section>"
    )


def _verdict(verdict: Verdict) -> str:
    return sign(verdict, WORDS[verdict])


def _anchors(review: Review) -> list[str]:
    """Return an id for each item that nothing else on the page has."""
    keys = [re.sub(r"[^a-z0-9]+", "-", item.key.lower()).strip("-")[:40] for item in review.items]
    return [
        f"item-{key}" if key and keys.count(key) == 1 else f"item-{number}-{key}".rstrip("-")
        for number, key in enumerate(keys, start=1)
    ]
