import io
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from include.retraining.monitor.alarms import Alarm, AlarmState, Request
from include.retraining.monitor.dashboard.charts import (
    bias_over_time,
    by_horizon_week,
    by_slice,
    metric_over_time,
    promotions,
    rows_over_time,
)
from include.retraining.monitor.dashboard.headline import MAX_CARDS, badge, cards, headline, known_line, tone
from include.retraining.monitor.dashboard.lists import counted
from include.retraining.monitor.dashboard.tables import day_table, slice_table, version_table
from include.retraining.monitor.dashboard.texts import compared, found_texts, metric_text, row_texts, share_text
from include.retraining.monitor.page import Dashboard, render_dashboard
from include.retraining.monitor.rows import DAY, Publication
from include.retraining.monitor.scores import METRIC
from include.retraining.pages.charts import render_chart
from include.retraining.pages.figures import Lines, Series, Verdict
from include.retraining.pages.words import alt_text
from tests.hostile import HOSTILE
from tests.retraining.dashboards import (
    CHAIN,
    CYCLE,
    END,
    ONE_DAY,
    PROPOSAL,
    PUBLISHED,
    alarmed_dashboard,
    hostile_dashboard,
    quiet_dashboard,
    rollback_dashboard,
    timeless_dashboard,
    unpredicted_dashboard,
    waiting_dashboard,
)
from tests.retraining.monitored import CHURN
from tests.retraining.test_page import BAD_LINKS, TAGS, Parsed, pixels

LINKS = {"Version 12 in MLflow": "https://mlflow.example/#/models/rossmann-ensemble/versions/12"}
NAN = float("nan")
NIGHTS = {
    "alarm": alarmed_dashboard,
    "quiet": quiet_dashboard,
    "unpredicted": unpredicted_dashboard,
    "waiting": waiting_dashboard,
    "timeless": timeless_dashboard,
}


@pytest.fixture(scope="module")
def page() -> str:
    return render_dashboard(rollback_dashboard(), links=LINKS)


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_dashboard(hostile_dashboard(), links={text: text for text in HOSTILE.values()} | BAD_LINKS)


def words(page: str) -> str:
    return " ".join(Parsed(page).text.replace("\u00a0", " ").split())


def with_alarms(*names: str, request: Request | None = None) -> Dashboard:
    kinds = [name.split(":")[0] for name in names]
    alarms = {name: Alarm(kind, (("2026-05-31", "bad"),), "2026-05-30", f"{name} is bad.") for name, kind in
              zip(names, kinds, strict=True)}  # type: ignore[arg-type]  # fmt: skip
    return replace(quiet_dashboard(), state=AlarmState(alarms, request))


# The page


def test_what_is_wrong_comes_first(page):
    text, night = words(page), rollback_dashboard()
    (name, alarm), *others = night.raised
    assert (name, others) == ("bias: Promo 1", [])
    opened, reason = night.open_request.opened, night.open_request.reasons[0]
    told = [
        f"1 alarm: bias (Promo 1); a retrain was asked for on {opened}; a rollback is proposed",
        "Version 12 is in Production since 2026-04-20. RMSPE over 28 days is 0.1248, 31 % worse than at validation. "
        "The newest actual is of 2026-05-31.",
        f"alarm bias: Promo 1 since {alarm.raised}",
        alarm.sentence,
        "then decide on the retrain's candidate, or roll back",
        PROPOSAL,
        f"open Retrain asked for on {opened}",
        reason,
        "Live figures",
        "RMSPE up to 2026-05-31, lower is better",
        "RMSPE by week of the horizon",
        f"This night: {counted(night)}.",
        "version 12 (now)",
        "2026-05-31 Sun",
    ]
    places = [text.find(one) for one in told]
    assert -1 not in places
    assert places == sorted(places)
    assert page.index('class="badge fail"') < page.index('class="first"') < page.index("<main>")
    assert "<title>1 alarm: rossmann-ensemble</title>" in page


def test_everything_of_the_night_is_on_the_page(page):
    parsed, text, dashboard = Parsed(page), words(page), rollback_dashboard()
    for signal in dashboard.signals:
        assert " ".join(signal.sentence.split()) in text
        found, limit = found_texts(signal, dashboard.metric)
        assert f"Found{found}Limit{limit}" in text.replace("\n", "")
    for table in (slice_table(dashboard), version_table(dashboard), day_table(dashboard)):
        for cell in (*table.head, *(cell for row in table.rows for cell in row)):
            assert cell in text
    charts = [metric_over_time(dashboard), bias_over_time(dashboard), rows_over_time(dashboard)]
    charts += [by_horizon_week(dashboard), *by_slice(dashboard)]
    assert [image["alt"].replace("\u00a0", " ") for image in parsed.all("img")] == [alt_text(chart) for chart in charts]
    assert len(page) < 1_000_000


