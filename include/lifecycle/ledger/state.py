"""What the entries of a ledger say together: what is live, what was decided, what was asked and validated.

``Account`` is told entry by entry and answers without looking at them again: a ledger of years is read once in a
process, and what is added to it later is all that costs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from include.lifecycle.ledger.entries import BEGIN, END, Entry, Intent, free_number
from include.lifecycle.ledger.events import Event, evidence_of
from include.lifecycle.ledger.keys import MAC
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.ledger.statements import STATEMENTS, Ask, Collecting, Decided, Numbered, Statements, Validation
from include.lifecycle.rules.decisions import Decision, Outcome, time_of
from include.lifecycle.stages import ARCHIVED, PRODUCTION, STAGING
from include.lifecycle.untrusted_text import text_digest


@dataclass
class Account(Collecting):
    """What entries say together, as far as they were added.

    :param statements: what was validated, asked and decided
    :param events: in order: moves, what was recorded under the lock, and what was decided in Airflow
    :param of_version: the same, by version
    :param holder: the ``begin`` that holds the lock
    :param production: what the last ``end`` says is in Production
    :param champions: every version that was in Production, each time it came there
    :param former: every version that was in Production or archived by a move
    :param stages: where the ledger last saw a version
    :param moves: the last event that moved a version itself
    :param standings: what was decided about a version since it came to Staging
    :param uses: the promotion that an ask's approval was used for, by ask
    :param begun: moves that did not end, by the number of their ``begin``
    :param signed: an entry carries a keyed digest
    """

    statements: Statements = field(default_factory=Statements)
    events: list[Event] = field(default_factory=list)
    of_version: dict[int, tuple[Event, ...]] = field(default_factory=dict)
    holder: Entry | None = None
    production: int | None = None
    champions: list[int] = field(default_factory=list)
    former: set[int] = field(default_factory=set)
    stages: dict[int, str] = field(default_factory=dict)
    moves: dict[int, Event] = field(default_factory=dict)
    standings: dict[int, Event] = field(default_factory=dict)
    uses: dict[str, Event] = field(default_factory=dict)
    begun: dict[int, Intent] = field(default_factory=dict)
    signed: bool = False

    def add(self, entries: Iterable[Entry]) -> Self:
        """Add entries, which follow those that are there."""
        for entry in entries:
            self.signed = self.signed or MAC in entry.content
            if entry.kind == BEGIN:
                self.holder = entry
                if (intent := entry.intent) is not None:
                    self.begun[entry.number] = intent
            elif entry.kind == END:
                self._end(entry)
            elif entry.kind in STATEMENTS:
                self._state(entry)
        return self

    def _end(self, entry: Entry) -> None:
        self.holder, self.production = None, entry.content.get("production")
        self.begun.pop(entry.content["begin"], None)
        for event in entry.events:
            self._tell(event)
            if not event.late:
                self.begun = {number: move for number, move in self.begun.items() if move.version != event.version}

    def _state(self, entry: Entry) -> None:
        said = entry.statement
        if isinstance(said, Validation):
            self.statements.add_validation(Numbered(entry.number, entry.digest, said))
        elif isinstance(said, Reviewed):
            self.statements.reviews[said.version] = said
        elif isinstance(said, Ask):
            self.statements.add_ask(said)
        else:
            item = Numbered(entry.number, entry.digest, said)
            late = self.statements.add_decided(item)
            # an approval is no event of its own: the promotion that uses it is
            if late or (late is False and said.decision.outcome is not Outcome.APPROVED):
                self._tell(self._decided(item, late=late))

    def _decided(self, item: Numbered[Decided], *, late: bool) -> Event:
        ask = self.statements.asks[item.what.ask]
        stage = STAGING if ask.purpose == "promotion" else ARCHIVED
        decision = item.what.decision
        event = Event.of(ask.model, ask.version, stage, stage, decision)
        if stage == STAGING:
            late = late or ask.version in self.standings or self.stages.get(ask.version, STAGING) != STAGING
        # the entry holds the whole reason
        event = replace(event, reason=decision.reason, reason_digest=None, late=late)
        return replace(event, time=decision.at, ask=ask.id, entry=item.number, digest=item.digest)

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.of_version[event.version] = (*self.of_version.get(event.version, ()), event)
        if event.moved:
            self.moves[event.version] = event
            self.stages[event.version] = event.to_stage
        for version in event.archived:
            self.stages[version] = ARCHIVED
            self.former.add(version)
        if event.is_promotion:
            self.champions.append(event.version)
            self.former.add(event.version)
            if event.ask:
                self.uses[event.ask] = event
        if event.late:
            return
        found = self.standings.get(event.version)
        if event.moved and event.to_stage == STAGING:
            self.standings.pop(event.version, None)
        elif event.decides and (found is None or Outcome.APPROVED in (found.outcome, event.outcome)):
            self.standings[event.version] = event


@dataclass
class LedgerState(Account):
    """What all entries of a ledger say together. Nobody changes one.

    :param ledger_id: the MLflow run that holds the first ones
    :param entries: in order
    :param problems: what is wrong with the chain, one sentence each; empty when nothing is
    :param runs: the MLflow runs that hold them, in order
    :param first_of_run: number of the first entry of the last run, the one that takes entries
    :param foreign: numbers that entries take which nobody wrote who has the ledger's key
    :param unsealed: there is a key, and all entries are from before there was one: nothing may be written yet
    :param accepted: the last entry with which somebody accepted what stands before it
    """

    ledger_id: str = ""
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    first_of_run: int = 0
    foreign: frozenset[int] = frozenset()
    unsealed: bool = False
    accepted: Entry | None = None

    @classmethod
    def of(
        cls, ledger_id: str, entries: tuple[Entry, ...], before: Account | None = None, counted: int = 0, **known: Any
    ) -> Self:
        """Return the state of a ledger.

        :param before: what the first entries say, as far as that is known
        :param counted: how many those are
        :param known: other fields
        """
        account = (before or Account()).copy().add(entries[counted:])
        return cls(**vars(account), ledger_id=ledger_id, entries=entries, **known)

    @property
    def next_number(self) -> int:
        """Number of the entry to append."""
        return free_number(self.entries[-1].number + 1 if self.entries else 0, self.foreign)

    @property
    def judged_from(self) -> int:
        """Number of the first entry that is checked: somebody accepted what stands before it as it is."""
        return self.accepted.number if self.accepted is not None else 0

    @property
    def head(self) -> str:
        """Digest that the next entry carries."""
        return self.entries[-1].digest if self.entries else text_digest(self.ledger_id)

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
        found = self.copy().add([entry])
        found.entries = (*self.entries, entry)
        return found

    def validated_at(self, version: int) -> datetime | None:
        """Return when a version was validated last, None when the ledger does not know."""
        if (said := self.statements.validations.get(version)) is not None:
            return said.what.at
        staged = self.last_move(version)
        return time_of(staged.evidence.get("validated")) if staged is not None else None

    def evidence(self, version: int, tags: Mapping[str, str]) -> dict[str, str]:
        """Return what is known of a version: what its tags hold, and what the ledger knows of its gate."""
        said, review = self.statements.validations.get(version), self.review(version)
        found = evidence_of(tags, said.what if said is not None else None)
        return found | ({"review": review.verdict, "review_page": review.page} if review is not None else {})

    def review(self, version: int) -> Reviewed | None:
        """Return what a review said of a version last, None when there was none."""
        return self.statements.reviews.get(version)

    def standing(self, version: int) -> Event | None:
        """Return what was decided about a version, None when nothing was since it came to Staging.

        The first decision holds: what was rejected or expired stays so when it leaves Staging, superseded.
        """
        return self.standings.get(version)

    def used(self, ask: str) -> Event | None:
        """Return the move that an ask's approval was used for, None when it was not used yet."""
        return self.uses.get(ask)

    def approval(self, version: int) -> Decided | None:
        """Return an approval of a version that was not used yet, None when there is none."""
        approvals = self.statements.approvals.get(version, ())
        return next((item.what for item in reversed(approvals) if self.used(item.what.ask) is None), None)

    def last_move(self, version: int) -> Event | None:
        """Return the last event that moved a version itself."""
        return self.moves.get(version)

    def knows(self, version: int, decision: Decision) -> bool:
        """Whether an event records a decision: a retried task makes no second one.

        A run decides once through a door, even if its user is told apart at one try only; without a run, at the
        command line, another user is another decision.
        """
        asked = (decision.outcome, decision.door, decision.dag_id, decision.run_id)
        return any(
            (event.outcome, event.door, event.dag_id, event.run_id) == asked
            and (decision.run_id is not None or event.user == decision.user)
            for event in self.of_version.get(version, ())
        )

    def stage_of(self, version: int) -> str | None:
        """Return the stage in which the ledger last saw a version, None when it never did."""
        return self.stages.get(version)

    def interrupted(self, to_stage: str = PRODUCTION, *, with_holder: bool = False) -> dict[int, Intent]:
        """Return the moves to a stage that were begun and never ended, and not made by somebody later.

        Their holders were killed, or were taken over because they stood still; those may even wake up and
        write late.

        :param with_holder: count the present holder of the lock among them
        """
        holder = self.holder.number if self.holder is not None and not with_holder else None
        begun = self.begun.items()
        return {move.version: move for number, move in begun if number != holder and move.to_stage == to_stage}
