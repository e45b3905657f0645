"""``make smoke``: each check against little servers that answer as the parts of the stack do."""

import json
import os
import re
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy import smoke

ROOT = Path(__file__).resolve().parents[2]
HEALTHY = {"status": "healthy", "latest_scheduler_heartbeat": "2026-01-01T00:00:00+00:00"}
PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
VERSION = {"version": "4", "current_stage": "Production"}
IMAGE = {"Config": {"Labels": {"org.opencontainers.image.revision": "f" * 40}}}
MLFLOW = "/api/2.0/mlflow"
SECRET = "pw-that-nobody-sees"
Answers = dict[str, Any]


@contextmanager
def served(handler: Callable[..., Any]) -> Iterator[int]:
    """Serve on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None: ...


def fake(answers: Answers, login: str | None = None) -> type[BaseHTTPRequestHandler]:
    """Return a server that gives, by method and path, a status, or an object as JSON, or else 404.

    :param login: what the header Authorization must hold, but for what is asked of everybody
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            asked = f"{self.command} {self.path.partition('?')[0]}"
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = answers.get(asked, 404)
            if login and asked not in OPEN and self.headers.get("Authorization") != login:
                found = answers.get("anonymous", 401)
            status, content = (found, {"message": "No such image"}) if isinstance(found, int) else (200, found)
            body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *arguments: Any) -> None: ...

    return Handler


OPEN = {"GET /api/v2/monitor/health", "GET /model-registry/desk"}


