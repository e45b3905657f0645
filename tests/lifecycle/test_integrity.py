"""Artifacts on a real MLflow: what was registered is what is promoted, whoever reaches into the store."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.errors import ArtifactsChangedError, ReportedError
from include.lifecycle.moves.integrity import ArtifactIntegrity, FileDigest, Manifest, artifact_location
from include.lifecycle.moves.model_registry import ModelRegistry
from tests.validations import validation

from .support import MODEL, approved, stages

FILES = {"MLmodel": "flavors: {}", "data/weights.bin": "1 2 3", "code/package/__init__.py": "ANSWER = 42"}
OTHERS = {"MLmodel": "flavors: {}", "data/weights.bin": "4 5 6"}


@pytest.fixture
def put(registry: ModelRegistry, tmp_path: Path) -> Callable[..., int]:
    """Registers a version with artifact files, its manifest recorded unless told not to."""

    def put(files: dict[str, str] = FILES, *, sealed: bool = True, stage: str = "Staging") -> int:
        client = registry.client
        run_id = client.create_run("0").info.run_id
        folder = tmp_path / "upload" / run_id
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        client.log_artifacts(run_id, str(folder), "model")
        tags = {}
        if sealed:
            tags[tag.ARTIFACTS_DIGEST] = registry.integrity.record(run_id, Manifest.of(folder))
        version = int(client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id, tags=tags).version)
        registry.validated(validation(MODEL, version))
        if stage != "None":
            registry.stage(MODEL, version)
        if stage == "Production":
            registry.promote(MODEL, version, approved())
        return version

    return put


def stored(registry: ModelRegistry, version: int, name: str) -> Path:
    """Return the file of a version in the artifact store."""
    info = registry.version(MODEL, version)
    run = registry.client.get_run(info.run_id)
    return Path(run.info.artifact_uri.removeprefix("file://")) / "model" / name


def change(file: Path) -> str:
    file.write_text(file.read_text()[:-1] + "9")
    return "was changed"


def remove(file: Path) -> str:
    file.unlink()
    return "is missing"


def add(file: Path) -> str:
    file.write_text("import os")
    return "was added"


TAMPERED = [("data/weights.bin", change), ("data/weights.bin", remove), ("code/numpy.py", add)]


@pytest.mark.parametrize(("name", "tamper"), TAMPERED, ids=["changed", "missing", "added"])
def test_a_file_that_is_not_as_registered_is_named_and_nothing_is_promoted(registry, put, name, tamper):
    put(OTHERS, stage="Production")
    version = put()
    told = tamper(stored(registry, version, name))
    entries = registry.ledger(MODEL).read().next_number
    with pytest.raises(ArtifactsChangedError) as raised:
        registry.promote(MODEL, version, approved())
    assert f"({name} {told})" in str(raised.value)
    assert "version 2 of 'demand'" in str(raised.value)
    assert stages(registry) == {1: "Production", 2: "Staging"}
    assert registry.ledger(MODEL).read().next_number == entries, "refused before the lock"


def test_a_tampered_former_champion_does_not_come_back(registry, put):
    put(stage="Production")
    put(OTHERS, stage="Production")
    change(stored(registry, 1, "MLmodel"))
    with pytest.raises(ArtifactsChangedError, match=r"MLmodel was changed"):
        registry.rollback(MODEL, 1, approved())
    assert stages(registry) == {1: "Archived", 2: "Production"}


def test_artifacts_as_registered_are_promoted_and_the_ledger_keeps_their_digest(registry, put, caplog):
    with caplog.at_level(logging.INFO):
        version = put(stage="Production")
    digest = registry.version(MODEL, version).tags[tag.ARTIFACTS_DIGEST]
    assert {event.evidence["artifacts"] for event in registry.history(MODEL)} == {digest}
    said = rf"Checked version 1 of {MODEL}: 3 files, 0\.0 MB as registered, in \d+\.\d s \(manifest {digest}\)"
    assert re.search(said, caplog.text)


def test_bytecode_that_a_loaded_model_left_is_no_part_of_it(registry, put, tmp_path):
    version = put(stage="Staging")
    cache = stored(registry, version, "MLmodel").parent / "code" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "model.cpython-311.pyc").write_bytes(b"anything")
    assert registry.promote(MODEL, version, approved()).changed
    info, state = registry.version(MODEL, version), registry.ledger(MODEL).read()
    folder = registry.integrity.download(info, state, tmp_path / "copy")
    assert not list(folder.rglob("*.pyc"))
    (cache.parent / "model.pyc").write_bytes(b"anything")
    with pytest.raises(ArtifactsChangedError, match=r"model\.pyc was added"):
        registry.integrity.download(info, state, tmp_path / "another")


def test_what_is_downloaded_is_what_was_checked(registry, put, tmp_path):
    version = put(stage="Production")
    folder = registry.download(registry.version(MODEL, version), tmp_path / "out")
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == FILES
    add(stored(registry, version, "code/numpy.py"))
    with pytest.raises(ArtifactsChangedError, match=r"numpy\.py was added\)"):
        registry.download(registry.version(MODEL, version), tmp_path / "again")


def test_the_manifest_itself_cannot_be_changed_or_lost(registry, put, artifacts):
    version = put()
    manifest = next(artifacts.rglob("manifest-*.json"))
    text = manifest.read_text()
    content = json.loads(text)
    content["files"]["MLmodel"]["size"] = 1
    for damaged, told in ((json.dumps(content), "was changed"), ("{", "is damaged"), ("[]", "is damaged")):
        manifest.write_text(damaged)
        with pytest.raises(ArtifactsChangedError, match=f"manifest .* {told}"):
            registry.promote(MODEL, version, approved())
    manifest.unlink()
    with pytest.raises(ArtifactsChangedError, match=r"manifest .* is gone"):
        registry.promote(MODEL, version, approved())
    manifest.write_text(text)
    assert registry.promote(MODEL, version, approved()).changed


class Away:
    """A client whose artifact store does not answer, at an address that holds the number 404."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def list_artifacts(self, *_: object) -> None:
        raise ConnectionError("http://store/404 refuses the connection")

    def download_artifacts(self, run_id: str, path: str, folder: str) -> None:
        raise MlflowException(f"{path} of run 404{run_id[3:]}: connection refused")