def test_nothing_is_fetched_and_nothing_runs(page, hostile):
    for text in (page, hostile):
        parsed = Parsed(text)
        assert {tag for tag, _ in parsed.tags} <= TAGS | {"details", "summary", "b"}
        assert not re.search(r"url\(|@import|@font-face", text)
        ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
        assert len(set(ids)) == len(ids)
        for tag, attributes in parsed.tags:
            assert not {name for name in attributes if name.startswith("on") or name in ("style", "srcset", "target")}
            if "src" in attributes:
                assert tag == "img"
                assert attributes["src"].startswith("data:image/png;base64,")
            if "href" in attributes:
                assert tag == "a"
                assert attributes["href"] in LINKS.values() or attributes["href"].removeprefix("#") in ids
    assert LINKS["Version 12 in MLflow"] in {link["href"] for link in Parsed(page).all("a")}


def test_hostile_text_is_shown_and_nowhere_markup(hostile):
    parsed = Parsed(hostile)
    assert not [sign for sign in ("<script", "<img src=x") if sign in hostile.lower()]
    for shown in ("<script>alert(1)</script>", "{{ 7 * 7 }}", "[approve here](javascript:alert(1))", "$(touch pwned)"):
        assert shown in parsed.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", hostile)
    hostile.encode()
    assert len(hostile) < 1_000_000


def test_a_megabyte_of_text_does_not_swell_the_page():
    long = "A<b>{{x}}" * 111_112
    signals = [replace(one, subject=long, sentence=long) for one in CYCLE]
    alarms = {f"{kind}: {long}{kind}": Alarm(kind, (), long, long) for kind in ("error", "bias")}
    night = replace(unpredicted_dashboard(), model=long, signals=signals, proposal=long)
    night = replace(night, metric=replace(night.metric, label=long))
    state = AlarmState(alarms, Request(long, (long,), (long,) * 20))
    assert len(render_dashboard(replace(night, state=state), links={long: "https://ok.example"})) < 50_000


def test_thousands_of_signals_and_alarms_do_not_either():
    signals = [replace(CYCLE[0], subject=f"s {place}", sentence="Bad.") for place in range(3000)]
    alarms = {one.key: Alarm("error", (("2026-05-31", "bad"),), "2026-05-31", "Bad.") for one in signals}
    page = render_dashboard(replace(unpredicted_dashboard(), signals=signals, state=AlarmState(alarms)))
    assert len(page) < 400_000
    assert "3000 alarms: error (s 0), error (s 1), error (s 10), error (s 100) and 2996 more" in words(page)
    assert f"{3000 - MAX_CARDS} more alarms" in words(page)
    assert page.count("The first 200 of 3000.") == 2


@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS)
def test_the_same_night_gives_the_same_page(night):
    assert render_dashboard(night(), links=LINKS) == render_dashboard(night(), links=LINKS)


def test_a_time_of_any_zone_is_shown_in_utc():
    made = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert "Monitoring, 2026-06-30 23:30 UTC" in words(render_dashboard(replace(unpredicted_dashboard(), made=made)))


# The first lines


def test_a_quiet_night_needs_nobody():
    night = quiet_dashboard()
    assert (headline(night), badge(night), tone(night)) == ("No alarm; nothing to do", "No alarm", Verdict.PASS)
    assert list(cards(night)) == []
    page = render_dashboard(night)
    assert 'class="first"' not in page
    assert "RMSPE over 28 days is 0.0825, 14 % better than at validation." in words(page)


