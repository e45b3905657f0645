"""Models and rows for tests of the monitoring: a small chain of shops, and a classifier without time or entity."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from include.retraining.monitor.rows import MADE, ORIGIN, PREDICTION, PUBLISHED, PUBLISHED_ON, VERSION, Publication
from include.retraining.protocol import Columns, Mask, Metric, Values

FIRST = pd.Timestamp("2024-01-01")
"""A Monday."""
ONE_DAY = pd.Timedelta(days=1)


def day(number: float) -> pd.Timestamp:
    """Return the day that many days after the first."""
    return FIRST + number * ONE_DAY


def rmspe(actual: Values, prediction: Values, weight: Values | None = None) -> float:
    return float(np.sqrt(np.average(((actual - prediction) / actual) ** 2, weights=weight)))


def auc(actual: Values, prediction: Values, weight: Values | None = None) -> float:
    """Return the share of pairs of a 1 and a 0 that are in order, ties half."""
    weight = np.ones(len(actual)) if weight is None else weight
    ones, zeros = actual == 1, actual == 0
    above = prediction[ones][:, None] - prediction[zeros][None, :]
    pairs = weight[ones][:, None] * weight[zeros][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).ravel() @ pairs.ravel() / pairs.sum()) if pairs.sum() else np.nan


class Shops:
    """Sales of shops by day; days without sales do not count."""

    columns = Columns(
        keys=("Shop", "Date"),
        actual="Sold",
        time="Date",
        entity="Shop",
        slices={"Deal": "deal"},
        inputs={"Open": "open", "Deal": "deal", "Holidays": "school holidays", "Price": "price"},
    )
    metric = Metric("rmspe", rmspe, label="RMSPE")

    def counts(self, rows: pd.DataFrame) -> Mask:
        return (rows["Sold"] > 0).to_numpy()


class Churn:
    """Whether customers leave: higher is better, no days, no entities."""

    columns = Columns(keys=("Customer",), actual="Left", slices={"Plan": "plan"})
    metric = Metric("auc", auc, lower_is_better=False, label="AUC", digits=3)

    def counts(self, rows: pd.DataFrame) -> Mask:
        return np.ones(len(rows), dtype=bool)


SHOPS: Any = Shops()
CHURN: Any = Churn()


def shop_rows(days: int, shops: int = 6, seed: int = 3, noise: float = 0.08) -> pd.DataFrame:
    """Return delivered rows: closed on Sundays, deals every second week, school holidays once a year."""
    random = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product([range(days), range(shops)], names=["Number", "Shop"]).to_frame(index=False)
    number, shop = rows["Number"].to_numpy(), rows["Shop"].to_numpy()
    rows["Date"] = FIRST + pd.to_timedelta(number, unit="D")
    rows["Open"] = (number % 7 != 6).astype(int)
    rows["Deal"] = ((number // 7 % 2 == 0) & (number % 7 < 5)).astype(int)
    year, of_year = number // 364, number % 364
    # they begin a week later in every second year, and not at the same day for all
    start = 180 + 7 * (year % 2) + shop % 3
    rows["Holidays"] = ((of_year >= start) & (of_year < start + 42)).astype(int)
    rows["Price"] = np.exp(random.normal(0, 0.1, len(rows)) + 0.02 * shop)
    common = random.normal(0, noise / 2, days)[number]
    rows["Usual"] = 100.0 * (1 + shop) * np.exp(0.3 * rows["Deal"])
    sold = rows["Usual"] * np.exp(common + random.normal(0, noise, len(rows)))
    rows["Sold"] = np.where(rows["Open"] == 1, sold, 0.0)
    return rows.drop(columns="Number")


def forecasts(
    rows: pd.DataFrame, version: int, origins: range | list[int], horizon: int = 14, factor: float = 1.0
) -> pd.DataFrame:
    """Return stored predictions: what is usual, times a factor, from each origin for the days after it."""
    found = []
    for origin in origins:
        part = rows[(rows["Date"] > day(origin)) & (rows["Date"] <= day(origin + horizon))]
        found.append(
            part[["Shop", "Date"]].assign(
                **{PREDICTION: factor * part["Usual"], VERSION: version, ORIGIN: day(origin), MADE: day(origin + 1.2)}
            )
        )
    return pd.concat(found, ignore_index=True)


def as_published(predictions: pd.DataFrame, published: Sequence[Publication]) -> pd.DataFrame:
    """Return predictions that say whether consumers got them: those of the version that was published by then."""
    since = np.array([one.since.to_datetime64() for one in published])
    position = np.searchsorted(since, predictions[MADE].to_numpy(), side="right") - 1
    live = np.array([0, *(one.version for one in published)])[position + 1]
    return predictions.assign(**{PUBLISHED: (predictions[VERSION] == live).to_numpy()})


def delivered(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as the data registry has them."""
    return rows.drop(columns="Usual")


def customers(
    count: int, seed: int = 1, skill: float = 2.0, on: pd.Timestamp = FIRST
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return predictions of one version, and who left.

    :param skill: how far the predicted share tells those who leave from the others
    :param on: day on which they are predicted
    """
    random = np.random.default_rng(seed)
    left = (random.random(count) < 0.3).astype(float)
    score = skill * (left - 0.3) + random.normal(0, 1, count)
    rows = pd.DataFrame({"Customer": np.arange(count), "Left": left, "Plan": random.choice(["basic", "plus"], count)})
    share = 1 / (1 + np.exp(-(score - 1)))
    share *= left.mean() / share.mean()
    made = {PUBLISHED_ON: on, MADE: on + 0.2 * ONE_DAY}
    return pd.DataFrame({"Customer": rows["Customer"], PREDICTION: share, VERSION: 1, **made}), rows


PUBLICATIONS = [Publication(1, day(0))]
