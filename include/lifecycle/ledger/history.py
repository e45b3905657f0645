"""Questions to events, in the ledger's order: what was live when, and what a rollback would go back to."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from include.lifecycle.ledger.events import Event
from include.lifecycle.stages import ARCHIVED, PRODUCTION


@dataclass(frozen=True)
class Term:
    """A time that a version was in Production.

    :param event: what brought it there
    :param until: when it left, None while it is live
    """

    event: Event
    since: datetime
    until: datetime | None = None

    @property
    def version(self) -> int:
        """The version."""
        return self.event.version


def terms(events: Iterable[Event]) -> list[Term]:
    """Return every time that a version was in Production, in order.

    The order of the ledger holds: where the clocks of two hosts disagree, what comes later in it cannot have
    begun earlier.
    """
    found: list[Term] = []
    now: datetime | None = None
    for event in events:
        now = event.time if now is None else max(now, event.time)
        leaves = event.moved and event.from_stage == PRODUCTION and bool(found)
        if (event.is_promotion or leaves) and found and found[-1].until is None:
            last = found[-1]
            if event.is_promotion or last.version == event.version:
                found[-1] = replace(last, until=now)
        if event.is_promotion:
            found.append(Term(event, now))
    return found


def live_at(events: Iterable[Event], when: datetime) -> Event | None:
    """Return what brought the version into Production that was live at a time, None when none was.

    :raises ValueError: when the time has no timezone
    """
    if when.tzinfo is None:
        raise ValueError(f"live_at needs a timezone, found {when.isoformat()}")
    for term in reversed(terms(events)):
        if term.since <= when:
            return term.event if term.until is None or when < term.until else None
    return None


def previous_champion(events: Iterable[Event], production: int | None, versions: Collection[int]) -> Term | None:
    """Return the last term of the former champion that a rollback goes back to, None when there is none.

    That is the one that was live last and still exists, but not one that a rollback took out of Production: after
    a rollback from 3 to 2, the next one goes back to 1. The alias ``previous``, the rollback's DAG and the command
    line follow this one rule.

    :param production: the version that is live
    :param versions: those that exist
    """
    failed: set[int] = set()
    for term in reversed(terms(events)):
        version = term.version
        if version != production and version in versions and version not in failed:
            return term
        if term.event.from_stage == ARCHIVED:
            failed.update(term.event.archived)
    return None


def former_champions(events: Iterable[Event], production: int | None, versions: Collection[int]) -> list[int]:
    """Return the versions that were in Production before and can come back, the one that was live last first."""
    left: dict[int, None] = {}
    for event in events:
        for version in (*event.archived, *((event.version,) if event.is_promotion else ())):
            left.pop(version, None)
            left[version] = None
    return [version for version in reversed(left) if version in versions and version != production]
