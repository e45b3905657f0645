"""Parameters of the boosters are checked before anything is trained."""

import optuna
import pytest

from include.lifecycle.errors import BadInputError
from include.models.rossmann.booster_parameters import check_parameters
from include.models.rossmann.config import Booster, load_config
from include.models.rossmann.tuning import SPACES


@pytest.mark.parametrize("booster", ["lightgbm", "xgboost", "catboost"])
def test_the_shipped_parameters_are_taken(booster: str) -> None:
    settings = load_config().boosters[booster]  # type: ignore[index]
    check_parameters(booster, settings.params, settings.leave_out)


@pytest.mark.parametrize(
    ("booster", "params", "expected"),
    [
        ("lightgbm", {"num_leafs": 3}, r"num_leafs .* num_leaf"),
        ("lightgbm", {"nonsense": 3}, "nonsense is no parameter"),
        ("lightgbm", {"num_iterations": 3}, r"num_iterations .*lightgbm\.rounds"),
        ("lightgbm", {"n_estimators": 3}, r"n_estimators .*lightgbm\.rounds"),
        ("lightgbm", {"nrounds": 3}, r"nrounds .*lightgbm\.rounds"),
        ("lightgbm", {"n_jobs": 3}, r"n_jobs .*lightgbm\.threads"),
        ("lightgbm", {"device": "gpu"}, r"device is .*lightgbm\.device"),
        ("xgboost", {"device": "cuda"}, r"device is .*xgboost\.device"),
        ("catboost", {"task_type": "GPU"}, r"task_type .*catboost\.device"),
        ("lightgbm", {"random_state": 3}, r"random_state .*forecast\.seed"),
        ("lightgbm", {"loss": "mae"}, "loss is not to"),
        ("lightgbm", {"max_leaves": 8, "num_leaves": 9}, "max_leaves .* num_leaves"),
        ("lightgbm", {"eta": 0.02}, "eta .* learning_rate"),
        ("lightgbm", {"reg_lambda": 2.0}, "reg_lambda .* lambda_l2"),
        ("xgboost", {"eta": 0.02}, "eta .* learning_rate"),
        ("xgboost", {"lambda": 2.0}, "lambda .* reg_lambda"),
        ("catboost", {"eta": 0.1}, "eta .* learning_rate"),
        ("catboost", {"reg_lambda": 2.0}, "reg_lambda .* l2_leaf_reg"),
        ("catboost", {"colsample_bylevel": 0.5}, "colsample_bylevel .* rsm"),
        ("catboost", {"max_depth": 4}, "max_depth .* depth"),
        ("catboost", {"random_state": 3}, r"random_state .*forecast\.seed"),
        ("catboost", {"early_stopping_rounds": 3}, "early_stopping_rounds is not to"),
        ("lightgbm", {"num_leaves": -3}, r"lightgbm\.params: lightgbm says"),
        ("lightgbm", {"learning_rate": "fast"}, r"lightgbm\.params: lightgbm says"),
        ("xgboost", {"max_dept": 3}, r"xgboost says.*max_dept"),
        ("xgboost", {"n_estimators": 3}, r"n_estimators .*xgboost\.rounds"),
        ("xgboost", {"n_jobs": 3}, r"n_jobs .*xgboost\.threads"),
        ("xgboost", {"objective": "reg:absoluteerror"}, "objective is not to"),
        ("xgboost", {"max_depth": -3}, r"xgboost\.params: xgboost says"),
        ("xgboost", {"subsample": 3.0}, r"xgboost\.params: xgboost says"),
        ("xgboost", {"max_bin": "many"}, r"xgboost\.params"),
        ("catboost", {"dept": 3}, r"catboost says.*dept"),
        ("catboost", {"num_trees": 3}, r"num_trees .*catboost\.rounds"),
        ("catboost", {"depth": 99}, r"catboost\.params: catboost says"),
        ("catboost", {"bootstrap_type": "Sometimes"}, r"catboost\.params: catboost says"),
        ("catboost", {"depth": 3, "max_depth": 4}, r"catboost\.params"),
    ],
)
def test_what_a_library_would_ignore_or_trip_over_is_named(
    booster: str, params: dict[str, str | int | float | bool], expected: str
) -> None:
    with pytest.raises(BadInputError, match=expected) as refused:
        check_parameters(booster, params)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("booster", SPACES)
def test_what_a_search_sets_is_taken(booster: Booster) -> None:
    check_parameters(booster, SPACES[booster](optuna.create_study().ask()))


def test_features_left_out_are_checked_with_the_parameters() -> None:
    with pytest.raises(BadInputError, match=r"catboost\.leave_out: 'horizn' .* horizon"):
        check_parameters("catboost", {}, ["horizn"])
