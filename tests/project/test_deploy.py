"""The deployment's files: the secrets of a new one, and what the compose file leaves to them."""

import json
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path

import jwt
import pytest
import yaml
from stack_double import Double

from deploy import users

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yaml").read_text()


def make_env(file: Path, double: Double | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Make the settings of a stack, beside what a double of docker tells of the engine."""
    command = [sys.executable, str(ROOT / "deploy/make_env.py"), str(file)]
    # without a double there is no docker at all
    environment = double.environment if double is not None else {"PATH": ""}
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**environment, **variables})


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


def test_the_key_of_airflows_tokens_is_as_long_as_it_wants(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jwt.encode({}, values(tmp_path / ".env")["AIRFLOW_JWT_SECRET"], algorithm="HS512")


def test_each_clone_has_a_name_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    names = []
    for folder in ("a/My Clone", "b/My Clone", "b/My Clone", "...", "Ünïcode 2", "x" * 90, "---"):
        file = tmp_path / folder / ".env"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        assert make_env(file).returncode == 0
        names.append(values(file)["COMPOSE_PROJECT_NAME"])
    assert names[1] == names[2] != names[0]
    assert names[0].startswith("my-clone-")
    assert names[3].startswith("retrain-")
    assert len(set(names)) == len(names) - 1
    assert all(re.fullmatch("[a-z0-9][a-z0-9-]{0,40}", name) for name in names)


def test_name_and_ports_that_are_asked_for(tmp_path: Path) -> None:
    asked = {"COMPOSE_PROJECT_NAME": "retrain", "AIRFLOW_PORT": "8081", "MLFLOW_PORT": "5001"}
    done = make_env(tmp_path / ".env", **asked)
    found = values(tmp_path / ".env")
    assert asked.items() <= found.items()
    assert found["AIRFLOW_URL"] == "http://localhost:8081"
    assert found["MLFLOW_URL"] == "http://localhost:5001"
    assert found["MLFLOW_HOSTS"] == "localhost:5001,127.0.0.1:5001"
    assert "stack retrain," in done.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AIRFLOW_PORT", "80 81"),
        ("AIRFLOW_PORT", "0"),
        ("MLFLOW_PORT", "65536"),
        ("MLFLOW_PORT", "8080"),
        ("MLFLOW_PORT", "\u0665\u0660"),
        ("COMPOSE_PROJECT_NAME", "My Stack"),
        ("COMPOSE_PROJECT_NAME", "-x"),
    ],
)
def test_a_name_or_port_that_is_none_is_refused(tmp_path: Path, name: str, text: str) -> None:
    done = make_env(tmp_path / ".env", **{name: text})
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert name in sentence
    assert text in sentence
    assert not (tmp_path / ".env").exists()


def test_volumes_whose_settings_are_gone_are_named_at_once(double: Double) -> None:
    file = double.folder / ".env"
    file.unlink()
    assert make_env(file, double).returncode == 0
    project = values(file)["COMPOSE_PROJECT_NAME"]
    file.unlink()
    (double.state / "volumes").write_text(f"{project}_postgres\n")
    done = make_env(file, double)
    assert done.returncode == 2
    assert f"{project}_postgres" in done.stderr
    assert not file.exists()
    asked = re.search(r"make env (\w+)=(\S+)", done.stderr)
    assert asked is not None
    assert make_env(file, double, **{asked[1]: asked[2]}).returncode == 0


@pytest.mark.parametrize("left_out", [None, "retrain-mlflow:latest", "retrain-trainer:latest"])
def test_the_next_step_is_the_next_one(double: Double, left_out: str | None) -> None:
    found = (double.state / "images").read_text().splitlines()
    (double.state / "images").write_text("".join(f"{name}\n" for name in found if name != left_out))
    (double.folder / ".env").unlink()
    said = make_env(double.folder / ".env", double).stdout
    assert re.findall(r"make (\w+)", said) == (["images", "up"] if left_out else ["up", "images"])
    assert ("0123456789ab;" in said) is (left_out is None)


@pytest.mark.parametrize(
    ("url", "secure"),
    [("https://a.example.org", "True"), ("http://localhost:8080", ""), ("http://https.example.org", "")],
)
def test_the_cookie_of_a_login_is_for_tls_alone_where_people_come_by_it(tmp_path: Path, url: str, secure: str) -> None:
    program = tmp_path / "airflow"
    program.write_text('#!/bin/sh\necho "$1 $AIRFLOW__FAB__COOKIE_SECURE"\n')
    program.chmod(0o755)
    command = [word.replace("$$", "$") for word in yaml.safe_load(COMPOSE)["services"]["apiserver"]["command"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AIRFLOW__API__BASE_URL": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"api-server {secure}\n"


@pytest.mark.parametrize(
    ("given", "reached"), [('{"AWS_PROFILE": "lake"}', "lake"), ("{}", ""), ("null", "")], ids=["one", "none", "unset"]
)
def test_the_command_line_has_what_the_data_registry_asks_for(tmp_path: Path, given: str, reached: str) -> None:
    service = yaml.safe_load(COMPOSE)["services"]["cli"]
    assert service["profiles"], "it starts when it is asked for, and not with the stack"
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "$AWS_PROFILE|$DATA_REGISTRY_ENV|$*"\n')
    program.chmod(0o755)
    command = [sys.executable, *(word.replace("$$", "$") for word in service["entrypoint"][1:]), "history", "--json"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DATA_REGISTRY_ENV": given}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{reached}||-P -m include.models.rossmann history --json\n"


def test_a_client_that_hangs_up_is_no_failure_of_the_data_server(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"0" * 50_000_000)
    (tmp_path / "small").write_text("whole")
    command = [sys.executable, "-u", str(ROOT / "deploy/data_server.py"), "0", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split()[-1])
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
                    assert client.recv(100).startswith(b"HTTP/1.0 200")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/small", timeout=10) as answer:
                assert answer.read() == b"whole"
        finally:
            server.terminate()
            _, said = server.communicate(timeout=10)
    assert "Traceback" not in said
    assert len(said.splitlines()) == 4


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
    scripts = sorted((ROOT / "deploy").glob("*.sh"))
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


def test_links_lead_to_the_address_that_people_use() -> None:
    text = yaml.safe_load(COMPOSE)["x-airflow-environment"]["AIRFLOW_CONN_MLFLOW_DEFAULT"]
    filled = re.sub(r"\$\{(\w+):[?-][^}]*\}", r"\1", text)
    assert json.loads(filled)["extra"]["ui_url"] == "MLFLOW_URL"
