import math

import numpy as np
import pytest

from include.models.rossmann.ensemble import equal_blend, fit_blend, score_blend
from include.models.rossmann.forecaster import Blend


@pytest.fixture
def fold():
    """Sales with three members: good, as good with other errors, bad."""
    random = np.random.default_rng(1)
    base = random.normal(8.5, 0.4, 4000)
    truth = random.normal(0, 0.1, 4000)
    noise = random.normal(0, 0.1, 4000)
    residuals = {
        "catboost": truth + random.normal(0, 0.08, 4000),
        "lightgbm": truth + random.normal(0, 0.08, 4000),
        "xgboost": truth + random.normal(0, 0.4, 4000),
    }
    return np.exp(base + truth + 0.5 * noise), base, residuals


def test_weights_are_a_blend_and_follow_quality(fold):
    blend = fit_blend(*fold)
    assert math.fsum(blend.weights.values()) == pytest.approx(1.0)
    assert min(blend.weights.values()) >= 0
    assert blend.weights["xgboost"] < 0.2
    assert blend.weights["lightgbm"] == pytest.approx(blend.weights["catboost"], abs=0.15)


def test_the_ensemble_gains_on_its_best_member(fold):
    score = score_blend(fit_blend(*fold), *fold)
    assert score.best_member in ("lightgbm", "catboost")
    assert score.gain > 0
    assert score.ensemble == pytest.approx(score.members[score.best_member] - score.gain)


def test_a_common_level_of_the_fold_does_not_matter(fold):
    sales, base, residuals = fold
    shifted = fit_blend(sales * 1.07, base, residuals)
    plain = fit_blend(sales, base, residuals)
    assert dict(shifted.weights) == pytest.approx(dict(plain.weights), abs=1e-6)


def test_one_absurd_day_does_not_move_the_blend(fold):
    sales, base, residuals = fold
    plain = fit_blend(sales, base, residuals)
    spoilt = sales.copy()
    spoilt[7] = 1.0
    absurd = fit_blend(spoilt, base, residuals)
    assert dict(absurd.weights) == pytest.approx(dict(plain.weights), abs=0.02)


def test_fitting_is_deterministic(fold):
    assert fit_blend(*fold) == fit_blend(*fold)


def test_one_member_gets_all(fold):
    sales, base, residuals = fold
    assert fit_blend(sales, base, {"xgboost": residuals["xgboost"]}).weights == {"xgboost": 1.0}


def test_equal_blend():
    assert equal_blend(["a", "b"]) == Blend({"a": 0.5, "b": 0.5})


def test_a_blend_is_a_weighted_mean_of_logarithms():
    blend = Blend({"a": 0.25, "b": 0.75})
    sales = blend.sales(np.log([100.0]), {"a": np.array([0.4]), "b": np.array([-0.2]), "c": np.array([9.0])})
    assert sales[0] == pytest.approx(100 * np.exp(-0.05))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "at least one member"),
        ({"a": 1.5, "b": -0.5}, "weight of b is -0.5"),
        ({"a": math.nan}, "weight of a"),
        ({"a": 0.5, "b": 0.4}, "weights sum to 0.9"),
    ],
)
def test_what_is_no_blend_is_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        Blend(weights)
