"""Backup and restore, with a compose command whose volumes are folders: what is saved, and what comes back."""

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from stack_double import ROOT, Double

Script = Callable[[str], subprocess.CompletedProcess[str]]
WITHIN = """#!/bin/bash
# what containers do, on the folders of their volumes; a database is a line of text
shift
while [[ $1 == -* ]]; do shift; done
service=$1
shift
case "$service $1" in
"postgres pg_dump") echo "dump of ${*: -1}" ;;
"postgres pg_restore") cat >"$VOLUMES/restored-${*: -1}" ;;
postgres*) ;;
*)
	found=("${@//\\/mlflow/$VOLUMES/mlflow}")
	exec "${found[@]//\\/predictions/$VOLUMES/predictions}"
	;;
esac
"""
FILES = {
    "mlflow/artifacts/1/model.txt": "trees",
    "predictions/demand/2026-11-25/demand-v7-00000001.csv": "1",
    "predictions/demand/2026-11-26/demand-v7-00000002.csv": "2",
    "predictions/demand/latest.json": "2026-11-26",
    "predictions/demand/latest-staging.json": "2026-11-25",
    "predictions/churn/named/latest of mine.json": "3",
}
POINTERS = {"./demand/latest.json", "./demand/latest-staging.json"}


@pytest.fixture
def volumes(tmp_path: Path, double: Double) -> Path:
    """The folder of the volumes."""
    double.program("within", WITHIN)
    for name, content in FILES.items():
        write(tmp_path / "volumes" / name, content)
    return tmp_path / "volumes"


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def held(volumes: Path) -> dict[str, str]:
    """What is in the volumes."""
    files = [path for path in volumes.glob("*/**/*") if path.is_file()]
    return {str(path.relative_to(volumes)): path.read_text() for path in files}


@pytest.fixture
def script(volumes: Path, double: Double) -> Script:
    """Runs a script about the folder ``backup``."""
    return lambda name: double.script(name, str(volumes.with_name("backup")), VOLUMES=str(volumes))


def test_what_was_saved_comes_back_over_what_is_there(volumes: Path, script: Script) -> None:
    done = script("backup.sh")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in volumes.with_name("backup").iterdir()} == {
        "airflow.dump", "mlflow.dump", "artifacts.tar", "predictions.tar", "SHA256SUMS",
    }  # fmt: skip
    write(volumes / "predictions/demand/latest.json", "2026-11-27")
    write(volumes / "predictions/demand/2026-11-27/later.csv", "4")
    write(volumes / "predictions/.hidden", "5")
    write(volumes / "mlflow/artifacts/2/later.txt", "later")
    (volumes / "predictions/demand/2026-11-25/demand-v7-00000001.csv").unlink()
    done = script("restore.sh")
    assert done.returncode == 0, done.stderr
    assert held(volumes) == FILES
    assert (volumes / "restored-mlflow").read_text() == "dump of mlflow\n"


def test_a_pointer_that_is_renewed_meanwhile_names_what_is_in_the_backup(volumes: Path, script: Script) -> None:
    """The archive begins with the pointers, and their first copy is the one that comes back."""
    script("backup.sh")
    archive = volumes.with_name("backup") / "predictions.tar"
    with tarfile.open(archive) as saved:
        assert set(saved.getnames()[:2]) == POINTERS
    with tarfile.open(archive, "a") as saved:
        renewed = tarfile.TarInfo("./demand/latest.json")
        renewed.size = 1
        saved.addfile(renewed, io.BytesIO(b"9"))
    sums = archive.with_name("SHA256SUMS")
    lines = [line for line in sums.read_text().splitlines() if archive.name not in line]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    sums.write_text("\n".join([*lines, f"{digest}  {archive.name}", ""]))
    assert script("restore.sh").returncode == 0
    assert held(volumes) == FILES


def test_a_stack_that_has_not_predicted_is_saved_too(volumes: Path, script: Script) -> None:
    names = [volumes / name for name in FILES if name.startswith("predictions/")]
    for file in names:
        file.unlink()
    assert script("backup.sh").returncode == 0
    assert script("restore.sh").returncode == 0
    assert set(held(volumes)) == {name for name in FILES if not name.startswith("predictions/")}


def test_a_backup_without_predictions_leaves_those_that_are_there(volumes: Path, script: Script) -> None:
    script("backup.sh")
    backup = volumes.with_name("backup")
    (backup / "predictions.tar").unlink()
    assert script("restore.sh").returncode == 2, "it was there when the backup was made"
    sums = (backup / "SHA256SUMS").read_text().splitlines(keepends=True)
    (backup / "SHA256SUMS").write_text("".join(line for line in sums if "predictions" not in line))
    write(volumes / "predictions/demand/latest.json", "2026-11-27")
    assert script("restore.sh").returncode == 0
    assert held(volumes) == FILES | {"predictions/demand/latest.json": "2026-11-27"}


def test_the_predictions_volume_is_the_one_that_the_steps_write() -> None:
    content = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    used = {volume.split(":")[0] for service in content["services"].values() for volume in service.get("volumes", [])}
    assert set(content["volumes"]) == {name for name in used if not name.startswith((".", "/"))}
    name = content["volumes"]["predictions"]["name"]
    assert content["x-airflow-environment"]["RETRAIN_PREDICTIONS_VOLUME"] == name
    assert "predictions:/predictions" in content["services"]["data"]["volumes"]
