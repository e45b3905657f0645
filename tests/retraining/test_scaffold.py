"""``make new-model``: files of another model, which work; nothing is overwritten."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.lifecycle.config.files import SHIPPED
from include.lifecycle.errors import BadInputError
from include.retraining.scaffold import FILES, new_model, renamed

PROJECT = SHIPPED.parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what a model is made of."""
    for folder in ("include", "dags", "tests/models"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_another_model_has_its_own_names_and_works(project: Path) -> None:
    new_model(project, "credit_risk")
    made = [project / file.replace("churn", "credit_risk") for file in FILES]
    texts = [path for place in made for path in ([place] if place.is_file() else place.rglob("*.py"))]
    assert len(texts) >= 10
    assert [path for path in texts if "churn" in path.read_text(encoding="utf-8").lower()] == []
    done = subprocess.run(
        [sys.executable, "-m", "include.models.credit_risk", "config"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lifecycle = yaml.safe_load(done.stdout)["lifecycle"]
    assert (lifecycle["name"], lifecycle["model"]) == ("credit_risk", "credit-risk")
    assert lifecycle["connections"]["data"] == "credit_risk_data"
    assert not list(project.glob(".new-model-*"))


@pytest.mark.parametrize(
    ("name", "named"), [("churn_eu", "ChurnEu"), ("eu_churn", "EuChurn"), ("churnchurn", "Churnchurn")]
)
def test_a_name_that_holds_the_example_s_is_replaced_once(project: Path, name: str, named: str) -> None:
    for text in (
        file.read_text("utf-8")
        for place in FILES
        for file in (PROJECT / place, *(PROJECT / place).rglob("*.py"))
        if file.is_file()
    ):
        other = renamed(text, "credit_risk")
        for part, own in {"credit_risk": name, "credit-risk": name.replace("_", "-"), "CreditRisk": named}.items():
            other = other.replace(part, own)
        assert renamed(text, name) == other
    new_model(project, name)
    lifecycle = yaml.safe_load((project / f"include/config/{name}.yaml").read_text(encoding="utf-8"))["lifecycle"]
    assert (lifecycle["model"], lifecycle["experiment"]) == (name.replace("_", "-"),) * 2
    assert lifecycle["connections"]["data"] == f"{name}_data"
    assert f"class {named}Config(ModelConfig)" in (project / f"include/models/{name}/config.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rossmann_ensemble", r"/rossmann\.yaml .*\.model 'rossmann-"),
        ("rossmann_forecasting", r"lifecycle\.experiment 'rossmann-forecasting'"),
        ("customer_churn", r"'customer-churn' and .*\.model '"),
        ("customer_churn_monitoring", r"experiment 'customer-churn-monitoring'"),
        ("rossmann_retrain", r"dags/rossmann_retrain\.py"),
        ("demand", r"dags/demand_predict\.py"),
        ("night", r"other/test_night\.py"),
        ("booster", r"BoosterConfig .*churn/config\.py"),
        ("pipeline", r"Pipeline .*churn/model\.py"),
    ],
)
def test_what_a_model_brings_along_may_not_be_there(project: Path, name: str, said: str) -> None:
    (project / "dags/demand_predict.py").touch()
    (project / "tests/other").mkdir()
    (project / "tests/other/test_night.py").touch()
    before = sorted(project.rglob("*"))
    with pytest.raises(BadInputError, match=rf"{said}.*: choose another name"):
        new_model(project, name)
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    ["", "Churn", "9x", "a-b", "a__b", "_a", "a_", "../x", "class", "a b", "x" * 31, "é", "a\n", "none", "true", "off"],
)
def test_a_name_that_is_none_makes_nothing(project: Path, name: str) -> None:
    before = sorted(project.rglob("*"))
    with pytest.raises(BadInputError, match="NAME must be"):
        new_model(project, name)
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("taken", ["churn", "rossmann", "half"])
def test_what_is_there_is_never_replaced(project: Path, taken: str) -> None:
    (project / "dags" / "half.py").write_text("# somebody's own", encoding="utf-8")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(BadInputError, match="is there already"):
        new_model(project, taken)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
