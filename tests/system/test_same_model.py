"""The same data and configuration give the same model, trained by processes of this machine or in containers.

Needs a Docker engine and the image ``retrain-trainer`` of ``make images``, on a machine whose containers may use the
host's network.
"""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from local_stack.stack import PROJECT
from tests.mlflow_database import empty_database
from tests.ports import free_port
from tests.quick_retrain import quick_config
from tests.registry_server import mlflow_server

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

IMAGE = "retrain-trainer:latest"
MODEL = "rossmann-ensemble"
KERNELS = ("OPENBLAS_", "OMP_", "MKL_", "NPY_")
"""Settings by which a library chooses how it computes on this processor: a step gets them either way."""
SAMPLE = ("--stores", "8", "--months", "20")
BOOSTERS = ("lightgbm", "xgboost", "catboost")


@dataclass(frozen=True)
class Steps:
    """Runs ``python -m include.models.rossmann`` here or in a container, with the same environment.

    :param environment: what a step is given
    """

    environment: dict[str, str]

    def here(self, *words: str, **variables: str) -> dict[str, str]:
        command = [sys.executable, "-m", "include.models.rossmann", *words]
        return self._run(command, {**os.environ, **self.environment, **variables})

    def contained(self, *words: str, **variables: str) -> dict[str, str]:
        command = ["docker", "run", "--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp"]
        for name, value in {**self.environment, **variables}.items():
            command += ["-e", f"{name}={value}"]
        shell = 'python -m include.models.rossmann "$@" && if [ -f /tmp/out.csv ]; then cat /tmp/out.csv >&2; fi'
        return self._run([*command, IMAGE, "sh", "-c", shell, "sh", *words], dict(os.environ))

    @staticmethod
    def _run(command: list[str], environment: dict[str, str]) -> dict[str, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    folder: Path = tmp_path_factory.mktemp("same")
    port = free_port()
    registry, files = folder / "served" / "registry", folder / "mlflow"
    files.mkdir()
    sample = [sys.executable, "-m", "include.models.rossmann", "sample", str(registry), *SAMPLE]
    subprocess.run(sample, check=True, capture_output=True, cwd=PROJECT)
    # Both read the data as workers do: git and the DVC remote over HTTP.
    url = f"http://127.0.0.1:{port}"
    dvc = [sys.executable, "-m", "dvc", "remote", "modify", "storage", "url", f"{url}/registry_remote"]
    for command in (
        dvc,
        ["git", "-c", "user.name=t", "-c", "user.email=t@x.invalid", "commit", "--quiet", "-am", "Serve over HTTP"],
        ["git", "update-server-info"],
    ):
        subprocess.run(command, check=True, capture_output=True, cwd=registry)
    serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(registry.parent)]
    server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with mlflow_server(files, empty_database(folder / "empty.db")) as tracking_uri:
            yield Steps({
                **{name: value for name, value in os.environ.items() if name.startswith(KERNELS)},
                "MLFLOW_TRACKING_URI": tracking_uri,
                "RETRAIN_DATA_REGISTRY": f"{url}/registry/.git",
                "RETRAIN_CONFIG_TEXT_ROSSMANN": yaml.safe_dump(quick_config()),
                "RETRAIN_QUICK": "true",
            })  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def retrain(run: Callable[..., dict[str, str]]) -> int:
    """Run every step up to the registration and return the version."""
    pulled = run("pull")
    given = {"RETRAIN_RUN_ID": pulled["run_id"]}
    for words in (["prepare"], *(["train", "--member", name] for name in BOOSTERS), ["combine"]):
        run(*words, **given)
    return int(run("register", **given)["version"])


def digest(text: str) -> str:
    """Return the SHA-256 of a prediction but for the version that made it."""
    rows = [{**row, "ModelVersion": ""} for row in csv.DictReader(io.StringIO(text))]
    assert len(rows) > 0
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def test_process_and_container_make_the_same_model(steps: Steps, tmp_path: Path) -> None:
    versions = {"process": retrain(steps.here), "container": retrain(steps.contained)}
    client, found = MlflowClient(steps.environment["MLFLOW_TRACKING_URI"]), {}
    for trained, version in versions.items():
        client.transition_model_version_stage(MODEL, str(version), "Production", archive_existing_versions=True)
        output = tmp_path / f"{trained}.csv"
        steps.here("predict", "--output", str(output))
        found[f"trained in a {trained}, forecast in a process"] = digest(output.read_text())
        shown = steps.contained("predict", "--output", "/tmp/out.csv")["stderr"]
        lines = shown.splitlines()
        table = lines[next(number for number, line in enumerate(lines) if "ModelVersion" in line) :]
        found[f"trained in a {trained}, forecast in a container"] = digest("\n".join(table) + "\n")
    for how, value in found.items():
        print(f"same model: {how}: {value}", flush=True)
    assert len(set(found.values())) == 1
