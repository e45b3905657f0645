"""Whether a ledger is what was written: its chain, its order, its texts, and the anchors kept elsewhere."""

from collections.abc import Iterable, Iterator

from mlflow import MlflowClient

from include.lifecycle.errors import LedgerDamagedError
from include.lifecycle.ledger.anchors import compare
from include.lifecycle.ledger.entries import BEGIN, END, NEXT, Entry, free_number
from include.lifecycle.ledger.long_reasons import LongTexts
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.untrusted_text import one_line


def problems(client: MlflowClient, state: LedgerState, anchors: Iterable[tuple[int, str]] = ()) -> list[str]:
    """Return what is wrong with a ledger, one sentence each; empty when nothing is.

    Without anchors a missing end and a chain that was computed anew cannot be told.

    :param state: what was read, with what was found wrong with the chain
    :param anchors: number and digest (or at least its first 16 digits) of entries, kept outside MLflow
    """
    return [*state.problems, *foreign(state), *_order(state), *_texts(client, state), *compare(state, anchors)]


def foreign(state: LedgerState) -> list[str]:
    """Return what stands in a ledger and was written by nobody who has its key: seen, and of no effect."""
    return [
        f"entry {number} was not signed with the ledger's key and counts for nothing"
        for number in sorted(state.foreign)
    ]


def accepted(state: LedgerState) -> str:
    """Return what somebody accepted of a ledger as it is, empty where nobody had to."""
    if state.accepted is None:
        return ""
    said = state.accepted.content
    who, why = one_line(str(said["user"]), 60), one_line(str(said["reason"]), 200)
    return (
        f"What stands before entry {state.accepted.number} was accepted as it is by {who} on {str(said['time'])[:16]}"
        f" UTC: {why} ({one_line('; '.join(map(str, said['problems'])), 300)})"
    )


def require_intact(model: str, state: LedgerState, anchors: Iterable[tuple[int, str]] = ()) -> None:
    """Refuse to follow a ledger that somebody changed: what it says of Production may be false.

    A rollback does not ask: there a person names the version.

    :param state: what was read, with what was found wrong with the chain
    :param anchors: number and digest of entries, kept elsewhere
    :raises LedgerDamagedError: names the first problem and the remedy
    """
    found = [*state.problems, *compare(state, anchors)]
    if not found:
        return
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise LedgerDamagedError(
        f"The promotion ledger of {model!r} was changed: {found[0]}{more}. Nothing is promoted, repaired or"
        " deleted by it; rollback works. See `history --verify`; restore MLflow's database from a backup, or go on"
        " with what is left by `accept-ledger`"
    )


def _order(state: LedgerState) -> Iterator[str]:
    """Yield what no life cycle writes: an ``end`` without its ``begin``, a lock taken that was not free."""
    before: Entry | None = None
    held: Entry | None = None
    # a gap, what cannot be read and what was accepted are told already: who holds the lock behind them is not known
    known = state.accepted is None
    for entry in state.entries:
        if entry.number < state.judged_from:
            continue
        if before is not None and not (before.kind and free_number(before.number + 1, state.foreign) == entry.number):
            held, known = None, False
        before = entry
        if entry.kind == END:
            if known and (held is None or entry.content["begin"] != held.number):
                yield f"entry {entry.number} releases a lock that nobody held"
            held, known = None, True
        elif entry.kind == BEGIN:
            if held is not None and entry.content.get("over") != held.number:
                yield f"entry {entry.number} takes a lock that entry {held.number} held"
            held, known = entry, True
        elif entry.kind == NEXT and held is not None:
            yield f"entry {entry.number} closes the run while entry {held.number} held the lock"


def _texts(client: MlflowClient, state: LedgerState) -> Iterator[str]:
    texts, checked = LongTexts(client, state.ledger_id), set[str]()
    for event in state.events:
        if (event.entry or 0) < state.judged_from:
            continue
        if event.reason_digest is None or event.reason_digest in checked:
            continue
        checked.add(event.reason_digest)
        try:
            texts.read(event.reason_digest)
        except LedgerDamagedError as error:
            yield f"entry {event.entry}: {error}"
