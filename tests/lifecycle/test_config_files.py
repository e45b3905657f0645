"""Where configurations lie: what the environment names counts, or is an error; nothing falls back in silence."""

import shutil
from pathlib import Path

import pytest

from include.lifecycle.config.files import SHIPPED, config_text, configured_models
from include.lifecycle.config.load import load_lifecycle_config
from include.lifecycle.errors import BadInputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment's folder, which replaces one configuration; what else lies there is none."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "churn.yaml").write_text((SHIPPED / "churn.yaml").read_text("utf-8").replace("growth", "own"), "utf-8")
    for name in ("README.md", ".hidden.yml", "churn.yaml~", "notes.txt"):
        (own / name).write_text("no configuration", encoding="utf-8")
    (own / "old").mkdir()
    (own / "..data").symlink_to(own / "old")
    monkeypatch.setenv("RETRAIN_CONFIG", str(own))
    return own


def test_a_folder_replaces_what_it_has(folder: Path) -> None:
    assert configured_models() == ("churn", "rossmann")
    assert load_lifecycle_config("churn").owner == "own"
    assert load_lifecycle_config("rossmann").owner == "forecasting"


@pytest.mark.parametrize("name", ["churn.yml", "Churn.yaml", "churn.YAML", "CHURN.YML"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_misnamed_file_is_an_error_of_its_model(folder: Path, name: str, beside: bool) -> None:
    shutil.copy(folder / "churn.yaml", folder / name)
    if not beside:
        (folder / "churn.yaml").unlink()
    with pytest.raises(BadInputError, match=rf"{folder}/{name} .*called churn\.yaml"):
        load_lifecycle_config("churn")
    assert load_lifecycle_config("rossmann").owner == "forecasting"


def test_a_misnamed_file_of_a_new_model_is_listed(folder: Path) -> None:
    (folder / "Credit-Risk.yml").write_text("lifecycle: {}", encoding="utf-8")
    assert configured_models() == ("churn", "credit_risk", "rossmann")
    with pytest.raises(BadInputError, match=r"called credit_risk\.yaml"):
        load_lifecycle_config("credit_risk")


def test_a_folder_in_a_file_s_place_is_an_error(folder: Path) -> None:
    (folder / "rossmann.yaml").mkdir()
    with pytest.raises(BadInputError, match=r"rossmann\.yaml: Is a directory"):
        load_lifecycle_config("rossmann")


@pytest.mark.parametrize("files", [(), ("README.md", "old")])
def test_a_folder_without_configurations_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...]
) -> None:
    for name in files:
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path))
    for read in (configured_models, lambda: load_lifecycle_config("churn")):
        with pytest.raises(BadInputError, match=r"RETRAIN_CONFIG .*holds no"):
            read()


@pytest.mark.parametrize("name", ["missing", "rossmann", "rossmann.yml", "Rossmann.yaml", "production.yaml"])
@pytest.mark.parametrize("there", [True, False])
def test_what_is_neither_a_folder_nor_a_model_s_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: bool
) -> None:
    if there:
        shutil.copy(SHIPPED / "rossmann.yaml", tmp_path / name)
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path / name))
    for model in ("rossmann", "churn"):
        with pytest.raises(BadInputError, match=rf"/{name}, .* churn\.yaml, rossmann"):
            config_text(model)


def test_one_file_is_the_configuration_of_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path / "churn.yaml"))
    with pytest.raises(BadInputError, match=r"churn\.yaml: No such"):
        load_lifecycle_config("churn")
    shutil.copy(SHIPPED / "churn.yaml", tmp_path)
    assert config_text("churn")[1] == str(tmp_path / "churn.yaml")
    assert config_text("rossmann")[1] == str(SHIPPED / "rossmann.yaml")


def test_a_text_of_the_environment_is_one_model_s(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (SHIPPED / "churn.yaml").read_text(encoding="utf-8").replace("growth", "text")
    monkeypatch.setenv("RETRAIN_CONFIG_TEXT_CHURN", text)
    assert config_text("churn") == (text, "RETRAIN_CONFIG_TEXT_CHURN")
    assert load_lifecycle_config("churn").owner == "text"
    with pytest.raises(BadInputError, match=r"_CHURN .*'rossmann'.*_ROSSMANN"):
        load_lifecycle_config("rossmann")
    assert load_lifecycle_config("rossmann", SHIPPED / "rossmann.yaml").owner == "forecasting"


def test_a_text_that_names_no_model_is_none_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_CONFIG_TEXT", (SHIPPED / "churn.yaml").read_text(encoding="utf-8"))
    with pytest.raises(BadInputError, match=r"_TEXT is no .*'churn'"):
        load_lifecycle_config("churn")
