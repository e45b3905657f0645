import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest
from PIL import Image

from include.retraining.pages.charts import picture_size, render_chart
from include.retraining.pages.words import alt_text, value_text
from include.retraining.review.page import render_page
from include.retraining.review.report import Bars, Item, Lines, Review, Series, Table, Verdict
from include.retraining.review.summary import consequence, counts, short_result
from tests.hostile import HOSTILE
from tests.retraining.reviews import (
    DAYS,
    blocked_review,
    empty_review,
    example_review,
    first_review,
    hostile_review,
)

LINKS = {"Version 12 in MLflow": "https://mlflow.example/#/models/rossmann-ensemble/versions/12"}
BAD_LINKS = {
    "script": "javascript:alert(1)",
    "data": "data:text/html,<script>alert(1)</script>",
    "relative": "//evil.example",
    "split": "java\nscript:alert(1)",
    "quote": "ftp://x",
    "space": "https://a b",
    "broken": "http://[",
    "none": "",
}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "div", "header", "p", "nav", "a", "h1", "h2", "ul", "li", "dl"),
    *("dt", "dd", "main", "section", "span", "svg", "path", "circle", "figure", "figcaption", "img", "table", "thead"),
    *("tbody", "tr", "th", "td"),
}
EMPTY_TAGS = {"meta", "img", "path", "circle"}


