"""The lock of a model's promotions, while somebody holds it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.lifecycle.errors import ReportedError
from include.lifecycle.ledger.entries import END, Entry, new_content
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.rules.decisions import utc_now

if TYPE_CHECKING:
    from include.lifecycle.ledger.promotion_ledger import PromotionLedger

MAX_REPAIRS = 5
"""Repairs that an ``end`` names, of perhaps many: the entry must fit once they are made."""
RESERVED = 1300
"""Characters of an entry that are kept for those, and for a move from outside that is found on the way."""


class FencedError(ReportedError):
    """Another process took the promotion lock over, because this one stood still for too long."""


class HeldLock:
    """The lock of a model's promotions, held. Made by ``PromotionLedger.lock``.

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
        :param repairs: stages that were put back
        :return: the entry
        :raises FencedError: when the lock was taken over meanwhile
        """
        content = end_content(self.begin.number, self.begin.digest, production, events, repairs)
        entry = self._append(content)
        if entry is None:
            raise FencedError(f"Another process took over the promotion of {self.ledger.model!r}: run it again")
        self.released = True
        return entry

    def _append(self, content: dict[str, Any]) -> Entry | None:
        """Append an entry behind ``begin`` and what was stated since; what nobody with the key wrote does not count."""
        number, run_id = self.begin.number + 1, self.state.run_id
        while (entry := self.ledger.append(number, content, run_id)) is None:
            state = self.ledger.read()
            holds = state.holder is not None and state.holder.number == self.begin.number
            if not holds or state.next_number == number:
                return None
            number, content = state.next_number, {**content, "prev": state.head}
        return entry


def end_content(
    begin: int, previous: str, production: int | None, events: Sequence[Event], repairs: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return the content of an ``end`` (see ``HeldLock.end``) of the ``begin`` of a number, behind a digest."""
    return new_content(
        END,
        previous,
        begin=begin,
        time=utc_now().isoformat(),
        production=production,
        events=[event.to_dict() for event in events],
        repairs=list(repairs[:MAX_REPAIRS]),
        repairs_left_out=max(0, len(repairs) - MAX_REPAIRS),
    )
