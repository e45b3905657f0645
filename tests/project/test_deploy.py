"""The deployment's files: the secrets of a new one, and what the compose file leaves to them."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.deploy import users

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yaml").read_text()


def make_env(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "include/deploy/make_env.py"), str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def values(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_every_secret_is_made_anew_and_for_its_owner_alone(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    assert [make_env(file).returncode for file in files] == [0, 0]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    one, two = map(values, files)
    secret = {name for name in one if re.search("PASSWORD|SECRET|KEY", name)}
    assert len(secret) == 12
    assert all(one[name] != two[name] and len(one[name]) >= 32 for name in secret)
    assert len({one[name] for name in secret}) == len(secret)


def test_an_env_file_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("mine")
    done = make_env(file)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert file.read_text() == "mine"


def test_the_compose_file_has_no_default_secret(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    known = values(tmp_path / ".env")
    used = dict(re.findall(r"\$\{([A-Z_]+)((?::[-?][^}]*)?)\}", COMPOSE))
    secret = {name for name in used if re.search("PASSWORD|SECRET|KEY", name)}
    assert secret == {name for name in known if re.search("PASSWORD|SECRET|KEY", name)}
    # a stack from before there was a ledger key goes on without one
    assert [name for name in secret if used[name].startswith(":-")] == ["RETRAIN_LEDGER_KEY"]
    assert used["RETRAIN_LEDGER_KEY"] == ":-"
    for name in secret - {"RETRAIN_LEDGER_KEY"}:  # each is asked for with the hint at least once
        assert f"${{{name}:?is not set. Run make env}}" in COMPOSE, name


def test_only_the_web_interfaces_are_published_and_on_this_machine() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"mlflow", "apiserver"}
    assert all(port.startswith("${LISTEN:-127.0.0.1}:") for found in ports.values() for port in found)
    sockets = [name for name, service in services.items() if "docker.sock" in str(service.get("volumes"))]
    assert sockets == ["engine"]
    assert [name for name, service in services.items() if "engine" in service.get("networks", [])] == [
        "engine",
        "worker",
    ]


def test_the_scripts_are_shell_and_one_makes_the_databases() -> None:
    scripts = sorted((ROOT / "include/deploy").glob("*.sh"))
    assert len(scripts) >= 5
    for script in scripts:
        shell = script.read_text().splitlines()[0].removeprefix("#!")
        subprocess.run([shell, "-n", str(script)], check=True)
    makes = [script.name for script in scripts if re.search("(CREATE|DROP) DATABASE", script.read_text())]
    assert makes == ["databases.sh"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name at least one"),
        (["anna"], "'anna' is not NAME:ROLE"),
        (["anna:"], "'anna:' is not NAME:ROLE"),
        (["a b:Op"], "'a b:Op' is not NAME:ROLE"),
        (["anna:Op", "pipeline:Admin"], "pipeline is a login of the stack itself"),
    ],
)
def test_a_login_that_cannot_be_made_is_refused_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert users.main(words) == 2
    assert sentence in capsys.readouterr().err


def test_whoever_reads_dags_finds_the_menu_of_the_models(tmp_path: Path) -> None:
    """Airflow's UI takes a plugin's menus from its list of plugins, which FAB by itself shows to Op and above only."""
    settings = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}",
        "AIRFLOW__FAB__UPDATE_FAB_PERMS": "False",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fab_menus.py"))],
        env={**kept, **settings, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before, *after = json.loads(done.stdout.splitlines()[-1])
    assert before == {"Viewer": False, "User": False, "Op": True}
    assert after == [dict.fromkeys(before, True)] * 2
