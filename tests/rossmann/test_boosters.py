import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from include.lifecycle.errors import BadInputError
from include.models.rossmann import boosters
from include.models.rossmann.boosters import (
    HALF_LIFE_DAYS,
    LOWERED,
    importance,
    limited_residual,
    percentage_target,
    quick_settings,
    recency_weights,
    seen_features,
    train_member,
    trained_rounds,
)
from include.models.rossmann.config import BoosterConfig
from include.models.rossmann.forecaster import BOOSTERS, FEATURE_NAMES, load_member
from tests.bench.timeline import FIT
from tests.rossmann.fixtures import FAST

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rows(matrix):
    return matrix.until(matrix.block_ends[-3])


@pytest.mark.parametrize("booster", BOOSTERS)
def test_the_same_rows_give_the_same_model(booster, rows, matrix):
    settings = BoosterConfig(rounds=20, threads=2, params=FAST[booster])
    first, second = (train_member(booster, rows, settings, seed=5) for _ in range(2))
    features = matrix.block(matrix.block_ends[-1]).features
    np.testing.assert_array_equal(first.predict(features), second.predict(features))


def test_steps_that_train_nothing_import_no_booster():
    steps = "include.models.rossmann.steps"
    code = f"import {steps}.ensemble, {steps}.build, {steps}.train, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"lightgbm", "xgboost", "catboost", "sklearn", "scipy.optimize"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize("booster", BOOSTERS)
def test_a_member_survives_saving_bit_for_bit(booster, members, matrix, tmp_path):
    path = members[booster].save(tmp_path)
    again = load_member(path)
    assert again.booster == booster
    np.testing.assert_array_equal(members[booster].predict(matrix.features), again.predict(matrix.features))


@pytest.mark.parametrize("booster", BOOSTERS)
def test_members_learn(booster, members, matrix):
    rows = matrix.block(matrix.block_ends[-1])
    error = rows.residual - members[booster].predict(rows.features)
    assert np.sqrt(np.mean(error**2)) < np.sqrt(np.mean(rows.residual**2))


@pytest.mark.parametrize("booster", BOOSTERS)
def test_progress_is_reported_to_the_end(booster, rows):
    seen = []
    settings = BoosterConfig(rounds=12, params=FAST[booster])
    member = train_member(booster, rows, settings, progress=lambda *done: seen.append(done))
    assert trained_rounds(member) == 12
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_timeline_finds_a_training_in_the_log(rows, caplog):
    with caplog.at_level("INFO"):
        train_member("lightgbm", rows, BoosterConfig(rounds=12, params=FAST["lightgbm"]))
    assert sum(bool(FIT.search(f"{record.name}: {record.message}")) for record in caplog.records) == 1


@pytest.mark.parametrize("booster", BOOSTERS)
def test_importance_names_every_feature(booster, members):
    table = importance(members[booster])
    assert set(table["feature"]) == set(FEATURE_NAMES)
    assert table["importance"].is_monotonic_decreasing
    assert table["importance"].sum() == pytest.approx(1.0)


def test_older_blocks_weigh_less(matrix):
    weights = recency_weights(matrix)
    assert weights[-1] == 1.0
    age = (matrix.block_ends[-1] - matrix.block_ends[-3]).astype(np.int64)
    np.testing.assert_allclose(weights[matrix.block_end == matrix.block_ends[-3]], 0.5 ** (age / HALF_LIFE_DAYS))


def test_a_quick_run_has_fewer_and_larger_steps():
    settings, rounds = quick_settings("lightgbm", {"learning_rate": 0.05, "num_leaves": 7}, 800, 0.25)
    assert rounds == 200
    assert settings == {"learning_rate": 0.2, "num_leaves": 7}
    assert quick_settings("lightgbm", {"learning_rate": 0.05}, 800, 1.0) == ({"learning_rate": 0.05}, 800)
    with pytest.raises(ValueError, match="rounds_scale is 0"):
        quick_settings("lightgbm", {}, 800, 0)


def test_unknown_boosters_and_empty_matrices_are_refused(matrix):
    with pytest.raises(ValueError, match=r"'prophet', .*lightgbm, xgboost, catboost"):
        train_member("prophet", matrix, BoosterConfig(rounds=1))
    with pytest.raises(ValueError, match="no training rows"):
        train_member("lightgbm", matrix.until(np.datetime64("2000-01-01")), BoosterConfig(rounds=1))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no booster writes '\.pkl'"):
        load_member(tmp_path / "model.pkl")


