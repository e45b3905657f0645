"""The search for parameters: what it looks at, what it proposes, and that it goes on where it was ended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import RossmannConfig, load_config
from include.models.rossmann.folds import Fold, make_folds
from include.models.rossmann.matrix import TrainingMatrix
from include.models.rossmann.tuning import Search, configuration_diff
from tests.rossmann.command_line import run
from tests.rossmann.conftest import Retrain, write_config

pytestmark = pytest.mark.filterwarnings("ignore:Fixed parameter:UserWarning")  # of boosters that train in a second

YAML = """\
boosters:                 # chosen before the holdout
  lightgbm:
    rounds: 800           # fixed
    params: {num_leaves: 63, max_bin: 127}   # of the library
  xgboost:
    params:
      max_depth: 8
"""


@pytest.fixture
def config(tmp_path: Path) -> RossmannConfig:
    return load_config(write_config(tmp_path / "rossmann.yaml"))


@pytest.fixture
def folds(matrix: TrainingMatrix) -> list[Fold]:
    return make_folds(matrix, 3, 42)


def values(search: Search) -> list[float | None]:
    return [trial.value for trial in search.study.trials]


@pytest.mark.parametrize("booster", ["lightgbm", "xgboost", "catboost"])
def test_the_first_trial_is_what_is_configured(
    config: RossmannConfig, matrix: TrainingMatrix, folds: list[Fold], tmp_path: Path, booster: str
) -> None:
    search = Search(config, booster, matrix, folds, tmp_path / "trials")  # type: ignore[arg-type]
    search.run(0.01)
    assert len(search.study.trials) == 1
    configured = config.boosters[booster].params  # type: ignore[index]
    assert search.best == configured, "nothing is drawn that is not configured"
    assert 0 < search.configured_error == search.study.best_value < 0.5


def test_the_holdout_has_no_say(
    config: RossmannConfig, matrix: TrainingMatrix, folds: list[Fold], tmp_path: Path
) -> None:
    corrupt = replace(matrix, sales=np.where(matrix.block_end > folds[-1].training_end, 1.0, matrix.sales))
    found = []
    for name, rows in (("true", matrix), ("corrupt", corrupt)):
        search = Search(config, "lightgbm", rows, folds, tmp_path / name)
        search.study.optimize(search._score, n_trials=2)
        found.append((search.study.study_name, values(search)))
    assert found[0] == found[1]


def test_a_search_goes_on_with_the_same_data_and_settings_only(
    config: RossmannConfig, matrix: TrainingMatrix, folds: list[Fold], tmp_path: Path
) -> None:
    journal = tmp_path / "trials"
    first = Search(config, "lightgbm", matrix, folds, journal)
    first.run(0.01)
    again = Search(config, "lightgbm", matrix, folds, journal)
    again.run(0.01)
    assert (first.resumed, again.resumed, len(again.study.trials)) == (0, 1, 2)
    assert values(again)[0] == first.configured_error
    other = replace(matrix, sales=matrix.sales * np.where(matrix.block_end < folds[0].end, 1.1, 1.0))
    assert Search(config, "lightgbm", other, folds, journal).resumed == 0
    assert Search(config, "xgboost", matrix, folds, journal).resumed == 0
    assert Search(config, "lightgbm", matrix, folds[1:], journal).resumed == 0


def test_what_is_no_journal_is_named(
    config: RossmannConfig, matrix: TrainingMatrix, folds: list[Fold], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(BadInputError, match=r"notes\.txt .*journal"):
        Search(config, "lightgbm", matrix, folds, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "buy milk\n"


@pytest.mark.parametrize("booster", ["lightgbm", "xgboost"])
def test_the_diff_changes_the_parameters_and_nothing_else(booster: str) -> None:
    params = {"num_leaves": 31, "learning_rate": 0.0213, "boosting": "gbdt", "extra_trees": True}
    lines = configuration_diff(YAML, booster, params).splitlines()  # type: ignore[arg-type]
    removed = [line[1:] for line in lines if line.startswith("-") and not line.startswith("---")]
    added = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]
    after = "\n".join(line for line in YAML.splitlines() if line not in removed)
    expected = yaml.safe_load(YAML)["boosters"]
    expected[booster]["params"] = params
    position = YAML.splitlines().index(removed[0])
    whole = YAML.splitlines()
    whole[position : position + len(removed)] = added
    assert yaml.safe_load("\n".join(whole))["boosters"] == expected
    assert after.count("#") + "".join(added).count("#") == YAML.count("#")


def test_without_a_change_there_is_no_diff() -> None:
    assert configuration_diff(YAML, "lightgbm", {"num_leaves": 63, "max_bin": 127}) == ""
    with pytest.raises(BadInputError, match=r"no boosters\.catboost\.params"):
        configuration_diff(YAML, "catboost", {})


def test_the_command(retrain: Retrain, tmp_path: Path) -> None:
    journal = str(tmp_path / "trials")
    done = run("tune", "--booster", "lightgbm", "--minutes", "0.01", "--origins", "3", "--journal", journal)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "on 3 origins" in lines[0]
    found = MlflowClient().get_run(lines[-1].split()[3].rstrip(","))
    assert (found.info.status, found.data.params["tuned"]) == ("FINISHED", "lightgbm")
    assert found.data.metrics["rmspe_without_worst_best"] <= found.data.metrics["rmspe_without_worst_configured"]
    wrong = run("tune", "--booster", "lightgbm", "--journal", str(tmp_path))
    assert (wrong.returncode, "is a folder" in wrong.sentence) == (2, True)
