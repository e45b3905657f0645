"""A linear forecast of each store, all stores at once: it extrapolates where trees cannot."""

import numpy as np

from .calendar import calendar_features, weekdays, year_angles
from .panel import Panel
from .stores import Flags, FloatArray
from .tables import Values, row_sum

HALF_LIFE_DAYS = 300.0
PENALTY = 3.0
TREND_SCALE = 365.0
YEAR_WAVES = 2
PAY_DAYS = 3


def ridge_forecast(panel: Panel, residual: Values, days_known: int) -> FloatArray:
    """Forecast log sales relative to the store's table.

    :param panel: history and the block's schedule
    :param residual: (stores, days_known), log sales minus the store's table, NaN where not known
    :param days_known: days of the panel up to the origin
    :return: (stores, days after the origin)
    """
    shared, own = regressors(panel, days_known)
    known = np.isfinite(residual)
    age = np.arange(days_known - 1, -1, -1, dtype=residual.dtype)
    weight = np.where(known, 0.5 ** (age / HALF_LIFE_DAYS), 0.0)
    target = weight * np.where(known, residual, 0.0)
    # What all stores share is multiplied once a day, not once a day and store: no (stores, days, regressors) array.
    past, count = shared[:days_known].astype(residual.dtype), shared.shape[1]
    gram = np.empty((len(residual), count + len(own), count + len(own)))
    moment = np.empty((len(residual), count + len(own)))
    products = past[:, :, None] * past[:, None, :]
    gram[:, :count, :count] = (weight @ products.reshape(days_known, -1)).reshape(-1, count, count)
    moment[:, :count] = target @ past
    flagged = [flags[:, :days_known].astype(residual.dtype) for flags in own]
    for row, flags in enumerate(flagged, start=count):
        weighted = weight * flags
        gram[:, row, :count] = gram[:, :count, row] = weighted @ past
        for column, others in enumerate(flagged[: row - count + 1], start=count):
            gram[:, row, column] = gram[:, column, row] = row_sum(weighted, others)
        moment[:, row] = row_sum(target, flags)
    penalty = np.full(count + len(own), PENALTY)
    penalty[0] = 1e-6  # the level is free
    coefficients = np.linalg.solve(gram + np.diag(penalty), moment[:, :, None])[:, :, 0]
    forecast: FloatArray = coefficients[:, :count] @ shared[days_known:].T
    for row, ahead in enumerate(own, start=count):
        forecast += coefficients[:, row, None] * ahead[:, days_known:]
    return forecast


def regressors(panel: Panel, days_known: int) -> tuple[FloatArray, list[Flags]]:
    """Return what the forecast is linear in: of all stores alike (days, regressors), and each store's own flags.

    :return: the second as arrays of the shape (stores, days)
    """
    days = panel.days
    stores, length = panel.promo.shape
    calendar = calendar_features(days)
    weekday = weekdays(days)
    angle = year_angles(days)
    shared = [
        np.ones(length),
        (np.arange(length) - days_known + 1) / TREND_SCALE,
        *(np.sin(angle * k) for k in range(1, YEAR_WAVES + 1)),
        *(np.cos(angle * k) for k in range(1, YEAR_WAVES + 1)),
        (calendar["day_of_month"] <= PAY_DAYS).astype(np.float64),
        (calendar["days_to_month_end"] < PAY_DAYS).astype(np.float64),
        np.clip(calendar["christmas_distance"] / 20.0 + 1.0, 0.0, None) * (calendar["christmas_distance"] < 0),
    ]
    closed = (panel.open == 0) & (weekday != 6)[None, :]
    tomorrow = np.concatenate([closed[:, 1:], np.zeros((stores, 1), dtype=bool)], axis=1)
    yesterday = np.concatenate([np.zeros((stores, 1), dtype=bool), closed[:, :-1]], axis=1)
    promo = panel.promo == 1
    own = [
        promo & (weekday == 0)[None, :],
        panel.school_holiday == 1,
        panel.state_holiday > 0,
        tomorrow,
        yesterday,
    ]
    return np.stack(shared, axis=1), own
