"""The promotion ledger: an append-only log in MLflow that is also the lock of a model's promotions.

Entry *n* is the run parameter ``%08d``. MLflow stores a parameter's value once and for all, so of several
processes that append entry *n* exactly one wins, whatever the backend; nothing else in MLflow's API has that
property and a history. The run's id is found through an experiment whose unique name contains the model's.

The lock: ``begin`` takes it and its number is the fencing token, ``end`` releases it (see ``entries``). A waiter
that sees the same ``begin`` for the time to live *on its own monotonic clock* appends a ``begin`` that takes
over. The holder gives up past half of that time; whoever loses ``end`` was taken over.

An append whose answer is lost is settled by reading back: each entry has a nonce, so the stored value is mine
if and only if I won.

What MLflow's API cannot prevent: it checks no token, so a holder that stands still between its last check
and its call may write late; it notices when it cannot append ``end``, and the next reconciliation repairs it.
And whoever may delete runs may delete the ledger (a deleted run can be restored until ``mlflow gc``); the
chain finds an edited entry, not a missing last one, which is why promotions name their entry and digest in
the log of whoever promotes.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from include.lifecycle.decisions import utc_now
from include.lifecycle.entries import BEGIN, END, SCHEMA, Entry, Intent, LedgerState, canonical
from include.lifecycle.errors import BadInputError, RetrainError
from include.lifecycle.events import Event
from include.lifecycle.limits import bounded_requests, time_to_live
from include.lifecycle.versions import missing

log = logging.getLogger(__name__)

EXPERIMENT = "promotion-ledger"
"""Experiment of the runs that hold the ledgers; ``promotion-ledger/MODEL`` points to a model's run."""
RUN_TAG = "promotion_ledger.run_id"
NOTE = (
    "Append-only record and lock of the promotions of a registered model. Written by the life cycle only:"
    " do not delete or edit."
)
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


class FencedError(RetrainError):
    """Another process took the promotion lock over, because this one stood still for too long."""


class Held:
    """The lock of a model's promotions, held. Made by ``PromotionLedger.lock``.

    :param ledger: the ledger
    :param begin: the entry that took the lock
    :param state: what the ledger says up to and with that entry
    :param deadline: when the holder gives up, on its monotonic clock
    """

    def __init__(self, ledger: "PromotionLedger", begin: Entry, state: LedgerState, deadline: float) -> None:
        self.ledger = ledger
        self.begin = begin
        self.state = state
        self.deadline = deadline
        self.touched = False
        self.released = False

    def check(self) -> None:
        """Make sure that the lock is still held; call it before each write to the registry.

        :raises FencedError: when it was taken over, or too much of its time has passed
        """
        holder = self.ledger.read().holder
        if holder is None or holder.number != self.begin.number:
            raise FencedError(f"Another process took over the promotion of {self.ledger.model!r}: run it again")
        # last: only the write itself may come between this and the other half of the time to live
        if self.ledger.monotonic() > self.deadline:
            raise FencedError(f"The promotion of {self.ledger.model!r} took too long and gave up: run it again")

    def before_write(self) -> None:
        """Check the lock, and note that from here on the registry may have changed."""
        self.check()
        self.touched = True

    def untouched(self) -> None:
        """Note that the write was refused: the registry is as it was."""
        self.touched = False

    def end(
        self, production: int | None, events: Sequence[Event] = (), repairs: Sequence[dict[str, Any]] = ()
    ) -> Entry:
        """Release the lock and record what happened.

        :param production: the version in Production from here on
        :param events: what happened
        :param repairs: stages that were put back
        :return: the entry
        :raises FencedError: when the lock was taken over meanwhile
        """
        content = end_content(self.begin.number, self.begin.digest, production, events, repairs)
        entry = self.ledger.append(self.begin.number + 1, content)
        if entry is None:
            raise FencedError(f"Another process took over the promotion of {self.ledger.model!r}: run it again")
        self.released = True
        return entry