def test_an_artifact_store_that_is_away_may_answer_at_the_next_try(registry, put):
    version = put()
    away = ModelRegistry(Away(registry.client), lock_ttl=30)  # type: ignore[arg-type]
    with pytest.raises(ReportedError, match="could not be read") as raised:
        away.promote(MODEL, version, approved())
    assert raised.value.exit_code == 1
    assert registry.promote(MODEL, version, approved()).changed


def test_the_ledger_remembers_the_digest_when_somebody_edits_the_tag(registry, put):
    version = put()
    other = registry.version(MODEL, put(OTHERS)).tags[tag.ARTIFACTS_DIGEST]
    registry.client.set_model_version_tag(MODEL, str(version), tag.ARTIFACTS_DIGEST, other)
    with pytest.raises(ArtifactsChangedError, match="not what entry 2 "):
        registry.promote(MODEL, version, approved())
    registry.client.delete_model_version_tag(MODEL, str(version), tag.ARTIFACTS_DIGEST)
    with pytest.raises(ArtifactsChangedError, match="promotion ledger recorded"):
        registry.promote(MODEL, version, approved())


def test_a_version_without_digests_passes_with_a_warning_unless_they_are_required(registry, put, caplog):
    version = put(sealed=False)
    strict = ModelRegistry(registry.client, lock_ttl=30, integrity="required")
    with pytest.raises(ArtifactsChangedError, match=r"without digests .*`seal`"):
        strict.promote(MODEL, version, approved())
    assert strict.integrity.seal(strict.version(MODEL, version)).digest
    assert strict.promote(MODEL, version, approved()).changed
    with pytest.raises(ArtifactsChangedError, match="has a manifest already"):
        strict.integrity.seal(strict.version(MODEL, version))
    assert registry.promote(MODEL, put(OTHERS, sealed=False), approved()).changed
    assert "registered without digests of its artifacts: they are not checked" in caplog.text
    with pytest.raises(ValueError, match="found 'never'"):
        ArtifactIntegrity(registry.client, "never")


def test_a_version_without_artifacts_cannot_be_sealed(registry, add):
    version = add()
    with pytest.raises(ArtifactsChangedError, match="no artifact"):
        registry.integrity.seal(registry.version(MODEL, version))
    assert tag.ARTIFACTS_DIGEST not in registry.version(MODEL, version).tags


def test_a_promotion_that_is_done_is_not_checked_again(registry, put):
    version = put(stage="Production")
    change(stored(registry, version, "MLmodel"))
    assert not registry.promote(MODEL, version, approved()).changed


def test_a_manifest_says_what_differs():
    file, other = FileDigest("a" * 64, 1), FileDigest("b" * 64, 1)
    manifest = Manifest({"a": file, "b": file, "c": file})
    assert list(manifest.differences(Manifest({"a": file, "b": other, "d\n": file}))) == [
        "b was changed",
        "c is missing",
        "d was added",
    ]
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert list(manifest.differences(manifest)) == []
    for text in ("null", "[]", "{}", '{"schema": 2, "files": {}}', '{"schema": 1, "files": {"a": 1}}'):
        with pytest.raises(ValueError, match=r"Manifest"):
            Manifest.from_json(text)


def test_many_differences_are_counted(registry, put):
    version = put({f"file{number:02d}": "x" for number in range(12)})
    for number in range(12):
        stored(registry, version, f"file{number:02d}").write_text("y")
    with pytest.raises(ArtifactsChangedError, match="file04 was changed and 7 "):
        registry.promote(MODEL, version, approved())


def test_mlflows_own_download_of_a_version_adds_no_difference(registry, put):
    import mlflow

    first = registry.version(MODEL, put())
    source = f"{registry.client.get_run(first.run_id).info.artifact_uri}/model"
    again = registry.client.create_model_version(MODEL, source, first.run_id, tags=dict(first.tags))
    version = int(again.version)
    registry.validated(validation(MODEL, version))
    registry.stage(MODEL, version)
    mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{version}")
    assert stored(registry, version, "registered_model_meta").exists(), "MLflow writes into a local store"
    assert registry.promote(MODEL, version, approved()).changed


def test_where_the_artifacts_are(registry, put):
    info = registry.version(MODEL, put())
    assert artifact_location(registry.client, MODEL, info.version) == f"runs:/{info.run_id}/model"
    logged = registry.client.create_logged_model("0", name="model")
    registry.client.create_model_version(MODEL, f"models:/{logged.model_id}", info.run_id, model_id=logged.model_id)
    assert artifact_location(registry.client, MODEL, 2) == logged.artifact_location
