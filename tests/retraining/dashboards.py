"""Nights of the monitoring as pages: a chain of stores with an alarm, and every state in which figures are missing."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from include.retraining.config.monitor import BiasConfig, DriftConfig, ErrorConfig, FlappingConfig, MonitorConfig
from include.retraining.monitor.alarms import Alarm, AlarmState, Request, step
from include.retraining.monitor.page import Dashboard
from include.retraining.monitor.rows import MADE, NAIVE, ORIGIN, PREDICTION, VERSION, Publication
from include.retraining.monitor.scores import Scores, compute_scores
from include.retraining.monitor.signals import Signal
from include.retraining.monitor.watch import Known, watch
from include.retraining.protocol import Columns, Mask, Metric
from tests.hostile import HOSTILE
from tests.retraining.monitored import CHURN, customers, rmspe

END = pd.Timestamp("2026-05-31")
"""Newest day with actuals: the night is the one after it."""
ONE_DAY = pd.Timedelta(days=1)
HISTORY, LIVE_DAYS, STORES, HORIZON = 500, 120, 24, 42
FAULT_DAYS, FAULT = 18, 0.84
"""So long promotions have sold less than before, and that times what they should."""
VALIDATION = {9: 0.1172, 11: 0.1018, 12: 0.0949}
NOISE = {9: 0.095, 11: 0.07, 12: 0.055}
PUBLISHED = (
    Publication(9, END - 180 * ONE_DAY),
    Publication(11, END - 81 * ONE_DAY + pd.Timedelta(hours=4)),
    Publication(12, END - 41 * ONE_DAY + pd.Timedelta(hours=4)),
)
CONFIG = MonitorConfig(
    error=ErrorConfig(windows=(14, 28), worse_by=0.35),
    bias=BiasConfig(windows=(10, 28), limit=0.04, slice_limit=0.08),
    drift=DriftConfig(windows=(14, 28)),
    flapping=FlappingConfig(bad=2, of=5, calm=7),
)
PROPOSAL = (
    "On 41 days that both predicted, version 11 (RMSPE 0.1031) is 9 % better than version 12 in Production (0.1133), "
    "surely by 0.0041: consider to roll back to version 11."
)


class Chain:
    """Sales of a chain of stores, as the Rossmann forecast describes itself."""

    columns = Columns(
        keys=("Store", "Date"),
        actual="Sales",
        time="Date",
        entity="Store",
        slices={"StoreType": "Store type", "Promo": "Promo", "Weekday": "Weekday"},
        inputs={"Open": "Open", "Promo": "Promo"},
    )
    metric = Metric("rmspe", rmspe, label="RMSPE")

    def counts(self, rows: pd.DataFrame) -> Mask:
        return (rows["Sales"] > 0).to_numpy()


CHAIN: Any = Chain()


@dataclass(frozen=True)
class Stored:
    """What lies in the registries."""

    predictions: pd.DataFrame
    actuals: pd.DataFrame


@cache
def stored() -> Stored:
    """Return 120 days of nightly forecasts of three versions, and the actuals, in which promotions sell less lately."""
    random = np.random.default_rng(20260601)
    days = pd.date_range(END - (HISTORY - 1) * ONE_DAY, END + HORIZON * ONE_DAY)
    number, store = (part.ravel() for part in np.meshgrid(np.arange(len(days)), np.arange(STORES), indexing="ij"))
    weekday = days.dayofweek.to_numpy()[number]
    promo = ((days.dayofyear.to_numpy()[number] // 7 % 2 == 0) & (weekday < 5)).astype(int)
    usual = 4200 * (1 + store % 7 / 4) * np.array([1.15, 1, 0.95, 0.97, 1.05, 1.1, 0])[weekday] * np.exp(0.33 * promo)
    true = usual * np.exp(random.normal(0, 0.03, len(days))[number] + random.normal(0, 0.055, len(usual)))
    late = (days[number] > END - FAULT_DAYS * ONE_DAY) & (promo == 1)
    actuals = pd.DataFrame(
        {
            "Store": store + 1,
            "Date": days[number],
            "Sales": np.round(np.where(late, FAULT * true, true)),
            "Open": (weekday != 6).astype(int),
            "Promo": promo,
            "StoreType": np.array(["a", "b", "c", "d"])[store % 4],
            "Weekday": np.array(["1 Mon", "2 Tue", "3 Wed", "4 Thu", "5 Fri", "6 Sat", "7 Sun"])[weekday],
        }
    )
    frames = [_forecasts(usual, days, origin, random) for origin in range(HISTORY - LIVE_DAYS - 1, HISTORY)]
    gap = (actuals["Store"] <= 6) & (actuals["Date"] > END - 32 * ONE_DAY) & (actuals["Date"] <= END - 30 * ONE_DAY)
    there = (actuals["Date"] <= END) & ~gap
    return Stored(pd.concat(frames, ignore_index=True), actuals[there].reset_index(drop=True))


def _forecasts(usual: np.ndarray, days: pd.DatetimeIndex, origin: int, random: np.random.Generator) -> pd.DataFrame:
    """Return what the version that was live in the night after a day predicted."""
    made = days[origin] + ONE_DAY + pd.Timedelta(hours=5)
    version = max((one for one in PUBLISHED if one.since <= made), key=lambda one: one.since).version
    ahead = np.arange(1, min(HORIZON, len(days) - 1 - origin) + 1)
    rows = (origin + ahead)[:, None] * STORES + np.arange(STORES)[None, :]
    spread = NOISE[version] * (1 + 0.35 * ((ahead - 1) // 7) / 5)[:, None]
    return pd.DataFrame(
        {
            "Store": np.tile(np.arange(STORES) + 1, len(ahead)),
            "Date": np.repeat(days[origin + ahead], STORES),
            PREDICTION: (usual[rows] * np.exp(random.normal(0, 1, rows.shape) * spread)).ravel(),
            NAIVE: (usual[rows] * np.exp(random.normal(0, 0.19, rows.shape))).ravel(),
            VERSION: version,
            ORIGIN: days[origin],
            MADE: made,
        }
    )


@cache
def scores() -> Scores:
    """Return the figures of the chain."""
    return compute_scores(stored().predictions, stored().actuals, PUBLISHED, CHAIN, validation=VALIDATION)


def signals_of(night: pd.Timestamp) -> list[Signal]:
    """Return what a night found."""
    known = Known(PUBLISHED, VALIDATION, END - 60 * ONE_DAY)
    predictions, actuals = stored().predictions, stored().actuals
    return watch(
        predictions[predictions[ORIGIN] < night], actuals[actuals["Date"] < night], known, CHAIN, CONFIG, today=night
    )


@cache
def alarmed_dashboard() -> Dashboard:
    """Return the newest of ten nights, after promotions began to sell less."""
    state, signals = AlarmState(), list[Signal]()
    for night in pd.date_range(END - 8 * ONE_DAY, END + ONE_DAY):
        signals = signals_of(night)
        state = step(state, signals, CONFIG, today=night).state
    return Dashboard(
        model="rossmann-ensemble",
        made=datetime(2026, 6, 1, 3, 12, tzinfo=UTC),
        metric=CHAIN.metric,
        live=12,
        gate=0.12,
        scores=scores(),
        published=PUBLISHED,
        validation=VALIDATION,
        signals=signals,
        state=state,
        proposal="",
    )


def rollback_dashboard() -> Dashboard:
    """Return the same night with a rollback that is proposed."""
    return replace(alarmed_dashboard(), proposal=PROPOSAL)


@cache
def quiet_dashboard() -> Dashboard:
    """Return a night before promotions began to sell less."""
    before = END - FAULT_DAYS * ONE_DAY
    night = before + ONE_DAY
    predictions, actuals = stored().predictions, stored().actuals
    predictions, actuals = predictions[predictions[ORIGIN] < night], actuals[actuals["Date"] <= before]
    state = AlarmState()
    for earlier in pd.date_range(night - 7 * ONE_DAY, night):
        signals = signals_of(earlier)
        state = step(state, signals, CONFIG, today=earlier).state
    return replace(
        alarmed_dashboard(),
        scores=compute_scores(predictions, actuals, PUBLISHED, CHAIN, validation=VALIDATION),
        signals=signals,
        state=state,
    )


def unpredicted_dashboard() -> Dashboard:
    """Return a first night: no version, no prediction, no gate."""
    nothing = compute_scores(stored().predictions.iloc[:0], stored().actuals.iloc[:0], [], CHAIN)
    empty = replace(alarmed_dashboard(), scores=nothing, published=(), validation={}, signals=(), state=AlarmState())
    return replace(empty, live=None, gate=None)


def waiting_dashboard() -> Dashboard:
    """Return the second night of a first version: predicted, and no actual has arrived."""
    predictions = stored().predictions
    first = predictions[predictions[ORIGIN] == predictions[ORIGIN].min()]
    published = (Publication(9, pd.Timestamp(first[ORIGIN].min()) + ONE_DAY),)
    nobody = stored().actuals.iloc[:0]
    night = published[0].since + 2 * ONE_DAY
    return replace(
        alarmed_dashboard(),
        live=9,
        scores=compute_scores(first, nobody, published, CHAIN, validation=VALIDATION),
        published=published,
        signals=watch(first, nobody, Known(published, VALIDATION, END), CHAIN, CONFIG, today=night),
        state=AlarmState(),
    )


@cache
def timeless_dashboard() -> Dashboard:
    """Return a classifier without days, whose metric is better the higher it is."""
    predictions, rows = customers(600, skill=1.2, on=END - 3 * ONE_DAY)
    predictions[NAIVE] = 0.3
    published = (Publication(1, pd.Timestamp("2026-01-10")),)
    found = compute_scores(predictions, rows, published, CHURN, validation={1: 0.91})
    known = Known(published, {1: 0.91}, pd.NaT)
    signals = watch(predictions, rows, known, CHURN, CONFIG, today=END + ONE_DAY)
    return Dashboard(
        model="churn",
        made=datetime(2026, 6, 1, 3, 12, tzinfo=UTC),
        metric=CHURN.metric,
        live=1,
        gate=0.85,
        scores=found,
        published=published,
        validation={1: 0.91},
        signals=signals,
        state=step(AlarmState(), signals, CONFIG, today=END + ONE_DAY).state,
        proposal="",
    )


def hostile_dashboard() -> Dashboard:
    """Return the night with every text replaced by one that somebody typed in to do harm."""
    texts, dashboard = list(HOSTILE.values()), rollback_dashboard()

    def evil(place: int) -> str:
        return " ".join([*texts[place % len(texts) :], *texts[: place % len(texts)]])

    signals = [replace(one, subject=evil(place), sentence=evil(place + 1)) for place, one in enumerate(CYCLE)]
    alarms = {one.key: Alarm(one.kind, (("2026-05-31", "bad"),), evil(3), evil(place)) for place, one in
              enumerate(signals)}  # fmt: skip
    slices = dashboard.scores.slices
    names = [pd.Series([evil(place + more) for place in range(len(slices))], dtype=object) for more in (0, 5)]
    named = slices.assign(Slice=names[0], Value=names[1])
    return replace(
        dashboard,
        model=evil(0),
        metric=replace(dashboard.metric, name=evil(1), label=evil(2)),
        scores=replace(dashboard.scores, slices=named),
        signals=signals,
        state=AlarmState(alarms, Request(evil(4), tuple(alarms), tuple(evil(place) for place in range(9)))),
        proposal=evil(6),
    )


CYCLE = [
    Signal(kind, "", END, window, bad, not bad, 0.2, limit, "")
    for kind in ("error", "bias", "drift", "missing", "late")
    for window, bad, limit in ((7, True, 0.1), (None, False, 3.0))
]  # fmt: skip
"""A signal of each kind, bad and calm."""
