"""Real weeks of a chain of stores for the monitoring to watch: history, a cheap honest forecaster, published versions.

The forecaster: store x weekday x promo median over the 364 days before the origin, with the chain's season a year
before, its cycle of the month and the level of the last six weeks; a new origin every week. A version's validation
figure is the forecaster's own error on the 42 days before it is published, forecast at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from include.retraining.config.monitor import HolidayConfig, MonitorConfig
from include.retraining.monitor.calendar import holidays, odd_days
from include.retraining.monitor.drift import watch_inputs, watch_predictions
from include.retraining.monitor.rows import DAY, MADE, ORIGIN, PREDICTION, VERSION, Publication
from include.retraining.monitor.signals import Signal
from include.retraining.monitor.watch import Known, judge_night
from include.retraining.protocol import Columns, Mask, Metric

YEAR, HORIZON, LEVEL_DAYS, ORIGIN_STEP = 364, 42, 42, 7
FORTNIGHT, MONTH_CELLS = 14, 38
START = pd.Timestamp("2014-07-01")
ONE_DAY = pd.Timedelta(days=1)
CONFIG = MonitorConfig(holidays=HolidayConfig(column="StateHoliday"))


def rmspe(actual: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None) -> float:
    error = ((actual - prediction) / actual) ** 2
    return float(np.sqrt(np.average(error, weights=weight)))


class StoreSales:
    """As much of the model as the monitoring asks for."""

    columns = Columns(
        keys=("Store", "Date"),
        actual="Sales",
        time="Date",
        entity="Store",
        slices={"Promo": "promo", "StoreType": "store type", "Assortment": "assortment"},
        inputs={"Open": "open", "Promo": "promo", "StateHoliday": "state holiday", "SchoolHoliday": "school holiday"},
    )
    metric = Metric("rmspe", rmspe, label="RMSPE")

    def counts(self, rows: pd.DataFrame) -> Mask:
        return (rows["Sales"] > 0).to_numpy()


MODEL: Any = StoreSales()


@dataclass
class Chain:
    """Sales and schedule; arrays are (stores, days), NaN or '' where a row is missing."""

    stores: np.ndarray
    days: pd.DatetimeIndex
    values: dict[str, np.ndarray]
    table: pd.DataFrame
    known_after: np.ndarray | None = None
    """(days,) after how many days the actuals of each day are delivered; None: the next day."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        file = next(path for path in (folder / "train.csv", folder / "train.csv.xz") if path.exists())
        rows = pd.read_csv(file, dtype={"StateHoliday": str}, parse_dates=["Date"])
        stores, days = np.sort(rows["Store"].unique()), pd.date_range(rows["Date"].min(), rows["Date"].max())
        where = np.searchsorted(stores, rows["Store"]), (rows["Date"] - days[0]).dt.days.to_numpy()
        values = {}
        for name in ("Sales", "Open", "Promo", "SchoolHoliday"):
            values[name] = np.full((len(stores), len(days)), np.nan)
            values[name][where] = rows[name]
        values["StateHoliday"] = np.full((len(stores), len(days)), "", dtype="<U1")
        values["StateHoliday"][where] = rows["StateHoliday"]
        return cls(stores, days, values, pd.read_csv(folder / "store.csv").set_index("Store"))

    @property
    def complete(self) -> np.ndarray:
        return np.isfinite(self.values["Sales"]).mean(axis=1) > 0.99

    def part(self, stores: np.ndarray) -> "Chain":
        return replace(self, stores=self.stores[stores], values={n: v[stores] for n, v in self.values.items()})

    def with_values(self, **values: np.ndarray) -> "Chain":
        return replace(self, values={**self.values, **values})

    def index(self, day: pd.Timestamp) -> int:
        return int((day - self.days[0]).days)

    @cached_property
    def log_sales(self) -> np.ndarray:
        sales = self.values["Sales"]
        return np.log(np.where((self.values["Open"] == 1) & (sales > 0), sales, np.nan))

    @cached_property
    def cells(self) -> np.ndarray:
        """(days,) weekday and promo, which is the chain's."""
        promo = np.nan_to_num(np.nanmedian(self.values["Promo"], axis=0))
        return (self.days.day_of_week.to_numpy() * 2 + promo).astype(np.intp)

    @cached_property
    def month_days(self) -> np.ndarray:
        """(days,) day of the month; the last six by how many are left."""
        day, left = self.days.day.to_numpy(), np.asarray(self.days.days_in_month - self.days.day)
        return np.where(left <= 5, 32 + left, day)

    @cached_property
    def near_holiday(self) -> np.ndarray:
        """(days,) whether most stores have a holiday within three days."""
        holiday = (self.values["StateHoliday"] != "0").mean(axis=0) > 0.5
        return np.convolve(holiday, np.ones(7), mode="same") > 0


