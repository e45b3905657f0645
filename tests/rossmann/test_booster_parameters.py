"""Parameters of the boosters are checked before anything is trained."""

import pytest

from include.lifecycle.errors import BadInputError
from include.models.rossmann.booster_parameters import check_parameters
from include.models.rossmann.config import load_config


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
        ("lightgbm", {"max_leaves": 8, "num_leaves": 9}, "max_leaves and num"),
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


def test_features_left_out_are_checked_with_the_parameters() -> None:
    with pytest.raises(BadInputError, match=r"catboost\.leave_out: 'horizn' .* horizon"):
        check_parameters("catboost", {}, ["horizn"])
