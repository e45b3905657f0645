"""Candidates that are bad in one way each: the item of the checklist that has to catch it does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle.moves.model_registry import ModelRegistry
from include.models.rossmann.config import load_config
from include.models.rossmann.dataset import Dataset, load_dataset
from include.models.rossmann.model import described
from include.retraining.config.review import ReviewConfig
from include.retraining.review.build import Reviewer, ReviewInput, VersionFolder
from include.retraining.review.report import Review, Verdict
from include.retraining.run import RetrainRun
from tests.rossmann.conftest import Retrain, use
from tests.rossmann.spoiled import MODEL, SPOIL

pytestmark = pytest.mark.long

ReviewOf = Callable[[str], Review]


@pytest.fixture(scope="module")
def honest(
    shared_retrain: Retrain, validated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Dataset]:
    """The artifacts of the shared retrain's version, its forecasts calibrated, and the data."""
    folder = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as patch:
        use(patch, shared_retrain, validated_database)
        config, client = load_config(), MlflowClient()
        registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
        version = registry.version(config.lifecycle.model, shared_retrain.version)
        artifacts = registry.download(version, folder / "version")
        dataset = load_dataset(RetrainRun(client, shared_retrain.run_id).fetch("data", folder))
    spoil(artifacts, "", {"served": 1.0, "backtest": 1.0})
    frame = described(dataset.train, dataset.stores)
    backtest = MODEL.load(artifacts).backtest
    unseen = backtest.unseen(frame)
    predicted = backtest.predict(frame[unseen].drop(columns="Sales"), frame[~unseen])
    factor = float(frame.loc[unseen, "Sales"].sum() / predicted.sum())
    spoil(artifacts, "", {"served": factor, "backtest": factor})
    return artifacts, dataset


def spoil(folder: Path, how: str, calibration: dict[str, float] | None = None) -> None:
    if calibration is None:
        calibration = json.loads((folder / SPOIL).read_text(encoding="utf-8"))["calibration"]
    (folder / SPOIL).write_text(json.dumps({"how": how, "calibration": calibration}), encoding="utf-8")


@pytest.fixture
def review_of(honest: tuple[Path, Dataset], tmp_path: Path) -> ReviewOf:
    """Return the review of a candidate that is spoiled in one way, against the honest version."""
    artifacts, dataset = honest

    def review(how: str) -> Review:
        candidate = tmp_path / "candidate"
        shutil.copytree(artifacts, candidate)
        spoil(candidate, how)
        if how == "feature shifted":
            shift_a_feature(candidate)
        given = ReviewInput(
            model=MODEL,
            name="sales",
            candidate=VersionFolder(2, candidate),
            live=VersionFolder(1, artifacts),
            frame=described(dataset.train, dataset.stores),
            asked=MODEL.next_rows(dataset),
            threshold=0.5,
        )
        # how long something takes on a busy machine is no test, but of what is 20 times slower
        off = {"consistent": "off", "changes": "off"} if how == "slow" else {"speed": "off"}
        made = Reviewer(given, ReviewConfig(rules=off, replicates=300), tmp_path).review()
        print(*(f"{item.verdict} {item.key}: {item.sentence}" for item in made.items), sep="\n")  # where it fails
        return made

    return review


def shift_a_feature(folder: Path) -> None:
    """Let the version's own feature code take a store's last year from before the one it was trained on."""
    package = next(path for path in (folder / "code").iterdir() if path.name.startswith("rossmann_forecaster"))
    features = package / "features.py"
    text, now = features.read_text(encoding="utf-8"), "slice(max(known - YEAR, 0), known)"
    assert text.count(now) == 1
    features.write_text(text.replace(now, "slice(0, known - YEAR)"), encoding="utf-8")
    name = f"{package.name}_shifted"  # a package of the same name would be the one that is loaded already
    package.rename(package.with_name(name))
    for file in folder.rglob("*"):
        if file.suffix in (".py", "") and file.is_file() and package.name in file.read_text(encoding="utf-8"):
            file.write_text(file.read_text(encoding="utf-8").replace(package.name, name), encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "item", "verdict"),
    [
        ("type doubled", "slices", Verdict.WARN),
        ("feature shifted", "slices", Verdict.WARN),
        ("high", "bias", Verdict.WARN),
        ("frozen", "better", Verdict.WARN),
        ("bad at the end", "recent", Verdict.WARN),
        ("nan", "outputs", Verdict.FAIL),
        ("slow", "speed", Verdict.WARN),
    ],
)
def test_a_bad_candidate_is_caught(review_of: ReviewOf, how: str, item: str, verdict: Verdict) -> None:
    made = review_of(how)
    found = {item.key: item.verdict for item in made.items}
    assert found[item] is verdict, made.items
    assert made.verdict is not Verdict.PASS


def test_an_equal_candidate_is_not_better(review_of: ReviewOf) -> None:
    made = review_of("")
    better = next(item for item in made.items if item.key == "better")
    assert better.verdict is Verdict.PASS
    assert better.figures["gain"] == 0
    assert better.sentence.startswith("No clear difference")
    assert {item.key: item.verdict for item in made.items if item.verdict not in (Verdict.PASS, Verdict.NONE)} == {}


def test_rows_that_production_was_trained_on_are_left_out(honest: tuple[Path, Dataset], tmp_path: Path) -> None:
    """A candidate of earlier data than Production's: its own holdout was seen by Production in part."""
    from include.retraining.review.unseen import unseen_rows

    artifacts, dataset = honest
    frame = described(dataset.train, dataset.stores)
    candidate, live = MODEL.load(artifacts), MODEL.load(artifacts)
    end = candidate.backtest.member.training_end
    live.backtest.member.training_end = end + pd.Timedelta(days=10)
    live.served.member.training_end = candidate.served.member.training_end
    found = unseen_rows(MODEL, frame, candidate, live)
    assert found.members == "backtest"
    assert found.compared
    assert found.rows["Date"].min() == end + pd.Timedelta(days=11)
    assert found.known["Date"].max() == end + pd.Timedelta(days=10)
    assert "left out" in found.sentence
    live.backtest.member.training_end = frame["Date"].max()
    alone = unseen_rows(MODEL, frame, candidate, live)
    assert not alone.compared
    assert alone.rows["Date"].min() == end + pd.Timedelta(days=1)
