"""Configuration: an error names file, field, value and what was expected."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.load import load_lifecycle_config, named_model
from include.lifecycle.errors import BadInputError
from include.lifecycle.yaml_text import parse_yaml
from include.models.rossmann.config import load_config
from include.models.rossmann.model import MODEL
from include.retraining.steps.pull import check_metric


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
    assert config.lifecycle == load_lifecycle_config("rossmann")
    assert config.lifecycle.gate.threshold == 0.10
    assert config.forecast.horizon_days == 42
    assert set(config.boosters) == {"lightgbm", "xgboost", "catboost"}


@pytest.mark.parametrize(
    ("section", "field", "value", "expected"),
    [
        ("lifecycle.gate", "threshold", math.inf, r"gate\.threshold: .*\(found inf\)"),
        ("lifecycle.gate", "treshold", 0.1, r"gate\.treshold: Extra inputs"),
        ("lifecycle.schedule", "timezone", "Europe/Nowhere", r"timezone: .*IANA.*'Europe/Nowhere'"),
        ("lifecycle.schedule", "cron", "0 2 *", r"cron: .*five cron fields"),
        ("lifecycle", "runner", "cloud", r"lifecycle\.runner: .*found 'cloud'"),
        ("boosters", "randomforest", {"rounds": 3}, r"boosters\.randomforest"),
        ("boosters.xgboost", "rounds", 0, r"xgboost\.rounds: .*greater than 0"),
        ("forecast", "block_step_days", 20, r"multiple of block_step"),
        ("forecast", "cv_folds", 2, r"forecast\.cv_folds: .*found 2"),
        ("forecast", "seed", -1, r"forecast\.seed: .*found -1"),
        ("forecast", "seed", 2**31, r"forecast\.seed: .*found 2147483648"),
        ("forecast", "horizon_days", 21, r"forecast\.horizon_days: .*42.*found 21"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, section: str, field: str, value: object, expected: str) -> None:
    path = changed(tmp_path / "c.yaml", section, field, value)
    with pytest.raises(BadInputError, match=expected) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("approvers", ["", "user:anna"])
@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("approval", "anna", r"approval: .*found 'anna'"),
        ("approval", ["anna"], r"approval: .*found \['anna'\]"),
        ("approval.policy", "anna", r"approval\.policy: .*found 'anna'"),
        ("containers", 3, r"containers: .*found 3"),
    ],
)
def test_a_section_that_is_no_mapping_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, approvers: str, place: str, value: object, expected: str
) -> None:
    monkeypatch.setenv("RETRAIN_APPROVERS", approvers)
    monkeypatch.setenv("RETRAIN_IMAGE", "trainer:1")
    section, _, field = f"lifecycle.{place}".rpartition(".")
    path = changed(tmp_path / "c.yaml", section, field, value)
    with pytest.raises(BadInputError, match=expected):
        load_config(path)


def test_the_model_of_a_configuration_that_is_wrong_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path))
    for text, model in (
        ("lifecycle: {model: sales, runner: cloud}", "sales"),
        ("lifecycle: {model: [sales]}", None),
        ("lifecycle: sales", None),
        ("- sales", None),
        ("lifecycle: {model: sales", None),
    ):
        (tmp_path / "rossmann.yaml").write_text(text, encoding="utf-8")
        assert named_model("rossmann") == model


def test_unreadable_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"missing\.yaml: No such"):
        load_config(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(BadInputError, match="sections, found list"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(BadInputError, match="not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("data: {}\n")
    with pytest.raises(BadInputError, match="has no section 'lifecycle'"):
        load_lifecycle_config("rossmann", tmp_path / "empty.yaml")


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
    file.write_text((SHIPPED / "rossmann.yaml").read_text(encoding="utf-8"), encoding="utf-8-sig")
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
        load_lifecycle_config("rossmann", tmp_path / "c.yaml")
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
    with pytest.raises(BadInputError, match=r"lifecycle\.model: .*; and \d+ more$") as caught:
        load_config(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize(
    ("gate", "expected"),
    [({"metric": "mae"}, "'rmspe', found 'mae'"), ({"threshold": -1}, "found -1")],
)
def test_a_gate_that_is_not_of_the_model_s_metric_is_refused(gate: dict[str, Any], expected: str) -> None:
    config = load_config()
    lifecycle = config.lifecycle.model_copy(update={"gate": config.lifecycle.gate.model_copy(update=gate)})
    with pytest.raises(BadInputError, match=r"gate\.(metric|threshold): .*" + expected):
        check_metric(MODEL, config.model_copy(update={"lifecycle": lifecycle}))


def test_the_environment_s_configuration_is_of_the_model_that_it_is_named_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "rossmann.yaml"
    changed(own, "lifecycle", "owner", "somebody")
    monkeypatch.setenv("RETRAIN_CONFIG", str(own))
    assert load_config().lifecycle.owner == "somebody"
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path))
    assert load_config().lifecycle.owner == "somebody"
    monkeypatch.delenv("RETRAIN_CONFIG")
    with pytest.raises(BadInputError, match="'churn', not 'rossmann'"):
        load_config(changed(tmp_path / "c.yaml", "lifecycle", "name", "churn"))


def test_what_the_environment_sets_for_one_model_holds_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_APPROVERS", "user:anna")
    monkeypatch.setenv("RETRAIN_APPROVERS_CHURN", "user:ben, role:Growth")
    monkeypatch.setenv("RETRAIN_IMAGE_CHURN", "churn@sha256:1")
    first, second = (load_lifecycle_config(name) for name in ("rossmann", "churn"))
    assert [str(found) for found in first.approval.policy.approvers] == ["user:anna"]
    assert [str(found) for found in second.approval.policy.approvers] == ["user:ben", "role:Growth"]
    assert second.rollback.policy.approvers == second.approval.policy.approvers
    assert (first.containers.image, second.containers.image) == ("retrain-trainer:latest", "churn@sha256:1")


def test_approvers_of_every_model_take_the_decision_from_nobody_whom_a_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tmp_path / "rossmann.yaml", "lifecycle", "approval", {"policy": {"approvers": ["role:Forecasting"]}})
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path / "rossmann.yaml"))
    monkeypatch.setenv("RETRAIN_APPROVERS", "user:anna")
    assert load_lifecycle_config("rossmann").approval.policy.approvers == ("role:Forecasting",)
    monkeypatch.setenv("RETRAIN_APPROVERS_ROSSMANN", "user:ben")
    assert load_lifecycle_config("rossmann").approval.policy.approvers == ("user:ben",)
    monkeypatch.setenv("RETRAIN_APPROVERS_ROSSMANN", " ,")
    with pytest.raises(BadInputError, match="RETRAIN_APPROVERS"):
        load_lifecycle_config("rossmann")


@pytest.mark.parametrize("place", ["approval", "approval.policy", "containers", ""])
@pytest.mark.parametrize("found", [["a"], "text", 7, []])
def test_what_the_environment_sets_hides_no_section_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, found: object
) -> None:
    for variable in ("RETRAIN_APPROVERS", "RETRAIN_APPROVERS_ROSSMANN", "RETRAIN_IMAGE", "RETRAIN_RUNNER"):
        monkeypatch.setenv(variable, "user:anna" if "APPROVERS" in variable else "docker")
    content = yaml.safe_load((SHIPPED / "rossmann.yaml").read_text(encoding="utf-8"))
    *sections, last = ("lifecycle", *place.split(".")) if place else ("lifecycle",)
    holder = content
    for section in sections:
        holder = holder[section]
    holder[last] = found
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    expected = rf"{re.escape(place) or 'the section'}: Input should be .*\(found {re.escape(repr(found))}\)"
    with pytest.raises(BadInputError, match=expected):
        load_lifecycle_config("rossmann", file)
    with pytest.raises(BadInputError, match=rf"lifecycle{re.escape(f'.{place}' if place else '')}: Input should be"):
        load_config(file)


def test_a_section_that_says_nothing_has_what_the_environment_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_APPROVERS", "user:anna")
    monkeypatch.setenv("RETRAIN_IMAGE", "trainer@sha256:1")
    content = yaml.safe_load((SHIPPED / "rossmann.yaml").read_text(encoding="utf-8"))
    content["lifecycle"] |= {"approval": None, "containers": None}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    config = load_lifecycle_config("rossmann", file)
    assert [str(found) for found in config.approval.policy.approvers] == ["user:anna"]
    assert config.containers.image == "trainer@sha256:1"
