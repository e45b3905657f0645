"""From verdicts about windows to alarms, and from alarms to one request for a retrain: a pure state machine.

An alarm is raised when ``bad`` of its last ``of`` windows and the newest are bad, and cleared when the last ``calm``
ones were calm, so that nothing flaps. A raised alarm asks for a retrain once. At most one request is open; what is
raised while it is, or soon after, has most likely the same cause and joins it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import pandas as pd
from pydantic import ConfigDict, TypeAdapter

from include.retraining.config.monitor import FlappingConfig, Kind, MonitorConfig
from include.retraining.monitor.signals import Signal, Verdict

FORMAT = 1
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Alarm:
    """What is known of one alarm.

    :param verdicts: last day of each window (ISO), oldest first, and its verdict
    :param raised: day since which it is raised, None: it is not
    :param sentence: of the newest bad window
    """

    __pydantic_config__ = _STRICT

    kind: Kind
    verdicts: tuple[tuple[str, Verdict], ...] = ()
    raised: str | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Request:
    """A retrain that alarms ask for.

    :param opened: day (ISO)
    :param alarms: names of those that asked or joined
    :param reasons: their sentences, as they were then
    :param closed: day (ISO), None: it is open
    """

    __pydantic_config__ = _STRICT

    opened: str
    alarms: tuple[str, ...]
    reasons: tuple[str, ...]
    closed: str | None = None

    @property
    def text(self) -> str:
        """The reason in one text."""
        return " ".join(self.reasons)


@dataclass(frozen=True)
class AlarmState:
    """All alarms and the newest request, None before the first."""

    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    request: Request | None = None

    @property
    def raised(self) -> list[str]:
        """Names of the alarms that are raised."""
        return [name for name, alarm in self.alarms.items() if alarm.raised]

    @property
    def text(self) -> str:
        """The raised alarms with the day since which they are; empty where there is none."""
        return "; ".join(f"{name} since {alarm.raised}" for name, alarm in self.alarms.items() if alarm.raised)

    def to_json(self) -> str:
        """Return it as text that ``from_json`` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote.

        :raises ValueError: when it is something else
        """
        content = TypeAdapter(dict[str, Any]).validate_json(text)
        if (known := content.pop("format", None)) != FORMAT:
            raise ValueError(f"alarm state of format {known!r}, this code reads {FORMAT}")
        if missing := {"alarms", "request"} - content.keys():
            raise ValueError(f"no alarm state: it has no {' and no '.join(sorted(missing))}")
        return TypeAdapter(cls).validate_python(content)


@dataclass(frozen=True)
class Step:
    """What a night changed.

    :param raised: names of alarms raised now
    :param cleared: names of alarms cleared now
    :param asked: the request that was opened now, None: none
    :param joined: names of the alarms that were raised now and belong to a request from before
    """

    state: AlarmState
    raised: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    asked: Request | None = None
    joined: tuple[str, ...] = ()


def step(
    state: AlarmState, signals: Iterable[Signal], config: MonitorConfig, *, today: pd.Timestamp, due_days: int = 1
) -> Step:
    """Take the signals of a night.

    A night may be taken again, and earlier windows too after late or corrected actuals: a verdict replaces that of the
    same window. Alarms without a signal keep their verdicts for some time: what cannot be judged is neither good nor
    bad.

    :param state: of the night before
    :param today: day of the night
    :param due_days: after how many days actuals are due: what they tell is as much older than the night
    """
    waits = pd.Timedelta(days=max(due_days - 1, 0))
    alarms = dict(state.alarms)
    raised, cleared = [], []
    for name, windows in _by_alarm(signals).items():
        alarm = alarms.get(name, Alarm(windows[0].kind))
        for signal in windows:
            alarm = _judged(alarm, signal, config.flapping)
        if alarm.raised is None and _is_raised(alarm, config.flapping):
            alarm = replace(alarm, raised=_iso(today))
            raised.append(name)
        elif alarm.raised is not None and _is_cleared(alarm, config.flapping):
            alarm = replace(alarm, raised=None)
            cleared.append(name)
        alarms[name] = alarm
    gone = [name for name, alarm in alarms.items() if _is_forgotten(alarm, config.flapping, today - waits)]
    cleared += [name for name in gone if alarms[name].raised and name not in raised]
    alarms = {name: alarm for name, alarm in alarms.items() if name not in gone}
    raised = [name for name in raised if name in alarms]
    request = _timed_out(state.request, config, today)
    asking = [name for name in raised if alarms[name].kind in config.request.kinds]
    joined: list[str] = []
    asked = None
    if asking and request is not None and _takes_more(request, config, today - waits):
        joined = asking
        request = _joined(request, asking, alarms)
    elif asking:
        reasons = tuple(alarms[name].sentence for name in asking)
        asked = request = Request(_iso(today), tuple(asking), reasons)
    return Step(AlarmState(alarms, request), tuple(raised), tuple(cleared), asked, tuple(joined))


def close_request(state: AlarmState, *, today: pd.Timestamp) -> AlarmState:
    """Return the state after the retrain that was asked for has ended, however it ended."""
    request = state.request
    if request is None or request.closed is not None:
        return state
    return replace(state, request=replace(request, closed=_iso(today)))


def _by_alarm(signals: Iterable[Signal]) -> dict[str, list[Signal]]:
    """Return for each alarm the worst window that ends on each day, in the order of the days."""
    worst: dict[tuple[str, str], Signal] = {}
    for signal in signals:
        key = signal.key, _iso(signal.day)
        if key not in worst or _weight(signal) > _weight(worst[key]):
            worst[key] = signal
    found: dict[str, list[Signal]] = {}
    for name, day in sorted(worst):
        found.setdefault(name, []).append(worst[name, day])
    return found


def _weight(signal: Signal) -> tuple[bool, bool, float]:
    return signal.bad, not signal.calm, signal.excess


def _judged(alarm: Alarm, signal: Signal, config: FlappingConfig) -> Alarm:
    verdicts = dict(alarm.verdicts) | {_iso(signal.day): signal.verdict}
    newest = sorted(verdicts.items())[-max(config.of, config.calm) :]
    return replace(alarm, verdicts=tuple(newest), sentence=signal.sentence if signal.bad else alarm.sentence)


def _is_raised(alarm: Alarm, config: FlappingConfig) -> bool:
    last = [verdict == "bad" for _, verdict in alarm.verdicts[-config.of :]]
    return bool(last) and last[-1] and sum(last) >= config.bad


def _is_cleared(alarm: Alarm, config: FlappingConfig) -> bool:
    last = [verdict == "calm" for _, verdict in alarm.verdicts[-config.calm :]]
    return len(last) == config.calm and all(last)


def _is_forgotten(alarm: Alarm, config: FlappingConfig, today: pd.Timestamp) -> bool:
    newest = max(day for day, _ in alarm.verdicts)
    return pd.Timestamp(newest) < today - pd.Timedelta(days=config.forget_days)


def _timed_out(request: Request | None, config: MonitorConfig, today: pd.Timestamp) -> Request | None:
    if request is None or request.closed is not None:
        return request
    last = pd.Timestamp(request.opened) + pd.Timedelta(days=config.request.open_days)
    return replace(request, closed=_iso(last)) if today > last else request


def _takes_more(request: Request, config: MonitorConfig, today: pd.Timestamp) -> bool:
    """Whether alarms that are raised now belong to a request from before."""
    quiet = pd.Timedelta(days=config.request.quiet_days)
    return request.closed is None or today <= pd.Timestamp(request.opened) + quiet


def _joined(request: Request, names: list[str], alarms: Mapping[str, Alarm]) -> Request:
    new = [name for name in names if name not in request.alarms]
    reasons = (*request.reasons, *(alarms[name].sentence for name in new))
    return replace(request, alarms=(*request.alarms, *new), reasons=reasons)


def _iso(day: pd.Timestamp) -> str:
    return f"{day:%Y-%m-%d}"