def forecast(chain: Chain, origin: int, horizon: int) -> np.ndarray:
    """Return (stores, horizon) log sales from what is known at the end of day ``origin``."""
    first = origin - YEAR + 1
    start = max(first - LEVEL_DAYS, 0)
    known, ahead = slice(start, origin + 1), np.arange(origin + 1, origin + 1 + horizon)
    log_sales, cells, near = chain.log_sales[:, known], chain.cells, chain.near_holiday[known]
    usual = _usual(log_sales[:, first - start :], cells[first : origin + 1])
    rest = log_sales - usual[:, cells[known]]
    some = np.isfinite(rest).mean(axis=0) > 0.3
    common = np.where(some & ~near, np.nanmedian(rest, axis=0), np.nan)
    month = _month_effect(common - _smooth(common), chain.month_days[known])
    plain = common - month[chain.month_days[known]]
    season, level = _smooth(plain), float(np.nanmedian(plain[-LEVEL_DAYS:]))
    past = float(np.nanmedian(plain[: first - start])) if first > start else level
    store = np.nan_to_num(np.nanmedian(rest[:, -LEVEL_DAYS:], axis=1)) - np.nanmedian(common[-LEVEL_DAYS:])
    aligned = np.maximum(ahead - YEAR - start, 0)
    day = 0.7 * (season[aligned] - past) + month[chain.month_days[ahead]] + 0.6 * level
    return usual[:, cells[ahead]] + day[None, :] + 0.6 * store[:, None]