def test_no_rows_give_no_predictions(members):
    for member in members.values():
        assert member.predict(np.zeros((0, len(FEATURE_NAMES)), dtype=np.float32)).shape == (0,)


@pytest.mark.parametrize("booster", BOOSTERS)
def test_a_member_sees_what_it_was_trained_on_and_no_more(booster, rows, tmp_path):
    left = ["table_mean_*", "horizon"]
    member = train_member(booster, rows, BoosterConfig(rounds=12, params=FAST[booster], leave_out=left))
    hidden = [n for n, name in enumerate(FEATURE_NAMES) if name == "horizon" or name.startswith("table_mean_")]
    seen = [name for n, name in enumerate(FEATURE_NAMES) if n not in hidden]
    assert len(hidden) == 5
    assert list(importance(member).sort_values("feature")["feature"]) == sorted(seen)
    loaded = load_member(member.save(tmp_path))
    assert member.features == loaded.features == seen
    before = member.predict(rows.features)
    for hide, same in ((hidden, True), ([FEATURE_NAMES.index(name) for name in seen], False)):
        spoiled = rows.features.copy()
        spoiled[:, hide] = spoiled[::-1, hide]
        for other in (member, loaded):
            assert np.array_equal(other.predict(spoiled), before) is same


def test_the_target_is_cut_alike_whatever_a_member_sees(rows, monkeypatch):
    targets = []
    cut = boosters.limited_residual
    monkeypatch.setattr(boosters, "limited_residual", lambda *given: targets.append(cut(*given)) or targets[-1])
    for left in ([], ["table_*", "year_*"]):
        train_member("lightgbm", rows, BoosterConfig(rounds=2, leave_out=left))
    np.testing.assert_array_equal(*targets)


@pytest.mark.parametrize(
    ("name", "said"), [("lag_365", "lag_364"), ("lag_*", "lag_easter"), ("", "no feature"), ("year", "no feature")]
)
def test_names_that_cannot_be_left_out_are_refused(name, said):
    with pytest.raises(BadInputError, match=rf"boosters\.xgboost\.leave_out: .*{said}"):
        seen_features("xgboost", ["horizon", name])


@pytest.mark.skipif(Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists(), reason="there is a GPU")
@pytest.mark.parametrize("booster", BOOSTERS)
def test_without_a_gpu_it_is_said_and_nothing_else_trains(booster, rows):
    with pytest.raises(BadInputError, match=f"{booster}.device is gpu") as refused:
        train_member(booster, rows, BoosterConfig(rounds=3, params=FAST[booster], device="gpu"))
    assert "\n" not in str(refused.value)


def test_targets_are_cut_unless_the_year_before_was_as_odd(matrix):
    rows = matrix.rows(slice(0, 5))
    before = np.array([np.nan, 0.1, -2.0, -1.0, 1.5])
    odd = replace(rows, sales=np.exp(rows.base + np.array([-3.0, 2.0, -1.9, -3.0, 3.0])))
    np.testing.assert_allclose(limited_residual(odd.residual, before), [-0.8, 0.8, -1.9, -1.0, 1.5], rtol=1e-6)


def test_squared_errors_of_what_is_learned_are_squared_percentage_errors():
    residual, weight = np.array([-3.0, -0.7, 0.0, 0.2, 1.5]), np.array([1.0, 0.5, 1.0, 0.25, 1.0])
    target, weights = percentage_target(residual, weight)
    for forecast in (0.3, 1.0, 2.0):
        learned = weights * (target - forecast * np.exp(LOWERED)) ** 2
        percentage = weight * np.expm1(np.log(forecast) - residual) ** 2 * np.exp(2 * LOWERED)
        np.testing.assert_allclose(learned[1:], percentage[1:], rtol=1e-12)
        assert learned[0] < percentage[0]  # a day that closed at ten counts no more than one that is cut


@pytest.mark.parametrize("booster", BOOSTERS)
def test_what_cannot_be_told_apart_is_forecast_as_percentage_errors_would_have_it(booster, rows):
    """Half of the rows sell a half of the usual, half of them as usual: 0.6, not the median's 0.71, nor the mean."""
    some = np.random.default_rng(0).permutation(len(rows)) % 2
    newest = np.full(len(rows), rows.block_end[-1])
    odd = replace(rows, sales=np.exp(rows.base) * np.where(some == 1, 0.5, 1.0), block_end=newest)
    settings = BoosterConfig(rounds=2, params={**FAST[booster], "learning_rate": 1e-6})
    forecast = train_member(booster, odd, settings).predict(rows.features)
    np.testing.assert_allclose(forecast, np.log(0.6) + LOWERED, atol=2e-3)
