import math

import numpy as np
import pandas as pd
import pytest

from include.models.rossmann.metrics import naive_forecast, naive_rmspe, rmspe


def test_rmspe_is_the_kaggle_figure():
    assert rmspe([100, 200, 0], [90, 220, 50]) == pytest.approx(0.1)
    assert rmspe([100], [50]) == pytest.approx(0.5)


def test_closed_days_are_not_scored():
    assert rmspe([0, 100], [1e9, 100]) == 0.0


def test_nothing_to_score_is_not_a_number():
    assert math.isnan(rmspe([0, 0], [1, 2]))
    assert math.isnan(rmspe([], []))
    assert math.isnan(rmspe([100], [np.nan]))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"\(2,\) sales but \(1,\) forecasts"):
        rmspe([1, 2], [1])


def test_the_naive_forecast_is_the_median_by_weekday_and_promo(panel, history):
    origin = panel.last_day - 42
    forecast = naive_forecast(panel, origin, 42)
    assert forecast.shape == (8, 42)
    day = pd.Timestamp(origin + 3)
    promo = history.loc[(history["Store"] == 7) & (history["Date"] == day), "Promo"].item()
    past = history[(history["Date"] <= pd.Timestamp(origin)) & (history["Date"] > pd.Timestamp(origin - 364))]
    same = past[(past["Store"] == 7) & (past["Date"].dt.dayofweek == day.dayofweek) & (past["Promo"] == promo)]
    assert forecast[6, 2] == same.loc[same["Sales"] > 0, "Sales"].median()


def test_the_naive_forecast_is_scored_on_a_block(panel):
    assert 0.05 < naive_rmspe(panel, panel.last_day, 42) < 0.5
