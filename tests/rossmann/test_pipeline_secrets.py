"""The whole pipeline by its command line, with a secret in every place that takes one: none is in what it leaves.

That is all that its processes print, MLflow's database (parameters, tags, the ledger) and artifacts, the predictions,
and the scratch folders. What Airflow adds is searched by `tests/plugins/test_secrets.py`.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from include.models.rossmann.config import TABLES
from include.models.rossmann.data.sample import generate
from include.retraining.data_source.publish import publish_data
from tests.rossmann.conftest import write_config
from tests.rossmann.data.git_server import file_server, git_server

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
GIT, IN_URL, DVC, TRACKING, PLACE = "Aq1/git?pw#x", "Bw2pwInUrl", "Ce3pwOfRemote", "Dr4pwInTracking", "Et5pwOfPlace"
HOOK, MAIL, LEDGER = "Fy6hookOfChat", "Gu7pwOfMail", "ab9" * 21 + "c"
VARIABLES = {
    "RETRAIN_GIT_USERNAME": "bot",
    "RETRAIN_GIT_PASSWORD": GIT,
    "RETRAIN_LEDGER_KEY": LEDGER,
    "MLFLOW_TRACKING_USERNAME": "bot",
    "MLFLOW_TRACKING_PASSWORD": "Hi8pwOfMlflow",
    "MLFLOW_TRACKING_TOKEN": "Jp9tokenOfMlflow",
    "AWS_ACCESS_KEY_ID": "Ka0idOfAws",
    "AWS_SECRET_ACCESS_KEY": "Ls1keyOfAws",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=x;AccountKey=Md2keyOfAzure",
    "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/Nf3fileOfGoogle.json",
    "DVC_REMOTE_PASSWORD": "Og4pwOfDvc",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://airflow:Ph5pwOfAirflow@db/airflow",
    "AIRFLOW_CONN_MLFLOW_DEFAULT": "http://bot:Qj6pwOfConn@mlflow",
    "SOME_PASSWORD": "Rk7pwOfSomebody",
    "RETRAIN_LOG_LEVEL": "DEBUG",
}
PLAIN = ("bot", "DEBUG")
SECRETS = {GIT, IN_URL, DVC, TRACKING, PLACE, HOOK, MAIL, *VARIABLES.values()} - set(PLAIN)


STAGE = (
    "from include.lifecycle.moves.model_registry import ModelRegistry as R; print(R().stage('rossmann-ensemble', 1))"
)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A server that takes any login; gives host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", address.partition(":")[2]]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([*command, "--artifacts-destination", str(folder / "artifacts")],
                                   stdout=log, stderr=log, start_new_session=True, cwd=folder)  # fmt: skip
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://{address}/health", timeout=2)
                    break
                except (OSError, urllib.error.URLError):
                    assert process.poll() is None, (folder / "server.log").read_text()
                    time.sleep(0.5)
            yield address
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def data_registry(folder: Path, remote: str) -> None:
    """A registry whose settings, which are committed, hold the password of its remote."""
    publish_data(TABLES, folder / "data", generate(stores=8, months=20))
    settings = (
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {remote}\n    auth = basic\n    user = bot\n"
    )
    (folder / "data" / ".dvc" / "config").write_text(f"{settings}    password = {DVC}\n")
    author = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *author, "commit", "-qam", "Use a server"], cwd=folder / "data", check=True)


def configuration(folder: Path) -> Path:
    """A configuration whose notifier is given secrets."""
    file = write_config(folder / "rossmann.yaml")
    content = yaml.safe_load(file.read_text())
    arguments = {"url": f"https://hooks.example.com/{HOOK}", "smtp": {"password": MAIL}}
    content["lifecycle"]["notifications"] = [{"notifier": "a.B", "arguments": arguments}]
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.timeout(1500)
def test_no_secret_of_a_whole_pipeline_is_found_anywhere(tmp_path: Path) -> None:
    for name in ("scratch", "mlflow", "out"):
        (tmp_path / name).mkdir()
    printed: list[str] = []

    def step(*arguments: str, fails: bool = False, python: str = "", **more: str) -> str:
        command = [sys.executable, *(("-c", python) if python else ("-m", "include.models.rossmann", *arguments))]
        done = subprocess.run(
            command, cwd=ROOT, env=environment | more, capture_output=True, text=True, check=False, timeout=300
        )
        printed.extend([done.stdout, done.stderr])
        assert bool(done.returncode) == fails, done.stderr[-3000:]
        return done.stdout.strip().rpartition("\n")[2]

    with (
        file_server(tmp_path / "data_remote") as remote,
        git_server(tmp_path / "data", f"bot:{GIT}") as (git, seen),
        git_server(tmp_path / "data", f"bot:{IN_URL}") as (other, seen_in_url),
        mlflow_server(tmp_path / "mlflow") as mlflow,
    ):
        data_registry(tmp_path, remote)
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW", "RETRAIN"))}
        environment |= VARIABLES | {
            "RETRAIN_DATA_REGISTRY": f"{git}/.git",
            "RETRAIN_CONFIG": str(configuration(tmp_path)),
            "RETRAIN_PREDICTIONS": str(tmp_path / "out" / "place"),
            "MLFLOW_TRACKING_URI": f"http://bot:{TRACKING}@{mlflow}",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "TMPDIR": str(tmp_path / "scratch"),
        }
        in_url = f"{other.replace('://', f'://bot:{IN_URL}@')}/.git"
        own = {"RETRAIN_GIT_USERNAME": "", "RETRAIN_GIT_PASSWORD": "", "RETRAIN_DATA_REGISTRY": in_url}
        step("pull", **own)
        assert f"bot:{IN_URL}" in seen_in_url
        run = yaml.safe_load(step("pull"))["run_id"]
        assert f"bot:{GIT}" in seen
        step("prepare", RETRAIN_RUN_ID=run)
        for booster in ("lightgbm", "xgboost", "catboost"):
            step("train", "--member", booster, RETRAIN_RUN_ID=run)
        for name in ("combine", "register", "validate"):
            step(name, RETRAIN_RUN_ID=run)
        step(python=STAGE)
        step("review", RETRAIN_RUN_ID=run)
        step("promote", "--reason", "good")
        step("predict", "--publish")
        step("predict", "--output", str(tmp_path / "out" / "p.csv"))
        step("history", "--verify")
        for name in ("monitor", "history", "reconcile"):
            step(name)
        # what fails says more than what does not
        step("pull", fails=True, RETRAIN_GIT_PASSWORD=f"{GIT}wrong")
        step("pull", fails=True, **own | {"RETRAIN_DATA_REGISTRY": in_url.replace(IN_URL, f"{IN_URL}/x")})
        step("pull", fails=True, **own | {"RETRAIN_DATA_REGISTRY": in_url.replace(".git", "none.git")})
        step("pull", fails=True, MLFLOW_TRACKING_URI=f"http://bot:{TRACKING}@127.0.0.1:9")
        step("pull", fails=True, MLFLOW_TRACKING_URI=f"postgresql://bot:{TRACKING}@127.0.0.1:9/x")
        step("predict", "--output", f"ftp://bot:{PLACE}@127.0.0.1:9/p.csv", fails=True)
        step("predict", "--publish", fails=True, RETRAIN_PREDICTIONS=f"ftp://bot:{PLACE}@127.0.0.1:9/out")
        step("history", "--verify", fails=True, RETRAIN_LEDGER_KEY=LEDGER[::-1])
    files = [path for name in ("mlflow", "out", "scratch") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert {"mlflow.db", "latest.json", "MLmodel", "p.csv"} <= {path.name for path in files}
    texts = {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}
    texts["printed"] = "\n".join(printed).encode()
    assert len(texts["printed"]) > 10_000
    assert [(name, secret) for name, text in texts.items() for secret in SECRETS if secret.encode() in text] == []
