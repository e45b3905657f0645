"""A forecaster: members, blend, history and stores in one folder, and forecasts of future rows."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from .blend import Blend
from .errors import ForecastInputError
from .features import FEATURE_NAMES, LOOKBACK_DAYS, block_features
from .members import Member, load_member
from .panel import Day, Panel, to_columns
from .schema import checked_rows
from .stores import FloatArray, StoreTable

log = logging.getLogger(__name__)

HISTORY_FILE = "history.parquet"
STORES_FILE = "stores.parquet"
BLEND_FILE = "blend.json"
MEMBERS_FOLDER = "members"


@dataclass(frozen=True)
class Forecaster:
    """Forecasts sales of the days after its origin.

    The origin is the newest day of its history: what it carries, or newer rows that the input brings along.
    """

    panel: Panel
    members: Mapping[str, Member]
    blend: Blend
    horizon_days: int
    training_end: date

    @classmethod
    def load(cls, folder: Path) -> "Forecaster":
        """Load what ``save_forecaster`` wrote.

        :raises ValueError: when the folder was written for other features than this code computes
        """
        settings = json.loads((folder / BLEND_FILE).read_text(encoding="utf-8"))
        if tuple(settings["features"]) != FEATURE_NAMES:
            raise ValueError(f"{folder}: the members were trained on other features than this code computes")
        stores = StoreTable.load(folder / STORES_FILE)
        members = {name: load_member(folder / MEMBERS_FOLDER / file) for name, file in settings["members"].items()}
        return cls(
            panel=Panel.load_history(folder / HISTORY_FILE, stores),
            members=members,
            blend=Blend(settings["weights"]),
            horizon_days=settings["horizon_days"],
            training_end=date.fromisoformat(settings["training_end"]),
        )

    def forecast(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Forecast the rows that carry no Sales.

        :param rows: Store, Date, Open, Promo, StateHoliday, SchoolHoliday; rows with Sales and Customers are
            newer history, and the horizon then counts from the newest of them. A missing Open means open.
        :return: Store, Date and Sales (euros; 0 on closed days) of the rows without Sales, in their order
        :raises ForecastInputError: names what cannot be forecast
        """
        checked = checked_rows(rows, self.panel.stores.store)
        is_history = checked["Sales"].notna()
        asked = checked[~is_history].reset_index(drop=True)
        if asked.empty:
            raise ForecastInputError("no row to forecast: every row carries Sales and so is history")
        panel = self.panel
        if is_history.any():
            panel = panel.with_rows(to_columns(checked[is_history]))
        origin = panel.newest_sales_day
        self._check_window(asked, origin)
        panel = panel.with_rows(to_columns(asked))
        sales = np.zeros(len(asked))
        opened = asked["Open"].to_numpy() == 1
        features, base = self._features(panel, origin, asked[opened])
        residuals = {name: member.predict(features) for name, member in self.members.items()}
        sales[opened] = self.blend.sales(base, residuals)
        return pd.DataFrame({"Store": asked["Store"], "Date": asked["Date"], "Sales": sales})

    def _check_window(self, asked: pd.DataFrame, origin: Day) -> None:
        last = origin + np.timedelta64(self.horizon_days, "D")
        days = asked["Date"].to_numpy().astype("datetime64[D]")
        outside = (days <= origin) | (days > last)
        if outside.any():
            first = int(outside.argmax())
            more = f" and {outside.sum() - 1} more rows" if outside.sum() > 1 else ""
            raise ForecastInputError(
                f"store {asked['Store'].iloc[first]} on {days[first]}{more}: outside the horizon; history ends on "
                f"{origin}, so days from {origin + np.timedelta64(1, 'D')} to {last} can be forecast"
            )

    def _features(self, panel: Panel, origin: Day, rows: pd.DataFrame) -> tuple[npt.NDArray[np.float32], FloatArray]:
        """Return features and usual log sales of the rows."""
        block = block_features(panel, origin, self.horizon_days)
        store = np.searchsorted(panel.stores.store, rows["Store"].to_numpy())
        ahead = (rows["Date"].to_numpy().astype("datetime64[D]") - origin).astype(np.int64) - 1
        return np.ascontiguousarray(block.rows(store, ahead)), block.base[store, ahead]


def save_forecaster(
    folder: Path, *, panel: Panel, members: Mapping[str, Path], blend: Blend, training_end: date, horizon_days: int
) -> Path:
    """Write a folder that ``Forecaster.load`` reads.

    :param folder: created when missing
    :param panel: history and stores; days after ``training_end`` are not written
    :param members: native model file of each member that has a weight
    :param horizon_days: how many days ahead the members were trained to forecast
    :return: the folder
    """
    target = folder / MEMBERS_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in sorted(blend.weights):
        files[name] = f"{name}{members[name].suffix}"
        (target / files[name]).write_bytes(members[name].read_bytes())
    until = np.datetime64(training_end, "D")
    panel.save_history(folder / HISTORY_FILE, until=until, days=LOOKBACK_DAYS)
    panel.stores.save(folder / STORES_FILE)
    settings = {
        "weights": dict(blend.weights),
        "horizon_days": horizon_days,
        "training_end": training_end.isoformat(),
        "members": files,
        "features": list(FEATURE_NAMES),
    }
    (folder / BLEND_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return folder