class Parsed(HTMLParser):
    """What a page holds: its tags with their attributes, and the text outside of the style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every element is closed where it was opened"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(example_review(), links=LINKS)


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_page(hostile_review(), links={text: url for text in HOSTILE.values() for url in (text,)} | BAD_LINKS)


def test_every_item_with_its_sentence_tables_and_charts_is_on_the_page(page):
    parsed, review = Parsed(page), example_review()
    text = " ".join(parsed.text.split())
    assert "Version 12 of rossmann-ensemble" in text
    for told in (review.headline, review.rows, "An approval puts it into Production in the place of version 9."):
        assert " ".join(told.split()) in text
    sections = [attributes for attributes in parsed.all("section") if "item" in (attributes["class"] or "").split()]
    assert [section["id"] for section in sections] == [f"item-{item.key}" for item in review.items]
    assert [section["class"] for section in sections] == [f"item card {item.verdict}" for item in review.items]
    for item in review.items:
        assert text.count(" ".join(item.sentence.split())) >= 2, "in the checklist and in its section"
        for table in item.tables:
            for cell in (*table.head, *(cell for row in table.rows for cell in row)):
                assert " ".join(cell.split()) in text
    charts = [chart for item in review.items for chart in item.charts]
    assert [image["alt"].replace("\u00a0", " ") for image in parsed.all("img")] == [alt_text(c) for c in charts]
    for label, fact in review.facts.items():
        assert label in text
        assert fact in text


def test_nothing_is_fetched_and_nothing_runs(page, hostile):
    for text in (page, hostile):
        parsed = Parsed(text)
        assert {tag for tag, _ in parsed.tags} <= TAGS
        assert not re.search(r"url\(|@import|@font-face", text)
        ids = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
        for tag, attributes in parsed.tags:
            assert not {name for name in attributes if name.startswith("on") or name in ("style", "srcset", "target")}
            if "src" in attributes:
                assert tag == "img"
                assert attributes["src"].startswith("data:image/png;base64,")
            if "href" in attributes:
                address = attributes["href"]
                assert tag == "a"
                assert address in LINKS.values() or address.removeprefix("#") in ids
    assert LINKS["Version 12 in MLflow"] in {link["href"] for link in Parsed(page).all("a")}


def test_hostile_text_is_shown_and_nowhere_markup(hostile):
    parsed = Parsed(hostile)
    assert not [sign for sign in ("<script", "<img src=x", "<b>") if sign in hostile.lower()]
    for shown in ("<script>alert(1)</script>", "{{ 7 * 7 }}", "[approve here](javascript:alert(1))", "$(touch pwned)"):
        assert shown in parsed.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", hostile)
    assert len([name for name, _ in parsed.tags if name == "section"]) == 15
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    hostile.encode()


def test_a_megabyte_of_text_does_not_swell_the_page():
    long = "A<b>{{x}}" * 111_112
    item = Item(long, long, Verdict.WARN, long, (Table((long, long), ((long, long),), frozenset({0}), long),))
    review = Review(long, 2, 1, long, long, [item], datetime(2026, 1, 1, tzinfo=UTC), {long: long})
    assert len(render_page(review, links={long: "https://ok.example"})) < 50_000


def test_the_same_review_gives_the_same_page(page):
    assert render_page(example_review(), links=LINKS) == page
    assert len(page) < 1_500_000


def test_what_is_wrong_comes_first_the_worst_at_the_top():
    page = render_page(blocked_review())
    order = ["Error below the gate", "Bias overall and by group", "Inputs as in the training data of Production"]
    places = [page.index(title) for title in order]
    assert places == sorted(places)
    assert places[-1] < page.index('id="checklist"') < page.index('<dl class="facts') < page.index("<main>")
    text = Parsed(page).text
    assert "Blocked" in text[: text.index("Worse than Production")]
    assert "It is held back: version 9 stays in Production." in text
    assert "1 blocked, 2 warnings, 10 pass, 1 not checked" in text


def test_a_verdict_is_told_by_a_word_and_a_sign(page):
    rows = re.findall(r'<tr class="(\w+)"><th scope="row" class="key">', page)
    assert rows == [str(item.verdict) for item in example_review().items]
    for word in ("pass", "warning", "not checked"):
        assert f"</svg>{word}</span>" in page


def test_marked_rows_carry_a_sign(page):
    assert page.count('<tr class="marked"><th scope="row"><span class="name"><span class="pointer" role="img"') == 4


def test_columns_of_words_stand_left_and_numbers_right():
    table = Table(("Input", "Share", "Why"), (("a", "1.2 %", "because 41 stores got a value of it"),))
    item = Item("drift", "Drift", Verdict.PASS, "Fine.", (table,))
    page = render_page(replace(first_review(), items=[item]))
    assert '<th scope="col">Share</th><th scope="col" class="words">Why</th>' in page
    assert '<td>1.2\u00a0%</td><td class="words">because' in page


def test_without_items_charts_and_production():
    page = render_page(empty_review())
    text = Parsed(page).text
    assert "Nothing is in Production yet: an approval puts this version there." in text
    assert "Nothing checked" in text
    assert 'class="badge none"' in page
    assert 'class="first"' not in page
    assert "Made 2026-11-26 03:12 UTC" in text
    assert 'class="badge pass"' in render_page(first_review())


def test_two_items_of_one_key_have_two_anchors():
    items = [
        Item("a b", "One", Verdict.PASS, "1."),
        Item("A-B", "Two", Verdict.PASS, "2."),
        Item("§", "", Verdict.NONE, ""),
    ]
    page = render_page(replace(first_review(), items=items))
    ids = [tag["id"] for tag in Parsed(page).all("section")]
    assert ids == ["checklist", "item-1-a-b", "item-2-a-b", "item-3"]


def test_a_time_of_any_zone_is_shown_in_utc():
    made = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert "Made 2026-06-30 23:30 UTC" in render_page(replace(empty_review(), made=made))


# Pictures


def pixels(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_a_picture_is_the_same_each_time_and_says_nothing_of_its_making():
    chart = example_review().items[6].charts[0]
    png = render_chart(chart)
    assert png == render_chart(chart)
    assert png != render_chart(chart, title=False)
    assert pixels(png) == (1280, 760)
    assert Image.open(io.BytesIO(png)).info.keys() <= {"transparency", "dpi"}


def bars(count: int, name: str = "group", **more) -> Bars:
    values = tuple(0.1 + place / 100 for place in range(count))
    return Bars(
        "b",
        "Bars",
        tuple(f"{name} {place}" for place in range(count)),
        (Series("c", "candidate", values),),
        "y",
        **more,
    )


def test_many_groups_and_long_names_lie_each_with_room():
    assert picture_size(bars(6)) == (640, 380)
    assert picture_size(bars(12))[1] == 394
    assert picture_size(bars(40))[1] == picture_size(bars(1115))[1] == 1038
    assert pixels(render_chart(bars(1115))) == (1280, 2076)
    assert render_chart(bars(3, "a name that is long")) != render_chart(bars(3))


NAN = float("nan")


@pytest.mark.parametrize(
    "chart",
    [
        Lines("l", "No days", (), (), "y"),
        Lines("l", "One day", DAYS[:1], (Series("a", "actual", (1.0,)),), "y", 2.0),
        Lines("l", "Nothing known", DAYS, (Series("a", "earlier", (NAN,) * 42),), "y", NAN),
        Lines("l", "Infinite", DAYS[:3], (Series("a", "candidate", (float("inf"), 1.0, -float("inf"))),), "y"),
        Lines("l", "Over new year", ("2015-12-30", "2016-01-02"), (Series("a", "production", (1.0, 2e9)),), "€"),
        Bars("b", "No groups", (), (), "y"),
        Bars("b", "No series", ("a", "b"), (), "y", limit=0.1),
        bars(3, intervals=(((0.0, 0.2), (NAN, NAN), (0.3, 0.1)),), limit=-0.1, percent=True),
        Bars("b", "$\\frac{1}{0}$", ("$x^2$", "漢字"), (Series("_a$", "candidate", (NAN, 1.0)),), "$\\bad{$"),
        replace(bars(8), series=(*bars(8).series, *bars(8).series)),
    ],
    ids=lambda chart: chart.title,
)
def test_whatever_is_missing_there_is_a_picture(chart, recwarn):
    assert pixels(render_chart(chart))[0] == 1280
    assert alt_text(chart).startswith(chart.title)
    assert not recwarn.list, "no glyph is missing, nothing is computed of nothing"


def test_a_picture_is_told_in_words():
    chart = bars(2, intervals=(((0.05, 0.15), (0.08, 0.2)),), limit=0.12, percent=True)
    assert alt_text(chart) == (
        "Bars (y). c: group 0 10 % (5 % to 15 %), group 1 11 % (8 % to 20 %). The limit is 12 %."
    )
    lines = Lines("l", "Error by day", DAYS[:3], (Series("Version 2", "candidate", (0.1, NAN, 0.3)),), "RMSPE")
    assert alt_text(lines) == "Error by day (RMSPE). 20 Jun 2015 to 22 Jun 2015. Version 2: mean 0.2, from 0.1 to 0.3."
    assert alt_text(bars(30)).endswith("group 11 0.21 and 18 more.")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.09491, "0.0949"),
        (-0.5, "−0.5"),
        (0.0, "0"),
        (8_000, "8000"),
        (12_345, "12.3 k"),
        (2.5e6, "2.5 M"),
        (NAN, "none"),
    ],
)
def test_values_are_short(value, told):
    assert value_text(value) == told


# Words


def test_the_result_says_first_what_is_wrong():
    assert short_result(example_review()) == "2 warnings"
    assert short_result(blocked_review()) == "Blocked"
    assert short_result(empty_review()) == "Nothing checked"
    assert (short_result(first_review()), counts(first_review())) == ("Pass", "1 pass, 1 not checked")
    nothing = [replace(item, verdict=Verdict.NONE) for item in first_review().items]
    unchecked = replace(first_review(), items=nothing)
    assert (short_result(unchecked), counts(unchecked)) == ("Nothing checked", "2 not checked")
    one = replace(first_review(), items=[Item("speed", "Fast", Verdict.WARN, "Slow.")])
    assert (short_result(one), counts(one)) == ("1 warning", "1 warning")


def test_what_an_approval_does():
    review = example_review()
    assert consequence(replace(review, live=12)) == "It is the version in Production."
    assert consequence(replace(blocked_review(), live=None)) == "It is held back."


def test_a_review_is_json():
    assert json.loads(json.dumps(example_review().to_dict(), allow_nan=False))["verdict"] == "warn"
