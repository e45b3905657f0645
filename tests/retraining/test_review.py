"""The review of a model without time, where a higher metric is better: the generic parts know no model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from include.retraining.config.review import ReviewConfig
from include.retraining.review.build import Reviewer, ReviewInput, VersionFolder
from include.retraining.review.page import render_page
from include.retraining.review.report import Item, Review, Verdict
from tests.retraining.classifier import FILE, MODEL, customers, save

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return customers()


def review(
    tmp_path: Path,
    rows: pd.DataFrame,
    candidate: Path,
    live: Path | None,
    *,
    threshold: float = 0.7,
    measured: bool = False,
) -> Review:
    given = ReviewInput(
        model=MODEL,
        name="churn",
        candidate=VersionFolder(2, candidate),
        live=VersionFolder(1, live) if live is not None else None,
        frame=rows,
        asked=rows.drop(columns="Left").head(500),
        threshold=threshold,
        warnings=["3 customers of 3,000 have no age"],
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = ReviewConfig(replicates=200, rules={} if measured else {"speed": "off"})
    return Reviewer(given, config, scratch).review()


def item(made: Review, key: str) -> Item:
    return next(item for item in made.items if item.key == key)


def test_a_better_candidate(tmp_path: Path, rows: pd.DataFrame) -> None:
    live = save(tmp_path / "live", rows, features=["Age", "Calls"])
    made = review(tmp_path, rows, save(tmp_path / "candidate", rows), live, measured=True)
    better = item(made, "better")
    assert better.verdict is Verdict.PASS
    assert better.sentence.startswith("Better: AUC")
    assert better.figures["gain_low"] > 0
    assert better.figures["candidate"] > better.figures["production"]
    assert item(made, "gate").verdict is Verdict.PASS
    assert item(made, "quality").verdict is Verdict.WARN
    assert item(made, "speed").verdict in (Verdict.PASS, Verdict.WARN)
    # what needs time or entities says so, and is no pass
    assert {item(made, key).verdict for key in ("recent", "horizon")} == {Verdict.NONE}
    assert "600 rows" in made.rows
    assert made.to_dict() == json.loads(json.dumps(made.to_dict()))
    assert "Better: AUC" in render_page(made)


def test_a_worse_candidate(tmp_path: Path, rows: pd.DataFrame) -> None:
    live = save(tmp_path / "live", rows)
    made = review(tmp_path, rows, save(tmp_path / "candidate", rows, features=["Age"]), live)
    assert item(made, "better").verdict is Verdict.WARN
    assert item(made, "better").figures["gain_high"] < 0
    gate = item(made, "gate")
    assert gate.verdict is Verdict.FAIL, "an AUC below the threshold fails, and blocks by default"
    assert made.verdict is Verdict.FAIL


def test_without_production(tmp_path: Path, rows: pd.DataFrame) -> None:
    made = review(tmp_path, rows, save(tmp_path / "candidate", rows), None)
    assert made.live is None
    assert {item(made, key).verdict for key in ("better", "drift", "changes")} == {Verdict.NONE}
    assert item(made, "gate").verdict is Verdict.PASS


def test_another_holdout_leaves_nothing_to_compare(tmp_path: Path, rows: pd.DataFrame) -> None:
    """Production's backtest member was trained on the whole holdout of the candidate: no comparison is fair."""
    live = save(tmp_path / "live", rows, holdout=0)
    made = review(tmp_path, rows, save(tmp_path / "candidate", rows), live)
    assert item(made, "better").verdict is Verdict.NONE
    assert "no comparison would be fair" in made.rows


def test_a_version_that_does_not_load_is_held_back(tmp_path: Path, rows: pd.DataFrame) -> None:
    candidate = save(tmp_path / "candidate", rows)
    (candidate / FILE).write_text("{", encoding="utf-8")
    made = review(tmp_path, rows, candidate, None)
    assert [found.key for found in made.items] == ["outputs"]
    assert made.verdict is Verdict.FAIL


def test_production_that_does_not_load_does_not_hold_back(tmp_path: Path, rows: pd.DataFrame) -> None:
    live = save(tmp_path / "live", rows)
    (live / FILE).write_text("{", encoding="utf-8")
    made = review(tmp_path, rows, save(tmp_path / "candidate", rows), live)
    assert item(made, "better").verdict is Verdict.NONE
    assert item(made, "gate").verdict is Verdict.PASS


@pytest.mark.parametrize("rule", ["off", "warn", "block"])
def test_the_rule_of_an_item(tmp_path: Path, rows: pd.DataFrame, rule: str) -> None:
    candidate = save(tmp_path / "candidate", rows)
    given = ReviewInput(
        model=MODEL, name="churn", candidate=VersionFolder(2, candidate), live=None, frame=rows,
        asked=rows.drop(columns="Left").head(50), threshold=0.999,
    )  # fmt: skip
    config = ReviewConfig.model_validate({"rules": {"gate": rule, "speed": "off"}, "replicates": 200})
    made = Reviewer(given, config, tmp_path).review()
    found = {item.key: item.verdict for item in made.items}
    assert found.get("gate") == {"off": None, "warn": Verdict.WARN, "block": Verdict.FAIL}[rule]


def test_a_prediction_that_is_no_probability(
    tmp_path: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.retraining import classifier

    candidate = save(tmp_path / "candidate", rows)
    monkeypatch.setattr(classifier.Fitted, "predict", lambda _, asked, __: np.full(len(asked), 1.5))
    made = review(tmp_path, rows, candidate, None, threshold=0.1)
    assert item(made, "outputs").verdict is Verdict.FAIL
    assert "a probability" in item(made, "outputs").sentence
