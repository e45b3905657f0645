"""Signals and alarms as lists: a table on a wide screen, a stack of entries on a phone."""

from collections.abc import Iterable
from dataclasses import dataclass

from include.retraining.monitor.alarms import Alarm
from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.texts import found_texts
from include.retraining.monitor.signals import Signal
from include.retraining.pages.figures import Verdict
from include.retraining.pages.markup import line, sign

MAX_ROWS = 200
WORDS = {Verdict.FAIL: "alarm", Verdict.WARN: "beyond", Verdict.NONE: "not sure", Verdict.PASS: "calm"}
SIGNAL_HEAD = ("What", "Verdict", "Found", "Limit", "Window", "In words")
_ORDER = list(WORDS)
_GLYPHS = {"bad": "✗", "between": "·", "calm": "✓"}


@dataclass(frozen=True)
class Entry:
    """One row.

    :param facts: one for each further column
    :param sentence: plain text
    """

    name: str
    verdict: Verdict
    word: str
    facts: tuple[str, ...]
    sentence: str


def signal_list(dashboard: Dashboard) -> str:
    """Return the signals of the night as HTML, what is beyond its limit first; those that are calm are folded away."""
    order = sorted(
        dashboard.signals,
        key=lambda one: (_ORDER.index(dashboard.verdict(one)), one.kind, one.subject, one.window or 0),
    )
    entries = [_signal(dashboard, signal) for signal in order]
    calm = [entry for entry in entries if entry.verdict is Verdict.PASS]
    shown = _list("Signals of this night", SIGNAL_HEAD, entries[: len(entries) - len(calm)])
    if not calm:
        return shown
    rest = _list("Calm signals of this night", SIGNAL_HEAD, calm)
    return f"{shown}\n<details><summary>{len(calm)} calm</summary>\n{rest}\n</details>"


def alarm_list(dashboard: Dashboard) -> str:
    """Return raised alarms and those that had a bad window lately as HTML; empty where there is none."""
    raised = dashboard.raised
    near = [
        (name, alarm)
        for name, alarm in sorted(dashboard.state.alarms.items())
        if not alarm.raised and any(verdict == "bad" for _, verdict in alarm.verdicts)
    ]
    head = ("Alarm", "State", "Since", "Last windows", "Newest bad window")
    return _list("Alarms", head, [_alarm(name, alarm) for name, alarm in (*raised, *near)])


def counted(dashboard: Dashboard) -> str:
    """Return how many signals have which verdict."""
    found = [dashboard.verdict(signal) for signal in dashboard.signals]
    told = [f"{found.count(verdict)} {word}" for verdict, word in WORDS.items() if verdict in found]
    return ", ".join(told) or "none"


def _signal(dashboard: Dashboard, signal: Signal) -> Entry:
    verdict = dashboard.verdict(signal)
    found, limit = found_texts(signal, dashboard.metric)
    window = f"{signal.window} days" if signal.window else "–"
    return Entry(signal.key, verdict, WORDS[verdict], (found, limit, window), signal.sentence)


def _alarm(name: str, alarm: Alarm) -> Entry:
    windows = "".join(_GLYPHS.get(verdict, "?") for _, verdict in alarm.verdicts)
    if alarm.raised:
        return Entry(name, Verdict.FAIL, "raised", (str(alarm.raised), windows), alarm.sentence)
    return Entry(name, Verdict.NONE, "not raised", ("–", windows), alarm.sentence)


def _list(title: str, head: tuple[str, ...], entries: Iterable[Entry]) -> str:
    kept = list(entries)
    if not kept:
        return ""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    rows = "\n".join(_row(entry, head[2:]) for entry in kept[:MAX_ROWS])
    more = f'<p class="note">The first {MAX_ROWS} of {len(kept)}.</p>' if len(kept) > MAX_ROWS else ""
    return (
        f'<table class="list" aria-label="{title}"><thead><tr>{columns}</tr></thead><tbody>\n'
        f"{rows}\n</tbody></table>{more}"
    )


def _row(entry: Entry, names: tuple[str, ...]) -> str:
    facts = "".join(
        f'<td class="fact"><span class="of">{name}</span>{line(text, 80)}</td>'
        for name, text in zip(names, entry.facts, strict=False)
    )
    return (
        f'<tr class="{entry.verdict}"><th scope="row" class="key">{line(entry.name, 120)}</th>'
        f'<td class="said">{sign(entry.verdict, entry.word)}</td>{facts}'
        f'<td class="told">{line(entry.sentence, 500)}</td></tr>'
    )
