"""What the page of a night is made from, and what follows from it at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from include.lifecycle.untrusted_text import one_line
from include.retraining.monitor.alarms import Alarm, AlarmState, Request
from include.retraining.monitor.rows import DAY, Publication
from include.retraining.monitor.scores import WINDOW, Scores
from include.retraining.monitor.signals import Signal
from include.retraining.pages.figures import Verdict
from include.retraining.protocol import Metric

CHART_DAYS = 182
"""Newest days that charts show."""

_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Dashboard:
    """What a person sees of the version in Production.

    :param model: registered model
    :param made: when the page was made
    :param metric: what the model is measured by
    :param live: version in Production, None where there is none
    :param gate: threshold that a candidate has to meet, None: no gate
    :param scores: figures of live predictions
    :param published: which version was in Production from when on
    :param validation: each version's figure on rows that it was not trained on
    :param signals: of this night
    :param state: the alarms after this night, with the newest request
    :param proposal: sentence that proposes a rollback, empty: none
    """

    model: str
    made: datetime
    metric: Metric
    live: int | None
    gate: float | None
    scores: Scores
    published: Sequence[Publication]
    validation: Mapping[int, float]
    signals: Sequence[Signal]
    state: AlarmState
    proposal: str

    @property
    def metric_name(self) -> str:
        """What people call the metric, short enough for a heading."""
        return one_line(self.metric.title, 40)

    @property
    def raised(self) -> list[tuple[str, Alarm]]:
        """The alarms that are raised, with their names, the longest raised first."""
        found = [(name, alarm) for name, alarm in self.state.alarms.items() if alarm.raised]
        return sorted(found, key=lambda one: (str(one[1].raised), one[0]))

    @property
    def open_request(self) -> Request | None:
        """The retrain that was asked for and has not ended."""
        request = self.state.request
        return request if request is not None and request.closed is None else None

    @property
    def beyond(self) -> list[Signal]:
        """Signals of the night that are bad and raised no alarm (yet)."""
        return [signal for signal in self.signals if signal.bad and self.verdict(signal) is Verdict.WARN]

    @property
    def newest(self) -> pd.Timestamp | None:
        """Newest predicted day with an actual."""
        days = self.scores.days
        found = days.loc[days["arrived"] > 0, DAY].dropna()
        return pd.Timestamp(found.max()) if len(found) else None

    @property
    def shown_days(self) -> list[pd.Timestamp]:
        """The days of the charts: from the first prediction on, up to the last that is due or has an actual."""
        days = self.scores.days
        first = days.loc[days["arrived"].notna(), DAY].dropna()
        due = [signal.day - _ONE_DAY for signal in self.signals if signal.kind == "late"]
        ends = [end for end in (self.newest, *due) if end is not None and not pd.isna(end)]
        if not len(first) or not ends:
            return []
        last = max(ends)
        start = max(pd.Timestamp(first.min()), last - (CHART_DAYS - 1) * _ONE_DAY)
        return list(pd.date_range(start, last))

    @property
    def windows(self) -> list[int]:
        """Days of the rolling figures, ascending."""
        return sorted({int(window) for window in self.scores.rolling[WINDOW].dropna()})

    def verdict(self, signal: Signal) -> Verdict:
        """Return how a signal is shown: only what belongs to a raised alarm is red."""
        if signal.bad:
            alarm = self.state.alarms.get(signal.key)
            return Verdict.FAIL if alarm is not None and alarm.raised else Verdict.WARN
        return Verdict.PASS if signal.calm else Verdict.NONE

    def waiting(self) -> str:
        """Return why there are no figures yet, empty where there are some."""
        arrived = self.scores.days["arrived"]
        if not arrived.notna().any():
            return "Nothing has been predicted by a version in Production yet. Figures come once actuals arrive for it."
        if not (arrived > 0).any():
            return "No actual of a predicted row has arrived yet. Figures come with the first."
        return ""
