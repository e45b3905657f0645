"""The promotion ledger: an append-only log in MLflow that is also the lock of a model's promotions.

Entry *n* is the run parameter ``%08d``. MLflow stores a parameter's value once and for all, so of several
processes that append entry *n* exactly one wins, whatever the backend; nothing else in MLflow's API has that
property and a history. When a run is full, an entry names the run that goes on (``runs``).

The lock: ``begin`` takes it and its number is the fencing token, ``end`` releases it (see ``entries``). A waiter
that sees the same ``begin`` for the time to live *on its own monotonic clock* appends a ``begin`` that takes
over. The holder gives up past half of that time; whoever loses ``end`` was taken over.

An append whose answer is lost is settled by reading back: each entry has a nonce, so the stored value is mine
if and only if I won.

What MLflow's API cannot prevent: it checks no token, so a holder that stands still between its last check
and its call may write late; it notices when it cannot append ``end``, and the next reconciliation repairs it.
And whoever may delete runs may delete the ledger (a deleted run can be restored until ``mlflow gc``); the
chain finds an edited entry, not a missing last one, which is why promotions name their entry and digest to
whoever promotes (``anchors``).
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.errors import BadInputError, LedgerGoneError, ReportedError
from include.lifecycle.ledger import anchors, verify
from include.lifecycle.ledger.anchors import Anchor
from include.lifecycle.ledger.entries import (
    ACCEPTED,
    BEGIN,
    MAX_VALUE,
    NEXT,
    Entry,
    Intent,
    canonical,
    free_number,
    new_content,
    whole,
)
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.keys import KEY_ENV, KEY_FILE_ENV, Keyring
from include.lifecycle.ledger.limits import bounded_requests, time_to_live
from include.lifecycle.ledger.lock import RESERVED, HeldLock, end_content
from include.lifecycle.ledger.long_reasons import LongTexts
from include.lifecycle.ledger.runs import UNSEALED, LedgerRuns
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.statements import as_reason
from include.lifecycle.registry.versions import VersionCatalog, VersionInfo
from include.lifecycle.rules.decisions import utc_now
from include.lifecycle.untrusted_text import one_line, storable

log = logging.getLogger(__name__)

MAX_PROBLEMS, MAX_PROBLEM = 5, 200
"""How many problems an entry names that accepts them, and characters of each."""
Witness = Callable[[str], Iterable[Anchor]]
"""Returns the anchors of a model's ledger that are kept outside MLflow."""
RUN_ENTRIES = 2000
"""Entries that one MLflow run holds: MLflow reads a run as a whole, 2,000 entries in about a tenth of a second."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


class PromotionLedger:
    """The ledger of one registered model.

    :param ttl: seconds without a sign of life after which this process counts as dead; by default see ``limits``
    :param run_entries: entries after which another MLflow run goes on
    :param keyring: the keys that sign its entries; by default what the environment holds
    :param witness: where anchors of a model's ledger are kept beside MLflow and the environment's file
    :raises BadInputError: when the environment holds something else than keys
    """

    def __init__(
        self,
        client: MlflowClient,
        model: str,
        *,
        ttl: float | None = None,
        run_entries: int = RUN_ENTRIES,
        monotonic: Callable[[], float] = time.monotonic,
        keyring: Keyring | None = None,
        witness: Witness | None = None,
    ) -> None:
        if run_entries < 2:
            raise ValueError(
                f"PromotionLedger.run_entries is {run_entries}: a run holds at least a begin and an end, 2"
            )
        self.client = client
        self.model = model
        self.keyring = keyring if keyring is not None else Keyring.from_environment()
        self.runs = LedgerRuns(client, model, self.keyring)
        self.witness = witness
        self._ttl = ttl
        self._run_entries = run_entries
        self.monotonic = monotonic
        self._told: set[str] = set()

    @property
    def ttl(self) -> float:
        """Seconds without a sign of life after which this process counts as dead."""
        return self._ttl if self._ttl is not None else time_to_live(self.client.tracking_uri)

    def read(self, *, fresh: bool = False) -> LedgerState:
        """Return what the ledger says; an empty state when there is no ledger yet.

        :param fresh: read closed runs again, which this process has read before
        """
        state = self.runs.read(fresh=fresh)
        for problem in set(state.problems) - self._told:
            log.error("Promotion ledger of %s (run %s): %s", self.model, state.ledger_id, problem)
        self._told.update(state.problems)
        return state

    def verify(self, known: Iterable[tuple[int, str]] = ()) -> list[str]:
        """Return what is wrong with the ledger, one sentence each; empty when nothing is.

        :param known: number and digest of entries, beside what ``anchors`` finds
        """
        try:
            # before the ledger is read: what comes between would look like a cut end
            found = [*known, *self.anchors()]
            return verify.problems(self.client, self.read(fresh=True), found)
        except BadInputError as error:
            return [str(error)]

    def anchors(self, versions: Iterable[VersionInfo] | None = None) -> list[Anchor]:
        """Return what is known of entries elsewhere: on versions, in the environment's file, by the witness.

        :param versions: those of the model; by default they are looked up
        :raises BadInputError: when the file cannot be read
        """
        versions = versions if versions is not None else VersionCatalog(self.client).search(self.model)
        texts = (info.tags.get(tag.LEDGER_ANCHOR) for info in versions)
        found = list(anchors.signed(self.keyring, self.model, texts))
        if (file := os.environ.get(anchors.ANCHORS_ENV)) and Path(file).exists():
            found += anchors.read(Path(file), self.model)
        return [*found, *self.witness(self.model)] if self.witness is not None else found

    def require_intact(self, state: LedgerState, versions: Iterable[VersionInfo] | None = None) -> None:
        """Refuse to follow a ledger that is not what was written, as far as that can be told.

        :raises LedgerDamagedError: names the first problem and the remedy
        """
        found = self.anchors(versions)
        verify.require_intact(self.model, self.at_least(state, found), found)

    def at_least(self, state: LedgerState, known: Iterable[Anchor]) -> LedgerState:
        """Return a state, read again where anchors are of entries that came after it."""
        last = max(known, default=None)
        return state if last is None or last.entry < state.next_number else self.read()

    def accept(self, user: str, user_source: str, reason: str, after: Anchor | None = None) -> Entry:
        """Go on with a ledger that is damaged or lost, behind what is left or known of it; nothing is repaired.

        :param after: the last entry that is known of, where all of the ledger is lost, or its end and no anchor is kept
        :return: the entry that says so
        :raises BadInputError: when there is nothing to accept
        :raises ReportedError: when MLflow did not take the entry
        """
        with bounded_requests():
            try:
                state = self.writable(new=after is not None)
            except LedgerGoneError:
                if after is None:
                    raise
                self.runs.lead_to(self.runs.create(0))
                state = self.writable(new=True)
            known = [*self.anchors(), *([after] if after is not None else [])]
            state = self.at_least(state, known)
            found = verify.problems(self.client, state, known)
            number, head = state.next_number, state.head
            if (last := max(known, default=None)) is not None and last.entry >= number:
                number, head = free_number(last.entry + 1, state.foreign), last.digest
            if not found:
                raise BadInputError(f"The promotion ledger of {self.model!r} is what was written: nothing to accept")
            content = new_content(
                ACCEPTED,
                head,
                time=utc_now().isoformat(),
                user=storable(user),
                user_source=user_source,
                reason=as_reason(reason),
                whole=whole(entry for entry in state.entries if entry.number < number),
                problems=[one_line(problem, MAX_PROBLEM) for problem in found[:MAX_PROBLEMS]],
            )
            entry = self.append(number, content, state.run_id or None)
        if entry is None:
            raise ReportedError(f"Somebody else wrote to the promotion ledger of {self.model!r} just now: try again")
        return entry

    @property
    def texts(self) -> LongTexts:
        """The reasons that are longer than an entry holds."""
        return LongTexts(self.client, self.runs.open())

    def admit(self, event: Event, reason: str) -> None:
        """Make sure, before anything moves, that the ledger can record an event; keep its reason, where that is long.

        :raises BadInputError: when the entry would be longer than MLflow keeps
        :raises ReportedError: when the artifact store did not take the reason
        """
        content = end_content(0, "", event.version, [replace(event, archived=(event.version,) * 9)])
        canonical(self.keyring.sign(content), MAX_VALUE - RESERVED)
        if event.reason_digest is not None:
            self.texts.keep(reason)

    def append(self, number: int, content: dict[str, Any], run_id: str | None = None) -> Entry | None:
        """Append an entry.

        :param number: the entry's number, the next one as far as this process knows
        :param content: what it says; its nonce makes it this process's own
        :param run_id: the run that takes entries, as far as this process knows; by default it is looked up
        :return: the entry, or None when another process was faster
        :raises ReportedError: when MLflow did not take it and it is not known to be stored
        """
        content = self.keyring.sign(content, self.model, number)
        raw = canonical(content)
        if run_id is None:
            run_id = self.read().run_id or self.runs.open()
        try:
            self.client.log_param(run_id, _key(number), raw, synchronous=True)
        except MlflowException as error:
            stored = self._read_back(run_id, number, error)
            if stored is None:
                raise ReportedError(f"MLflow did not take an entry of the promotion ledger: {error.message}") from error
            if stored != raw:
                return None
        return Entry(number, raw, content)

    def state(self, kind: str, what: Mapping[str, Any]) -> Entry:
        """Append a statement, of one of the kinds ``STATEMENTS``, whoever holds the lock.

        :raises BadInputError: when its entry would be longer than MLflow keeps
        :raises ReportedError: when MLflow did not take it
        """
        self.runs.open()
        with bounded_requests():
            while True:
                state = self.writable()
                if state.holder is None and state.in_run >= self._run_entries:
                    self._roll_over(state)
                    continue
                content = new_content(kind, state.head, what=dict(what))
                # whoever is faster ends: nobody waits for anybody
                if (entry := self.append(state.next_number, content, state.run_id)) is not None:
                    return entry

    def _read_back(self, run_id: str, number: int, error: MlflowException) -> str | None:
        """Return what is stored as entry ``number``: after an answer that was lost, that decides."""
        try:
            return self.runs.params(run_id).get(_key(number))
        except MlflowException:
            raise ReportedError(f"MLflow does not answer for the promotion ledger: {error.message}") from error

    @contextmanager
    def lock(self, intent: Intent | None = None) -> Iterator[HeldLock]:
        """Hold the lock. Whoever takes it ends it with ``HeldLock.end``.

        When the block fails before the registry was touched, the lock is released. When it fails later it
        stays taken: the next one takes over after the time to live and repairs what was left.

        :raises ReportedError: when others hold the lock for too long
        """
        with bounded_requests():
            held = self._acquire(intent)
            try:
                yield held
            except BaseException:
                if not held.released and not held.touched:
                    try:
                        held.end(held.state.production)
                    except (ReportedError, MlflowException) as error:
                        log.warning("The promotion lock of %s was not released: %s", self.model, error)
                raise
            if not held.released:
                held.end(held.state.production)

    def _acquire(self, intent: Intent | None) -> HeldLock:
        self.runs.open()
        watched: Entry | None = None
        since = started = self.monotonic()
        pause = FIRST_PAUSE
        while True:
            state = self.writable()
            holder, now = state.holder, self.monotonic()
            if holder is not None and (watched is None or watched.number != holder.number):
                watched, since = holder, now
            if holder is None and state.in_run >= self._run_entries:
                self._roll_over(state)
                continue
            if holder is None or now - since >= float(holder.content["ttl"]):
                taken = self._begin(state, holder, intent, now)
                if taken is not None:
                    return taken
                pause = FIRST_PAUSE
            elif now - started > 10 * max(self.ttl, float(holder.content["ttl"])):
                raise ReportedError(
                    f"Promotions of {self.model!r} are locked by {holder.content.get('owner')} since"
                    f" {holder.content.get('time')}, and others before it: try again later"
                )
            else:
                pause = min(LONGEST_PAUSE, pause * 1.5)
            # the random part keeps waiters out of step
            time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))

    def writable(self, *, new: bool = False) -> LedgerState:
        """Return what the ledger says, for who is about to write.

        :param new: it may be empty although there was one
        :raises BadInputError: when its entries carry a key that this process lacks, or none and there is one
        """
        state = self.read()
        if not state.entries and self.runs.lead_back():
            state = self.read()
        known = max(self.anchors(), default=None) if not state.entries and not new else None
        if known is not None and not (state := self.at_least(state, [known])).entries:
            raise LedgerGoneError(
                f"The promotion ledger of {self.model!r} is empty, and it had an entry {known.entry}: restore MLflow's"
                f" database from a backup, or go on behind it: `accept-ledger --after {known.entry}:{known.digest}`"
            )
        if state.unsealed:
            raise BadInputError(f"Nothing is entered in the promotion ledger of {self.model!r}: {UNSEALED}")
        if state.signed and not self.keyring:
            raise BadInputError(
                f"The entries of the promotion ledger of {self.model!r} carry a key, and this process has none: set"
                f" {KEY_ENV} or {KEY_FILE_ENV}"
            )
        return state

    def _begin(self, state: LedgerState, over: Entry | None, intent: Intent | None, now: float) -> HeldLock | None:
        content = new_content(
            BEGIN,
            state.head,
            owner=f"{socket.gethostname()[:100]}:{os.getpid()}",
            time=utc_now().isoformat(),
            ttl=self.ttl,
            over=over.number if over is not None else None,
            intent=intent.to_dict() if intent is not None else None,
        )
        begin = self.append(state.next_number, content, state.run_id)
        if begin is None:
            return None
        if over is not None:
            log.warning(
                "Promotion lock of %s taken over from %s (entry %d): it gave no sign of life for %.0f s",
                self.model,
                over.content.get("owner"),
                over.number,
                float(over.content["ttl"]),
            )
        # counted from before the append: the waiters' clocks start when they see the entry, which is later
        return HeldLock(self, begin, state.followed_by(begin), now + self.ttl / 2)

    def _roll_over(self, state: LedgerState) -> None:
        """Close the full run and name the one that goes on, unless another process does either first."""
        number = state.next_number
        run_id = self.runs.create(number + 1)
        content = new_content(NEXT, state.head, time=utc_now().isoformat(), run=run_id)
        # a run whose entry may be stored after all stays: an empty run does no harm
        if self.append(number, content, state.run_id) is None:
            self.runs.discard(run_id)


def _key(number: int) -> str:
    return f"{number:08d}"
