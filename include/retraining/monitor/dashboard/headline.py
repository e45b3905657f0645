"""The first lines of the page: whether all is well, and what a person is to do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from include.lifecycle.untrusted_text import one_line
from include.retraining.config.monitor import Kind
from include.retraining.monitor.dashboard.content import Dashboard
from include.retraining.monitor.dashboard.now import columns
from include.retraining.monitor.dashboard.texts import compared, day_iso
from include.retraining.monitor.scores import EXPECTED, METRIC
from include.retraining.pages.figures import Verdict

_WORST = "See where it is worst (horizon, slices), then decide on the retrain's candidate, or roll back."
ADVICE: Mapping[Kind, tuple[str, str]] = {
    "error": (_WORST, "parts"),
    "bias": (_WORST, "parts"),
    "drift": ("Ask where the change comes from before you trust a retrain.", "signals"),
    "missing": ("Ask who delivers these rows, and whether they will come; what is missing is not judged.", "bias"),
    "late": ("Ask who delivers the actuals; they are judged when they come.", "bias"),
}
"""What to do about a raised alarm, and the section of the page that tells more of it."""
REQUEST_ADVICE = "It runs by itself. Look at its run if no candidate has come for approval."
ROLLBACK_ADVICE = "Decide: only a person rolls back."
MAX_CARDS, MAX_REASONS, MAX_NAMES = 8, 6, 4


@dataclass(frozen=True)
class Card:
    """One thing that a person looks at first.

    :param tone: its sign and colour
    :param word: what it is, e.g. ``alarm``
    :param title: its name
    :param since: when it came up, empty: no date
    :param texts: paragraphs
    :param advice: what to do
    :param place: section that tells more, empty: none
    """

    tone: Verdict
    word: str
    title: str
    since: str
    texts: Sequence[str]
    advice: str
    place: str = ""


def tone(dashboard: Dashboard) -> Verdict:
    """Return how the night is: an alarm, something to look at, nothing judged, or all well."""
    if dashboard.raised:
        return Verdict.FAIL
    if dashboard.proposal or dashboard.open_request or dashboard.beyond or gate_missed(dashboard):
        return Verdict.WARN
    if dashboard.live is None or not dashboard.signals or dashboard.waiting():
        return Verdict.NONE
    return Verdict.PASS


def badge(dashboard: Dashboard) -> str:
    """Return how the night is in two or three words."""
    if dashboard.raised:
        return _count(len(dashboard.raised), "alarm")
    return "Nothing judged yet" if tone(dashboard) is Verdict.NONE else "No alarm"


def headline(dashboard: Dashboard) -> str:
    """Return in one line whether all is well."""
    request, names = dashboard.state.request, [_in_a_list(name, alarm.kind) for name, alarm in dashboard.raised]
    parts = [f"{_count(len(names), 'alarm')}: {_listed(names)}" if names else "No alarm"]
    if request is not None and request.closed is None:
        parts.append(f"a retrain was asked for on {request.opened}" + ("" if names else " and has not ended"))
    elif request is not None and names:
        parts.append(f"the retrain asked for on {request.opened} ended on {request.closed}")
    elif names:
        parts.append("no retrain was asked for")
    if dashboard.proposal:
        parts.append("a rollback is proposed")
    if not names and dashboard.beyond:
        beyond = list(dict.fromkeys(_in_a_list(signal.key, signal.kind) for signal in dashboard.beyond))
        parts.append(f"beyond its limit this night, not yet an alarm: {_listed(beyond)}")
    if not names and (missed := gate_missed(dashboard)):
        parts.append(missed)
    if tone(dashboard) is Verdict.NONE:
        parts[0] = "No alarm, but nothing could be judged"
    elif len(parts) == 1:
        parts.append("nothing to do")
    return "; ".join(parts)


def gate_missed(dashboard: Dashboard) -> str:
    """Return that the live figure of the longest window does not meet the gate, empty where it does."""
    found = columns(dashboard)
    value = float(found[-1].row[METRIC]) if found else float("nan")
    if dashboard.gate is None or value != value or dashboard.metric.gain(value, dashboard.gate) >= 0:
        return ""
    return f"{dashboard.metric_name} over {found[-1].head} does not meet the gate"


def known_line(dashboard: Dashboard) -> str:
    """Return what version is live since when, how good it is, and how new that is."""
    parts = []
    if dashboard.live is None:
        parts.append("No version is in Production")
    else:
        times = [one.since for one in dashboard.published if one.version == dashboard.live]
        parts.append(f"Version {dashboard.live} is in Production" + (f" since {day_iso(max(times))}" if times else ""))
    for column in columns(dashboard)[-1:]:
        value = float(column.row[METRIC])
        if value != value:
            continue
        told = compared(dashboard.metric, value, float(column.row[EXPECTED]))
        beside = f", {told} {'as' if told == 'as good' else 'than'} at validation" if told else ""
        parts.append(f"{dashboard.metric_name} over {column.head} is {dashboard.metric.text(value)}{beside}")
    if dashboard.newest is not None:
        parts.append(f"The newest actual is of {day_iso(dashboard.newest)}")
    return ". ".join(parts) + "."


def cards(dashboard: Dashboard) -> Iterator[Card]:
    """Yield what a person looks at first: alarms, the open request, the rollback."""
    for name, alarm in dashboard.raised[:MAX_CARDS]:
        yield Card(Verdict.FAIL, "alarm", name, f"since {alarm.raised}", [alarm.sentence], *ADVICE[alarm.kind])
    more = len(dashboard.raised) - MAX_CARDS
    if more > 0:
        told = ["The table of alarms has all of them."]
        yield Card(Verdict.FAIL, _count(more, "more alarm"), "", "", told, "", "alarms")
    if dashboard.proposal:
        yield Card(Verdict.WARN, "decide", "Rollback", "", [dashboard.proposal], ROLLBACK_ADVICE)
    request = dashboard.open_request
    if request is not None:
        reasons = list(request.reasons[:MAX_REASONS])
        if len(request.reasons) > MAX_REASONS:
            reasons.append(f"And {len(request.reasons) - MAX_REASONS} more reasons.")
        yield Card(Verdict.WARN, "open", "Retrain", f"asked for on {request.opened}", reasons, REQUEST_ADVICE)
    if waiting := dashboard.waiting():
        yield Card(Verdict.NONE, "waiting", "No figures yet", "", [waiting], "")


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _in_a_list(name: str, kind: Kind) -> str:
    """Return the name of an alarm as it stands behind a colon, e.g. ``bias (Promo 1)``."""
    subject = name.removeprefix(f"{kind}: ")
    return name if subject == name else f"{kind} ({subject})"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:MAX_NAMES])
    return f"{shown} and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else shown
