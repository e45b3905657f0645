"""The search for parameters: what it looks at, what it proposes, and that it goes on where it was ended."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from mlflow import MlflowClient

from include.lifecycle.errors import BadInputError
from include.models.rossmann import kept_folds, training, tuning
from include.models.rossmann.config import RossmannConfig, load_config
from include.models.rossmann.folds import Fold, make_folds
from include.models.rossmann.matrix import TrainingMatrix
from include.models.rossmann.tuning import JOURNAL_START, Search, check_journal, configuration_diff
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
  catboost:
    params:
      rsm: 0.5
      depth: 8            # deep

    # of this machine
    threads: 1
"""


@pytest.fixture
def config(tmp_path: Path) -> RossmannConfig:
    return load_config(write_config(tmp_path / "rossmann.yaml"))


@pytest.fixture
def folds(matrix: TrainingMatrix) -> list[Fold]:
    return make_folds(matrix, 3, 42)


@pytest.fixture
def search(config: RossmannConfig, matrix: TrainingMatrix, folds: list[Fold], tmp_path: Path) -> Callable[[], Search]:
    """Begins a search as it is begun each time, with the same journal."""
    return lambda: Search(config, "lightgbm", matrix, folds, tmp_path / "trials")


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


def test_what_is_configured_is_tried_until_it_was_made(search: Callable[[], Search]) -> None:
    search()
    killed = search()
    assert len(killed.study.trials) == 1, "it waits"
    killed.study.ask()
    again = search()
    again.run(0.01)
    assert (again.resumed, again.ended, len(again.study.trials)) == (0, 1, 2)
    assert again.configured_error == again.study.best_value > 0
    assert len(search().study.trials) == 2


def test_what_is_configured_is_not_given_up(search: Callable[[], Search], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda _: True)
    begun = search()
    begun.study.optimize(begun._score, n_trials=2)
    assert [trial.state.name for trial in begun.study.trials] == ["COMPLETE", "PRUNED"]
    assert (begun.ended, begun.configured_error) == (2, begun.study.best_value)


def test_a_trial_is_given_up_when_it_is_worse_on_folds_and_not_on_one(
    config: RossmannConfig, matrix: TrainingMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = make_folds(matrix, 5, 42)
    begun = Search(config, "lightgbm", matrix, folds, tmp_path / "trials")
    best = [0.13, 0.10, 0.11, 0.14, 0.10]
    odd = [0.30, 0.09, 0.10, 0.13, 0.09]  # one fold says little
    worse = [0.14, 0.12, 0.13, 0.15]
    errors = iter(best + odd + worse)
    monkeypatch.setattr(tuning, "rmspe_without_worst", lambda *_: next(errors))
    begun.study.optimize(begun._score, n_trials=3)
    assert [trial.state.name for trial in begun.study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert values(begun)[:2] == pytest.approx([np.mean(best), np.mean(odd)])
    assert (begun.study.best_trial.number, next(errors, None)) == (0, None)


def test_a_search_that_goes_on_draws_others_than_before(search: Callable[[], Search]) -> None:
    search().run(0.01)
    for _ in range(2):
        search().run(0.01)
    before, after = (trial.params for trial in search().study.trials[1:])
    assert all(before[name] != after[name] for name in ("learning_rate", "feature_fraction", "lambda_l2"))


@pytest.mark.parametrize("what", ["libraries", "code"])
def test_other_libraries_or_code_are_another_search(
    search: Callable[[], Search], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = search().study.study_name
    if what == "libraries":
        monkeypatch.setattr(training, "library_versions", lambda names: dict.fromkeys(names, "0.1"))
    else:
        monkeypatch.setattr(kept_folds, "TRAINING_CODE", (*kept_folds.TRAINING_CODE, Path(__file__)))
    assert search().study.study_name != before


@pytest.mark.parametrize("text", ["buy milk\n", "buy milk", "{}\n", "3\n", '{"op_code":0}\nbuy milk\n'])
def test_what_is_no_journal_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes.txt").write_text(text)
    with pytest.raises(BadInputError, match=r"notes\.txt .*journal"):
        check_journal(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == text


@pytest.mark.parametrize("place", ["pipe", ".", "missing/trials", "missing link", "/dev/zero", "x" * 300])
def test_a_journal_is_a_file_in_a_folder(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "missing link").symlink_to(tmp_path / "missing" / "trials")
    with pytest.raises(BadInputError, match=place[:20].replace(".", r"\.?")) as refused:
        check_journal(tmp_path / place)
    assert "\n" not in str(refused.value)


def test_a_line_that_was_not_written_whole_is_cut_off(search: Callable[[], Search], tmp_path: Path) -> None:
    search().run(0.01)
    journal = tmp_path / "trials"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":5,"worker')
    assert search().resumed == 1
    assert journal.read_bytes().startswith(whole + JOURNAL_START)
    journal.write_bytes(whole[:14])
    check_journal(journal)
    assert journal.read_bytes() == b""


@pytest.mark.parametrize("booster", ["lightgbm", "xgboost", "catboost"])
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
        configuration_diff(YAML[: YAML.index("  catboost")], "catboost", {})


def test_a_configuration_without_parameters_is_told_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_config(tmp_path / "rossmann.yaml")
    content = yaml.safe_load(file.read_text())
    del content["boosters"]["lightgbm"]["params"]
    file.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("RETRAIN_CONFIG", str(file))
    done = run("tune", "--booster", "lightgbm", "--journal", str(tmp_path / "trials"))
    assert (done.returncode, "boosters.lightgbm.params" in done.sentence) == (2, True)


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
    assert (wrong.returncode, "no regular file" in wrong.sentence) == (2, True)


@pytest.mark.parametrize("minutes", ["nan", "inf", "0"])
def test_minutes_come_to_an_end(minutes: str) -> None:
    done = run("tune", "--booster", "lightgbm", "--minutes", minutes)
    assert (done.returncode, "--minutes is" in done.sentence) == (2, True)
