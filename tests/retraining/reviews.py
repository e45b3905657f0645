"""A review as a retrain of the Rossmann ensemble gives it, an empty one, and one whose every text is hostile."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from include.retraining.review.report import Bars, Chart, Item, Lines, Review, Series, Table, Verdict
from tests.hostile import HOSTILE

MADE = datetime(2026, 11, 26, 3, 12, tzinfo=UTC)
DAYS = tuple((date(2015, 6, 20) + timedelta(days=day)).isoformat() for day in range(42))
CANDIDATE, LIVE = "Version 12 (candidate)", "Version 9 (Production)"
MANY = 12


def example_review() -> Review:
    """A candidate that is better, with two warnings and a check that could not be made."""
    return Review(
        model="rossmann-ensemble",
        version=12,
        live=9,
        headline="Better than Production: RMSPE 0.0949 instead of 0.0980 on the same rows, a difference of −0.0031 "
        "(95 % interval −0.0047 to −0.0014).",
        rows="Both were scored on 38,604 rows that neither was trained on: 1,115 stores, 20 June to 31 July 2015, "
        "open days with sales.",
        items=_items(),
        made=MADE,
        facts={
            "Data version": "7c1e5a2 (sales up to 2015-07-31)",
            "Training ends": "2015-07-31",
            "Holdout": "2015-06-20 to 2015-07-31",
            "Code commit": "e2f0338",
            "Weights": "lightgbm 0.42, xgboost 0.35, catboost 0.23",
            "Triggered by": "schedule",
            "Airflow run": "scheduled__2026-11-26T01:00:00+00:00",
            "Note": "first run with the school holidays of the new states",
        },
    )


def empty_review() -> Review:
    """A first version, of which nothing is known."""
    return Review("demand", 1, None, "There is nothing to compare with.", "No rows were scored.", (), MADE)


def first_review() -> Review:
    """A first version without warnings, charts and Production."""
    items = (
        Item("gate", "Error below the gate", Verdict.PASS, "RMSPE 0.0949 is below 0.1000."),
        Item("better", "Better than Production", Verdict.NONE, "Nothing is in Production yet."),
    )
    return replace(empty_review(), items=items, facts={"Data version": "7c1e5a2"})


def blocked_review() -> Review:
    """A candidate that the review holds back."""
    review = example_review()
    failed = "RMSPE 0.1034 is not below 0.1000, the threshold of the gate."
    items = [
        replace(item, verdict=Verdict.FAIL, sentence=failed) if item.key == "gate" else item for item in review.items
    ]
    headline = "Worse than Production: RMSPE 0.1034 instead of 0.0980, a difference of +0.0054."
    return replace(review, items=items, headline=headline)


def hostile_review() -> Review:
    """The example with every text replaced by one that somebody typed in to do harm."""
    texts = list(HOSTILE.values())

    def evil(place: int) -> str:
        return " ".join([*texts[place % len(texts) :], *texts[: place % len(texts)]])

    def series(found: tuple[Series, ...]) -> tuple[Series, ...]:
        return tuple(replace(one, label=evil(place)) for place, one in enumerate(found))

    def chart(found: Chart) -> Chart:
        found = replace(found, name=evil(1), title=evil(2), y_label=evil(3), series=series(found.series))
        if isinstance(found, Bars):
            found = replace(found, groups=tuple(evil(place) for place in range(len(found.groups))))
        return found

    def table(found: Table) -> Table:
        head = tuple(evil(place) for place in range(len(found.head)))
        rows = tuple(tuple(evil(place + 1) for place in range(len(row))) for row in found.rows)
        return replace(found, head=head, rows=rows, note=evil(4))

    def item(found: Item, place: int) -> Item:
        return Item(
            evil(place),
            evil(place + 1),
            found.verdict,
            evil(place + 2),
            tuple(table(one) for one in found.tables),
            tuple(chart(one) for one in found.charts),
        )

    review = example_review()
    return replace(
        review,
        model=evil(0),
        headline=evil(1),
        rows=evil(2),
        items=[item(one, place) for place, one in enumerate(review.items)],
        facts={evil(place): evil(place + 1) for place in range(3)},
    )


def _items() -> tuple[Item, ...]:
    return (
        Item(
            "outputs",
            "Predictions complete and finite",
            Verdict.PASS,
            "46,830 of 46,830 rows are predicted, each with a finite number of 0 or more.",
        ),
        Item(
            "plausible",
            "Predictions plausible",
            Verdict.PASS,
            "Closed days are 0 and 99.98 % of predictions lie within what the store ever sold; 9 rows do not.",
            tables=(
                Table(
                    ("Rule", "Rows", "Broken", "Share"),
                    (
                        ("closed days are 0", "8,226", "0", "0.00 %"),
                        ("at most 1.5 times the store's highest day", "38,604", "9", "0.02 %"),
                        ("at least a tenth of the store's median", "38,604", "0", "0.00 %"),
                    ),
                ),
            ),
        ),
        Item(
            "consistent",
            "Same predictions twice and in any order",
            Verdict.PASS,
            "Repeated, shuffled and one by one, the predictions of 500 rows differ by at most 0.000 000 1.",
        ),
        Item(
            "environment",
            "Loads in the serving environment",
            Verdict.PASS,
            "It loads and predicts in a fresh process with the 23 pinned packages that it was registered with.",
        ),
        Item(
            "speed",
            "Fast and small enough",
            Verdict.PASS,
            "46,830 rows in 3.1 s (limit 60 s), 412 MB of memory (limit 4,096 MB), 96 MB of files.",
            tables=(
                Table(
                    ("", "Candidate", "Production", "Limit"),
                    (
                        ("Seconds to load", "1.9", "1.8", "30"),
                        ("Seconds for 46,830 rows", "3.1", "3.0", "60"),
                        ("Highest memory, MB", "412", "405", "4,096"),
                        ("Size of files, MB", "96", "93", "500"),
                    ),
                ),
            ),
        ),
        Item(
            "gate",
            "Error below the gate",
            Verdict.PASS,
            "RMSPE 0.0949 is below 0.1000, the threshold of the gate.",
        ),
        _better(),
        _slices(),
        _bias(),
        Item(
            "recent",
            "Newest days",
            Verdict.NONE,
            "No sales after 31 July 2015 have arrived, so no version could be scored on days after its training.",
        ),
        _horizon(),
        _changes(),
        _drift(),
        Item(
            "quality",
            "Data checks of the pull",
            Verdict.PASS,
            "All 31 checks of the training data passed; 3 stores have gaps, as in version 9.",
        ),
    )


def _better() -> Item:
    random = np.random.default_rng(7)
    weekly = 0.012 * np.sin(np.arange(42) * 2 * np.pi / 7)
    ours = 0.094 + weekly + random.normal(0, 0.006, 42)
    theirs = ours + 0.003 + random.normal(0, 0.003, 42)
    ours[[1, 8, 15]] = theirs[[1, 8, 15]] = np.nan
    return Item(
        "better",
        "Better than Production",
        Verdict.PASS,
        "The error is lower by 0.0031, more than chance explains (interval of 2,000 draws of stores), and lower on "
        "29 of 39 days.",
        tables=(
            Table(
                ("Metric", "Candidate", "Production", "Difference", "95 % interval"),
                (
                    ("RMSPE", "0.0949", "0.0980", "−0.0031", "−0.0047 to −0.0014"),
                    ("Mean absolute error, €", "452", "468", "−16", "−23 to −8"),
                    ("Naive forecast, RMSPE", "0.1621", "0.1621", "0.0000", ""),
                ),
                note="A negative difference is better. The interval is drawn over stores.",
            ),
        ),
        charts=(
            Lines("error-by-day", "Error by day of the holdout", DAYS, _pair(ours, theirs), "RMSPE", 0.10),
            Bars(
                "difference",
                "Difference to Production by week",
                tuple(f"week {week}" for week in range(1, 7)),
                (Series("Candidate − Production", "candidate", (-0.005, -0.004, -0.0035, -0.002, -0.003, 0.0004)),),
                "RMSPE, below 0 is better",
                intervals=(
                    tuple(
                        (value - 0.0021, value + 0.0022) for value in (-0.005, -0.004, -0.0035, -0.002, -0.003, 0.0004)
                    ),
                ),
            ),
        ),
    )


def _slices() -> Item:
    random = np.random.default_rng(11)
    states = ("BE", "BW", "BY", "HB,NI", "HE", "HH", "NW", "RP", "SH", "SN", "ST", "TH")
    ours = 0.095 + random.normal(0, 0.008, MANY)
    theirs = ours + random.normal(0.003, 0.003, MANY)
    types = ((0.0961, 0.0994), (0.1212, 0.1243), (0.0928, 0.0961), (0.0907, 0.0935))
    return Item(
        "slices",
        "No group gets clearly worse",
        Verdict.PASS,
        "Of 27 groups, 24 are better and none is worse by more than 0.0050, beyond chance.",
        tables=(
            Table(
                ("Store type", "Rows", "Candidate", "Production", "Difference", "95 % interval"),
                tuple(
                    (name, f"{rows:,}", f"{a:.4f}", f"{b:.4f}", f"{a - b:+.4f}".replace("-", "−"), interval)
                    for name, rows, (a, b), interval in zip(
                        ("a", "b", "c", "d"),
                        (20_890, 698, 5_164, 11_852),
                        types,
                        ("−0.0052 to −0.0012", "−0.0110 to 0.0051", "−0.0059 to −0.0006", "−0.0046 to −0.0009"),
                        strict=True,
                    )
                ),
                marked=frozenset({1}),
                note="Type b has 17 stores, so that its interval is wide.",
            ),
        ),
        charts=(
            Bars(
                "by-store-type",
                "Error by store type",
                ("type a", "type b", "type c", "type d"),
                _pair(np.array([a for a, _ in types]), np.array([b for _, b in types])),
                "RMSPE",
                intervals=(
                    tuple(
                        (a - spread, a + spread)
                        for (a, _), spread in zip(types, (0.002, 0.012, 0.004, 0.003), strict=True)
                    ),
                    tuple(
                        (b - spread, b + spread)
                        for (_, b), spread in zip(types, (0.002, 0.013, 0.004, 0.003), strict=True)
                    ),
                ),
                limit=0.10,
            ),
            Bars("by-state", "Error by state", states, _pair(ours, theirs), "RMSPE", limit=0.10),
        ),
    )


def _bias() -> Item:
    ours, theirs = (0.011, 0.034, 0.008, 0.009, 0.015, 0.006), (0.004, 0.012, 0.002, 0.006, 0.005, 0.003)
    groups = ("type a", "type b", "type c", "type d", "promo", "no promo")
    return Item(
        "bias",
        "Bias overall and by group",
        Verdict.WARN,
        "Predictions are 1.1 % too high (Production 0.4 %); those of store type b 3.4 %, above the limit of 3 %.",
        tables=(
            Table(
                ("Group", "Rows", "Sold, €", "Predicted, €", "Bias", "Bias of Production", "Limit"),
                (
                    ("all", "38,604", "267,912,004", "270,859,036", "+1.1 %", "+0.4 %", "2.0 %"),
                    ("type a", "20,890", "143,204,118", "144,779,363", "+1.1 %", "+0.4 %", "3.0 %"),
                    ("type b", "698", "7,019,245", "7,257,899", "+3.4 %", "+1.2 %", "3.0 %"),
                    ("type c", "5,164", "36,022,902", "36,311,085", "+0.8 %", "+0.2 %", "3.0 %"),
                    ("type d", "11,852", "81,665,739", "82,400,730", "+0.9 %", "+0.6 %", "3.0 %"),
                ),
                marked=frozenset({2}),
                note="Bias: by how much the sum of the predictions is above the sum of the sales.",
            ),
        ),
        charts=(
            Bars(
                "bias",
                "Bias by group",
                groups,
                _pair(np.array(ours), np.array(theirs)),
                "predicted above sold",
                intervals=(tuple((value - 0.004, value + 0.004) for value in ours),),
                limit=0.03,
                percent=True,
            ),
        ),
    )


def _horizon() -> Item:
    random = np.random.default_rng(3)
    ours = 0.085 + np.arange(42) * 0.0004 + random.normal(0, 0.003, 42)
    return Item(
        "horizon",
        "Error over the horizon",
        Verdict.PASS,
        "The error grows from 0.0891 in the first week to 0.1012 in the sixth, less than that of Production.",
        charts=(Lines("horizon", "Error by days ahead", DAYS, _pair(ours, ours * 1.04), "RMSPE"),),
    )


def _changes() -> Item:
    random = np.random.default_rng(5)
    actual = 6_400 + 1_500 * np.sin(np.arange(42) * 2 * np.pi / 14) + random.normal(0, 300, 42)
    actual[[1, 8, 15, 22, 29, 36]] = np.nan
    next_days = tuple((date(2015, 8, 1) + timedelta(days=day)).isoformat() for day in range(42))
    ours = actual * 1.02 + random.normal(0, 120, 42)
    return Item(
        "changes",
        "What changes for consumers",
        Verdict.PASS,
        "The forecast of the next 42 days changes by +0.9 % in all, by more than 20 % for 4 of 1,115 stores.",
        tables=(
            Table(
                ("Store", "Candidate, €", "Production, €", "Change"),
                (
                    ("909", "412,220", "318,004", "+29.6 %"),
                    ("292", "188,431", "149,900", "+25.7 %"),
                    ("622", "201,876", "255,212", "−20.9 %"),
                    ("782", "245,101", "203,908", "+20.2 %"),
                ),
                marked=frozenset({0}),
                note="The stores whose forecast changes most.",
            ),
        ),
        charts=(
            Lines(
                "forecast",
                "Forecast of the mean store, next 42 days",
                next_days,
                (
                    *_pair(ours, ours * 0.99),
                    Series("Sales a year before", "earlier", tuple(actual * 0.94)),
                ),
                "sales of a store, €",
            ),
            Lines(
                "holdout",
                "Mean store in the holdout",
                DAYS,
                (Series("Sales", "actual", tuple(actual)), *_pair(actual * 1.011, actual * 1.004)),
                "sales of a store, €",
            ),
        ),
    )


def _drift() -> Item:
    return Item(
        "drift",
        "Inputs as in the training data of Production",
        Verdict.WARN,
        "1 of 8 inputs moved: competition distance (stability index 0.27, limit 0.20), since 41 stores got a value.",
        tables=(
            Table(
                ("Input", "Stability index", "Limit", "Missing", "Missing before"),
                (
                    ("competition distance", "0.27", "0.20", "0.3 %", "3.9 %"),
                    ("promo", "0.03", "0.20", "0.0 %", "0.0 %"),
                    ("school holiday", "0.02", "0.20", "0.0 %", "0.0 %"),
                    ("state holiday", "0.01", "0.20", "0.0 %", "0.0 %"),
                    ("customers", "0.01", "0.20", "0.0 %", "0.0 %"),
                ),
                marked=frozenset({0}),
                note="Below 0.10 nothing moved; above 0.20 it did.",
            ),
        ),
        charts=(
            Bars(
                "drift",
                "Stability index by input",
                (
                    "competition distance",
                    "promo",
                    "school holiday",
                    "state holiday",
                    "customers",
                    "assortment",
                    "store type",
                    "open",
                ),
                (Series("Candidate", "candidate", (0.27, 0.03, 0.02, 0.01, 0.01, 0.0, 0.0, 0.0)),),
                "population stability index",
                limit=0.20,
            ),
        ),
    )


def _pair(ours: np.ndarray, theirs: np.ndarray) -> tuple[Series, Series]:
    return (
        Series(CANDIDATE, "candidate", tuple(float(value) for value in ours)),
        Series(LIVE, "production", tuple(float(value) for value in theirs)),
    )
