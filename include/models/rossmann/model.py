"""The Rossmann forecast as the steps of ``retraining`` see it (``retraining.protocol``)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import mlflow.pyfunc
import numpy as np
import pandas as pd

from include.models.rossmann.config import HORIZON_DAYS, MODEL_LIBRARIES, REFERENCE, Booster, RossmannConfig
from include.models.rossmann.dataset import Dataset, load_dataset, save_dataset, with_types
from include.models.rossmann.metrics import naive_forecast, rmspe
from include.retraining.monitor.rows import ORIGIN
from include.retraining.pipeline import DataFacts, Package, Pipeline, TrainedMember
from include.retraining.protocol import Columns, LoadedVersion, Mask, Metric, RowRule, Values

if TYPE_CHECKING:
    from include.retraining.run import RetrainRun

log = logging.getLogger(__name__)

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
        asked = rows[[name for name in SCHEDULE if name in rows]]
        given = with_newer_history(asked, known, self.training_end)
        if newer := len(given) - len(rows):
            log.info("Giving %d rows of history after %s to the model", newer, self.training_end.date())
        found = pd.DataFrame(self._forecast(given))
        return found["Sales"].to_numpy(dtype=np.float64)


class RossmannForecast:
    """Daily sales by store, up to 42 days ahead."""

    reference = REFERENCE
    about = f"Daily sales by store, {HORIZON_DAYS} days ahead."
    horizon_days = HORIZON_DAYS
    metric = Metric("rmspe", rmspe, label="RMSPE")
    rules: Sequence[RowRule] = RULES
    libraries = MODEL_LIBRARIES
    decimals = 2
    facts: Mapping[str, str] = {"Weights": "ensemble.weights"}
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
        kept=("Id",),
    )

    def load(self, folder: Path) -> LoadedVersion:
        """Load a version from the folder of its artifacts; consumers come through MLflow's own interface."""
        model = mlflow.pyfunc.load_model(str(folder))
        found = model.unwrap_python_model()

        def backtest() -> ForecastMember:
            member = found.backtest()
            return ForecastMember(member.forecast, member.training_end)

        return LoadedVersion(ForecastMember(model.predict, found.served.training_end), backtest)

    def counts(self, rows: pd.DataFrame) -> Mask:
        """Return which rows are scored: those with sales."""
        return np.asarray(rows["Sales"] > 0)

    def check(self, config: RossmannConfig) -> None:
        """Refuse parameters that a booster does not take.

        :raises BadInputError: names booster and parameter
        """
        # brings all boosters, which other steps do not use
        from include.models.rossmann.booster_parameters import check_parameters

        for booster, settings in config.boosters.items():
            check_parameters(booster, settings.params, settings.leave_out)

    def read(self, files: Mapping[str, Path], config: RossmannConfig) -> Dataset:
        """Read and check the files of the data registry: sales, stores, and the days to forecast.

        :raises BadInputError: names file, line or rows, and what was expected
        """
        from include.models.rossmann.data.load import read_future, read_store, read_train
        from include.models.rossmann.data.schema import check_data

        train, stores = read_train(files["train"]), read_store(files["store"])
        future = read_future(files["future"]) if "future" in files else None
        warnings = check_data(
            train, stores, future, freshness_days=config.data.freshness_days, horizon_days=config.forecast.horizon_days
        )
        found = Dataset(train, stores, future, tuple(warnings))
        log.info("Data: %d rows, %d stores, newest day %s", len(train), len(stores), found.end.date())
        return found

    def read_asked(self, path: Path) -> pd.DataFrame:
        """Read days to forecast that somebody named.

        :raises BadInputError: as ``read``
        """
        from include.models.rossmann.data.load import read_future
        from include.models.rossmann.data.schema import check_future

        asked = read_future(path)
        check_future(asked)
        return asked

    def save(self, data: Dataset, folder: Path) -> None:
        """Write the data as Parquet files."""
        save_dataset(data, folder)

    def restore(self, folder: Path) -> Dataset:
        """Read what ``save`` wrote."""
        return load_dataset(folder)

    def describe(self, data: Dataset, config: RossmannConfig) -> DataFacts:
        """Return what is recorded of the data: its size, and its newest day."""
        newest = str(data.end.date())
        return DataFacts(
            params={"horizon_days": config.forecast.horizon_days, "seed": config.forecast.seed},
            metrics={"data_rows": len(data.train), "data_stores": len(data.stores)},
            tags={"training.end": newest},
            told={"rows": len(data.train), "newest": newest},
        )

    def warnings(self, data: Dataset) -> Sequence[str]:
        """Return what the checks found odd."""
        return data.warnings

    def newest(self, data: Dataset) -> pd.Timestamp:
        """Return the newest day of the history."""
        return data.end

    def rows(self, data: Dataset) -> pd.DataFrame:
        """Return the history with what is known of its stores and days."""
        return described(data.train, data.stores)

    def holdout(self, data: Dataset, config: RossmannConfig) -> pd.DataFrame:
        """Return the newest horizon of the history."""
        horizon = pd.Timedelta(days=config.forecast.horizon_days)
        return described(data.after(data.end - horizon), data.stores)

    def next_rows(self, data: Dataset) -> pd.DataFrame:
        """Return the days that consumers ask for next: the data registry's future, else last year's, moved on."""
        horizon = pd.Timedelta(days=HORIZON_DAYS)
        if data.future is not None:
            future = data.future
            within = future[(future["Date"] > data.end) & (future["Date"] <= data.end + horizon)]
            asked = within[within["Sales"].isna()] if "Sales" in within else within
            if len(asked):
                return described(asked[SCHEDULE].fillna({"Open": 1.0}).reset_index(drop=True), data.stores)
        before = data.train[(data.train["Date"] > data.end - YEAR) & (data.train["Date"] <= data.end - YEAR + horizon)]
        moved = before[SCHEDULE].assign(Date=before["Date"] + YEAR).reset_index(drop=True)
        return described(moved, data.stores)

    def asked(self, data: Dataset) -> pd.DataFrame | None:
        """Return the days to forecast that the data registry holds."""
        return data.future

    def naive(self, predictions: pd.DataFrame, data: Dataset) -> Values:
        """Return the naive forecast of each row from the same origin, NaN where there is none."""
        from include.models.rossmann.forecaster import Panel

        naive = np.full(len(predictions), np.nan)
        if predictions.empty:
            return naive
        rows = data.train if data.future is None else pd.concat([data.train, data.future], ignore_index=True)
        panel = Panel.from_frames(rows.drop_duplicates(["Store", "Date"]), data.stores)
        origins = predictions[ORIGIN].to_numpy().astype("datetime64[D]")
        ahead = (predictions["Date"].to_numpy().astype("datetime64[D]") - origins).astype(np.int64) - 1
        store = np.searchsorted(panel.stores.store, predictions["Store"].to_numpy())
        for origin in np.unique(origins):
            days = int(min(HORIZON_DAYS, (panel.last_day - origin).astype(np.int64)))
            if days > 0:
                table = naive_forecast(panel, origin, days)
                inside = np.flatnonzero((origins == origin) & (ahead >= 0) & (ahead < days))
                naive[inside] = table[store[inside], ahead[inside]]
        return naive

    def members(self, config: RossmannConfig) -> Sequence[str]:
        """Return the boosters."""
        return tuple(config.boosters)

    def prepare(self, run: "RetrainRun", config: RossmannConfig, scratch: Path) -> Mapping[str, Any]:
        """Compute the training matrix."""
        from include.models.rossmann.steps.features import features

        return features(run, config, scratch)

    def train(
        self, run: "RetrainRun", config: RossmannConfig, member: str, member_run: str, scratch: Path
    ) -> TrainedMember:
        """Train a booster."""
        from include.models.rossmann.steps.train import train

        return train(run, config, cast("Booster", member), member_run, scratch)

    def combine(self, run: "RetrainRun", config: RossmannConfig, scratch: Path) -> Mapping[str, Any]:
        """Blend the boosters."""
        from include.models.rossmann.steps.ensemble import ensemble

        return ensemble(run, config, scratch)

    def build(self, run: "RetrainRun", config: RossmannConfig, data: Dataset, scratch: Path) -> Package:
        """Assemble the ensemble."""
        from include.models.rossmann.steps.build import build

        return build(run, config, data, scratch)


MODEL: Pipeline[RossmannConfig, Dataset] = RossmannForecast()


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
