"""The items of the checklist that compare: error, bias and groups, of rows that nobody was trained on."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from include.lifecycle.untrusted_text import one_line
from include.retraining.bootstrap import Interval
from include.retraining.protocol import Mask, Values
from include.retraining.review.report import Bars, Chart, Finding, Lines, Series, Table
from include.retraining.review.scored import Scored

MIN_ROWS = 30
"""Rows that a group needs before anything is said of it."""
SLICE_REPLICATES = 500
SLICE_CONFIDENCE = 0.99
"""Of a group: there are many, and one in twenty would be off by chance."""
WORSE_SHARE = 0.03
"""A group counts as worse than Production's from this share of its error on, beyond noise."""
MAX_TOLD = 4
RECENT = (7, 14)
"""Last days that are looked at alone."""


def gate(scored: Scored, threshold: float) -> Finding:
    """The absolute gate, on the rows of this review: strict, and no number fails."""
    metric = scored.model.metric
    value = scored.score(scored.ours)
    passed = metric.gain(value, threshold) > 0  # False where it is no number
    interval = scored.error(scored.ours)
    word = "below" if metric.lower_is_better else "above"
    sentence = (
        f"{metric.title} {metric.text(value)} {'is' if passed else 'is not'} {word} {metric.text(threshold)}"
        f" ({_interval(scored, interval, metric.text)})."
    )
    figures = {"value": value, "threshold": threshold, "low": interval.low, "high": interval.high}
    return Finding(not passed, sentence, figures=figures)


def better(scored: Scored) -> Finding:
    """Better than Production, worse, or no difference that is more than noise."""
    metric = scored.model.metric
    if scored.theirs is None:
        return Finding(None, "There is no version in Production that these rows could be compared on.")
    by_day, both = scored.gain(), scored.gain(entities=True)
    ours, theirs = scored.score(scored.ours), scored.score(scored.theirs)
    intervals = [interval for interval in (by_day, both) if interval is not None]
    told = f"{metric.title} {metric.text(ours)} against {metric.text(theirs)}"
    below = [interval for interval in intervals if interval.below]
    main = below[0] if below else intervals[-1]
    wrong = bool(below) or not math.isfinite(ours)
    word = "Worse" if wrong else "Better" if all(interval.above for interval in intervals) else "No clear difference"
    rows = [("days", by_day)]
    if scored.entities is not None:
        rows.append((f"days and {scored.model.columns.entity}", both))
    table = Table(
        ("Gain, drawn by", "Estimate", "Low", "High"),
        tuple(
            (name, *(f"{value:+.{metric.digits}f}" for value in (found.value, found.low, found.high)))
            for name, found in rows
            if found is not None
        ),
        note="Above 0: the candidate is better. Paired bootstrap: both versions on the same drawn rows.",
    )
    figures = {"candidate": ours, "production": theirs}
    figures |= {"gain": main.value, "gain_low": main.low, "gain_high": main.high}
    return Finding(wrong, f"{word}: {told}, {_gain(scored, main)}.", (table,), tuple(_by_day(scored)), figures)


@dataclass(frozen=True)
class Group:
    """Rows with one value of a slice."""

    label: str
    value: str
    part: Scored
    error: Interval
    bias: Interval
    gain: Interval | None

    def too_biased(self, limit: float) -> bool:
        """Whether the bias exceeds a limit beyond noise, and more than Production's own does."""
        outside = self.bias.low > limit or self.bias.high < -limit
        if not outside or self.part.theirs is None:
            return outside
        theirs = _bias(self.part.actual, self.part.theirs)
        return abs(self.bias.value) > abs(theirs) + limit / 2

    @property
    def worse(self) -> bool:
        """Whether the candidate is worse than Production beyond noise."""
        return self.gain is not None and self.gain.below and -self.gain.value > WORSE_SHARE * abs(self.error.value)


def slices(scored: Scored) -> Finding:
    """Reasonable for every group: error and bias of each, beside Production's."""
    columns = scored.model.columns.slices
    groups = [group for column, label in columns.items() for group in _groups(scored, column, label)]
    if not groups:
        return Finding(None, "The model names no groups, or none has enough rows.")
    limit, metric = scored.config.limits.slice_bias, scored.model.metric
    told, marked = [], set()
    for position, group in enumerate(groups):
        found = []
        if group.too_biased(limit):
            found.append(f"{group.bias.value:+.1%} biased")
        if group.worse:
            theirs = group.part.score(group.part.theirs) if group.part.theirs is not None else math.nan
            found.append(f"{metric.title} {metric.text(group.error.value)} against {metric.text(theirs)}")
        if found:
            marked.add(position)
            told.append(f"{group.label} {group.value}: {', '.join(found)}")
    more = f"; {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
    sentence = (
        f"{'; '.join(told[:MAX_TOLD])}{more}."
        if told
        else f"None of {len(groups)} groups is biased by more than {limit:.0%} or clearly worse than Production's."
    )
    table, charts = _group_table(scored, groups, frozenset(marked)), tuple(_group_charts(scored, groups))
    figures = {f"{group.label}={group.value}": group.error.value for group in groups}
    return Finding(bool(told), sentence, (table,), charts, figures)


