"""Reconciliation: the ledger is the truth, the stages in the registry its projection.

``plan`` compares the two and says what to do; it is a pure function. The rules, in order, with *L* for the
version that the ledger's last ``end`` has in Production:

1. A version in Production whose promotion was begun and never ended (its holder was killed, or stood still
   and wrote late) goes back to where it came from, and *L* back to Production if that promotion archived it:
   the last good ``end`` holds. Where the very same promotion is being retried nothing is put back: it goes on.
2. Of the other versions in Production the highest number stays, which is the one that
   ``models:/NAME/Production`` loads; the rest go back to the stage where the ledger last saw them, else to
   Archived. When the one that stays is not *L*, somebody moved it by hand (or the model was in use before its
   ledger began): it is entered as an event from ``outside``, user unknown.
3. When none is left, *L* goes back to Production: it was archived by hand without a successor, and Production
   is never empty after the first promotion. When *L* was deleted, that is entered as an event.
4. A version that rule 1 archived on the way and whose repair was interrupted goes back to where it came from.

A hand-made move of a version with an interrupted promotion cannot be told from that promotion's late write,
and is put back too: promote or roll back through the life cycle instead.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from include.lifecycle.ledger.entries import Intent
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.registry.versions import in_production, numbers
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.stages import ARCHIVED, PRODUCTION

DELETED = "Deleted"


@dataclass(frozen=True)
class Repair:
    """A version to put into a stage, and why."""

    version: int
    from_stage: str
    to_stage: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        return {"version": self.version, "from": self.from_stage, "to": self.to_stage, "why": self.why}

    def __str__(self) -> str:
        return f"version {self.version} moved from {self.from_stage} to {self.to_stage}: {self.why}"


@dataclass(frozen=True)
class Plan:
    """What brings ledger and stages together.

    :param production: the version in Production afterwards, None for none
    :param repairs: moves to make, in order; one to Production archives whatever else is there
    :param events: what happened outside, to be entered
    """

    production: int | None
    repairs: tuple[Repair, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether ledger and stages agree already."""
        return not self.repairs and not self.events

    def repair_records(self) -> list[dict[str, Any]]:
        """Return the repairs as the ledger stores them."""
        return [repair.to_dict() for repair in self.repairs]


def plan(
    model: str,
    state: LedgerState,
    stages: Mapping[int, str],
    *,
    retried: Intent | None = None,
    fenced: Intent | None = None,
) -> Plan:
    """Compare the ledger with the stages.

    :param stages: stage of every version in the registry
    :param retried: the promotion that is about to be made
    :param fenced: a promotion that was taken over and may have written late
    """
    champion = state.production
    traces = state.interrupted()
    if fenced is not None and fenced.to_stage == PRODUCTION:
        traces.setdefault(fenced.version, fenced)
    if champion is not None:
        traces.pop(champion, None)
    live = in_production(stages)
    if retried is not None and (trace := traces.get(retried.version)) and trace.same_move(retried):
        del traces[retried.version]
        if live == [retried.version]:
            return Plan(champion)
    stay = max((version for version in live if version not in traces), default=None)
    events: list[Event] = []
    if stay is not None and stay != champion:
        events.append(_adopted(model, stay, state, stages))
    elif stay is None and champion is not None:
        if champion in stages:
            stay = champion
        else:
            deleted = Decision(Outcome.SUPERSEDED, door=Channel.OUTSIDE, reason="the Production version was deleted")
            events.append(Event.of(model, champion, PRODUCTION, DELETED, deleted))
    return Plan(stay, tuple(_repairs(stay, state, stages, traces)), tuple(events))


def _repairs(
    stay: int | None, state: LedgerState, stages: Mapping[int, str], traces: Mapping[int, Intent]
) -> Iterator[Repair]:
    live = in_production(stages)
    archives = stay is not None and live != [stay]
    if stay is not None and archives:
        yield Repair(stay, stages[stay], PRODUCTION, _why(stay, live, stages, traces))
    for version, stage in sorted(stages.items()):
        if version == stay or (stage != PRODUCTION and not (version in traces and stage == ARCHIVED)):
            continue
        now = ARCHIVED if archives else stage
        goal = _belongs(version, state, traces)
        if goal != now:
            why = "its promotion was interrupted" if version in traces else "another version is in Production"
            yield Repair(version, now, goal, why)


def _why(stay: int, live: list[int], stages: Mapping[int, str], traces: Mapping[int, Intent]) -> str:
    interrupted = [version for version in live if version in traces]
    if interrupted:
        return f"the promotion of version {interrupted[-1]} was interrupted"
    if stay in live:
        return f"of versions {numbers(live)}, all in Production, this one stays"
    return f"it was moved to {stages[stay]} by hand without a successor"


def _belongs(version: int, state: LedgerState, traces: Mapping[int, Intent]) -> str:
    """Return the stage of a version that must leave Production."""
    if version in traces and version not in state.champions:
        return traces[version].from_stage
    known = state.stage_of(version)
    return ARCHIVED if known in (None, PRODUCTION) else known


def _adopted(model: str, version: int, state: LedgerState, stages: Mapping[int, str]) -> Event:
    reason = "found in Production: moved by hand" if state.events else "in Production before its ledger began"
    decision = Decision(Outcome.APPROVED, door=Channel.OUTSIDE, reason=reason)
    event = Event.of(model, version, state.stage_of(version) or "unknown", PRODUCTION, decision)
    champion = state.production
    if champion is None or stages.get(champion) not in (ARCHIVED, PRODUCTION):
        return event
    return replace(event, archived=(champion,))
