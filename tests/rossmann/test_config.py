"""Configuration: an error names file, field, value and what was expected."""

from pathlib import Path

import pytest
import yaml

from include.lifecycle.config import load_lifecycle_config
from include.lifecycle.errors import BadInputError
from include.rossmann.config import load_config


def changed(path: Path, section: str, field: str, value: object) -> Path:
    content = load_config().model_dump(mode="json")
    place = content
    for part in section.split("."):
        place = place[part]
    place[field] = value
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_configuration_of_this_repository_is_valid() -> None:
    config = load_config()
    assert config.lifecycle == load_lifecycle_config()
    assert config.lifecycle.gate.threshold == 0.10
    assert config.forecast.horizon_days == 42
    assert set(config.boosters) == {"lightgbm", "xgboost", "catboost"}


@pytest.mark.parametrize(
    ("section", "field", "value", "expected"),
    [
        ("lifecycle.gate", "threshold", -1, r"lifecycle\.gate\.threshold: .*greater than 0 \(found -1\)"),
        ("lifecycle.gate", "treshold", 0.1, r"lifecycle\.gate\.treshold: Extra inputs"),
        ("lifecycle.schedule", "timezone", "Europe/Nowhere", r"timezone: .*IANA.*found 'Europe/Nowhere'"),
        ("lifecycle.schedule", "cron", "0 2 *", r"cron: .*five cron fields"),
        ("lifecycle", "runner", "cloud", r"lifecycle\.runner: .*found 'cloud'"),
        ("boosters", "randomforest", {"rounds": 3}, r"boosters\.randomforest"),
        ("boosters.xgboost", "rounds", 0, r"boosters\.xgboost\.rounds: .*greater than 0"),
        ("forecast", "block_step_days", 20, r"multiple of block_step_days"),
        ("forecast", "cv_folds", 2, r"forecast\.cv_folds: .*found 2"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, section: str, field: str, value: object, expected: str) -> None:
    path = changed(tmp_path / "c.yaml", section, field, value)
    with pytest.raises(BadInputError, match=expected) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cannot read the configuration .*No such file"):
        load_config(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(BadInputError, match="must be a mapping of sections, found list"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(BadInputError, match="not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("data: {}\n")
    with pytest.raises(BadInputError, match="has no section 'lifecycle'"):
        load_lifecycle_config(tmp_path / "empty.yaml")


def test_the_environment_names_the_data_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_DATA_REGISTRY", "https://example.org/data.git")
    assert load_config().data_registry == "https://example.org/data.git"