def bias(scored: Scored) -> Finding:
    """All predictions together too high or too low, and more so than Production's."""
    limit = scored.config.limits.bias
    ours = scored.bias(scored.ours)
    wrong = abs(ours.value) > limit or not math.isfinite(ours.value)
    sentence = f"All predictions together are {ours.value:+.1%} off ({_interval(scored, ours, '{:+.1%}'.format)})"
    figures = {"bias": ours.value, "low": ours.low, "high": ours.high}
    rows = [("Candidate", *(f"{value:+.2%}" for value in (ours.value, ours.low, ours.high)))]
    if scored.theirs is not None:
        theirs = scored.bias(scored.theirs)
        sentence += f", Production's {theirs.value:+.1%}"
        figures["production"] = theirs.value
        rows.append(("Production", *(f"{value:+.2%}" for value in (theirs.value, theirs.low, theirs.high))))
        wrong = wrong or abs(ours.value) > abs(theirs.value) + limit / 2
    table = Table(("", "Bias", "Low", "High"), tuple(rows))
    return Finding(wrong, f"{sentence}.", (table,), figures=figures)


def recent(scored: Scored) -> Finding:
    """The last days by themselves: a model that has gone stale, or a feature that broke, shows there first."""
    metric, limits = scored.model.metric, scored.config.limits
    time = scored.model.columns.time
    if time is None or int(scored.days.max()) + 1 <= 2 * RECENT[-1]:
        return Finding(None, "There are not enough days to look at the last ones alone.")
    days = scored.days
    rows, told, figures = [], [], {}
    for length in RECENT:
        last = days > days.max() - length
        now, before = scored.part(last), scored.part(~last)
        error, earlier = now.score(now.ours), before.score(before.ours)
        theirs = now.score(now.theirs) if now.theirs is not None else math.nan
        gain = now.gain()
        worse_than_before = _much_worse(scored, error, earlier, limits.recent_ratio)
        if now.theirs is not None and before.theirs is not None:
            # hard days are hard for both versions: what counts is that only the candidate got worse
            worse_than_before = worse_than_before and not _much_worse(
                scored, theirs, before.score(before.theirs), limits.recent_ratio
            )
        worse = gain is not None and gain.below and -gain.value > WORSE_SHARE * abs(error)
        if worse_than_before:
            told.append(f"{metric.title} {metric.text(error)} in the last {length} days, {metric.text(earlier)} before")
        elif worse:
            told.append(
                f"{metric.title} {metric.text(error)} in the last {length} days, Production's {metric.text(theirs)}"
            )
        rows.append((f"Last {length} days", _number(scored, error), _number(scored, theirs), _number(scored, earlier)))
        figures[f"last_{length}"] = error
    sentence = f"{'; '.join(told)}." if told else "No worse than the days before, nor than Production's."
    table = Table(("", "Candidate", "Production", "Candidate, days before"), tuple(rows))
    return Finding(bool(told), sentence, (table,), figures=figures)


