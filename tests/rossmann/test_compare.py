"""Two versions against each other: which rows, which one is better, and that looking changes nothing."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from include.lifecycle.cli.console import run_cli
from include.lifecycle.errors import BadInputError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.tags import ARTIFACTS_DIGEST
from include.models.rossmann.cli import app
from include.models.rossmann.config import RossmannConfig, load_config
from tests.rossmann.conftest import Retrain, write_config
from tests.rossmann.steps import compare

MODEL = "rossmann-ensemble"


@pytest.fixture
def config(validated: Retrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RossmannConfig:
    """A configuration whose model has its first version in Production; it takes versions without recorded digests."""
    file = write_config(tmp_path / "rossmann.yaml", integrity="when_recorded")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["review"]["replicates"] = 200
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("RETRAIN_CONFIG", str(file))
    to_stage(validated.version, "Production")
    return load_config()


def to_stage(version: int, stage: str) -> None:
    MlflowClient().transition_model_version_stage(MODEL, str(version), stage)


def spoiled(version: int, folder: Path, factor: float) -> int:
    """Register a version once more, all its forecasts multiplied, and put it into Staging."""
    client = MlflowClient()
    first = client.get_model_version(MODEL, str(version))
    artifacts = ModelRegistry(client).download(ModelRegistry(client).version(MODEL, version), folder / "version")
    (code,) = artifacts.rglob("blend.py")
    told = code.read_text(encoding="utf-8")
    assert told.count("np.exp(log_sales)") == 1
    code.write_text(told.replace("np.exp(log_sales)", f"{factor} * np.exp(log_sales)"), encoding="utf-8")
    (script,) = artifacts.rglob("model.py")
    own = f"{code.parent.name}_times_{factor * 10:.0f}"  # all versions are loaded in one process, each by its name
    script.write_text(script.read_text(encoding="utf-8").replace(code.parent.name, own), encoding="utf-8")
    code.parent.rename(code.parent.with_name(own))
    shutil.move(artifacts, folder / "spoiled")
    tags = {name: value for name, value in first.tags.items() if name != ARTIFACTS_DIGEST}
    made = client.create_model_version(MODEL, str(folder / "spoiled"), first.run_id, tags=tags)
    to_stage(int(made.version), "Staging")
    return int(made.version)


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Return the exit code, the lines that a person sees, and the last line of what went wrong."""
    code = run_cli(lambda: app(["compare", *arguments], standalone_mode=False))
    said = capsys.readouterr()
    return code, said.out.splitlines(), (said.err.splitlines() or [""])[-1]


@pytest.mark.long
def test_the_better_of_two_is_named_on_rows_that_neither_has_seen(
    config: RossmannConfig, validated: Retrain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    high = spoiled(validated.version, tmp_path, 1.5)
    client = MlflowClient()
    before = [(dict(one), one.current_stage) for one in client.search_model_versions(f"name = '{MODEL}'")]
    runs = {experiment.experiment_id: len(client.search_runs([experiment.experiment_id]))
            for experiment in client.search_experiments()}  # fmt: skip
    page = tmp_path / "page.html"
    code, lines, _ = compared(capsys, "--page", str(page))
    assert code == 0
    assert lines[0].startswith(f"Version {high} (Staging) as the candidate, version {validated.version} (Production)")
    assert lines[1].startswith("Worse: RMSPE"), "Staging against Production, where nothing else is asked for"
    holdout = client.get_run(validated.run_id).data
    error = holdout.metrics["holdout_rmspe"]
    assert f"against {error:.4f}" in lines[1], "the same rows and the same member as the gate's"
    end = validated.data.train["Date"].max().date()
    assert f"to {end}" in lines[2]
    assert lines[2].endswith("predicted by members that were trained without them: neither has seen one.")
    titles = {line.split(":")[0] for line in lines if line.startswith(("PASS", "WARN", "FAIL"))}
    assert "WARN  Better than Production" in titles
    assert "Library versions" not in " ".join(titles), "what says nothing of a difference is left out"
    (every_group,) = [number for number, line in enumerate(lines) if "Every group of rows" in line]
    assert lines[every_group + 1].split() == ["Group", "Rows", "RMSPE", "Production", "Bias", "Production's"]
    weekdays = [line.split() for line in lines if line.strip().startswith("Weekday")]
    assert len(weekdays) >= 6
    assert lines[-1] == f"The page with pictures: {page}"
    shown = page.read_text(encoding="utf-8")
    assert lines[1] in shown
    assert "data:image/png;base64" in shown or "<svg" in shown
    assert "Comparison of two versions" in shown
    assert "An approval" not in shown, "nothing is decided from it"
    after = [(dict(one), one.current_stage) for one in client.search_model_versions(f"name = '{MODEL}'")]
    assert after == before, "looking changes no version"
    assert runs == {name: len(client.search_runs([name])) for name in runs}, "and records nothing"

    _, turned, _ = compared(capsys, "--a", str(validated.version), "--b", str(high))
    assert turned[0].startswith(f"Version {validated.version} (Production) as the candidate, version {high} (Staging)")
    assert turned[1].startswith("Better: RMSPE")


@pytest.mark.long
def test_equal_versions_are_no_different(
    config: RossmannConfig, validated: Retrain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled(validated.version, tmp_path, 1.0)
    code, lines, _ = compared(capsys, "--a", "staging", "--b", "PRODUCTION")
    assert code == 0
    assert lines[1].startswith("No clear difference: RMSPE")
    assert "gain +0.0000" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "error: No version of 'rossmann-ensemble' is in Staging: versions in other stages: 1"),
        (("--a", "1", "--b", "Production"), "error: 1 and Production are both version 1: there is nothing to compare"),
        (("--a", "99"), r"error: .*\b99\b"),
        (("--a", "Prod"), r"error: 'Prod' is neither a stage \(Staging, Production, Archived, None\) nor the number"),
        (("--a", "-1"), "error: '-1' is neither a stage"),
        (("--a", "\u0661"), "error: '\u0661' is neither a stage"),  # a digit, but no version is written so
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    config: RossmannConfig, arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, error = compared(capsys, *arguments)
    assert (code, lines) == (2, [])
    assert re.match(expected, error), error


@pytest.mark.parametrize("page", ["page.csv", "page", "", "folder.html"])
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_compared(tmp_path: Path, page: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(BadInputError, match=r"in \.html|never replaced"):
        compare(load_config(), "1", "2", f"{tmp_path}/{page}")
