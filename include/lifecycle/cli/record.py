"""What a person asks the promotion ledger: the history, whether it is whole, what was live when."""

import csv
import io
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from include.lifecycle.cli.console import moment
from include.lifecycle.errors import BadInputError, LedgerDamagedError, ReportedError
from include.lifecycle.ledger import anchors as kept
from include.lifecycle.ledger.anchors import ANCHORS_ENV, SHOWN, Anchor, head_of
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import Term
from include.lifecycle.ledger.keys import KEY_ENV
from include.lifecycle.ledger.verify import accepted
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import utc_now
from include.lifecycle.untrusted_text import one_line
from include.lifecycle.views.messages import describe

log = logging.getLogger(__name__)

COLUMNS = ("time (UTC)", "version", "event", "archived", "user", "known from", "reason", "run")
_FORMULA = re.compile(r"[=+\-@\t\r]")


def history(registry: ModelRegistry, model: str) -> list[str]:
    """Return the promotion history as a table, the oldest event first."""
    events = registry.history(model)
    if not events:
        return [f"No version of {model} has been promoted, rejected or moved yet"]
    return table([COLUMNS, *(row(event) for event in events)])


def history_json(registry: ModelRegistry, model: str) -> list[str]:
    """Return the history as one JSON array, with whole reasons."""
    rows = [event.as_row() for event in registry.history(model, whole=True)]
    return [json.dumps(rows, indent=2, default=str)]


def history_csv(registry: ModelRegistry, model: str) -> list[str]:
    """Return the history as CSV, with whole reasons.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    rows = [event.as_row() for event in registry.history(model, whole=True)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(rows[0]) if rows else []
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)
    return out.getvalue().rstrip("\n").split("\n")


def verify(registry: ModelRegistry, model: str, anchors: Sequence[str], file: Path | None) -> list[str]:
    """Compare the ledger with itself and with anchors.

    :param anchors: each ``ENTRY:DIGEST``
    :param file: anchors, as the environment's ``RETRAIN_LEDGER_ANCHORS`` collects them
    :return: what was checked, when nothing is wrong
    :raises LedgerDamagedError: lists what is wrong
    """
    known = [Anchor.parse(text) for text in anchors]
    known += kept.read(file, model) if file is not None else []
    known += registry.ledger(model).anchors()
    if problems := registry.verify(model, known):
        raise LedgerDamagedError(f"The promotion ledger of {model} is not what was written: {'; '.join(problems)}")
    state = registry.ledger(model).read()
    head = head_of(state)
    if head is None:
        return [f"{model} has no promotion ledger yet"]
    entries = f"{len(state.entries)} entries in {len(state.runs)} MLflow run{'s' if len(state.runs) > 1 else ''}"
    if state.signed:
        entries += ", signed" if registry.ledger(model).keyring else f", signed (not checked: set {KEY_ENV})"
    anchored = len({anchor.entry for anchor in known})
    compared = f"anchors of {anchored} agree" if anchored else "no anchor is known, so a cut end cannot be told"
    lines = [f"The promotion ledger of {model} is whole: {entries}, {compared}", accepted(state), _sentence(head)]
    return [line for line in lines if line]


def seal(registry: ModelRegistry, model: str) -> list[str]:
    """Take a ledger that was written before there was a key on trust, as it is now.

    :raises BadInputError: when there is no key, nothing to seal, or the ledger is not what was written
    """
    ledger = registry.ledger(model)
    sealed = ledger.runs.seal()
    promoted = [f"{event.version} ({event.user})" for event in ledger.read().events if event.is_promotion]
    return [
        f"The promotion ledger of {model} is sealed: entries 0 to {sealed.entry} are taken on trust as they are",
        f"Promotions that nobody with the key vouches for: {', '.join(promoted) or 'none'}",
        f"Every later entry needs the key. Ledger entry {sealed.entry}, digest {sealed.digest[:SHOWN]}",
    ]


def live_at(registry: ModelRegistry, model: str, when: str) -> list[str]:
    """Return which version was in Production at a time, who put it there and why.

    :param when: ISO time with its timezone, e.g. ``2026-03-01T12:00Z``
    :raises BadInputError: when it is no time, has no timezone or lies in the future
    """
    at = moment(when.strip())
    if at > utc_now():
        raise BadInputError(f"{one_line(when, 60)!r} lies in the future: what will be live is not known")
    shown = f"On {at:%Y-%m-%d %H:%M:%S} UTC"
    event = registry.live_at(model, at)
    if event is None:
        return [f"{shown} no version of {model} was in Production, as far as the promotion ledger knows"]
    return [f"{shown} version {event.version} of {model} was in Production", describe(event)]


def with_anchor(registry: ModelRegistry, model: str, lines: list[str]) -> list[str]:
    """Return a confirmation with the head of the ledger, and keep that in the environment's file of anchors.

    What was confirmed is done: where the head cannot be had or kept, the log says so.
    """
    try:
        state = registry.ledger(model).read()
    except (ReportedError, MlflowException) as error:
        log.warning("The head of the promotion ledger is not known: %s", error)
        return lines
    head = head_of(state)
    if head is None:
        return lines
    if file := os.environ.get(ANCHORS_ENV):
        try:
            kept.append(Path(file), model, state.ledger_id, head)
        except OSError as error:
            log.warning("The anchor %d:%s was not kept in %s: %s", head.entry, head.digest, file, error)
    return [*lines, _sentence(head)]


def row(event: Event) -> tuple[str, ...]:
    """Return an event as the cells of the history's table."""
    what = f"{event.from_stage} -> {event.to_stage}" if event.moved else str(event.outcome)
    return (
        f"{event.time:%Y-%m-%d %H:%M:%S}",
        str(event.version),
        f"{what} (late)" if event.late else what,
        ", ".join(map(str, event.archived)) or "-",
        one_line(event.user, 40),
        one_line(event.user_source, 30),
        one_line(event.reason, 60) or "-",
        one_line(event.run_id or "-", 50),
    )


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as aligned lines."""
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]


def _sentence(head: Anchor) -> str:
    return str(head).capitalize()


def described(term: Term) -> str:
    """Return what is known of a former Production version, in one line."""
    event, until = term.event, term.until
    time = f"from {event.time:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC" if until else "until now"
    evidence = event.evidence
    metric = f", {one_line(evidence['metric'], 40)} {one_line(evidence['value'], 20)}" if "value" in evidence else ""
    reason = f": {one_line(event.reason, 100)}" if event.reason else ""
    return f"version {event.version}, in Production {time}{metric}, by {one_line(event.user, 60)}{reason}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text
