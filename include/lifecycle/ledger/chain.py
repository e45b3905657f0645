"""The chain of a ledger's entries, as it lies in the parameters of one MLflow run after another.

The numbers go on over the border between two runs, and so does the chain of digests: the last entry of a closed
run is a ``next`` that names the run where the ledger goes on, whose first entry carries the digest of that.

What cannot be read is named as a problem and passed over: a rollback must stay possible on a ledger that
somebody edited in the database.

With a ledger key (``keys``), an entry that no key signed is foreign: it is named, takes its number, and is no part of
the chain. What was written before there was a key is believed up to the entry that a seal names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.anchors import Anchor
from include.lifecycle.ledger.entries import (
    ACCEPTED,
    BEGIN,
    END,
    NEWEST_SCHEMA,
    NEXT,
    Entry,
    canonical,
    free_number,
    whole,
)
from include.lifecycle.ledger.keys import MAC, Keyring
from include.lifecycle.ledger.state import Account, LedgerState
from include.lifecycle.ledger.statements import STATEMENTS
from include.lifecycle.untrusted_text import text_digest

REMEMBERED = 4096
"""Entries that are not checked and parsed again: the open run of a ledger is read before each write."""


@dataclass(frozen=True)
class Trust:
    """Whose entries of a ledger are believed.

    :param keyring: the keys; without any every entry is
    :param seal: the last entry that is believed without a keyed digest, as are those that lead to it; None for none
    """

    model: str
    keyring: Keyring = field(default_factory=Keyring)
    seal: Anchor | None = None

    def accepts(self, entry: Entry) -> bool:
        """Whether an entry is believed."""
        if not self.keyring:
            return True
        if self.seal is not None and entry.number <= self.seal.entry:
            return MAC not in entry.content
        return _canonical(entry) and self.keyring.accepts(entry.content, self.model, entry.number)


@dataclass(frozen=True)
class Part:
    """What one MLflow run holds of a ledger.

    :param first: number of its first entry
    :param after: digest that its first entry carries
    :param entries: in order
    :param problems: what is wrong, one sentence each, with the number of the entry where it was found
    :param foreign: numbers of entries that nobody wrote who has the key
    """

    run_id: str
    first: int
    after: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[tuple[int, str], ...] = ()
    foreign: frozenset[int] = frozenset()

    @cached_property
    def accepted(self) -> tuple[Entry, ...]:
        """Entries that accept what stands before them."""
        return tuple(entry for entry in self.entries if entry.kind == ACCEPTED)

    @property
    def successor(self) -> str | None:
        """The run where the ledger goes on, None while this one takes entries."""
        closed = self.entries and self.entries[-1].kind == NEXT
        return str(self.entries[-1].content["run"]) if closed else None

    @property
    def next_number(self) -> int:
        """Number of the entry that follows."""
        return free_number(self.entries[-1].number + 1 if self.entries else self.first, self.foreign)

    @property
    def head(self) -> str:
        """Digest that the entry carries that follows."""
        return self.entries[-1].digest if self.entries else self.after


def read_part(
    run_id: str, params: Mapping[str, str], trust: Trust, *, first: int = 0, after: str | None = None
) -> Part:
    """Return the part of a ledger that a run's parameters hold.

    :param first: number of its first entry
    :param after: digest of the entry before; None where the ledger begins
    :raises BadInputError: when a newer version of this software wrote an entry
    """
    after = after if after is not None else text_digest(run_id)
    entries: list[Entry] = []
    problems: list[tuple[int, str]] = []
    foreign: set[int] = set()
    expected, number, skipped = after, first, 0
    for key in sorted(key for key in params if len(key) == 8 and key.isdecimal()):
        found = int(key)
        entry = _read(found, params[key], trust)
        if entry is None:
            foreign.add(found)
            skipped += found >= number
            continue
        if found < first or (entries and entries[-1].kind == NEXT):
            problems.append((found, f"entry {found} stands in run {run_id}, where it does not belong"))
            continue
        # counted, not listed: whoever may write an entry may give it any number
        if found - number > skipped:
            first_absent = free_number(number, foreign)
            last_absent = next(other for other in range(found - 1, number - 1, -1) if other not in foreign)
            single = first_absent == last_absent
            missing = f"entry {first_absent} is" if single else f"entries {first_absent} to {last_absent} are"
            problems.append((found, f"{missing} missing"))
        if not entry.kind:
            problems.append((found, f"entry {found} cannot be read"))
        elif entry.content.get("prev") != expected:
            problems.append((found, f"entry {found} does not follow from the one before: one of them was changed"))
        expected, number, skipped = entry.digest, found + 1, 0
        entries.append(entry)
        if trust.seal is not None and trust.seal.entry == found and trust.seal.digest != entry.digest:
            problems.append((found, f"entry {found} and those before it are not what was sealed"))
    return Part(run_id, first, after, tuple(entries), tuple(problems), frozenset(foreign))


def join(parts: Sequence[Part], before: Account, counted: int) -> LedgerState:
    """Return what the parts of a ledger, in order, say together.

    :param before: what the entries of the first parts say
    :param counted: how many parts those are
    """
    entries = tuple(entry for part in parts for entry in part.entries)
    problems = [problem for part in parts for problem in part.problems]
    foreign = frozenset(number for part in parts for number in part.foreign)
    accepted: Entry | None = None
    for entry in (entry for part in parts for entry in part.accepted):
        if entry.content["whole"] == whole(other for other in entries if other.number < entry.number):
            accepted = entry
            problems = [(number, problem) for number, problem in problems if number > entry.number]
            foreign = frozenset(number for number in foreign if number > entry.number)
        else:
            problems.append((entry.number, f"what entry {entry.number} accepted was changed since"))
    return LedgerState.of(
        parts[0].run_id,
        entries,
        before,
        sum(len(part.entries) for part in parts[:counted]),
        problems=tuple(problem for _, problem in problems),
        runs=tuple(part.run_id for part in parts),
        first_of_run=parts[-1].first,
        foreign=foreign,
        accepted=accepted,
    )


@lru_cache(maxsize=REMEMBERED)
def _read(number: int, raw: str, trust: Trust) -> Entry | None:
    """Return an entry, without content when it cannot be read, None when it is not believed.

    :raises BadInputError: when a newer version of this software wrote it
    """
    stored = _stored(number, raw)
    return _complete(stored) if trust.accepts(stored) else None


def _stored(number: int, raw: str) -> Entry:
    """Return an entry with whatever it says, also what this software does not know; nothing when it is no JSON."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = {}
    return Entry(number, raw, content if isinstance(content, dict) else {})