def _usual(log_sales: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return (stores, cells) medians; a store without such days gets its own."""
    own = np.nanmedian(log_sales, axis=1)
    found = np.repeat(own[:, None], 14, axis=1)
    for cell in np.unique(cells):
        median = np.nanmedian(log_sales[:, cells == cell], axis=1)
        found[:, cell] = np.where(np.isfinite(median), median, own)
    return found


def _smooth(days: np.ndarray) -> np.ndarray:
    """Return the running median of two weeks."""
    return pd.Series(days).rolling(15, center=True, min_periods=3).median().bfill().ffill().to_numpy()


def _month_effect(rest: np.ndarray, month_days: np.ndarray) -> np.ndarray:
    """Return what a day of the month adds, drawn towards 0: wages are paid at its end."""
    known = np.isfinite(rest)
    count = np.bincount(month_days[known], minlength=MONTH_CELLS)
    return np.bincount(month_days[known], weights=rest[known], minlength=MONTH_CELLS) / (count + 2)


def forecasts(chain: Chain, since: int, until: int) -> np.ndarray:
    """Return (stores, days) sales of the days from ``since`` up to ``until``, each from the newest weekly origin."""
    found = np.full(chain.values["Sales"].shape, np.nan)
    for origin in range(since - 1, until - 1, ORIGIN_STEP):
        horizon = min(ORIGIN_STEP, until - 1 - origin)
        found[:, origin + 1 : origin + 1 + horizon] = forecast(chain, origin, horizon)
    return np.where(chain.values["Open"] == 0, 0.0 * found, np.exp(found))


@dataclass
class Watch:
    """A chain with forecasts and published versions: what a row of nights sees."""

    chain: Chain
    since: int
    """Position of the first day with a forecast, which is the day after an origin."""
    predicted: np.ndarray
    published: list[Publication]
    validation: dict[int, float]
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    watched: list[Any] = field(default_factory=list)
    odd: pd.DatetimeIndex = field(default_factory=lambda: pd.DatetimeIndex([]))

    def nights(self, start: pd.Timestamp, count: int | None = None) -> Iterator[pd.Timestamp]:
        """Nights from ``start`` on: each knows the day before it."""
        last = self.chain.days[-1] + ONE_DAY
        yield from pd.date_range(start, last if count is None else min(last, start + count * ONE_DAY))

    def judge(self, today: pd.Timestamp) -> list[Signal]:
        """Return the signals of a night."""
        days = self.rows[DAY].to_numpy()
        first, last = np.searchsorted(days, [(today - 75 * ONE_DAY).to_datetime64(), today.to_datetime64()])
        live = self.rows.iloc[first:last].copy()
        if self.chain.known_after is not None:
            delay = self.chain.known_after[(live[DAY] - self.chain.days[0]).dt.days.to_numpy()]
            live.loc[live[DAY] + pd.to_timedelta(delay, unit="D") > today, "Sales"] = np.nan
        published = [one for one in self.published if one.since <= today]
        known = Known(published, self.validation, published[-1].since - 2 * ONE_DAY)
        actuals = live[live["Sales"].notna()]
        return judge_night(live, actuals, self.watched, known, MODEL, CONFIG, today=today, odd=self.odd)


def make_watch(chain: Chain, random: np.random.Generator, start: pd.Timestamp = START) -> Watch:
    """Return nights from ``start`` on; a version is published every three to ten weeks."""
    since = chain.index(start) - 90
    published: list[Publication] = []
    validation, day = {}, start - int(random.integers(10, 40)) * ONE_DAY
    while day <= chain.days[-1]:
        version, origin = len(published) + 1, chain.index(day) - 1 - HORIZON
        log = forecast(chain, origin, HORIZON)
        truth = chain.log_sales[:, origin + 1 : origin + 1 + HORIZON]
        validation[version] = float(np.sqrt(np.nanmean((1 - np.exp(log - truth)) ** 2)))
        published.append(Publication(version, day))
        day += int(random.integers(21, 71)) * ONE_DAY
    return completed(Watch(chain, since, forecasts(chain, since, len(chain.days)), published, validation))


def completed(watch: Watch) -> Watch:
    """Fill in rows and profiles."""
    chain = watch.chain
    days = np.tile(chain.days.to_numpy(), (len(chain.stores), 1)).T.ravel()
    rows = pd.DataFrame({"Store": np.tile(chain.stores, len(chain.days)), "Date": days})
    for name, values in chain.values.items():
        rows[name] = values.T.ravel()
    for name in ("StoreType", "Assortment"):
        rows[name] = np.tile(chain.table.loc[chain.stores, name].to_numpy(), len(chain.days))
    rows[PREDICTION] = watch.predicted.T.ravel()
    since = np.array([one.since.to_datetime64() for one in watch.published])
    position = np.maximum(np.searchsorted(since, days, side="right") - 1, 0)
    rows[VERSION] = np.array([one.version for one in watch.published])[position]
    rows[ORIGIN], rows[MADE], rows[DAY] = rows["Date"] - ONE_DAY, pd.NaT, rows["Date"]
    delivered = rows[rows["Sales"].notna()]
    odd = odd_days(delivered, MODEL.columns, CONFIG.holidays)
    ours = watch_predictions(rows[PREDICTION], rows[DAY], delivered, MODEL.columns, CONFIG.drift, odd)
    free = holidays(delivered, MODEL.columns, CONFIG.holidays)
    watched = [*watch_inputs(delivered, MODEL.columns, CONFIG.drift, free), *([ours] if ours else [])]
    rows = rows[rows[PREDICTION].notna() | rows["Sales"].notna()].reset_index(drop=True)
    return replace(watch, rows=rows, watched=watched, odd=odd)


def resampled(watch: Watch, random: np.random.Generator) -> Watch:
    """Return the same months with the forecaster's real errors of other fortnights, those with holidays left in place.

    A fortnight gets the errors (all stores, all days together) of one with the same promo days.
    """
    chain, days = watch.chain, len(watch.chain.days)
    with np.errstate(divide="ignore"):
        error = chain.log_sales - np.log(watch.predicted)
    promo, near = chain.cells % 2, chain.near_holiday
    first = watch.since + (7 - chain.days[watch.since].day_of_week) % 7
    starts = [start for start in range(first, days - FORTNIGHT + 1, 7) if not near[start : start + FORTNIGHT].any()]
    source, start = np.arange(days), first
    while start <= days - FORTNIGHT:
        if start in starts:
            block = promo[start : start + FORTNIGHT]
            alike = [other for other in starts if (promo[other : other + FORTNIGHT] == block).all()]
            chosen = int(random.choice(alike))
            source[start : start + FORTNIGHT] = np.arange(chosen, chosen + FORTNIGHT)
        start += FORTNIGHT if start in starts else 7
    drawn = error[:, source]
    drawn = np.where(np.isfinite(drawn), drawn, np.nan_to_num(np.nanmedian(drawn, axis=0)))
    later, sales = np.arange(days) >= watch.since, chain.values["Sales"]
    sales = np.where((sales > 0) & later, watch.predicted * np.exp(drawn), sales)
    changed = chain.with_values(Sales=np.round(sales))
    validation = {}
    for one in watch.published:
        last = chain.index(one.since)
        part = slice(max(last - HORIZON, watch.since), last)
        away = 1 - watch.predicted[:, part] / np.exp(changed.log_sales[:, part])
        validation[one.version] = float(np.sqrt(np.nanmean(away**2)))
    return completed(replace(watch, chain=changed, validation=validation))
