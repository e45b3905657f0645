"""What the Rossmann forecast says of itself to review, prediction and monitoring (``retraining.protocol``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

from include.retraining.protocol import Columns, Mask, Metric, RowRule, Values
from include.rossmann.dataset import Dataset, with_types
from include.rossmann.metrics import rmspe

HORIZON_DAYS = 42
YEAR = pd.Timedelta(days=364)
SCHEDULE = ["Store", "Date", "Open", "Promo", "StateHoliday", "SchoolHoliday"]
"""What is known of a day before it comes."""
OF_THE_STORE = ["Store", "StoreType", "Assortment"]

RULES = (
    RowRule("not negative", lambda _, sales: sales < 0),
    RowRule("closed days are 0", lambda rows, sales: (rows["Open"] == 0).to_numpy() & (sales != 0)),
)


class ForecastMember:
    """A forecaster of a version; rows that were sold since its training are given to it as newer history.

    :param forecast: takes rows as the model's signature has them
    :param training_end: last day that it was trained on
    """

    def __init__(self, forecast: Any, training_end: Any) -> None:
        self._forecast = forecast
        self.training_end = pd.Timestamp(training_end)

    def unseen(self, rows: pd.DataFrame) -> Mask:
        """Return which rows it was not trained on: those after its training."""
        return np.asarray(rows["Date"] > self.training_end)

    def predict(self, rows: pd.DataFrame, known: pd.DataFrame) -> Values:
        """Return (rows,) sales in euros; ``known`` is history, of which the newer part is given along."""
        found = pd.DataFrame(self._forecast(with_newer_history(rows, known, self.training_end)))
        return found["Sales"].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class LoadedForecast:
    """A registered version in memory."""

    served: ForecastMember
    backtest: ForecastMember


class RossmannForecast:
    """Daily sales by store, up to 42 days ahead."""

    reference = "include.rossmann.model:MODEL"
    horizon_days = HORIZON_DAYS
    metric = Metric("rmspe", rmspe, label="RMSPE")
    rules: Sequence[RowRule] = RULES
    columns = Columns(
        keys=("Store", "Date"),
        actual="Sales",
        time="Date",
        entity="Store",
        slices={
            "StoreType": "Store type",
            "Assortment": "Assortment",
            "Promo": "Promo",
            "StateHoliday": "State holiday",
            "SchoolHoliday": "School holiday",
            "Weekday": "Weekday",
        },
        inputs={
            "Customers": "Customers",
            "Open": "Open",
            "Promo": "Promo",
            "StateHoliday": "State holiday",
            "SchoolHoliday": "School holiday",
        },
    )

    def load(self, folder: Path) -> LoadedForecast:
        """Load a version from the folder of its artifacts."""
        model = mlflow.pyfunc.load_model(str(folder))
        python_model = model.unwrap_python_model()
        backtest = python_model.backtest()
        return LoadedForecast(
            ForecastMember(model.predict, python_model.served.training_end),
            ForecastMember(backtest.forecast, backtest.training_end),
        )

    def counts(self, rows: pd.DataFrame) -> Mask:
        """Return which rows are scored: those with sales."""
        return np.asarray(rows["Sales"] > 0)


MODEL = RossmannForecast()


def with_newer_history(rows: pd.DataFrame, known: pd.DataFrame, training_end: pd.Timestamp) -> pd.DataFrame:
    """Return a version's input: rows to forecast, behind the history that is newer than its own."""
    newer = known[known["Date"] > training_end]
    return pd.concat([with_types(frame) for frame in (newer, rows) if len(frame)], ignore_index=True)


WEEKDAYS = ("1 Mon", "2 Tue", "3 Wed", "4 Thu", "5 Fri", "6 Sat", "7 Sun")


def described(rows: pd.DataFrame, stores: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the columns that they are sliced by: what is known of the store, and the weekday."""
    found = rows.merge(stores[OF_THE_STORE], on="Store", how="left", validate="many_to_one")
    found["Weekday"] = np.asarray(WEEKDAYS)[found["Date"].dt.dayofweek.to_numpy()]
    found["StateHoliday"] = found["StateHoliday"].astype(str)
    return found


def next_rows(dataset: Dataset) -> pd.DataFrame:
    """Return the rows that consumers ask for next: the data registry's future, else last year's schedule, moved on."""
    horizon = pd.Timedelta(days=HORIZON_DAYS)
    if dataset.future is not None:
        future = dataset.future
        within = future[(future["Date"] > dataset.end) & (future["Date"] <= dataset.end + horizon)]
        asked = within[within["Sales"].isna()] if "Sales" in within else within
        if len(asked):
            return described(asked[SCHEDULE].fillna({"Open": 1.0}).reset_index(drop=True), dataset.stores)
    before = dataset.train[
        (dataset.train["Date"] > dataset.end - YEAR) & (dataset.train["Date"] <= dataset.end - YEAR + horizon)
    ]
    moved = before[SCHEDULE].assign(Date=before["Date"] + YEAR).reset_index(drop=True)
    return described(moved, dataset.stores)
