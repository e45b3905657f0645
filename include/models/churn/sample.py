"""Generated customers: invented, with something to learn. The same customers whatever the size: more is a later day."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ASKED = 300
"""Customers to predict: those that follow."""
_LOT = 1000


@dataclass(frozen=True)
class SampleData:
    """Customers of whom it is known whether they left, and those to predict."""

    customers: pd.DataFrame
    future: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write customers.csv and future.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in (("customers", self.customers), ("future", self.future)):
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", float_format="%.2f")


def generate(count: int = 3000, *, seed: int = 7, asked: int = ASKED, spoil: bool = False) -> SampleData:
    """Generate sample data.

    :param count: customers of whom it is known whether they left
    :param seed: another seed, other customers
    :param asked: customers to predict, who follow them
    :param spoil: shuffle who left: nothing is to be learned from that
    """
    lots = [_lot(number, seed) for number in range(-(-(count + asked) // _LOT))]
    rows = pd.concat(lots, ignore_index=True)
    known, future = rows.iloc[:count], rows.iloc[count : count + asked].drop(columns="Left")
    if spoil:
        known = known.assign(Left=np.random.default_rng(seed).permutation(known["Left"]))
    return SampleData(known, future)


def _lot(number: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng([seed, number])
    rows = pd.DataFrame(
        {
            "Customer": np.arange(number * _LOT, (number + 1) * _LOT) + 1,
            "Age": random.uniform(18, 80, _LOT).round(0),
            "Calls": random.poisson(3, _LOT),
            "Months": random.uniform(0, 60, _LOT).round(1),
            "Bill": random.gamma(4, 10, _LOT).round(2),
            "Plan": random.choice(["basic", "plus", "max"], _LOT),
        }
    )
    leaning = 0.6 * (rows["Calls"] - 3) - 0.06 * (rows["Months"] - 30) + 0.02 * (rows["Bill"] - 40)
    leaning += np.where(rows["Plan"] == "max", -0.8, 0.0) + random.normal(0, 1, _LOT) - 0.8
    return rows.assign(Left=(leaning > 0).astype("int64"))
