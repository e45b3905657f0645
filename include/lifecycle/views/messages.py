"""Sentences for people: what a command or task did."""

from include.lifecycle.ledger.events import Event
from include.lifecycle.moves.promotion import Reconciliation, Transition
from include.lifecycle.rules.decisions import Decision
from include.lifecycle.stages import NONE
from include.lifecycle.untrusted_text import one_line


def confirm(transition: Transition) -> list[str]:
    """Return the confirmation of a move, one sentence a line."""
    event = transition.event
    if not transition.changed:
        since = f"since {_time(event.time)}, by {_who(event)}"
        return [f"Model version {transition.version} is already in {transition.to_stage} ({since})"]
    if transition.to_stage == NONE:
        reason = f": {one_line(event.reason)}" if event.reason else ""
        return [f"Model version {transition.version} left Staging ({event.outcome}{reason})"]
    lines = [f"Model version {transition.version} is now in {transition.to_stage}"]
    lines += [f"Previous Production model (version {version}) archived" for version in transition.archived]
    return lines


def confirm_decision(version: int, asked: Decision, holds: Decision) -> list[str]:
    """Return the confirmation of a recorded decision.

    :param asked: the decision that was to be recorded
    :param holds: the one that holds
    """
    if holds == asked:
        return [f"Model version {version} is {asked.outcome} and stays where it is"]
    return [
        f"Model version {version} was {holds.outcome} already by {one_line(holds.user, 60)} on {_time(holds.at)}:"
        " the first decision holds"
    ]


def confirm_reconciliation(done: Reconciliation) -> list[str]:
    """Return what a reconciliation found and did."""
    live = f"version {done.production} is in Production" if done.production else "no version is in Production"
    if not done.changed:
        return [f"Nothing to repair: {live} as the promotion ledger says"]
    lines = [f"Repaired: {repair}" for repair in done.repairs]
    lines += [f"Entered from outside: {describe(event)}" for event in done.events]
    lines += [
        f"Alias {alias} {f'now points to version {version}' if version else 'removed'}"
        for alias, version in done.aliases.items()
    ]
    return [*lines, f"Now {live}"]


def describe(event: Event) -> str:
    """Return an event in one line."""
    what = f"{event.from_stage} -> {event.to_stage}" if event.moved else str(event.outcome)
    archived = f", archived {', '.join(map(str, event.archived))}" if event.archived else ""
    reason = f": {one_line(event.reason)}" if event.reason else ""
    return f"{_time(event.time)} version {event.version} {what}{archived} by {_who(event)}{reason}"


def _who(event: Event) -> str:
    return f"{one_line(event.user, 60)} ({event.door})"


def _time(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