def test_alarms_are_told_with_what_became_of_the_retrain():
    asked = Request("2026-06-01", ("error",), ("error is bad.",))
    night = with_alarms("error", "drift", request=asked)
    assert headline(night) == "2 alarms: drift, error; a retrain was asked for on 2026-06-01"
    assert [(card.word, card.title) for card in cards(night)] == [
        ("alarm", "drift"), ("alarm", "error"), ("open", "Retrain"),
    ]  # fmt: skip
    closed = replace(asked, closed="2026-06-03")
    told = headline(with_alarms("error", request=closed))
    assert told == "1 alarm: error; the retrain asked for on 2026-06-01 ended on 2026-06-03"
    assert headline(with_alarms("late")) == "1 alarm: late; no retrain was asked for"
    assert headline(with_alarms(request=closed)) == "No alarm; nothing to do"
    open_only = with_alarms(request=asked)
    assert headline(open_only) == "No alarm; a retrain was asked for on 2026-06-01 and has not ended"
    assert tone(open_only) is Verdict.WARN


def test_every_kind_of_alarm_says_what_to_do():
    night = with_alarms("error", "bias: Promo 1", "drift: Promo", "missing: Store", "late")
    told = {card.title: card.advice for card in cards(night)}
    assert all(told.values())
    assert "Ask who delivers" in told["late"]
    assert [card.place for card in cards(night)] == ["parts", "signals", "parts", "bias", "bias"]


def test_what_is_beyond_its_limit_without_an_alarm_is_no_quiet_night():
    bad = replace(CYCLE[0], kind="drift", subject="Promo")
    night = replace(quiet_dashboard(), signals=[bad, replace(bad, window=28)])
    assert headline(night) == "No alarm; beyond its limit this night, not yet an alarm: drift (Promo)"
    assert (tone(night), night.verdict(bad)) == (Verdict.WARN, Verdict.WARN)
    raised = replace(night, state=AlarmState({"drift: Promo": Alarm("drift", (), "2026-05-31")}))
    assert raised.verdict(bad) is Verdict.FAIL


def test_a_live_figure_that_misses_the_gate_is_no_quiet_night():
    night = replace(quiet_dashboard(), gate=0.08)
    assert headline(night) == "No alarm; RMSPE over 28 days does not meet the gate"
    assert tone(night) is Verdict.WARN
    assert headline(replace(night, gate=None)) == "No alarm; nothing to do"


def test_a_night_that_judged_nothing_is_not_green():
    night = replace(quiet_dashboard(), signals=[])
    assert (headline(night), tone(night)) == ("No alarm, but nothing could be judged", Verdict.NONE)
    assert badge(night) == "Nothing judged yet"


# What is missing


def test_nothing_is_predicted_yet():
    page = render_dashboard(unpredicted_dashboard())
    text = words(page)
    assert "No version is in Production. " in text + " "
    assert "Nothing has been predicted by a version in Production yet." in text
    assert 'class="badge none"' in page
    assert "<img" not in page


def test_no_actual_has_arrived_yet():
    night = waiting_dashboard()
    page = render_dashboard(night)
    text = words(page)
    assert "No actual of a predicted row has arrived yet." in text
    assert "not yet an alarm: late" in text
    assert version_table(night).rows[0][:3] == ("version 9 (now)", "– no actual yet", "0.1172")
    assert {row[1:] for row in day_table(night).rows} == {("– no actual yet", "–", "0", "–", "0 %", "9")}
    assert [chart.name for chart in (metric_over_time(night), rows_over_time(night)) if chart] == ["rows"]


def test_a_model_without_time_and_a_metric_where_higher_is_better():
    night = timeless_dashboard()
    page, row = render_dashboard(night), night.scores.days.iloc[0]
    text = words(page)
    assert metric_over_time(night) is not None
    assert bias_over_time(night) is not None
    arrived = rows_over_time(night)
    assert arrived is not None
    assert [series.label for series in arrived.series] == ["actual arrived"]
    assert by_horizon_week(night) is None
    assert [cells[4:] for cells in day_table(night).rows] == [("–", "100.0 %", "1")]
    assert "AUC up to 2026-05-28, higher is better" in text
    assert f"AUC{row[METRIC]:.3f}" in text
    assert "Gate (above)0.850not met" in text
    assert "Naive forecast0.500live 55 % better" in text
    assert headline(night) == "No alarm; AUC over 28 days does not meet the gate"
    assert known_line(night) == (
        "Version 1 is in Production since 2026-01-10. AUC over 28 days is 0.776, 15 % worse than at validation."
        " The newest actual is of 2026-05-28."
    )
    assert version_table(night).rows[0][1] == "– under 7 days alone"
    assert [chart.title for chart in by_slice(night)] == ["AUC by slice, last 28 days", "Bias by slice, last 28 days"]


