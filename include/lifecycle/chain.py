"""The chain of a ledger's entries, as it lies in the parameters of one MLflow run after another.

The numbers go on over the border between two runs, and so does the chain of digests: the last entry of a closed
run is a ``next`` that names the run where the ledger goes on, whose first entry carries the digest of that.

What cannot be read is named as a problem and passed over: a rollback must stay possible on a ledger that
somebody edited in the database.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.lifecycle.entries import BEGIN, END, NEXT, NEXT_SCHEMA, Entry, LedgerState
from include.lifecycle.errors import BadInputError
from include.lifecycle.text import text_digest


@dataclass(frozen=True)
class Part:
    """What one MLflow run holds of a ledger.

    :param run_id: the run
    :param first: number of its first entry
    :param after: digest that its first entry carries
    :param entries: in order
    :param problems: what is wrong, one sentence each
    """

    run_id: str
    first: int
    after: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def successor(self) -> str | None:
        """The run where the ledger goes on, None while this one takes entries."""
        closed = self.entries and self.entries[-1].kind == NEXT
        return str(self.entries[-1].content["run"]) if closed else None

    @property
    def next_number(self) -> int:
        """Number of the entry that follows."""
        return self.entries[-1].number + 1 if self.entries else self.first

    @property
    def head(self) -> str:
        """Digest that the entry carries that follows."""
        return self.entries[-1].digest if self.entries else self.after


def read_part(run_id: str, params: Mapping[str, str], *, first: int = 0, after: str | None = None) -> Part:
    """Return the part of a ledger that a run's parameters hold.

    :param run_id: the run
    :param params: its parameters
    :param first: number of its first entry
    :param after: digest of the entry before; None where the ledger begins
    :raises BadInputError: when a newer version of this software wrote an entry
    """
    after = after if after is not None else text_digest(run_id)
    entries: list[Entry] = []
    problems: list[str] = []
    expected, number = after, first
    for key in sorted(key for key in params if len(key) == 8 and key.isdecimal()):
        found = int(key)
        if found < first or (entries and entries[-1].kind == NEXT):
            problems.append(f"entry {found} stands in run {run_id}, where it does not belong")
            continue
        if found != number:
            missing = f"entry {number} is" if found == number + 1 else f"entries {number} to {found - 1} are"
            problems.append(f"{missing} missing")
        entry = _parse(found, params[key])
        if not entry.kind:
            problems.append(f"entry {found} cannot be read")
        elif entry.content.get("prev") != expected:
            problems.append(f"entry {found} does not follow from the one before: one of them was changed")
        expected, number = entry.digest, found + 1
        entries.append(entry)
    return Part(run_id, first, after, tuple(entries), tuple(problems))


def join(parts: Sequence[Part]) -> LedgerState:
    """Return what the parts of a ledger, in order, say together."""
    return LedgerState(
        parts[0].run_id,
        tuple(entry for part in parts for entry in part.entries),
        tuple(problem for part in parts for problem in part.problems),
        tuple(part.run_id for part in parts),
        parts[-1].first,
    )


def _parse(number: int, raw: str) -> Entry:
    """Return an entry, without content when it cannot be read."""
    unreadable = Entry(number, raw, {})
    try:
        content = json.loads(raw)
        schema, kind = int(content["schema"]), str(content["type"])
    except (ValueError, KeyError, TypeError):
        return unreadable
    if schema > NEXT_SCHEMA:
        raise BadInputError(
            f"Ledger entry {number} has schema {schema}, this software knows {NEXT_SCHEMA}:"
            " update it before you promote"
        )
    entry = Entry(number, raw, content)
    try:
        return entry if _is_complete(entry, kind) else unreadable
    except (ValueError, KeyError, TypeError):
        return unreadable


def _is_complete(entry: Entry, kind: str) -> bool:
    """Whether an entry has what its kind needs; raises what the missing field makes it raise."""
    content = entry.content
    if kind == BEGIN:
        str(content["nonce"]), float(content["ttl"])
        _ = entry.intent
    elif kind == END:
        int(content["begin"])
        entry.events()
    elif kind == NEXT:
        str(content["run"])
    return kind in (BEGIN, END, NEXT)
