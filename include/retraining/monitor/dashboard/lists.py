"""Signals and alarms as lists: a table on a wide screen, a stack of entries on a phone."""

from collections.abc import Sequence

from include.retraining.monitor.alarms import Alarm
from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.texts import found_texts
from include.retraining.monitor.signals import Signal
from include.retraining.pages.figures import Verdict
from include.retraining.pages.markup import line, sign

MAX_ROWS = 200
WORDS = {Verdict.FAIL: "alarm", Verdict.WARN: "beyond", Verdict.NONE: "not sure", Verdict.PASS: "calm"}
SIGNAL_HEAD = ("What", "Verdict", "Found", "Limit", "Window", "In words")
ALARM_HEAD = ("Alarm", "State", "Since", "Last windows", "Newest bad window")
_ORDER = list(WORDS)
_GLYPHS = {"bad": "✗", "between": "·", "calm": "✓"}


def signal_list(dashboard: Dashboard) -> str:
    """Return the signals of the night as HTML, what is beyond its limit first; those that are calm are folded away."""
    order = sorted(
        dashboard.signals,
        key=lambda one: (_ORDER.index(dashboard.verdict(one)), one.kind, one.subject, one.window or 0),
    )
    rows = [_signal(dashboard, signal) for signal in order]
    calm = [row for row, signal in zip(rows, order, strict=True) if dashboard.verdict(signal) is Verdict.PASS]
    shown = _list("Signals of this night", SIGNAL_HEAD, rows[: len(rows) - len(calm)])
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
    return _list("Alarms", ALARM_HEAD, [_alarm(name, alarm) for name, alarm in (*raised, *near)])


def counted(dashboard: Dashboard) -> str:
    """Return how many signals have which verdict."""
    found = [dashboard.verdict(signal) for signal in dashboard.signals]
    told = [f"{found.count(verdict)} {word}" for verdict, word in WORDS.items() if verdict in found]
    return ", ".join(told) or "none"


def _signal(dashboard: Dashboard, signal: Signal) -> str:
    verdict = dashboard.verdict(signal)
    found, limit = found_texts(signal, dashboard.metric)
    window = f"{signal.window} days" if signal.window else "–"
    facts = _facts(SIGNAL_HEAD, found, limit, window)
    return _row(signal.key, verdict, WORDS[verdict], facts, signal.sentence)


def _alarm(name: str, alarm: Alarm) -> str:
    windows = "".join(_GLYPHS.get(verdict, "?") for _, verdict in alarm.verdicts)
    verdict, word = (Verdict.FAIL, "raised") if alarm.raised else (Verdict.NONE, "not raised")
    return _row(name, verdict, word, _facts(ALARM_HEAD, alarm.raised or "–", windows), alarm.sentence)


def _list(title: str, head: tuple[str, ...], rows: Sequence[str]) -> str:
    if not rows:
        return ""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    more = f'<p class="note">The first {MAX_ROWS} of {len(rows)}.</p>' if len(rows) > MAX_ROWS else ""
    shown = "\n".join(rows[:MAX_ROWS])
    return (
        f'<table class="list" aria-label="{title}"><thead><tr>{columns}</tr></thead><tbody>\n'
        f"{shown}\n</tbody></table>{more}"
    )


def _facts(head: tuple[str, ...], *texts: str) -> str:
    """Return the cells between verdict and sentence, each with its column's name for who sees no head."""
    return "".join(
        f'<td class="fact"><span class="of">{name}</span>{line(text, 80)}</td>'
        for name, text in zip(head[2:-1], texts, strict=True)
    )


def _row(name: str, verdict: Verdict, word: str, facts: str, sentence: str) -> str:
    return (
        f'<tr class="{verdict}"><th scope="row" class="key">{line(name, 120)}</th>'
        f'<td class="said">{sign(verdict, word)}</td>{facts}'
        f'<td class="told">{line(sentence, 500)}</td></tr>'
    )
