"""Entries of the promotion ledger: their form, the chain of digests, and what they say together.

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
``validated``, ``asked``, ``decided``
    are written whoever holds the lock, see ``statements``. They have schema 3.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

from include.lifecycle.decisions import Decision, Outcome
from include.lifecycle.errors import BadInputError
from include.lifecycle.events import Event, evidence_of
from include.lifecycle.keys import MAC
from include.lifecycle.stages import ARCHIVED, PRODUCTION, STAGING
from include.lifecycle.statements import STATEMENT_SCHEMA, STATEMENTS, Decided, Numbered, Statements
from include.lifecycle.text import text_digest

SCHEMA = 1
"""Schema of ``begin`` and ``end``."""
NEXT_SCHEMA = 2
"""Schema of ``next``."""
NEWEST_SCHEMA = STATEMENT_SCHEMA
"""The newest that this software reads."""
BEGIN = "begin"
END = "end"
NEXT = "next"
MAX_VALUE = 6000
"""MLflow cuts a longer parameter value and reports success."""


@dataclass(frozen=True)
class Intent:
    """The move that the holder of the lock is about to make (``from_stage`` is where it found the version).

    :param evidence: what only the version itself tells, for a move after which there is none any more
    """

    version: int
    from_stage: str
    to_stage: str
    dag_id: str | None = None
    run_id: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        return {
            "version": self.version,
            "from": self.from_stage,
            "to": self.to_stage,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            **({"evidence": dict(self.evidence)} if self.evidence else {}),
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
            evidence=content.get("evidence") or {},
        )

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
    def _events(self) -> tuple[Event, ...]:
        items = self.content.get("events", ())
        return tuple(Event.from_dict(item, entry=self.number, digest=self.digest) for item in items)

    def events(self) -> list[Event]:
        """Return the events that an ``end`` carries."""
        return list(self._events)


def free_number(number: int, taken: Collection[int]) -> int:
    """Return the first number from ``number`` on that is not taken."""
    while number in taken:
        number += 1
    return number


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


@dataclass(frozen=True)
class LedgerState:
    """What all entries say together.

    :param ledger_id: the MLflow run that holds the first ones
    :param entries: in order
    :param problems: what is wrong with the chain, one sentence each; empty when nothing is
    :param runs: the MLflow runs that hold them, in order
    :param first_of_run: number of the first entry of the last run, the one that takes entries
    :param foreign: numbers that entries take which nobody wrote who has the ledger's key
    :param unsealed: there is a key, and all entries are from before there was one: nothing may be written yet
    """

    ledger_id: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    first_of_run: int = 0
    foreign: frozenset[int] = frozenset()
    unsealed: bool = False

    @property
    def next_number(self) -> int:
        """Number of the entry to append."""
        return free_number(self.entries[-1].number + 1 if self.entries else 0, self.foreign)

    @property
    def head(self) -> str:
        """Digest that the next entry carries."""
        return self.entries[-1].digest if self.entries else text_digest(self.ledger_id)

    @property
    def signed(self) -> bool:
        """Whether entries carry a keyed digest."""
        return any(MAC in entry.content for entry in reversed(self.entries))

    @property
    def run_id(self) -> str:
        """The MLflow run that takes entries."""
        return self.runs[-1] if self.runs else self.ledger_id

    @property
    def in_run(self) -> int:
        """How many entries the last run holds."""
        return self.next_number - self.first_of_run

    def followed_by(self, entry: Entry) -> Self:
        """Return the state with one more entry."""
        return replace(self, entries=(*self.entries, entry))

    @property
    def holder(self) -> Entry | None:
        """The ``begin`` that holds the lock, None when it is free."""
        last = next((entry for entry in reversed(self.entries) if entry.kind in (BEGIN, END)), None)
        return last if last is not None and last.kind == BEGIN else None

    @cached_property
    def statements(self) -> Statements:
        """What was validated, asked and decided."""
        return Statements.of(
            (entry.number, entry.digest, entry.kind, entry.content["what"])
            for entry in self.entries
            if entry.kind in STATEMENTS
        )

    @cached_property
    def events(self) -> list[Event]:
        """All events in order: moves, what was recorded under the lock, and what was decided in Airflow.

        An approval there is no event of its own: the promotion that uses it is.
        """
        found = [event for entry in self.entries if entry.kind == END for event in entry.events()]
        said = self.statements
        decided = [item for item in said.decided.values() if item.what.decision.outcome is not Outcome.APPROVED]
        decided += said.late
        if not decided:
            return found
        found += [self._decided(item) for item in decided]
        stages: dict[int, str] = {}
        standing: set[int] = set()
        late, stated = {item.number for item in said.late}, {item.number for item in decided}
        events = []
        for event in sorted(found, key=lambda event: event.entry or 0):
            version = event.version
            if event.moved and not event.late:
                stages[version] = event.to_stage
                standing.discard(version)
            elif event.entry in late:
                event = replace(event, late=True)
            elif event.entry in stated and event.to_stage == STAGING:
                event = replace(event, late=version in standing or stages.get(version, STAGING) != STAGING)
            if event.decides:
                standing.add(event.version)
            events.append(event)
        return events

    def _decided(self, item: Numbered[Decided]) -> Event:
        ask = self.statements.asks[item.what.ask]
        stage = STAGING if ask.purpose == "promotion" else ARCHIVED
        decision = item.what.decision
        event = Event.of(ask.model, ask.version, stage, stage, decision)
        # the entry holds the whole reason
        event = replace(event, reason=decision.reason, reason_digest=None)
        return replace(event, time=decision.at, ask=ask.id, entry=item.number, digest=item.digest)

    def validated_at(self, version: int) -> datetime | None:
        """Return when a version was validated last, None when the ledger does not know."""
        if (said := self.statements.validations.get(version)) is not None:
            return said.what.at
        staged = self.last_move(version)
        try:
            at = datetime.fromisoformat(staged.evidence.get("validated", "") if staged is not None else "")
        except ValueError:
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    def evidence(self, version: int, tags: Mapping[str, str]) -> dict[str, str]:
        """Return what is known of a version: what its tags hold, and what the ledger knows of its gate."""
        said = self.statements.validations.get(version)
        return evidence_of(tags, said.what if said is not None else None)

    def standing(self, version: int) -> Event | None:
        """Return what was decided about a version, None when nothing was since it came to Staging.

        The first decision holds: what was rejected or expired stays so when it leaves Staging, superseded.
        """
        found: Event | None = None
        for event in self.events:
            if event.version != version or event.late:
                continue
            if event.moved and event.to_stage == STAGING:
                found = None
            elif not event.decides:
                continue
            elif found is None or found.outcome is Outcome.APPROVED or event.outcome is Outcome.APPROVED:
                found = event
        return found

    def used(self, ask: str) -> Event | None:
        """Return the move that an ask's approval was used for, None when it was not used yet."""
        return next((event for event in reversed(self.events) if event.ask == ask and event.is_promotion), None)

    def approval(self, version: int) -> Decided | None:
        """Return an approval of a version that was not used yet, None when there is none."""
        for item in reversed(self.statements.decided.values()):
            ask, outcome = self.statements.asks[item.what.ask], item.what.decision.outcome
            found = (ask.version, ask.purpose, outcome) == (version, "promotion", Outcome.APPROVED)
            if found and self.used(ask.id) is None:
                return item.what
        return None

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

    def knows(self, version: int, decision: Decision) -> bool:
        """Whether an event records a decision: a retried task makes no second one.

        A run decides once through a door, even if its user is told apart at one try only; without a run, at the
        command line, another user is another decision.
        """
        asked = (version, decision.outcome, decision.door, decision.dag_id, decision.run_id)
        for event in self.events:
            if (event.version, event.outcome, event.door, event.dag_id, event.run_id) == asked and (
                decision.run_id is not None or event.user == decision.user
            ):
                return True
        return False

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
                    if not event.late:
                        found.pop(event.version, None)
            elif intent is None or intent.to_stage != PRODUCTION or entry.number in ended:
                continue
            elif with_holder or entry is not self.holder:
                found[intent.version] = intent
        return found
