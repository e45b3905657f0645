"""Publishes predictions: files with dated names, and a pointer to the newest that is written last.

Below the place, for each model::

    MODEL/2026-11-26/MODEL-v7-3f2a9c1b.parquet    the same predictions
    MODEL/2026-11-26/MODEL-v7-3f2a9c1b.csv        in each format
    MODEL/2026-11-26/MODEL-v7-3f2a9c1b.json       what they are: version, stage, origin, run, names, digests
    MODEL/latest.json                             a copy of the newest of these
    MODEL/named/NAME                              what somebody asked for by name

The digits stand for the run and its predictions: a repeated run writes the same names with the same content, and a file
that somebody was pointed to never changes.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from include.lifecycle.untrusted_text import text_digest
from include.retraining.output_names import Format, checked_name, folder_name
from include.retraining.predict.formats import Facts, sha256
from include.retraining.predict.places import Place

log = logging.getLogger(__name__)

LATEST = "latest.json"
NAMED = "named"
WRITER = "include.retraining.predict"
"""Says in a description that its files are ours to delete."""


@dataclass(frozen=True)
class Output:
    """A file that was written: where it is, its digest and its size in bytes."""

    name: str
    sha256: str
    size: int

    @classmethod
    def of(cls, name: str, data: bytes) -> "Output":
        """Return what is known of a file's content."""
        return cls(name, sha256(data), len(data))


@dataclass(frozen=True)
class Publication:
    """Predictions to be published.

    :param facts: what made them
    :param night: the run's date, as ``2026-11-26``
    :param moment: when the run was due, with a timezone: of two runs, the later one is the newer
    :param files: content in each format
    :param details: what else readers are told, as JSON takes it
    """

    facts: Facts
    night: str
    moment: datetime
    files: Mapping[Format, bytes]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The model's folder below the place."""
        return folder_name(self.facts.model)

    @property
    def stem(self) -> str:
        """What the names begin with, relative to the model's folder."""
        digits = text_digest("\n".join([self.facts.run, *map(sha256, self.files.values())]))[:8]
        return f"{self.night}/{self.folder}-v{self.facts.version}-{digits}"

    @property
    def outputs(self) -> dict[Format, Output]:
        """The files, with names relative to the model's folder."""
        return {kind: Output.of(f"{self.stem}.{kind}", data) for kind, data in self.files.items()}

    def describe(self) -> dict[str, Any]:
        """Return the description that lies beside the files."""
        facts = self.facts
        return {
            "written_by": WRITER,
            "model": facts.model,
            "version": facts.version,
            "stage": facts.stage,
            "forecast_origin": str(facts.origin) if facts.origin else None,
            "run": facts.run,
            "night": self.night,
            "run_after": self.moment.astimezone(UTC).isoformat(),
            "files": {
                kind: {"name": item.name, "sha256": item.sha256, "bytes": item.size}
                for kind, item in self.outputs.items()
            },
            **self.details,
        }


def publish(place: Place, publication: Publication, *, pointer: str | None) -> tuple[dict[Format, Output], bool]:
    """Write the files, then what they are, and point to them at last.

    The description goes first, so that whatever a write that was killed has left is known to be ours.

    :param pointer: see ``pointer_name``; None leaves every pointer as it is, and so does one that names a newer run
    :return: the files, with names relative to the place, and whether the pointer names them
    :raises ReportedError: when something cannot be written; the pointer then names what it did before
    """
    folder, described = publication.folder, as_json(publication.describe())
    place.write(f"{folder}/{publication.stem}.json", described)
    for kind, item in publication.outputs.items():
        place.write(f"{folder}/{item.name}", publication.files[kind])
        log.info("Wrote %s (%d bytes)", place.shown(f"{folder}/{item.name}"), item.size)
    pointed = pointer is not None and _point(place, publication, pointer, described)
    return {kind: replace(item, name=f"{folder}/{item.name}") for kind, item in publication.outputs.items()}, pointed


def publish_named(place: Place, model: str, name: str, data: bytes) -> Output:
    """Write one file under a name that somebody typed, where no published file has its name.

    :param name: below the model's folder ``named``
    :return: the file, its name relative to the place
    :raises BadInputError: when the name could lead elsewhere
    """
    path = f"{folder_name(model)}/{NAMED}/{checked_name(name, 'output')}"
    place.write(path, data)
    log.info("Wrote %s (%d bytes)", place.shown(path), len(data))
    return Output.of(path, data)


def pointer_name(stage: str, usual: str) -> str:
    """Return the pointer for the versions of a stage: another stage's predictions never become the usual newest.

    :param stage: whose version predicted
    :param usual: whose version predicts at night
    """
    return LATEST if stage == usual else f"latest-{re.sub('[^a-z]', '', stage.lower())}.json"


def as_description(data: bytes | None) -> dict[str, Any] | None:
    """Return a description or pointer that this module wrote, None when it is none."""
    try:
        content = json.loads(data or b"")
        files = content["files"]
        sound = (
            content["written_by"] == WRITER
            and all(isinstance(item["name"], str) and isinstance(item["sha256"], str) for item in files.values())
            and datetime.fromisoformat(content["run_after"]).tzinfo is not None
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(content) if sound else None


def as_json(content: object) -> bytes:
    """Return JSON that is the same for the same content."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _point(place: Place, publication: Publication, pointer: str, described: bytes) -> bool:
    """Let a pointer name a publication unless it names a newer one."""
    path = f"{publication.folder}/{pointer}"
    with place.locked(publication.folder):
        before = place.read(path)
        known = as_description(before)
        if known is not None and datetime.fromisoformat(known["run_after"]) > publication.moment:
            log.warning("%s stays: it names a newer run, %s", place.shown(path), known["run"])
            return False
        if before is not None and known is None:
            log.warning("%s was damaged and is written anew", place.shown(path))
        place.write(path, described)
    return True
