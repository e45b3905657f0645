"""Features of one block of days, as known on the day before it.

The same function serves training and use. What it may not know it is not given: the panel is cut to the
lookback before the origin and the block after it, and sales and customers after the origin are dropped
from that cut before anything is computed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .calendar import CALENDAR_NAMES, calendar_features, day_numbers, weekdays
from .history import (
    CUSTOMER_NAMES,
    LAG_NAMES,
    LEVEL_NAMES,
    TABLE_NAMES,
    YEAR,
    customer_features,
    lag_features,
    level_features,
    recurring_oddities,
    table_features,
)
from .panel import UNKNOWN, Codes, Day, Panel
from .ridge import ridge_forecast
from .schedule import SCHEDULE_NAMES, schedule_features
from .stores import Flags, FloatArray, StoreTable
from .tables import SUNDAY, Cells, base_table, cell_statistics, filled, row_mean, take

LOOKBACK_DAYS = 3 * YEAR
"""How many days up to the origin the features use; a model carries that much history."""

STORE_NAMES = (
    "store_type",
    "assortment",
    "competition_distance",
    "competition_months",
    "promo2_weeks",
    "promo2_phase",
)
FEATURE_NAMES: tuple[str, ...] = (
    "horizon",
    *CALENDAR_NAMES,
    *SCHEDULE_NAMES,
    *STORE_NAMES,
    *TABLE_NAMES,
    *LEVEL_NAMES,
    *LAG_NAMES,
    *CUSTOMER_NAMES,
    "ridge",
)
"""Columns of the feature matrix, in its order."""

COMPETITION_MONTHS = 120.0
PROMO2_WEEKS = 200.0


@dataclass(frozen=True)
class Block:
    """Features of every store and day of a block.

    ``base``: (stores, days) float64, usual log sales; the boosters predict log sales minus it.
    ``features``: (features, stores, days) float32 in the order of ``FEATURE_NAMES``: each in one piece, as the matrix's
    file has them.
    """

    days: npt.NDArray[np.datetime64]
    base: FloatArray
    features: npt.NDArray[np.float32]

    def rows(self, store: npt.NDArray[np.intp], ahead: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Return the features of some stores on some days: (rows, features), each feature in one piece.

        :param store: (rows,) positions of the stores
        :param ahead: (rows,) positions of the days
        """
        return self.features[:, store, ahead].T


def block_features(panel: Panel, origin: Day, horizon: int) -> Block:
    """Compute the features of the ``horizon`` days after ``origin``.

    :param panel: holds the block's schedule; its days after the block are not looked at
    :param origin: last day whose sales and customers are used
    :param horizon: days of the block
    """
    first = max(panel.first_day, origin - np.timedelta64(LOOKBACK_DAYS - 1, "D"))
    view = panel.window(first, origin + np.timedelta64(horizon, "D"), known_until=origin)
    known = view.index(origin) + 1
    block = slice(known, known + horizon)
    days = view.days

    a_year = slice(max(known - YEAR, 0), known)
    sales, customers = (measure[:, :known].astype(np.float32) for measure in (view.sales, view.customers))
    sales = np.log(np.where((view.open[:, :known] == 1) & (sales > 0), sales, np.nan))
    customers = np.log(np.where(customers > 0, customers, np.nan))
    ordinary = weekday_cells(view)
    cells = with_holidays(ordinary, view)
    past, future, ordinary = cells[:, :known], cells[:, block], ordinary[:, :known]
    holiday = view.state_holiday[:, :known] > 0
    usual_sales = np.where(holiday, np.nan, sales)

    year = cell_statistics(usual_sales[:, a_year], ordinary[:, a_year])
    gaps = gap_days(view.open[:, :known])
    if gaps.any():
        usual_sales = filled(usual_sales, take(base_table(year).astype(np.float32), ordinary), gaps)
        sales = np.where(gaps, usual_sales, sales)
        customers = filled(customers, row_mean(customers)[:, None].astype(np.float32), gaps)
        some = gaps.any(axis=1)
        year[:, some] = cell_statistics(usual_sales[some, a_year], ordinary[some, a_year])

    base = base_table(year)
    residual = sales - take(base.astype(np.float32), past)

    parts: dict[str, npt.NDArray[Any]] = {
        "horizon": np.arange(1.0, horizon + 1.0),
        **calendar_features(days[block]),
        **schedule_features(view, block),
        **store_features(view.stores, days[block]),
        **table_features(usual_sales, ordinary, base, year, future),
        **level_features(residual, holiday, past, base),
        **lag_features(residual, int(day_numbers(days[:1])[0]), days[block]),
        **customer_features(sales[:, a_year], customers[:, a_year]),
        "ridge": ridge_forecast(view, residual, known),
    }
    features = np.empty((len(FEATURE_NAMES), len(view.stores), horizon), dtype=np.float32)
    for position, name in enumerate(FEATURE_NAMES):
        features[position] = parts[name]
    recurring = recurring_oddities(parts["lag_easter"])
    return Block(days=days[block], base=take(base, future) + recurring, features=features)


def gap_days(opened: Codes) -> Flags:
    """Return the days of which a store has no row, though most stores were open, after its first row.

    What is left of a year with a gap is another season than the other stores' year: see ``filled``.

    :param opened: (stores, days), ``Panel.open``
    """
    told = opened != UNKNOWN
    most = 2 * (opened == 1).sum(axis=0) > len(opened)
    gaps: Flags = ~told & np.logical_or.accumulate(told, axis=1) & most
    return gaps


def weekday_cells(panel: Panel) -> Cells:
    """Return the cell of each store and day by weekday and promo alone."""
    cells: Cells = (weekdays(panel.days) * 2).astype(np.int8)[None, :] + (panel.promo == 1)
    return cells


def with_holidays(cells: Cells, panel: Panel) -> Cells:
    """Return the cells with state holidays as Sundays.

    The few stores that open on a state holiday sell then what they sell on a Sunday, a fifth of the weekday.
    """
    return np.where(panel.state_holiday > 0, np.int8(SUNDAY * 2) + (cells & 1), cells)


def store_features(stores: StoreTable, days: npt.NDArray[np.datetime64]) -> dict[str, FloatArray]:
    """Return the features ``STORE_NAMES``: (stores, 1) or (stores, days).

    The table may be newer than the origin, the day before these days: a competitor that opens after it, and a Promo2
    that begins after it, are not known yet.
    """
    numbers = day_numbers(days).astype(np.float64)[None, :]
    first = numbers[0, 0]
    competition_since, promo2_since = (
        np.where(since >= first, np.nan, since) for since in (stores.competition_since, stores.promo2_since)
    )
    competition_distance = np.where(stores.competition_since >= first, np.nan, stores.competition_distance)
    months = days.astype("datetime64[M]").astype(np.int64) % 12
    months_since = np.full((len(stores), len(days)), np.nan)
    for back in range(11, -1, -1):  # the nearest start of an interval wins
        months_since = np.where(stores.promo2_months[:, (months - back) % 12], float(back), months_since)
    active = np.isfinite(promo2_since)[:, None]
    return {
        "store_type": stores.store_type[:, None],
        "assortment": stores.assortment[:, None],
        "competition_distance": np.log1p(competition_distance)[:, None],
        "competition_months": np.minimum((numbers - competition_since[:, None]) / 30.44, COMPETITION_MONTHS),
        "promo2_weeks": np.minimum((numbers - promo2_since[:, None]) / 7.0, PROMO2_WEEKS),
        "promo2_phase": np.where(active, months_since, np.nan),
    }
