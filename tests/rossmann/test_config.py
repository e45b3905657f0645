"""Configuration: an error names file, field, value and what was expected."""

import re
from pathlib import Path

import pytest
import yaml

from include.lifecycle.config import DEFAULT_CONFIG, load_lifecycle_config
from include.lifecycle.errors import BadInputError
from include.lifecycle.yaml_text import parse_yaml
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


@pytest.mark.parametrize("section", ["lifecycle.schedule", "prediction.schedule", "monitor"])
@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 31 2 *", "never fires"),
        ("0 2 30 2 *", "never fires"),
        ("0 2 31 4,6,9,11 *", "never fires"),
        ("61 2 * * *", "cron expression"),
        ("0 24 * * *", "cron expression"),
        ("0 2 * 13 *", "cron expression"),
        ("0 2 * * eightday", "cron expression"),
        ("@never", "cron expression"),
        ("0 2 * * * *", "five cron fields"),
        ("", "five cron fields"),
    ],
)
def test_a_schedule_that_never_fires_is_refused(tmp_path: Path, section: str, cron: str, expected: str) -> None:
    pytest.importorskip("croniter", reason="comes with Airflow")
    with pytest.raises(BadInputError, match=rf"cron: .*{expected}"):
        load_config(changed(tmp_path / "c.yaml", section, "cron", cron))


@pytest.mark.parametrize("cron", ["@daily", "0 2 29 2 *", "*/5 0-6 * * mon-fri", "0 2 L * *"])
def test_schedules_that_fire(tmp_path: Path, cron: str) -> None:
    changed(tmp_path / "c.yaml", "lifecycle.schedule", "cron", cron)
    assert load_config(tmp_path / "c.yaml").lifecycle.schedule.cron == cron


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lifecycle:\n  gate: {threshold: 0.1}\n  model: a\n  gate: {threshold: 0.9}\n", "'gate' .* lines 2 and 4"),
        ("lifecycle: {approval: {policy: {approvers: [a], approvers: []}}}", "'approvers' .* lines 1 and 1"),
        ("data: {}\nlifecycle: {}\ndata: {}\n", "'data' .* lines 1 and 3"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x\n", "'<<' .* lines 3 and 4"),
        ("? [a]\n: 1\n", "a key must be a word"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x00", "not valid YAML"),
        ("a: 1\n---\na: 2\n", "not valid YAML"),
    ],
)
def test_what_a_parser_would_pass_over_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(BadInputError, match=expected):
        load_config(file)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("lifecycle: {owner: Jürgen}", encoding=encoding)
    with pytest.raises(BadInputError, match=f"{file}.*(UTF-8|not valid YAML)"):
        load_config(file)


def test_merged_keys_may_be_there_already() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: [*b, *a], y: 4}\n"
    assert parse_yaml(text, "it") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 3, "y": 4}}


def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(DEFAULT_CONFIG.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert load_config(file) == load_config()


def test_a_wrong_value_is_shown_without_credentials(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "lifecycle: {model: m, owner: {url: 'https://me:pa/s3cret@host/x'}}\ndata: {registry: [https://me:s3cret@h]}\n"
    )
    with pytest.raises(BadInputError) as refused:
        load_config(file)
    assert "registry" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_the_environment_names_the_data_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_DATA_REGISTRY", "https://example.org/data.git")
    assert load_config().data_registry == "https://example.org/data.git"


SECRET = "hooks.example.com/T0/Zq7secret"


@pytest.mark.parametrize(
    "text",
    [
        "lifecycle: {notifications: [{notifer: a.B, arguments: {url: SECRET}}]}",
        "lifecycle: {notifications: [{notifier: a.B, arguments: SECRET}]}",
        "lifecycle: {notifications: [{notifier: a.B, arguments: [SECRET]}]}",
        "lifecycle: {notifications: {notifier: a.B, arguments: {url: SECRET}}}",
        "lifecycle: {notifications: [[{url: SECRET}]]}",
        "lifecycle:\n  notifications:\n  - arguments: {url: SECRET\n",
        "lifecycle:\n  password: 'SECRET\n",
        "lifecycle:\n  url: SECRET: x\n",
    ],
)
def test_what_a_notifier_is_given_is_in_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text.replace("SECRET", SECRET))
    with pytest.raises(BadInputError) as caught:
        load_lifecycle_config(tmp_path / "c.yaml")
    assert "Zq7secret" not in str(caught.value)
    assert re.search(r"notifications|line \d", str(caught.value))


@pytest.mark.parametrize("tag", ["!!int x", "!!float x", "!!timestamp x", "!!bool x", "!!binary ☃", "2015-99-99"])
def test_a_value_that_its_tag_does_not_fit_is_named_with_its_line(tmp_path: Path, tag: str) -> None:
    (tmp_path / "c.yaml").write_text(f"a: 1\nb: {tag}\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="line 2"):
        load_config(tmp_path / "c.yaml")


def test_of_many_wrong_fields_some_are_named(tmp_path: Path) -> None:
    wrong = {f"field{number}": number for number in range(50)}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"lifecycle": wrong}))
    with pytest.raises(BadInputError, match=r"lifecycle\.model: Field required.*; and \d+ more$") as caught:
        load_config(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 2500