class Stack:
    """What the parts answer; a test changes it."""

    def __init__(self) -> None:
        self.airflow: Answers = {
            "GET /api/v2/monitor/health": dict.fromkeys(PARTS, HEALTHY),
            "GET /model-registry/desk": {"ledger_keys": []},
        }
        self.dags = {
            dag_id: dag_id.endswith("rollback")
            for dag_id in (f"{model}_{name}" for model in ("churn", "rossmann") for name in smoke.KINDS)
        }
        self.broken: list[tuple[str, str]] = []
        self.mlflow: Answers = {
            f"GET {MLFLOW}/registered-models/search": {},
            f"GET {MLFLOW}/model-versions/search": {"model_versions": [{"version": "5"}, VERSION]},
            f"GET {MLFLOW}/model-versions/get-download-uri": {"artifact_uri": "mlflow-artifacts:/1/models/m-1"},
            f"GET {MLFLOW}-artifacts/artifacts": {"files": [{"path": "MLmodel"}]},
        }
        self.engine: Answers = {
            "GET /version": {"Version": "20.10", "ApiVersion": "1.41"},
            "GET /v1.41/version": {"Version": "20.10", "ApiVersion": "1.41"},
            "GET /v1.41/images/retrain-trainer:latest/json": IMAGE,
            **{f"{method} {path.partition('?')[0]}": 403 for method, path in smoke.FORBIDDEN},
        }


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stack]:
    made = Stack()
    git = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True)
    git(["git", "init", "-q", "registry"])
    git(
        ["git", "-C", "registry", "-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"]
    )
    git(["git", "-C", "registry", "update-server-info"])
    (tmp_path / "registry/page/info").mkdir(parents=True)
    (tmp_path / "registry/page/info/refs").write_text("<html>Please log in")
    basic = b64encode(f"pipeline:{SECRET}".encode()).decode()
    with (
        served(fake(made.airflow, "Bearer a-token")) as airflow,
        served(fake(made.mlflow, f"Basic {basic}")) as mlflow,
        served(fake(made.engine)) as engine,
        served(partial(Quiet, directory=str(tmp_path))) as data,
    ):
        local = {"host": "127.0.0.1", "schema": "http", "password": SECRET}
        connections = {
            "MLFLOW_DEFAULT": {**local, "port": mlflow, "login": "pipeline", "extra": {"ui_url": "http://else"}},
            "ROSSMANN_DATA": {"host": f"http://127.0.0.1:{data}/registry/.git"},
            "CHURN_DATA": {"host": f"http://127.0.0.1:{data}/registry/.git"},
        }
        for name, values in connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "http", **values}))
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", f"http://127.0.0.1:{airflow}/execution/")
        monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "dags"))
        monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "memory://")
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engine}")
        monkeypatch.setenv("RETRAIN_RUNNER", "docker")
        monkeypatch.setenv("RETRAIN_CODE_COMMIT", "e" * 40)
        for name in ("RETRAIN_CONFIG", "RETRAIN_IMAGE", "RETRAIN_ENGINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(smoke, "workers", lambda: "2 answer")
        # Airflow's database; test_compose asks the real one
        monkeypatch.setattr(smoke, "known_dags", lambda: (made.dags, made.broken))
        monkeypatch.setattr(smoke, "PATIENCE_SECONDS", 0.0)
        yield made


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what was printed: the line of each check by its name."""
    shown = capsys.readouterr().out
    assert SECRET not in shown
    found = [re.fullmatch(r"(?:ok  |FAILED )([^:]+): .+", line) for line in shown.splitlines()]
    assert all(found), shown
    return {match[1]: match[0] for match in found if match}


def test_a_whole_stack(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main() == 0
    found = lines(capsys)
    assert all(line.startswith("ok  ") for line in found.values())
    assert list(found)[:4] == ["PostgreSQL", "scheduler", "triggerer", "dag processor"]
    names = (f"{model}_{name}" for model in ("churn", "rossmann") for name in smoke.KINDS)
    shown = ", ".join(f"{name} (paused)" if name.endswith("rollback") else name for name in names)
    assert found["DAGs"] == f"ok  DAGs: {shown}"
    for name, model in {"churn": "customer-churn", "rossmann": "rossmann-ensemble"}.items():
        assert found[f"artifacts of {name}"] == f"ok  artifacts of {name}: version 4 of {model} has its files"
        assert "built from ffffffffffff while this worker is from eeeeeeeeeeee" in found[f"engine and image of {name}"]
    assert len([line for name, line in found.items() if name.startswith("engine's filter")]) == 1, "one engine"
    assert len(found) == 16


SICK = {"status": "unhealthy", "latest_triggerer_heartbeat": "2026-01-01T03:00:00"}


@pytest.mark.parametrize(
    ("part", "asked", "answer", "check", "words"),
    [
        ("airflow", "GET /api/v2/monitor/health", {"metadatabase": {"status": "unhealthy"}}, "PostgreSQL", "postgres"),
        ("airflow", "GET /api/v2/monitor/health", {"triggerer": SICK}, "triggerer", "unhealthy, last heartbeat 2026"),
        ("airflow", "GET /api/v2/monitor/health", {}, "dag processor", "absent: read the logs of .* dag-processor"),
        ("airflow", "GET /model-registry/desk", "<html>", "decisions", "not loaded the plugin"),
        ("airflow", "GET /model-registry/desk", 404, "decisions", "not loaded the plugin"),
        ("airflow", "GET /model-registry/desk", 502, "decisions", "status 502"),
        ("airflow", "GET /model-registry/desk", {"ledger_keys": ["a1"]}, "decisions", "other ledger keys"),
        ("mlflow", f"GET {MLFLOW}/registered-models/search", 500, "MLflow", "status 500"),
        ("mlflow", "anonymous", {}, "MLflow", "answers anybody .HTTP status 200.: start it with --app-name"),
        ("mlflow", f"GET {MLFLOW}-artifacts/artifacts", {}, "artifacts", "version 4 of .* has no files: restore"),
        ("engine", "GET /v1.41/images/retrain-trainer:latest/json", 404, "engine and image", "no image .*make images"),
        ("engine", "GET /v1.41/images/retrain-trainer:latest/json", 403, "engine and image", "refuses .*engine"),
        ("engine", "GET /version", 403, "engine and image", "does not answer"),
        ("engine", "GET /volumes", {}, "engine's filter", "answers GET /volumes with 200 .*correct DOCKER_HOST"),
    ],
)
def test_what_is_broken_is_named_with_the_remedy(
    stack: Stack, capsys: pytest.CaptureFixture[str], part: str, asked: str, answer: Any, check: str, words: str
) -> None:
    getattr(stack, part)[asked] = answer
    assert smoke.main() == 1
    line = next(line for name, line in lines(capsys).items() if name.startswith(check))
    assert re.search(f"^FAILED .*{words}", line)


def test_dags_that_are_broken_or_unknown(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.broken.append(("dags/x.py", "Traceback\nKeyError: 'y'"))
    assert smoke.main() == 1
    assert re.search(r"^FAILED .*dags/x.py cannot be read .KeyError: 'y'.", lines(capsys)["DAGs"])
    stack.broken.clear()
    del stack.dags["rossmann_retrain"]
    assert smoke.main() == 1
    assert "does not know rossmann_retrain" in lines(capsys)["DAGs"]


def test_an_empty_registry_is_no_fault(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.mlflow[f"GET {MLFLOW}/model-versions/search"] = {}
    stack.mlflow[f"GET {MLFLOW}-artifacts/artifacts"] = {}
    assert smoke.main() == 0
    assert "no version yet" in lines(capsys)["artifacts of churn"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "{}/nothing", "{}/../page", "/no/such/folder"])
def test_a_data_registry_that_is_away(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    there = smoke.connection("rossmann_data")["host"]
    monkeypatch.setenv("AIRFLOW_CONN_ROSSMANN_DATA", json.dumps({"host": url.format(there), "password": SECRET}))
    assert smoke.main() == 1
    found = lines(capsys)
    assert found["data registry of rossmann"].startswith("FAILED ")
    assert found["data registry of churn"].startswith("ok "), "what one model lacks hides nothing of another"


def test_nothing_answers(stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    away = {"host": "127.0.0.1", "port": 9, "login": "x", "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(away))
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:9/execution/")
    stack.dags.clear()
    monkeypatch.delenv("AIRFLOW_CONN_ROSSMANN_DATA")
    monkeypatch.delenv("AIRFLOW_CONN_CHURN_DATA")
    monkeypatch.delenv("AIRFLOW__CELERY__BROKER_URL")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert smoke.main() == 1
    found = lines(capsys)
    assert [line for name, line in found.items() if name != "workers" and not line.startswith("FAILED ")] == []


def test_a_connection_that_is_missing_or_broken(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL")
    monkeypatch.delenv("AIRFLOW_CONN_ROSSMANN_DATA")
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", f'{{"password": "{SECRET}"x"}}')
    assert smoke.main() == 1
    found = lines(capsys)
    assert "AIRFLOW__CORE__EXECUTION_API_SERVER_URL is not set" in found["scheduler"]
    assert "AIRFLOW_CONN_MLFLOW_DEFAULT is no JSON" in found["MLflow at mlflow_default"]


def test_no_worker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "memory://")
    monkeypatch.setattr(smoke, "PING_SECONDS", 0.2)
    with pytest.raises(smoke.CheckFailed, match="none answers"):
        smoke.workers()


def test_where_steps_are_processes_no_engine_is_asked(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_RUNNER", "local")
    stack.engine.clear()
    assert smoke.main() == 0
    assert not [name for name in lines(capsys) if "engine" in name]


def test_a_configuration_that_is_wrong(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_RUNNER_CHURN", "pods")
    assert smoke.main() == 1
    found = lines(capsys)
    assert re.search("^FAILED .*churn.yaml.* runner: .*found 'pods'", found["configuration of churn"])
    assert [line for name, line in found.items() if "churn" in name and name != "configuration of churn"] == []
    others = [line for name, line in found.items() if name != "configuration of churn"]
    assert [line for line in others if not line.startswith("ok ")] == []
    assert {"artifacts of rossmann", "data registry of rossmann", "engine and image of rossmann"} < found.keys()


def test_configurations_that_are_not_there(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path / "empty"))
    assert smoke.main() == 1
    found = lines(capsys)
    for name in ("configuration", "DAGs"):
        assert re.search("^FAILED .*RETRAIN_CONFIG names the folder .* holds no configuration", found[name])
    assert found["workers"].startswith("ok ")


def test_what_has_just_been_started_is_given_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"scheduler": 0, "Redis": 0}

    def scheduler() -> str:
        asked["scheduler"] += 1
        if asked["scheduler"] < 3:
            raise smoke.CheckFailed("not yet")
        return "healthy"

    def redis() -> str:
        asked["Redis"] += 1
        return "answers"

    monkeypatch.setattr(smoke, "PAUSE_SECONDS", 0.0)
    found = smoke.settled({"scheduler": scheduler, "Redis": redis})
    assert found == {"scheduler": (True, "healthy"), "Redis": (True, "answers")}
    assert asked == {"scheduler": 3, "Redis": 1}
    assert "waiting for: scheduler" in capsys.readouterr().err


def test_a_check_that_breaks_hides_no_other(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise ZeroDivisionError("of all\nthings")

    monkeypatch.setattr(smoke, "redis", fail)
    assert smoke.main() == 1
    found = lines(capsys)
    assert re.search("^FAILED .*ZeroDivisionError: of all things", found.pop("Redis"))
    assert [line for line in found.values() if not line.startswith("ok ")] == []


def test_a_broker_that_is_away_is_a_sentence(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # this environment has no client of Redis
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", f"amqp://x:{SECRET}@127.0.0.1:9//")
    assert smoke.main() == 1
    assert re.search("^FAILED .*logs of the service redis", lines(capsys)["Redis"])


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_that_mlflow_refuses_is_named_with_the_remedy(
    stack: Stack, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    stack.mlflow[f"GET {MLFLOW}/registered-models/search"] = status
    assert smoke.main() == 1
    assert re.search(rf"{status}.* the .env", lines(capsys)["MLflow at mlflow_default"])


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_that_the_data_registry_refuses_is_named(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    stack.airflow["GET /git/info/refs"] = stack.airflow["anonymous"] = status
    server = os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].removesuffix("/execution/")
    monkeypatch.setenv("AIRFLOW_CONN_ROSSMANN_DATA", json.dumps({"host": f"{server}/git", "password": SECRET}))
    assert smoke.main() == 1
    assert re.search(rf"{status}.* connection rossmann_data$", lines(capsys)["data registry of rossmann"])
