"""Deletes published predictions that are old enough: only what this package wrote, never what a pointer names."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from include.retraining.output_names import folder_name
from include.retraining.predict.formats import sha256
from include.retraining.predict.places import Place
from include.retraining.predict.publish import as_description

log = logging.getLogger(__name__)

_NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
_POINTER = re.compile(r"latest(-[a-z]+)?\.json")


@dataclass(frozen=True)
class _Found:
    """A description that lies in a night's folder."""

    name: str
    night: date
    content: dict[str, Any]

    @property
    def files(self) -> list[tuple[str, str]]:
        """Name and digest of each file, relative to the model's folder."""
        return [(item["name"], item["sha256"]) for item in self.content["files"].values()]

    @property
    def age(self) -> tuple[date, str]:
        """By what the newest is told."""
        return self.night, str(self.content["run_after"])


def remove_old(place: Place, model: str, *, days: float | None = None, runs: int | None = None) -> list[str]:
    """Delete a model's published predictions that need not be kept.

    A file is deleted only where the description beside it names it with the digest that it has; what somebody else put
    there or changed stays. While a pointer cannot be read, nothing is deleted at all.

    :param days: nights before the newest one that are kept
    :param runs: the newest so many are kept, however old; what either of the two keeps stays, neither keeps all
    :return: the names of what was deleted, relative to the place
    :raises ReportedError: when something cannot be listed, read or deleted; the next call goes on
    """
    if days is None and runs is None:
        return []
    folder = folder_name(model)
    pointed: set[str] = set()
    for name in place.names(folder):
        if _POINTER.fullmatch(name):
            content = as_description(place.read(f"{folder}/{name}"))
            if content is None:
                log.warning("%s cannot be read, so nothing old is deleted", place.shown(f"{folder}/{name}"))
                return []
            pointed |= {item["name"] for item in content["files"].values()}
    found = sorted(_descriptions(place, folder), key=lambda item: item.age, reverse=True)
    removed: list[str] = []
    for number, item in enumerate(found):
        young = days is not None and (found[0].night - item.night).days <= days
        among = runs is not None and number < runs
        if not (young or among or pointed & {name for name, _ in item.files}):
            removed += _remove(place, folder, item)
    return removed


def _descriptions(place: Place, folder: str) -> Iterator[_Found]:
    for night in place.names(folder):
        if not _NIGHT.fullmatch(night):
            continue
        for name in place.names(f"{folder}/{night}"):
            content = as_description(place.read(f"{folder}/{night}/{name}")) if name.endswith(".json") else None
            if content is not None and all(_beside(item["name"], night) for item in content["files"].values()):
                try:
                    yield _Found(f"{night}/{name}", date.fromisoformat(night), content)
                except ValueError:
                    continue


def _beside(name: str, night: str) -> bool:
    """Whether a description names a file in its own folder."""
    return re.fullmatch(rf"{re.escape(night)}/\w[\w.-]*", name) is not None


def _remove(place: Place, folder: str, item: _Found) -> list[str]:
    """Delete the files of a description, and then itself."""
    removed: list[str] = []
    for name, digest in item.files:
        path = f"{folder}/{name}"
        data = place.read(path)
        if data is None:
            continue
        if sha256(data) != digest:
            log.warning("%s was changed since it was written and stays", place.shown(path))
            continue
        place.remove(path)
        removed.append(path)
    place.remove(f"{folder}/{item.name}")
    place.remove_folder(f"{folder}/{item.name.partition('/')[0]}")
    log.info("Deleted the predictions of %s by version %s", item.content.get("run"), item.content.get("version"))
    return [*removed, f"{folder}/{item.name}"]
