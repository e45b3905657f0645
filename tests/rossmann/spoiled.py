"""Real versions whose forecasts are spoiled on purpose: ``spoil.json`` in a version's folder says how."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from include.models.rossmann.model import RossmannForecast
from include.retraining.protocol import LoadedVersion, Mask, Member, Values

SPOIL = "spoil.json"
LAST_DAYS = 14


@dataclass(frozen=True)
class SpoiledMember:
    """A member whose forecasts are changed in one way.

    :param how: see ``spoiled``
    :param calibration: what every forecast is multiplied with: a quickly trained member is biased
    """

    member: Member
    how: str
    calibration: float

    def unseen(self, rows: pd.DataFrame) -> Mask:
        return self.member.unseen(rows)

    def predict(self, rows: pd.DataFrame, known: pd.DataFrame) -> Values:
        if self.how == "slow":
            time.sleep(2)
        return spoiled(self.how, rows, known, self.member.predict(rows, known) * self.calibration)


def spoiled(how: str, rows: pd.DataFrame, known: pd.DataFrame, sales: Values) -> Values:
    """Return forecasts that are wrong in one way."""
    if how == "type doubled":
        return np.where(rows["StoreType"] == rows["StoreType"].min(), sales * 2, sales)
    if how == "high":
        return sales * 1.03
    if how == "frozen":
        last = known[known["Date"] > known["Date"].max() - pd.Timedelta(days=7)]
        of = {
            (store, day.dayofweek): sold
            for store, day, sold in zip(last["Store"], last["Date"], last["Sales"], strict=True)
        }
        keys = zip(rows["Store"], rows["Date"].dt.dayofweek, strict=True)
        frozen = np.array([of.get(key, 0.0) for key in keys])
        return np.where(rows["Open"] == 0, 0.0, frozen)
    if how == "bad at the end":
        at_end = rows["Date"] > rows["Date"].max() - pd.Timedelta(days=LAST_DAYS)
        wave = np.where(np.arange(len(rows)) % 2 == 0, 1.3, 0.7)  # no bias: only the error tells
        return np.where(at_end, sales * wave, sales * 1.0)
    if how == "nan":
        return np.where(rows["Store"] == rows["Store"].min(), np.nan, sales)
    return sales


class SpoiledForecast(RossmannForecast):
    """The Rossmann forecast, of versions that may be spoiled."""

    reference = "tests.rossmann.spoiled:MODEL"

    def load(self, folder: Path) -> Any:
        loaded = super().load(folder)
        given = json.loads((folder / SPOIL).read_text(encoding="utf-8"))
        served, backtest = (
            SpoiledMember(member, given["how"], given["calibration"][role])
            for role, member in (("served", loaded.served), ("backtest", loaded.backtest))
        )
        return LoadedVersion(served, lambda: backtest)


MODEL = SpoiledForecast()
