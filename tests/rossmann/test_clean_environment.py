"""The registered model where neither this repository nor Airflow is: its own requirements, its own code."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts

from include.models.rossmann.dataset import with_types
from tests.rossmann.conftest import Retrain

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

PREDICT = """
import importlib.util, json, sys
import mlflow, pandas as pd
assert importlib.util.find_spec("airflow") is None and importlib.util.find_spec("include") is None
rows = pd.read_parquet(sys.argv[2])
mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).to_parquet(sys.argv[3])
print(json.dumps({"python": sys.version}))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder far from the repository."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture
def model(retrain: Retrain, elsewhere: Path) -> Path:
    target = elsewhere / "model"
    if not target.exists():
        download_artifacts(f"models:/rossmann-ensemble/{retrain.version}", dst_path=str(target))
    return target


@pytest.fixture
def python(model: Path, elsewhere: Path) -> Path:
    """The interpreter of an environment made from the model's own requirements."""
    interpreter = elsewhere / "venv" / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([sys.executable, "-m", "venv", str(elsewhere / "venv")], check=True)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        uv = Path(sys.executable).with_name("uv")
        if uv.exists():  # as `make setup` does: seconds instead of minutes
            install = [str(uv), "pip", "install", "--quiet", "--python", str(interpreter)]
        subprocess.run([*install, "-r", str(model / "requirements.txt")], check=True)
    return interpreter


@pytest.fixture
def environment() -> dict[str, str]:
    """An environment without a trace of this project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW", "RETRAIN"))}
    return kept | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}


@pytest.fixture
def rows(retrain: Retrain) -> pd.DataFrame:
    return with_types(retrain.data.future)


@pytest.fixture
def expected(retrain: Retrain, rows: pd.DataFrame) -> pd.DataFrame:
    return mlflow.pyfunc.load_model(f"models:/rossmann-ensemble/{retrain.version}").predict(rows)


def test_it_predicts_the_same_to_the_last_bit(
    python: Path, model: Path, elsewhere: Path, environment: dict[str, str], rows: pd.DataFrame, expected: pd.DataFrame
) -> None:
    rows.to_parquet(elsewhere / "rows.parquet")
    output = elsewhere / "forecast.parquet"
    command = [str(python), "-c", PREDICT, str(model), str(elsewhere / "rows.parquet"), str(output)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(output), expected, check_exact=True)


@pytest.fixture
def server(python: Path, model: Path, elsewhere: Path, environment: dict[str, str]) -> Iterator[str]:
    """`mlflow models serve` of the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    log = (elsewhere / "serve.log").open("w")
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=elsewhere, env=environment | {"PATH": f"{python.parent}:{environment['PATH']}"},
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=2)
                break
            except OSError:
                assert process.poll() is None, (elsewhere / "serve.log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
        log.close()


def post(url: str, rows: pd.DataFrame) -> tuple[int, str]:
    """Send rows to a scoring server and return status and answer."""
    frame = rows.assign(Date=rows["Date"].dt.strftime("%Y-%m-%d")).astype(object)
    content = json.dumps({"dataframe_split": frame.to_dict(orient="split", index=False)}).encode()
    request = urllib.request.Request(f"{url}/invocations", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_is_served(server: str, rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    status, answer = post(server, rows)
    assert status == 200, answer
    served = pd.DataFrame(json.loads(answer)["predictions"])
    np.testing.assert_allclose(served["Sales"], expected["Sales"], rtol=1e-9)
    status, answer = post(server, rows.assign(Store=9999))
    assert status == 400
    assert "Error: unknown store: store 9999 on " in json.loads(answer)["message"]
    assert "stack_trace" not in json.loads(answer)