def _complete(entry: Entry) -> Entry:
    """Return an entry, without content when it lacks something.

    :raises BadInputError: when a newer version of this software wrote it
    """
    unreadable = Entry(entry.number, entry.raw, {})
    try:
        schema, kind = int(entry.content["schema"]), str(entry.content["type"])
        if schema > NEWEST_SCHEMA:
            raise BadInputError(
                f"Ledger entry {entry.number} has schema {schema}, this software knows {NEWEST_SCHEMA}:"
                " update it before you promote"
            )
        return entry if _is_complete(entry, kind) else unreadable
    except (ValueError, KeyError, TypeError, AttributeError):
        return unreadable


def _canonical(entry: Entry) -> bool:
    """Whether an entry is stored as this software writes: JSON says a thing in many ways, and one is signed."""
    try:
        return canonical(entry.content) == entry.raw
    except BadInputError:
        return False


def _is_complete(entry: Entry, kind: str) -> bool:
    """Whether an entry has what its kind needs; raises what the missing field makes it raise."""
    content = entry.content
    if kind == BEGIN:
        str(content["nonce"]), float(content["ttl"])
        _ = entry.intent
    elif kind == END:
        int(content["begin"])
        _ = entry.events
    elif kind == NEXT:
        str(content["run"])
    elif kind == ACCEPTED:
        str(content["whole"]), str(content["user"]), str(content["reason"]), list(content["problems"])
    elif kind in STATEMENTS:
        _ = entry.statement
    return kind in (BEGIN, END, NEXT, ACCEPTED, *STATEMENTS)