def horizon(scored: Scored) -> Finding:
    """Error by week of the forecast."""
    metric, time = scored.model.metric, scored.model.columns.time
    if time is None or scored.model.horizon_days is None:
        return Finding(None, "The model has no horizon.")
    week = ((scored.rows[time] - scored.rows[time].min()).dt.days // 7).to_numpy()
    groups = [
        _group(scored, "Week", str(number + 1), week == number)
        for number in range(int(week.max()) + 1)
        if (week == number).sum() >= MIN_ROWS
    ]
    if not groups:
        return Finding(None, "No week has enough rows.")
    told = [f"week {group.value} ({_gain(scored, group.gain)})" for group in groups if group.gain and group.worse]
    sentence = f"Worse than Production: {', '.join(told)}." if told else "No week is clearly worse than Production's."
    if scored.theirs is None:
        sentence = f"{metric.title} by week: {', '.join(metric.text(group.error.value) for group in groups)}."
    marked = frozenset(position for position, group in enumerate(groups) if group.worse)
    table, charts = _group_table(scored, groups, marked), tuple(_group_charts(scored, groups))
    figures = {f"week_{group.value}": group.error.value for group in groups}
    return Finding(bool(told), sentence, (table,), charts, figures)


def _much_worse(scored: Scored, error: float, reference: float, ratio: float) -> bool:
    """Whether an error is worse than ``ratio`` times another one; for a score, whether its distance to 1 is."""
    if scored.model.metric.lower_is_better:
        return error > ratio * reference
    return 1 - error > ratio * (1 - reference)


def _groups(scored: Scored, column: str, label: str) -> Iterator[Group]:
    values = scored.rows[column].astype(str).to_numpy()
    for value in sorted(set(values)):
        if (values == value).sum() >= MIN_ROWS:
            yield _group(scored, label, one_line(value, 40), values == value)


def _group(scored: Scored, label: str, value: str, mask: Mask) -> Group:
    limits = scored.config.limits.model_copy(update={"confidence": SLICE_CONFIDENCE})
    config = scored.config.model_copy(update={"replicates": SLICE_REPLICATES, "limits": limits})
    part = replace(scored.part(mask), config=config)
    return Group(label, value, part, part.error(part.ours), part.bias(part.ours), part.gain())


def _group_table(scored: Scored, groups: list[Group], marked: frozenset[int]) -> Table:
    metric = scored.model.metric
    rows = []
    for group in groups:
        theirs = group.part.theirs
        rows.append(
            (
                f"{group.label} {group.value}",
                f"{len(group.part.actual):,}",
                _number(scored, group.error.value),
                _number(scored, group.part.score(theirs)) if theirs is not None else "–",
                f"{group.bias.value:+.1%}",
                f"{_bias(group.part.actual, theirs):+.1%}" if theirs is not None else "–",
            )
        )
    head = ("Group", "Rows", metric.title, "Production", "Bias", "Production's")
    return Table(head, tuple(rows), marked)


def _group_charts(scored: Scored, groups: list[Group]) -> Iterator[Chart]:
    metric = scored.model.metric
    labels = list(dict.fromkeys(group.label for group in groups))
    for label in labels:
        found = [group for group in groups if group.label == label]
        if len(found) < 2:
            continue
        series = [Series("Candidate", "candidate", tuple(group.error.value for group in found))]
        intervals = [tuple((group.error.low, group.error.high) for group in found)]
        if scored.theirs is not None:
            theirs = [group.part.error(group.part.theirs) for group in found
                      if group.part.theirs is not None]  # fmt: skip
            series.append(Series("Production", "production", tuple(item.value for item in theirs)))
            intervals.append(tuple((item.low, item.high) for item in theirs))
        name = f"error-by-{'-'.join(label.lower().split())}"
        title = f"{metric.title} by {label[0].lower()}{label[1:]}"
        groups_of = tuple(group.value for group in found)
        yield Bars(name, title, groups_of, tuple(series), metric.title, intervals=tuple(intervals))


def _by_day(scored: Scored) -> Iterator[Chart]:
    time, metric = scored.model.columns.time, scored.model.metric
    if time is None or scored.theirs is None:
        return
    order = np.argsort(scored.days, kind="stable")
    edges = np.flatnonzero(np.diff(scored.days[order], prepend=-1, append=int(scored.days.max()) + 1))
    parts = [order[start:stop] for start, stop in pairwise(edges)]
    days = tuple(f"{pd.Timestamp(scored.rows[time].iloc[part[0]]):%Y-%m-%d}" for part in parts)

    def by_day(prediction: Values) -> tuple[float, ...]:
        return tuple(metric.score(scored.actual[part], prediction[part]) for part in parts)

    series = (
        Series("Candidate", "candidate", by_day(scored.ours)),
        Series("Production", "production", by_day(scored.theirs)),
    )
    yield Lines("error-by-day", f"{metric.title} by day", days, series, metric.title)


def _bias(actual: Values, prediction: Values) -> float:
    total = float(actual.sum())
    return float(prediction.sum()) / total - 1 if total else math.nan


def _number(scored: Scored, value: float) -> str:
    return scored.model.metric.text(value) if math.isfinite(value) else "–"


def _interval(scored: Scored, interval: Interval, text: Callable[[float], str]) -> str:
    if not math.isfinite(interval.low):
        return "no interval"
    return f"{scored.config.limits.confidence:.0%} interval {text(interval.low)} to {text(interval.high)}"


def _gain(scored: Scored, interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.low):
        return "no interval"
    digits = scored.model.metric.digits
    return f"gain {interval.value:+.{digits}f}, interval {interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
