"""Integrity of a version's artifacts: what was registered is what is promoted and what predicts.

At registration every artifact file is listed with its SHA-256 and size. The list, the manifest, is an artifact
of the run that registered the version, under a name that holds its own digest; the digest is the tag
``artifacts.digest`` of the version, and each event of the ledger carries it as evidence. So a file changed in
the artifact store shows against the manifest, a changed manifest against the tag, and a changed tag against
the ledger, whose entries are chained.

A check downloads the artifacts, since a store tells no digest that could be trusted. What predicts is loaded
from the very folder that was checked. Between a check and a later download by somebody else, a store that can
be written to can be changed: whoever loads with MLflow alone is not protected.
"""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from include.lifecycle import tags as tag
from include.lifecycle.errors import ArtifactsChangedError, ReportedError
from include.lifecycle.ledger.events import ARTIFACTS
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.stored import Stored
from include.lifecycle.registry.versions import VersionInfo, missing
from include.lifecycle.untrusted_text import one_line, text_digest

log = logging.getLogger(__name__)

IntegrityMode = Literal["required", "when_recorded"]
"""Whether a version without a manifest is refused, or passes with a warning."""
FOLDER = "integrity"
"""Artifact folder of the manifests, in the run that registered the version."""
MLFLOW_META = "registered_model_meta"
"""MLflow's client writes this file beside a model that it downloads, into the store itself where that is local."""
_SHOWN = 5


@dataclass(frozen=True)
class FileDigest:
    """SHA-256 (hex) and size (bytes) of a file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest(Stored):
    """The files of a version: digest by path, relative and with slashes."""

    files: Mapping[str, FileDigest]
    schema: Literal[1] = 1

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the manifest of a folder: every file in it, but for the one that MLflow's client adds."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = {path.relative_to(folder).as_posix(): path for path in paths}
        return cls({name: _digest(path) for name, path in names.items() if name != MLFLOW_META})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the manifest that ``to_json`` made.

        :raises ValueError: when it is none
        """
        return cls.from_dict(json.loads(text))

    def to_json(self) -> str:
        """Return the one JSON text of the manifest."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON text."""
        return text_digest(self.to_json())

    @property
    def megabytes(self) -> float:
        """Size of all files."""
        return sum(file.size for file in self.files.values()) / 1e6

    def differences(self, found: "Manifest") -> Iterator[str]:
        """Return what is not as this manifest says, one phrase a file: changed, missing or added."""
        for name, file in sorted(self.files.items()):
            if name not in found.files:
                yield f"{one_line(name, 200)} is missing"
            elif found.files[name] != file:
                yield f"{one_line(name, 200)} was changed"
        for name in sorted(set(found.files) - set(self.files)):
            yield f"{one_line(name, 200)} was added"


