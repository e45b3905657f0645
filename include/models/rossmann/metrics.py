"""Error measures and the naive forecast that every model is compared with."""

import numpy as np
import numpy.typing as npt

from include.models.rossmann.forecaster.features import weekday_cells
from include.models.rossmann.forecaster.panel import Day, Panel
from include.models.rossmann.forecaster.tables import cell_statistics, row_statistics, take

FloatArray = npt.NDArray[np.float64]

NAIVE_DAYS = 364
WORST = 10
"""Rows without which an origin is scored as well: a handful of days that closed at ten decide an RMSPE."""
ERROR_LIMIT = 0.5
"""Log errors are cut here where forecasters are told apart: a handful of odd days must not decide."""


def rmspe(sales: npt.ArrayLike, forecast: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the root mean square percentage error, as a share, over the rows with sales.

    :param sales: (rows,) true sales; rows of 0 (closed) are not scored
    :param forecast: (rows,)
    :param weight: (rows,) how often each row counts, None: once
    :return: NaN when no row has sales, or a scored forecast is not a number
    """
    true, predicted = np.asarray(sales, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if true.shape != predicted.shape:
        raise ValueError(f"{true.shape} sales but {predicted.shape} forecasts")
    scored = true > 0
    if not scored.any():
        return float("nan")
    squared = ((true[scored] - predicted[scored]) / true[scored]) ** 2
    if weight is None:
        return float(np.sqrt(np.mean(squared)))
    weights = np.asarray(weight, dtype=np.float64)[scored]
    total = float(weights.sum())
    return float(np.sqrt(weights @ squared / total)) if total else float("nan")


def rmspe_without_worst(sales: FloatArray, forecast: FloatArray) -> float:
    """Return the RMSPE without the ``WORST`` rows that err most: what a model can be held to.

    :param sales: (rows,) true sales, above 0
    :param forecast: (rows,)
    """
    squared = np.sort(((forecast - sales) / sales) ** 2)
    return float(np.sqrt((squared[:-WORST] if len(squared) > WORST else squared).mean()))


def log_deviation(errors: FloatArray) -> float:
    """Return the standard deviation of log errors, those beyond ``ERROR_LIMIT`` cut there.

    :param errors: (rows,) log forecast minus log sales, or the other way round
    """
    return float(np.clip(errors, -ERROR_LIMIT, ERROR_LIMIT).std())


def naive_forecast(panel: Panel, origin: Day, horizon: int) -> FloatArray:
    """Forecast the median of the store's sales by weekday and promo over the year up to the origin.

    :param panel: holds the block's schedule
    :param origin: last day whose sales are used
    :param horizon: days of the block
    :return: (stores, horizon) euros; a store without such days gets its own median, then the chain's
    """
    first = origin - np.timedelta64(NAIVE_DAYS - 1, "D")
    view = panel.window(first, origin + np.timedelta64(horizon, "D"), known_until=origin)
    past = slice(0, NAIVE_DAYS)
    sales = np.where((view.open[:, past] == 1) & (view.sales[:, past] > 0), view.sales[:, past], np.nan)
    cells = weekday_cells(view)
    table = cell_statistics(sales, cells[:, past])[2]
    level = row_statistics(sales)[2]
    chain = float(np.nanmedian(sales)) if np.isfinite(sales).any() else 0.0
    level = np.where(np.isfinite(level), level, chain)
    table = np.where(np.isfinite(table), table, level[:, None])
    return take(table, cells[:, NAIVE_DAYS:])


def seasonal_naive_forecast(panel: Panel, origin: Day, horizon: int, fallback: FloatArray) -> FloatArray:
    """Forecast what the store sold 52 weeks before, the same weekday (Hyndman and Athanasopoulos, 2021, 5.2).

    :param origin: last day whose sales are used; ``horizon`` is at most 364
    :param horizon: days of the block
    :param fallback: (stores, horizon) euros for days on which the store was closed or missing then
    :return: (stores, horizon) euros
    """
    year = np.timedelta64(NAIVE_DAYS, "D")
    first = max(panel.first_day, origin - year + np.timedelta64(1, "D"))
    view = panel.window(first, origin, known_until=origin)
    known = np.where((view.open == 1) & (view.sales > 0), view.sales, np.nan)
    days = origin + np.arange(1, horizon + 1) * np.timedelta64(1, "D") - year
    columns = (days - first).astype(np.int64)
    then = np.where(columns >= 0, known[:, np.maximum(columns, 0)], np.nan)
    return np.where(np.isfinite(then), then, fallback)


def naive_rmspe(panel: Panel, end: Day, horizon: int) -> float:
    """Return the RMSPE of the naive forecast on the block that ends on ``end``.

    :param panel: history up to ``end``
    :param end: last day of the block
    :param horizon: days of the block
    """
    origin = end - np.timedelta64(horizon, "D")
    truth = panel.window(origin + np.timedelta64(1, "D"), end)
    sales = np.where(truth.open == 1, truth.sales, 0.0)
    return rmspe(np.nan_to_num(sales), naive_forecast(panel, origin, horizon))
