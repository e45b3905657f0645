"""What a configuration says to a booster is checked before hours are spent on it.

XGBoost ignores a name that it does not know, LightGBM takes an alias of the rounds for the rounds, and each library
says in its own way what is wrong with a value: so names are looked up in the library's own list, what the configuration
sets elsewhere is refused under all its names, and two rounds are trained on a few random rows. A parameter has one name
here: quick runs and the search for parameters set some by that name, and would set them beside an alias.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line
from include.models.rossmann.boosters import Parameters, nearest, seen_features, train_member
from include.models.rossmann.config import BoosterConfig
from include.models.rossmann.forecaster.features import FEATURE_NAMES
from include.models.rossmann.matrix import TrainingMatrix

ROWS = 300
SET_ELSEWHERE = {
    "lightgbm": {  # with all their aliases
        "num_iterations": "rounds",
        "num_threads": "threads",
        "device_type": "device",
        "seed": "forecast.seed",
        **dict.fromkeys(("objective", "early_stopping_round", "verbosity", "task", "config"), ""),
        **dict.fromkeys(("data", "valid", "input_model", "output_model"), ""),
    },
    "xgboost": {
        **dict.fromkeys(("num_boost_round", "n_estimators"), "rounds"),
        **dict.fromkeys(("nthread", "n_jobs"), "threads"),
        **dict.fromkeys(("device", "gpu_id"), "device"),
        **dict.fromkeys(("seed", "random_state"), "forecast.seed"),
        **dict.fromkeys(("objective", "early_stopping_rounds", "verbosity", "silent", "num_class"), ""),
    },
    "catboost": {
        "iterations": "rounds",  # with its aliases
        **dict.fromkeys(("thread_count", "n_jobs"), "threads"),
        "task_type": "device",
        "random_seed": "forecast.seed",  # with its alias
        **dict.fromkeys(("loss_function", "objective", "logging_level", "verbose", "verbose_eval", "silent"), ""),
        **dict.fromkeys(("allow_writing_files", "train_dir", "use_best_model"), ""),
        **dict.fromkeys(("od_pval", "od_type", "od_wait", "save_snapshot", "snapshot_file"), ""),
    },
}
"""Names that ``params`` may not hold, and the field that sets them; empty where nothing does."""

XGBOOST_ALIASES = {"eta": "learning_rate", "lambda": "reg_lambda", "alpha": "reg_alpha", "min_split_loss": "gamma"}
"""XGBoost has two names for these, and no list of them."""


def check_parameters(booster: str, params: Parameters, leave_out: Sequence[str] = ()) -> None:
    """Train two rounds on random rows with a booster's parameters.

    :param booster: lightgbm, xgboost or catboost
    :param params: the library's own parameters
    :param leave_out: features that it does not see
    :raises BadInputError: names the field, and what the library does not take
    """
    field = f"boosters.{booster}.params"
    for name in params:
        main = _main_name(booster, name)
        if main in SET_ELSEWHERE[booster]:
            place = SET_ELSEWHERE[booster][main]
            where = place if "." in place else f"boosters.{booster}.{place}"
            raise BadInputError(
                f"{field}.{name} is " + (f"set by {where}: change that" if place else "not to be changed")
            )
        if booster == "lightgbm" and name not in _lightgbm_names():
            raise BadInputError(f"{field}.{name} is no parameter of {booster}{nearest(name, _lightgbm_names())}")
        if name != main:
            raise BadInputError(f"{field}.{name} is another name of {main}: write {main}")
    seen_features(booster, leave_out)
    extra = {"verbosity": 1, "validate_parameters": True} if booster == "xgboost" else {}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            train_member(booster, _random_rows(), BoosterConfig(rounds=2, threads=1, params={**params, **extra}))
    except Exception as error:  # each library has exceptions of its own
        raise BadInputError(f"{field}: {booster} says: {one_line(str(error))}") from error
    for found in said:
        if "are not used" in str(found.message):
            raise BadInputError(f"{field}: xgboost says: {one_line(str(found.message).split('Parameters:')[-1])}")


def _main_name(booster: str, name: str) -> str:
    """Return the one name that the configuration has for what a library takes under several."""
    if booster == "lightgbm":
        return _lightgbm_names().get(name, name)
    if booster == "catboost":
        from catboost.core import _process_synonyms_groups  # the library's own list; it has no public one

        found = {name: name}
        _process_synonyms_groups(found)
        return next(iter(found))
    return XGBOOST_ALIASES.get(name, name)


@cache
def _lightgbm_names() -> dict[str, str]:
    """Return LightGBM's parameters and their aliases, each with the name that it stands for."""
    from lightgbm.basic import _ConfigAliases  # the library's own list; it has no public one

    aliases: Mapping[str, Iterable[str]] = _ConfigAliases._get_all_param_aliases()
    return {name: main for main, others in aliases.items() for name in (main, *others)}


def _random_rows() -> TrainingMatrix:
    random = np.random.default_rng(0)
    days = np.datetime64("2015-01-01") + np.arange(ROWS)
    return TrainingMatrix(
        block_end=days,
        store=np.ones(ROWS, np.int32),
        date=days,
        sales=np.exp(random.normal(8.0, 0.3, ROWS)),
        base=np.full(ROWS, 8.0),
        features=random.normal(size=(ROWS, len(FEATURE_NAMES))).astype(np.float32),
    )