class ArtifactIntegrity:
    """Records and checks manifests.

    :param mode: ``required`` refuses a version without a manifest, ``when_recorded`` warns
    """

    def __init__(self, client: MlflowClient, mode: IntegrityMode = "when_recorded") -> None:
        if mode not in ("required", "when_recorded"):
            raise ValueError(f"integrity must be required or when_recorded, found {mode!r}")
        self.client = client
        self.mode = mode

    def record(self, run_id: str, manifest: Manifest) -> str:
        """Keep a manifest with a run and return its digest, which belongs on the version as its tag.

        The same manifest again is the same artifact.
        """
        with tempfile.TemporaryDirectory(prefix="manifest-") as folder:
            file = Path(folder) / _file_name(manifest.digest)
            file.write_text(manifest.to_json(), encoding="utf-8")
            self.client.log_artifact(run_id, str(file), FOLDER)
        return manifest.digest

    def seal(self, info: VersionInfo) -> Manifest:
        """Record the manifest of a version that has none, from what the artifact store holds now.

        :raises ArtifactsChangedError: when it has one, or no artifacts or run to keep it with
        """
        if info.tags.get(tag.ARTIFACTS_DIGEST):
            raise ArtifactsChangedError(f"{info.named} has a manifest already")
        with tempfile.TemporaryDirectory(prefix="seal-") as folder:
            self._download(info, Path(folder))
            manifest = Manifest.of(Path(folder))
        if not manifest.files or not info.run_id:
            found = "the store has no artifact of it" if info.run_id else "it has no run to keep a manifest with"
            raise ArtifactsChangedError(f"{info.named} cannot get a manifest: {found}")
        self.client.set_model_version_tag(
            info.model, str(info.version), tag.ARTIFACTS_DIGEST, self.record(info.run_id, manifest)
        )
        return manifest

    def check(self, info: VersionInfo, state: LedgerState) -> None:
        """Check a version's artifacts against its manifest.

        :raises ArtifactsChangedError: names what was changed, is missing or was added
        """
        if self._digest(info, state) is not None:
            with tempfile.TemporaryDirectory(prefix="integrity-") as folder:
                self.download(info, state, Path(folder))

    def download(self, info: VersionInfo, state: LedgerState, folder: Path) -> Path:
        """Download a version's artifacts, check them, and return the folder to load the model from.

        :param folder: an empty folder, made when it is missing
        :raises ArtifactsChangedError: names what was changed, is missing or was added
        """
        digest = self._digest(info, state)
        expected = self._manifest(info, digest) if digest is not None else None
        started = time.monotonic()
        self._download(info, folder)
        found = Manifest.of(folder)
        seconds = time.monotonic() - started
        what = f"version {info.version} of {info.model}: {len(found.files)} files, {found.megabytes:.1f} MB"
        if expected is None:
            log.info("Downloaded %s in %.1f s, not checked", what, seconds)
            return folder
        if wrong := list(expected.differences(found)):
            more = f" and {len(wrong) - _SHOWN} files more" if len(wrong) > _SHOWN else ""
            raise ArtifactsChangedError(
                f"The artifacts of version {info.version} of {info.model!r} are not those that were registered"
                f" ({', '.join(wrong[:_SHOWN])}{more}), so nothing is promoted or predicted with it: restore the"
                " files from a backup, or train again"
            )
        log.info("Checked %s as registered, in %.1f s (manifest %s)", what, seconds, expected.digest)
        return folder

    def _digest(self, info: VersionInfo, state: LedgerState) -> str | None:
        """Return the digest of the manifest that holds for a version, None when there is none to hold it to."""
        recorded = info.tags.get(tag.ARTIFACTS_DIGEST)
        own = (event for event in state.events if event.version == info.version)
        anchored = next((event for event in own if ARTIFACTS in event.evidence), None)
        if anchored is not None and anchored.evidence[ARTIFACTS] != recorded:
            raise ArtifactsChangedError(
                f"The tag {tag.ARTIFACTS_DIGEST} of version {info.version} of {info.model!r} is not what entry"
                f" {anchored.entry} of the promotion ledger recorded ({anchored.evidence[ARTIFACTS]}): put that back,"
                " or train again"
            )
        if recorded is None:
            sentence = f"{info.named} was registered without digests of its artifacts"
            if self.mode == "required":
                raise ArtifactsChangedError(f"{sentence}: record them with `seal`, or train again")
            log.warning("%s: they are not checked", sentence)
        return recorded

    def _manifest(self, info: VersionInfo, digest: str) -> Manifest:
        where = f"The manifest of version {info.version} of {info.model!r} ({FOLDER}/{_file_name(digest)} of its run)"
        with tempfile.TemporaryDirectory(prefix="manifest-") as folder:
            try:
                found = self.client.download_artifacts(info.run_id, f"{FOLDER}/{_file_name(digest)}", folder)
                text = Path(found).read_text(encoding="utf-8")
                manifest = Manifest.from_json(text)
            except (MlflowException, OSError) as error:
                if self._is_gone(info.run_id, _file_name(digest)):
                    raise ArtifactsChangedError(f"{where} is gone: restore it from a backup, or train again") from error
                raise ReportedError(f"{where} could not be read: {one_line(str(error))}") from error
            except ValueError as error:
                raise ArtifactsChangedError(f"{where} is damaged: restore it, or train again") from error
        if manifest.digest != digest or text_digest(text) != digest:
            raise ArtifactsChangedError(f"{where} was changed: restore it from a backup, or train again")
        return manifest

    def _is_gone(self, run_id: str, name: str) -> bool:
        """Whether the store answers and holds no such manifest; the text of an error may hold any number."""
        if not run_id:
            return True
        try:
            return name not in {Path(item.path).name for item in self.client.list_artifacts(run_id, FOLDER)}
        except MlflowException as error:
            return missing(error)
        except OSError:
            return False

    def _download(self, info: VersionInfo, folder: Path) -> None:
        """Copy all artifacts of a version, straight from its store: MLflow's own way for versions adds a file."""
        download(self.client, artifact_location(self.client, info.model, info.version), folder)


def artifact_location(client: MlflowClient, model: str, version: int) -> str:
    """Return where the artifact store keeps the files of a version."""
    location = str(client.get_model_version_download_uri(model, str(version)))
    model_id = logged_model_id(location)
    return str(client.get_logged_model(model_id).artifact_location) if model_id else location


def logged_model_id(source: str) -> str | None:
    """Return the id of the logged model that is a version's source, None when it is something else."""
    prefix, _, model_id = source.partition("models:/")
    return model_id if not prefix and model_id and "/" not in model_id else None


def download(client: MlflowClient, location: str, folder: Path) -> None:
    """Copy everything at a location of the artifact store into a folder, but for bytecode caches.

    Whoever loads a model in place, from a store of files, leaves ``__pycache__`` there. It is no part of the model,
    and what is not in the copy cannot be run from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    repository: ArtifactRepository = get_artifact_repository(location, tracking_uri=client.tracking_uri)
    try:
        repository.download_artifacts("", str(folder))  # type: ignore[no-untyped-call]
    except (MlflowException, OSError) as error:
        raise ReportedError(f"The artifacts at {location} could not be read: {one_line(str(error))}") from error
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)


def _file_name(digest: str) -> str:
    return f"manifest-{digest[:64]}.json"


def _digest(path: Path) -> FileDigest:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(digest, file.tell())