def test_a_window_without_a_figure_says_why():
    night = quiet_dashboard()
    rolling = night.scores.rolling.copy()
    newest = rolling[DAY] == rolling[DAY].max()
    gone = ["metric", "bias", "coverage", "naive", "gain", "expected"]
    rolling.loc[newest, ["rows", *gone]] = [0.0] + [NAN] * len(gone)
    text = words(render_dashboard(replace(night, scores=replace(night.scores, rolling=rolling), validation={})))
    assert "RMSPE– no row countswithin limit" in text.replace("– no row counts– no row counts", "– no row counts")
    assert "Validation– none is known– none is known– none is known" in text
    assert "Naive forecast–––" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_figures_are_told_or_why_there_are_none():
    row = {"rows": 0.0, "metric": NAN, "bias": NAN, "coverage": NAN, "arrived": 0.0, "naive": NAN}
    assert row_texts(row, CHAIN.metric)["metric"] == "– no actual yet"
    assert row_texts(row | {"arrived": NAN}, CHAIN.metric)["metric"] == "– nothing predicted"
    assert row_texts(row | {"arrived": 1.0}, CHAIN.metric)["metric"] == "– no row counts"
    some = row_texts(row | {"rows": 3.0, "arrived": 1.0}, CHAIN.metric)
    assert (some["metric"], some["bias"], some["naive"]) == (
        "– cannot be told",
        "– actuals sum to 0",
        "– none is stored",
    )
    assert metric_text(CHAIN.metric, None, "none known") == "– none known"
    assert metric_text(CHAIN.metric, -0.5, "") == "−0.5000"


@pytest.mark.parametrize(
    ("value", "told"), [(0.0123, "+1.2 %"), (-0.2, "−20.0 %"), (0.0, "0 %"), (-0.0001, "0 %"), (NAN, "– why")]
)
def test_shares_have_a_sign(value, told):
    assert share_text(value, "why", signed=True) == told


def test_better_and_worse_follow_the_metric():
    assert compared(CHAIN.metric, 0.12, 0.1) == "20 % worse"
    assert compared(CHURN.metric, 0.9, 0.75) == "20 % better"
    assert compared(CHURN.metric, 0.9, 0.9) == "as good"
    assert compared(CHURN.metric, NAN, 0.9) == compared(CHURN.metric, 0.9, 0.0) == ""


def test_what_a_signal_found_is_in_the_unit_of_its_kind():
    one = CYCLE[0]
    assert found_texts(replace(one, kind="error", value=0.15, limit=0.13), CHAIN.metric) == ("0.1500", "0.1300")
    assert found_texts(replace(one, kind="bias", value=-0.05, limit=0.04), CHAIN.metric) == ("−5.0 %", "±4.0 %")
    assert found_texts(replace(one, kind="drift", value=0.05, limit=0.03), CHAIN.metric) == ("5.0 %", "3.0 %")
    assert found_texts(replace(one, kind="late", value=3.0, limit=2.0), CHAIN.metric) == ("3 days", "2 days")
    assert found_texts(replace(one, kind="missing", value=4.0, limit=1.0), CHAIN.metric) == ("4", "1")
    assert found_texts(replace(one, kind="missing", value=0.2, limit=0.1), CHAIN.metric) == ("20.0 %", "10.0 %")


# Tables and charts


def test_a_version_is_told_by_a_window_that_is_its_own():
    rows = version_table(alarmed_dashboard()).rows
    assert [row[0] for row in rows] == ["version 12 (now)", "version 11", "version 9"]
    assert rows[1] == (
        "version 11", "0.0928", "0.1018", "−0.1 %", "576", "2026-03-11 to 2026-04-20", "28 days up to 2026-04-19",
    )  # fmt: skip
    rolling = alarmed_dashboard().scores.rolling.set_index([DAY, "Window"])
    assert rolling.loc[(pd.Timestamp("2026-04-19"), 28), METRIC] == pytest.approx(0.0928, abs=5e-5)


def test_a_version_of_few_days_has_no_figure_of_its_own():
    night = alarmed_dashboard()
    days = night.scores.days.copy()
    days.loc[days[DAY] > END - 4 * ONE_DAY, "ModelVersion"] = 13
    young = replace(night, live=13, scores=replace(night.scores, days=days))
    assert version_table(young).rows[-1][:3] == ("version 13 (now)", "– under 7 days alone", "– none known")


