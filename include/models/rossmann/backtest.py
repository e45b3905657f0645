"""The backtest's figures: every forecaster at every forecast origin, over all, by slice, and how sure they are."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from include.models.rossmann.forecaster import Panel
from include.models.rossmann.metrics import (
    log_deviation,
    naive_forecast,
    rmspe,
    rmspe_without_worst,
    seasonal_naive_forecast,
)
from include.retraining.bootstrap import Interval, bootstrap

FloatArray = npt.NDArray[np.float64]

ENSEMBLE, EQUAL, NAIVE, SEASONAL = "ensemble", "equal weights", "naive", "seasonal naive"
SLICES = {
    "week": "week of the horizon",
    "StoreType": "store type",
    "Assortment": "assortment",
    "Promo": "promo",
    "StateHoliday": "state holiday",
    "SchoolHoliday": "school holiday",
    "weekday": "weekday",
}
"""Columns by which errors are split, and what they are called."""


@dataclass(frozen=True)
class Backtest:
    """Forecasts of all scored rows, and the names of who made them.

    ``rows``: fold, origin (the day before the fold), Store, Date, sales (euros), the columns of ``SLICES`` and one
    column of euros for each of ``forecasters``.
    """

    rows: pd.DataFrame
    boosters: tuple[str, ...]

    @property
    def forecasters(self) -> tuple[str, ...]:
        """The ensemble, the boosters, equal weights, and what is to be beaten."""
        return (ENSEMBLE, *self.boosters, EQUAL, NAIVE, SEASONAL)

    @cached_property
    def by_origin(self) -> pd.DataFrame:
        """The errors of each forecaster at each origin, the oldest origin first.

        Columns: origin, end, forecaster, rows, rmspe, rmspe_without_worst, bias (share), log_deviation.
        """
        return pd.DataFrame(
            [
                {"origin": origin, "end": rows["Date"].max(), "forecaster": name, **errors(rows, name)}
                for origin, rows in self.rows.groupby("origin", sort=True)
                for name in self.forecasters
            ]
        )

    @cached_property
    def mean(self) -> pd.DataFrame:
        """The mean over the origins of each forecaster's errors, indexed by forecaster."""
        columns = ["rmspe", "rmspe_without_worst", "bias", "log_deviation"]
        return self.by_origin.groupby("forecaster", sort=False)[columns].mean()

    @property
    def best_booster(self) -> str:
        """The booster with the lowest mean RMSPE."""
        mean = self.mean["rmspe"]
        return min(self.boosters, key=lambda name: (mean[name], name))

    @cached_property
    def by_slice(self) -> pd.DataFrame:
        """The errors of each forecaster by slice, all origins together.

        Columns: slice, value, forecaster, rows, rmspe, rmspe_without_worst, bias, log_deviation.
        """
        return pd.DataFrame(
            [
                {"slice": column, "value": str(value), "forecaster": name, **errors(rows, name)}
                for column in SLICES
                for value, rows in self.rows.groupby(column, sort=True)
                for name in self.forecasters
            ]
        )

    def gain(self, over: str, *, seed: int, replicates: int = 1000) -> Interval:
        """Return by how much the ensemble's RMSPE is lower than another's, all origins together, by days drawn."""
        sales, days = self.rows["sales"].to_numpy(), pd.factorize(self.rows["Date"])[0]
        ours, theirs = self.rows[ENSEMBLE].to_numpy(), self.rows[over].to_numpy()

        def statistic(weight: FloatArray) -> float:
            return rmspe(sales, theirs, weight) - rmspe(sales, ours, weight)

        return bootstrap(statistic, [days], replicates=replicates, seed=seed)

    def interval(self, origin: pd.Timestamp, *, seed: int, replicates: int = 1000) -> Interval:
        """Return the ensemble's RMSPE at an origin with its interval, by days drawn."""
        rows = self.rows[self.rows["origin"] == origin]
        sales, forecast = rows["sales"].to_numpy(), rows[ENSEMBLE].to_numpy()
        days = pd.factorize(rows["Date"])[0]
        return bootstrap(lambda weight: rmspe(sales, forecast, weight), [days], replicates=replicates, seed=seed)


def errors(rows: pd.DataFrame, name: str) -> dict[str, float]:
    """Return the errors of a forecaster on some rows: rmspe, rmspe_without_worst, bias, log_deviation.

    ``bias`` is the share by which all forecasts together are too high; ``log_deviation`` the standard deviation of the
    log error, errors beyond one half cut there: it tells models apart that differ by less than a handful of odd rows.
    """
    sales, forecast = rows["sales"].to_numpy(), rows[name].to_numpy()
    return {
        "rows": len(rows),
        "rmspe": rmspe(sales, forecast),
        "rmspe_without_worst": rmspe_without_worst(sales, forecast),
        "bias": float(forecast.sum() / sales.sum() - 1.0),
        "log_deviation": log_deviation(np.log(np.maximum(forecast, 1e-9) / sales)),
    }


def with_baselines(rows: pd.DataFrame, panel: Panel, horizon: int) -> pd.DataFrame:
    """Return the rows with the naive and the seasonal naive forecast of each origin.

    :param rows: origin, Store, Date
    :param horizon: days of a fold
    """
    store = np.searchsorted(panel.stores.store, rows["Store"].to_numpy())
    day, origins = (rows[name].to_numpy().astype("datetime64[D]") for name in ("Date", "origin"))
    naive, seasonal = np.empty(len(rows)), np.empty(len(rows))
    for origin in np.unique(origins):
        here = origins == origin
        ahead = (day[here] - origin).astype(np.int64) - 1
        table = naive_forecast(panel, origin, horizon)
        naive[here] = table[store[here], ahead]
        seasonal[here] = seasonal_naive_forecast(panel, origin, horizon, table)[store[here], ahead]
    return rows.assign(**{NAIVE: naive, SEASONAL: seasonal})


def with_slices(rows: pd.DataFrame, train: pd.DataFrame, stores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the columns of ``SLICES``.

    :param rows: origin, Store, Date
    :param train: Store, Date, Promo, StateHoliday, SchoolHoliday
    :param stores: Store, StoreType, Assortment
    """
    schedule = train[["Store", "Date", "Promo", "StateHoliday", "SchoolHoliday"]]
    found = rows.merge(schedule, on=["Store", "Date"], how="left", validate="one_to_one")
    found = found.merge(stores[["Store", "StoreType", "Assortment"]], on="Store", how="left", validate="many_to_one")
    days = (found["Date"] - found["origin"]).dt.days
    return found.assign(week=(days - 1) // 7 + 1, weekday=found["Date"].dt.dayofweek + 1)
