"""Entries of the promotion ledger: their form, the chain of digests, and what they say together.

An entry is canonical JSON. Its digest is the SHA-256 of that text; each entry carries the digest of the one
before, the first the digest of the ledger's own id. Two types exist:

``begin``
    takes the lock. ``intent`` says which move is about to be made, ``ttl`` how many seconds without a sign
    of life make the holder count as dead, ``over`` the number of the ``begin`` that this one takes over.
``end``
    releases the lock of ``begin`` and carries what happened meanwhile: ``events``, ``repairs`` (stages put
    back to what the ledger says) and ``production``, the version in Production from here on.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from include.lifecycle.errors import BadInputError
from include.lifecycle.events import Event
from include.lifecycle.stages import PRODUCTION

log = logging.getLogger(__name__)

SCHEMA = 1
BEGIN = "begin"
END = "end"
MAX_VALUE = 6000
"""MLflow cuts a longer parameter value and reports success."""


@dataclass(frozen=True)
class Intent:
    """The move that the holder of the lock is about to make (``from_stage`` is where it found the version)."""

    version: int
    from_stage: str
    to_stage: str
    dag_id: str | None = None
    run_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        return {
            "version": self.version,
            "from": self.from_stage,
            "to": self.to_stage,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the intent that the ledger stores."""
        return cls(
            version=int(content["version"]),
            from_stage=content["from"],
            to_stage=content["to"],
            dag_id=content.get("dag_id"),
            run_id=content.get("run_id"),
        )

    def same_move(self, other: "Intent") -> bool:
        """Whether both mean the same version and target stage."""
        return (self.version, self.to_stage) == (other.version, other.to_stage)


@dataclass(frozen=True)
class Entry:
    """One entry: its number, the stored text and what the text says."""

    number: int
    raw: str
    content: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the stored text."""
        return digest_of(self.raw)

    @property
    def kind(self) -> str:
        """``begin`` or ``end``."""
        return str(self.content.get("type"))

    @property
    def intent(self) -> Intent | None:
        """The move that a ``begin`` announces, None for a reconciliation."""
        intent = self.content.get("intent")
        return Intent.from_dict(intent) if intent else None

    def events(self) -> list[Event]:
        """Return the events that an ``end`` carries."""
        return [Event.from_dict(item, entry=self.number, digest=self.digest) for item in self.content.get("events", [])]


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Return the one JSON text of ``content``.

    :raises BadInputError: when MLflow would cut it
    """
    raw = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if len(raw) > MAX_VALUE:
        raise BadInputError(
            f"The ledger entry would have {len(raw)} characters, MLflow keeps {MAX_VALUE}: give a shorter reason"
        )
    return raw


@dataclass(frozen=True)
class LedgerState:
    """What all entries say together.

    :param ledger_id: the MLflow run that holds them
    :param entries: in order
    :param problems: what is wrong with the chain, one sentence each; empty when nothing is
    """

    ledger_id: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    _events: list[Event] = field(default_factory=list, repr=False, compare=False)

    @property
    def next_number(self) -> int:
        """Number of the entry to append."""
        return self.entries[-1].number + 1 if self.entries else 0

    @property
    def head(self) -> str:
        """Digest that the next entry carries."""
        return self.entries[-1].digest if self.entries else digest_of(self.ledger_id)

    @property
    def holder(self) -> Entry | None:
        """The ``begin`` that holds the lock, None when it is free."""
        last = next((entry for entry in reversed(self.entries) if entry.kind in (BEGIN, END)), None)
        return last if last is not None and last.kind == BEGIN else None

    @property
    def events(self) -> list[Event]:
        """All events in order."""
        if not self._events:
            self._events.extend(event for entry in self.entries if entry.kind == END for event in entry.events())
        return self._events

    @property
    def production(self) -> int | None:
        """The version that the ledger says is in Production: what the last ``end`` says."""
        last = next((entry for entry in reversed(self.entries) if entry.kind == END), None)
        return last.content.get("production") if last is not None else None

    @property
    def champions(self) -> list[int]:
        """Every version that was in Production, each time it came there, in order."""
        return [event.version for event in self.events if event.is_promotion]

    def last_move(self, version: int) -> Event | None:
        """Return the last event that moved a version itself."""
        return next((event for event in reversed(self.events) if event.version == version and event.moved), None)

    def stage_of(self, version: int) -> str | None:
        """Return the stage in which the ledger last saw a version, None when it never did."""
        for event in reversed(self.events):
            if version in event.archived:
                return "Archived"
            if event.version == version and event.moved:
                return event.to_stage
        return None

    def interrupted(self, *, with_holder: bool = False) -> dict[int, Intent]:
        """Return the moves to Production that were begun and never ended, and not made by somebody later.

        Their holders were killed, or were taken over because they stood still; those may even wake up and
        write late.

        :param with_holder: count the present holder of the lock among them
        """
        ended = {entry.content["begin"] for entry in self.entries if entry.kind == END}
        found: dict[int, Intent] = {}
        for entry in self.entries:
            intent = entry.intent if entry.kind == BEGIN else None
            if entry.kind == END:
                for event in entry.events():
                    found.pop(event.version, None)
            elif intent is None or intent.to_stage != PRODUCTION or entry.number in ended:
                continue
            elif with_holder or entry is not self.holder:
                found[intent.version] = intent
        return found

    @classmethod
    def read(cls, ledger_id: str, params: Mapping[str, str]) -> Self:
        """Return the state that a run's parameters hold.

        What cannot be read is named in ``problems`` and passed over: a rollback must stay possible on a
        ledger that somebody edited in the database.

        :param ledger_id: the run's id
        :param params: its parameters
        :raises BadInputError: when a newer version of this software wrote an entry
        """
        entries: list[Entry] = []
        problems: list[str] = []
        expected, number = digest_of(ledger_id), 0
        for key in sorted(key for key in params if len(key) == 8 and key.isdecimal()):
            if int(key) != number:
                problems.append(f"entries {number} to {int(key) - 1} are missing")
            number = int(key) + 1
            entry = _parse(int(key), params[key])
            if entry is None:
                problems.append(f"entry {int(key)} cannot be read")
                expected = digest_of(params[key])
                continue
            if entry.content.get("prev") != expected:
                problems.append(f"entry {int(key)} does not follow from the one before: one of them was changed")
            expected = entry.digest
            entries.append(entry)
        return cls(ledger_id, tuple(entries), tuple(problems))


def _parse(number: int, raw: str) -> Entry | None:
    try:
        content = json.loads(raw)
        schema, kind = int(content["schema"]), str(content["type"])
    except (ValueError, KeyError, TypeError):
        return None
    if schema > SCHEMA:
        raise BadInputError(
            f"Ledger entry {number} has schema {schema}, this software knows {SCHEMA}: update it before you promote"
        )
    entry = Entry(number, raw, content)
    try:
        if kind == END:
            int(content["begin"])
            entry.events()
        elif kind == BEGIN:
            str(content["nonce"]), float(content["ttl"])
            _ = entry.intent
        else:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    return entry
