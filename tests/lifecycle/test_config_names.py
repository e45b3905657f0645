"""Two models that lead to one name in MLflow: both are refused, and no other."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from include.lifecycle.config.files import SHIPPED, configured_models
from include.lifecycle.config.load import load_lifecycle_config
from include.lifecycle.config.names import claimed
from include.lifecycle.errors import BadInputError
from include.retraining.config.model import ModelConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path))
    return tmp_path


def add(folder: Path, name: str, **fields: str) -> Path:
    """Write the configuration of another model, with names of its own but for the fields."""
    content: dict[str, Any] = yaml.safe_load((SHIPPED / "churn.yaml").read_text(encoding="utf-8"))
    del content["booster"]
    content["lifecycle"] |= {"model": name, "experiment": name, **fields}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "rossmann-ensemble"}, "the same lifecycle.model 'rossmann-ensemble': give each model its own"),
        ({"experiment": "rossmann-forecasting"}, "the same lifecycle.experiment 'rossmann-forecasting': give"),
        ({"experiment": "rossmann-forecasting-monitoring"}, "lifecycle.experiment 'rossmann-forecasting-monitoring':"),
        ({"experiment": "rossmann-forecasting-predictions"}, "experiment 'rossmann-forecasting-predictions': give"),
        (
            {"model": "rossmann-ensemble", "experiment": "rossmann-forecasting"},
            "same lifecycle.experiment 'rossmann-forecasting' and the same lifecycle.model 'rossmann-ensemble': give",
        ),
    ],
)
def test_two_models_of_one_name_are_both_refused(folder: Path, fields: dict[str, str], said: str) -> None:
    added = add(folder, "demand", **fields)
    there = SHIPPED / "rossmann.yaml"
    asked = [(load_lifecycle_config, "rossmann", there, added)]
    asked += [(read, "demand", added, there) for read in (load_lifecycle_config, ModelConfig.of)]
    for read, name, own, other in asked:
        with pytest.raises(BadInputError) as caught:
            read(name)
        assert str(caught.value).startswith(f"{own} and {other} lead to the same ")
        assert said in str(caught.value)
    assert load_lifecycle_config("churn").model == "customer-churn"


def test_a_model_may_be_called_as_another_s_experiment(folder: Path) -> None:
    add(folder, "demand", model="rossmann-forecasting", experiment="rossmann-ensemble")
    assert load_lifecycle_config("demand").experiment == "rossmann-ensemble"
    assert load_lifecycle_config("rossmann").experiment == "rossmann-forecasting"


@pytest.mark.parametrize(
    "text", ["[", "- a", "lifecycle: text", "lifecycle: {model: [rossmann-ensemble]}", "\0", "[" * 9999]
)
def test_what_is_wrong_with_another_file_stops_no_model(folder: Path, text: str) -> None:
    (folder / "demand.yaml").write_text(text, encoding="utf-8")
    (folder / "nights.yaml").write_bytes(b"\xff")
    (folder / "weeks.yaml").mkdir()
    (folder / "rossmann_old.yml").write_bytes((SHIPPED / "rossmann.yaml").read_bytes())
    assert configured_models() == ("churn", "demand", "nights", "rossmann", "rossmann_old", "weeks")
    assert load_lifecycle_config("rossmann").model == "rossmann-ensemble"
    with pytest.raises(BadInputError, match=r"demand\.yaml"):
        load_lifecycle_config("demand")


def test_a_configuration_that_is_handed_on_was_compared_where_the_files_lie(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = add(folder, "demand", model="rossmann-ensemble")
    assert load_lifecycle_config("demand", file).model == "rossmann-ensemble"
    monkeypatch.setenv("RETRAIN_CONFIG_TEXT_DEMAND", file.read_text(encoding="utf-8"))
    assert load_lifecycle_config("demand").model == "rossmann-ensemble"


def test_a_name_is_what_yaml_makes_of_it() -> None:
    text = 'names: &names {model: "\\x61", experiment: b}\nlifecycle: {<<: *names, owner: c}\n'
    experiments = {("lifecycle.experiment", name) for name in ("b", "b-predictions", "b-monitoring")}
    assert claimed(text) == {("lifecycle.model", "a"), *experiments}


@pytest.mark.parametrize("model", ["", " a", "a ", "a/b", "a:b", "Anna's", 'the "best"', "a\nb", "\x7f\x00"])
def test_what_mlflow_takes_for_no_name_or_cannot_search_is_refused(folder: Path, model: str) -> None:
    add(folder, "demand", model=model)
    with pytest.raises(BadInputError, match="lifecycle: model: "):
        load_lifecycle_config("demand")


@pytest.mark.parametrize("model", ["a", "Größe %1, v.2", "a`b\\c", "x" * 200])
def test_any_other_name_is_taken(folder: Path, model: str) -> None:
    add(folder, "demand", model=model)
    assert load_lifecycle_config("demand").model == model