def end_content(
    begin: int, previous: str, production: int | None, events: Sequence[Event], repairs: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return the content of an ``end``.

    :param begin: number of the ``begin`` that it releases
    :param previous: digest of the entry before
    :param production: the version in Production from here on
    :param events: what happened
    :param repairs: stages that were put back
    """
    return {
        "schema": SCHEMA,
        "type": END,
        "begin": begin,
        "prev": previous,
        "nonce": secrets.token_hex(8),
        "time": utc_now().isoformat(),
        "production": production,
        "events": [event.to_dict() for event in events],
        "repairs": list(repairs),
    }


class PromotionLedger:
    """The ledger of one registered model.

    :param client: MLflow client
    :param model: registered model
    :param ttl: seconds without a sign of life after which this process counts as dead; by default twice
        what one request may take, which is what keeps a late write out
    :param monotonic: clock
    """

    def __init__(
        self,
        client: MlflowClient,
        model: str,
        *,
        ttl: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.model = model
        self._ttl = ttl
        self.monotonic = monotonic
        self._run_id: str | None = None
        self._told: set[str] = set()

    @property
    def ttl(self) -> float:
        """Seconds without a sign of life after which this process counts as dead."""
        return self._ttl if self._ttl is not None else time_to_live(self.client.tracking_uri)

    def read(self) -> LedgerState:
        """Return what the ledger says; an empty state when there is no ledger yet."""
        run_id = self._run_id or self._find()
        if run_id is None:
            return LedgerState("")
        self._run_id = run_id
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if not missing(error):
                raise
            raise BadInputError(
                f"The promotion ledger of {self.model!r} (MLflow run {run_id}) is gone: restore MLflow's database"
                f" from a backup, or rename the experiment {EXPERIMENT}/{self.model} to begin a new ledger"
            ) from error
        if run.info.lifecycle_stage != "active":
            raise BadInputError(
                f"The promotion ledger of {self.model!r} was deleted: restore it with"
                f" `mlflow runs restore --run-id {run_id}`"
            )
        state = LedgerState.read(run_id, run.data.params)
        for problem in set(state.problems) - self._told:
            log.error("Promotion ledger of %s (run %s): %s", self.model, run_id, problem)
        self._told.update(state.problems)
        return state

    def append(self, number: int, content: dict[str, Any]) -> Entry | None:
        """Append an entry.

        :param number: the entry's number, the next one as far as this process knows
        :param content: what it says; its nonce makes it this process's own
        :return: the entry, or None when another process was faster
        :raises RetrainError: when MLflow did not take it and it is not known to be stored
        """
        raw, run_id = canonical(content), self._open()
        try:
            self.client.log_param(run_id, _key(number), raw, synchronous=True)
        except MlflowException as error:
            stored = self._read_back(run_id, number, error)
            if stored is None:
                raise RetrainError(f"MLflow did not take an entry of the promotion ledger: {error.message}") from error
            if stored != raw:
                return None
        return Entry(number, raw, content)

    def _read_back(self, run_id: str, number: int, error: MlflowException) -> str | None:
        """Return what is stored as entry ``number``: after an answer that was lost, that decides."""
        try:
            return self.client.get_run(run_id).data.params.get(_key(number))
        except MlflowException:
            raise RetrainError(f"MLflow does not answer for the promotion ledger: {error.message}") from error

    @contextmanager
    def lock(self, intent: Intent | None = None) -> Iterator[Held]:
        """Hold the lock. Whoever takes it ends it with ``Held.end``.

        When the block fails before the registry was touched, the lock is released. When it fails later it
        stays taken: the next one takes over after the time to live and repairs what was left.

        :param intent: the move to be made
        :raises RetrainError: when others hold the lock for too long
        """
        with bounded_requests():
            held = self._acquire(intent)
            try:
                yield held
            except BaseException:
                if not held.released and not held.touched:
                    self._release_quietly(held)
                raise
            if not held.released:
                held.end(held.state.production)

    def _acquire(self, intent: Intent | None) -> Held:
        self._open()
        watched: Entry | None = None
        since = started = self.monotonic()
        pause = FIRST_PAUSE
        while True:
            state = self.read()
            holder, now = state.holder, self.monotonic()
            if holder is not None and (watched is None or watched.number != holder.number):
                watched, since = holder, now
            if holder is None or now - since >= float(holder.content["ttl"]):
                taken = self._begin(state, holder, intent, now)
                if taken is not None:
                    return taken
                pause = FIRST_PAUSE
            elif now - started > 10 * max(self.ttl, float(holder.content["ttl"])):
                raise RetrainError(
                    f"Promotions of {self.model!r} are locked by {holder.content.get('owner')} since"
                    f" {holder.content.get('time')}, and others before it: try again later"
                )
            else:
                pause = min(LONGEST_PAUSE, pause * 1.5)
            # the random part keeps waiters out of step
            time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))

    def _begin(self, state: LedgerState, over: Entry | None, intent: Intent | None, now: float) -> Held | None:
        content = {
            "schema": SCHEMA,
            "type": BEGIN,
            "prev": state.head,
            "owner": f"{socket.gethostname()[:100]}:{os.getpid()}",
            "nonce": secrets.token_hex(8),
            "time": utc_now().isoformat(),
            "ttl": self.ttl,
            "over": over.number if over is not None else None,
            "intent": intent.to_dict() if intent is not None else None,
        }
        begin = self.append(state.next_number, content)
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
        state = LedgerState(state.ledger_id, (*state.entries, begin), state.problems)
        # counted from before the append: the waiters' clocks start when they see the entry, which is later
        return Held(self, begin, state, now + self.ttl / 2)

    def _release_quietly(self, held: Held) -> None:
        try:
            held.end(held.state.production)
        except (RetrainError, MlflowException) as error:
            log.warning("The promotion lock of %s was not released: %s", self.model, error)

    def _find(self) -> str | None:
        name = f"{EXPERIMENT}/{self.model}"
        pointer = self.client.get_experiment_by_name(name)
        if pointer is None:
            return None
        run_id = pointer.tags.get(RUN_TAG)
        if pointer.lifecycle_stage != "active" or run_id is None:
            raise BadInputError(
                f"The experiment {name!r}, which points to the promotion ledger, was deleted or its tag"
                f" {RUN_TAG} removed: restore it (experiment id {pointer.experiment_id})"
            )
        return str(run_id)

    def _open(self) -> str:
        """Return the id of the ledger's run, made when there is none."""
        self._run_id = self._run_id or self._find() or self._create()
        return self._run_id

    def _create(self) -> str:
        experiment_id = self._experiment()
        run = self.client.create_run(experiment_id, tags={MLFLOW_RUN_NAME: self.model, "mlflow.note.content": NOTE})
        try:
            # one transaction, one winner for the name: the tag is there as soon as the name is
            self.client.create_experiment(
                f"{EXPERIMENT}/{self.model}", tags={RUN_TAG: run.info.run_id, "mlflow.note.content": NOTE}
            )
        except MlflowException as error:
            log.debug("Another process made the ledger, or the answer was lost: %s", error)
        found = self._find()
        if found is None:
            raise RetrainError(f"MLflow did not take the promotion ledger of {self.model!r}: try again")
        if found != run.info.run_id:
            self.client.delete_run(run.info.run_id)
        return found

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                return str(self.client.create_experiment(EXPERIMENT, tags={"mlflow.note.content": NOTE}))
            except MlflowException:
                found = self.client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise BadInputError(
                f"The experiment {EXPERIMENT!r} was deleted: restore it with"
                f" `mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        return str(found.experiment_id)


def _key(number: int) -> str:
    return f"{number:08d}"