def test_after_a_rollback_a_version_has_two_times():
    again = (*PUBLISHED, Publication(11, END - 5 * ONE_DAY))
    rows = version_table(replace(alarmed_dashboard(), live=11, published=again)).rows
    assert rows[0][0] == "version 11 (now)"
    assert rows[0][5] == "2026-03-11 to 2026-04-20, 2026-05-26 to now"


def test_slices_beyond_the_limit_of_the_bias_are_marked():
    table = slice_table(alarmed_dashboard())
    assert [table.rows[place][0] for place in table.marked] == ["Promo 1"]
    assert table.note == "Marked: bias of 8 % or more."


def test_charts_show_the_days_from_the_first_prediction_on():
    night = alarmed_dashboard()
    chart = metric_over_time(night)
    assert (chart.days[0], chart.days[-1], len(chart.days)) == ("2026-02-01", "2026-05-31", 120)
    assert [(series.label, series.role) for series in chart.series] == [
        ("28 days", "live"), ("7 days", "recent"), ("validation", "expected"),
    ]  # fmt: skip
    assert (chart.limit, chart.limit_name) == (0.12, "gate")
    assert promotions(night) == (("2025-12-02", "v9"), ("2026-03-11", "v11"), ("2026-04-20", "v12"))
    assert "Marked: v11 on 11 Mar 2026, v12 on 20 Apr 2026. The gate is 0.12." in alt_text(chart)
    bias = bias_over_time(night)
    assert (bias.limit, bias.both_ways) == (0.04, True)
    arrived = dict(zip(chart.days, rows_over_time(night).series[1].values, strict=True))
    assert arrived["2026-04-30"] == pytest.approx(0.75)
    late = replace(CYCLE[0], kind="late", day=END + 6 * ONE_DAY)
    overdue = rows_over_time(replace(night, signals=[late]))
    assert overdue.days[-1] == "2026-06-05"
    assert overdue.series[1].values[-1] == 0


def test_weeks_of_the_horizon_are_those_of_the_live_version_and_the_one_before():
    chart = by_horizon_week(alarmed_dashboard())
    assert [(series.label, series.role) for series in chart.series] == [
        ("version 11", "earlier"),
        ("version 12", "live"),
    ]
    assert chart.groups[0] == "week 1"
    assert len(chart.groups) == 6
    alone = by_horizon_week(replace(alarmed_dashboard(), live=None, published=()))
    assert [series.label for series in alone.series] == ["version 12"]


MARKS = (("2026-01-05", "v1"), ("2026-01-06", "$\\frac{1}{0}$ 漢字"), ("2025-01-01", "v0"), ("2026-01-20", "v3"))


def marked(**more) -> Lines:
    days = tuple(f"2026-01-{day:02}" for day in range(1, 29))
    series = (Series("live", "live", tuple(np.linspace(0.1, 0.4, 28))), Series("few", "recent", (0.2,) * 28))
    return Lines("l", "Marked", days, series, "RMSPE", **more)


def test_events_are_marked_on_a_chart(recwarn):
    plain = render_chart(marked())
    assert plain == render_chart(marked(marks=(("2025-01-01", "v0"),)))
    png = render_chart(marked(marks=MARKS, limit=0.3, limit_name="gate"))
    assert png != plain
    assert pixels(png) == (1280, 760)
    assert png == render_chart(marked(marks=MARKS[::-1], limit=0.3, limit_name="gate"))
    assert alt_text(marked(marks=MARKS)).endswith(
        "Marked: v1 on 5 Jan 2026, $\\frac{1}{0}$ 漢字 on 6 Jan 2026, v3 on 20 Jan 2026."
    )
    crowd = marked(marks=tuple((day, f"v{place}") for place, day in enumerate(marked().days)))
    assert Image.open(io.BytesIO(render_chart(crowd))).size == (1280, 760)
    assert pixels(render_chart(Lines("l", "One day", ("2026-01-05",), (), "y", marks=MARKS))) == (1280, 760)
    assert not recwarn.list


def test_shares_are_drawn_from_0_to_100_and_differences_on_both_sides():
    share, both = marked(percent=True), marked(percent=True, both_ways=True, limit=0.05)
    assert len({render_chart(one) for one in (marked(), share, both)}) == 3
    assert alt_text(share) == (
        "Marked (RMSPE). 1 Jan 2026 to 28 Jan 2026. live: mean 25 %, from 10 % to 40 %. few: mean 20 %, "
        "from 20 % to 20 %."
    )
    assert alt_text(both).endswith("The limit is 5 %.")
