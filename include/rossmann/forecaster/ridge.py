"""A linear forecast of each store, all stores at once: it extrapolates where trees cannot."""

import numpy as np

from .calendar import calendar_features, weekdays, year_angles
from .panel import Panel
from .stores import FloatArray

HALF_LIFE_DAYS = 300.0
PENALTY = 3.0
TREND_SCALE = 365.0
YEAR_WAVES = 2
PAY_DAYS = 3


def ridge_forecast(panel: Panel, residual: FloatArray, days_known: int) -> FloatArray:
    """Forecast log sales relative to the store's table.

    :param panel: history and the block's schedule
    :param residual: (stores, days_known), log sales minus the store's table, NaN where not known
    :param days_known: days of the panel up to the origin
    :return: (stores, days after the origin)
    """
    design = design_matrix(panel, days_known)
    known = np.isfinite(residual)
    age = np.arange(days_known - 1, -1, -1, dtype=np.float64)
    weight = np.where(known, 0.5 ** (age / HALF_LIFE_DAYS), 0.0)
    target = np.where(known, residual, 0.0)
    past = design[:, :days_known]
    weighted = past * weight[:, :, None]
    gram = np.matmul(weighted.transpose(0, 2, 1), past)
    moment = np.matmul(weighted.transpose(0, 2, 1), target[:, :, None])
    penalty = np.full(design.shape[2], PENALTY)
    penalty[0] = 1e-6  # the level is free
    coefficients = np.linalg.solve(gram + np.diag(penalty), moment)
    forecast: FloatArray = np.matmul(design[:, days_known:], coefficients)[:, :, 0]
    return forecast


def design_matrix(panel: Panel, days_known: int) -> FloatArray:
    """Return the regressors of every store and day: (stores, days, regressors)."""
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
    design = np.empty((stores, length, len(shared) + len(own)))
    design[:, :, : len(shared)] = np.stack(shared, axis=1)[None]
    for position, flags in enumerate(own, start=len(shared)):
        design[:, :, position] = flags
    return design
