"""Entries of the promotion ledger: their form and the chain of digests. What they say together: ``state``.

An entry is canonical JSON. Its digest is the SHA-256 of that text; each entry carries the digest of the one
before, the first the digest of the ledger's own id. These types exist:

``begin``
    takes the lock. ``intent`` says which move is about to be made, ``ttl`` how many seconds without a sign
    of life make the holder count as dead, ``over`` the number of the ``begin`` that this one takes over.
``end``
    releases the lock of ``begin`` and carries what happened meanwhile: ``events``, ``repairs`` (stages put
    back to what the ledger says) and ``production``, the version in Production from here on.
``next``
    closes the MLflow run that holds it and names the ``run`` where the ledger goes on. It has schema 2: software
    that does not know it must not go on in the closed run. Written while nobody holds the lock.
``accepted``
    says that the ledger goes on although what stands before it is damaged or lost: who accepted that, why, and the
    digest of what was there (``whole``). It has schema 4. Its number and ``prev`` follow the last entry that is known
    of, be it from an anchor alone.
``validated``, ``reviewed``, ``asked``, ``decided``
    are written whoever holds the lock, see ``statements``. They have schema 3, ``reviewed`` has 5.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.reviewed import REVIEWED, Reviewed
from include.lifecycle.ledger.statements import ASKED, DECIDED, STATEMENTS, VALIDATED, Ask, Decided, Validation
from include.lifecycle.ledger.stored import Stored
from include.lifecycle.untrusted_text import text_digest

BEGIN = "begin"
END = "end"
NEXT = "next"
ACCEPTED = "accepted"
SCHEMAS = {BEGIN: 1, END: 1, NEXT: 2, ACCEPTED: 4, **STATEMENTS}
NEWEST_SCHEMA = max(SCHEMAS.values())
"""The newest that this software reads."""
_STATEMENTS: dict[str, type[Validation] | type[Reviewed] | type[Ask] | type[Decided]] = {
    VALIDATED: Validation,
    REVIEWED: Reviewed,
    ASKED: Ask,
    DECIDED: Decided,
}
MAX_VALUE = 6000
"""MLflow cuts a longer parameter value and reports success."""


@dataclass(frozen=True)
class Intent(Stored):
    """The move that the holder of the lock is about to make (``from_stage`` is where it found the version).

    :param evidence: what only the version itself tells, for a move after which there is none any more
    """

    __pydantic_config__ = ConfigDict(extra="ignore")

    version: int
    from_stage: Annotated[str, Field(alias="from")]
    to_stage: Annotated[str, Field(alias="to")]
    dag_id: str | None = None
    run_id: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        return {name: value for name, value in super().to_dict().items() if value or name != "evidence"}

    def same_move(self, other: "Intent") -> bool:
        """Whether both mean the same version and target stage."""
        return (self.version, self.to_stage) == (other.version, other.to_stage)


@dataclass(frozen=True)
class Entry:
    """One entry: its number, the stored text and what the text says, nothing when that cannot be read."""

    number: int
    raw: str
    content: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the stored text."""
        return text_digest(self.raw)

    @property
    def kind(self) -> str:
        """The entry's type, empty when it cannot be read."""
        return str(self.content.get("type", ""))

    @property
    def intent(self) -> Intent | None:
        """The move that a ``begin`` announces, None for a reconciliation."""
        intent = self.content.get("intent")
        return Intent.from_dict(intent) if intent else None

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events that an ``end`` carries."""
        items = self.content.get("events", ())
        return tuple(replace(Event.from_dict(item), entry=self.number, digest=self.digest) for item in items)

    @cached_property
    def statement(self) -> Validation | Reviewed | Ask | Decided:
        """What an entry says that is one of ``STATEMENTS``."""
        return _STATEMENTS[self.kind].from_dict(self.content["what"])


def new_content(kind: str, prev: str, **said: Any) -> dict[str, Any]:
    """Return the content of a new entry, which no other process can write: it has a nonce.

    :param kind: one of ``SCHEMAS``
    :param prev: digest of the entry before
    :param said: what its kind has beside
    """
    return {"schema": SCHEMAS[kind], "type": kind, "prev": prev, "nonce": secrets.token_hex(8), **said}


def free_number(number: int, taken: Collection[int]) -> int:
    """Return the first number from ``number`` on that is not taken."""
    while number in taken:
        number += 1
    return number


def whole(entries: Iterable[Entry]) -> str:
    """Return the digest of entries together."""
    return text_digest("".join(entry.digest for entry in entries))


def canonical(content: Mapping[str, Any], limit: int = MAX_VALUE) -> str:
    """Return the one JSON text of ``content``.

    :param limit: characters that it may have
    :raises BadInputError: when it has more
    """
    raw = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if len(raw) > limit:
        raise BadInputError(
            f"The ledger entry would have {len(raw)} characters of at most {limit}: shorten the names"
            " of user and run and the version's tags"
        )
    return raw
