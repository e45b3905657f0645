"""What a review found: a verdict for each item of the checklist, with its figures. How it looks: ``page``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from include.retraining.config.review import Rule
from include.retraining.pages.figures import Bars, Chart, Lines, Series, Table, Verdict

__all__ = ["Bars", "Chart", "Finding", "Item", "Lines", "Review", "Rule", "Series", "Table", "Verdict"]


@dataclass(frozen=True)
class Finding:
    """What a check found; what follows from it is a matter of its rule.

    :param wrong: whether something is not as it should be, None: it could not be looked at
    :param sentence: the answer, one sentence
    :param figures: numbers for other programs, by name
    """

    wrong: bool | None
    sentence: str
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One item of the checklist.

    :param key: its name in the configuration, e.g. ``bias``
    :param title: the question that it answers, e.g. ``Bias overall and by group``
    :param sentence: the answer, one sentence
    :param figures: numbers for other programs, by name
    """

    key: str
    title: str
    verdict: Verdict
    sentence: str
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, key: str, title: str, found: Finding, rule: Rule) -> Self:
        """Return the item that a finding makes under a rule."""
        wrong = Verdict.FAIL if rule == "block" else Verdict.WARN
        verdict = Verdict.NONE if found.wrong is None else wrong if found.wrong else Verdict.PASS
        return cls(key, title, verdict, found.sentence, found.tables, found.charts, found.figures)


@dataclass(frozen=True)
class Review:
    """What a person reads before deciding about a candidate.

    :param model: registered model
    :param version: the candidate
    :param live: version in Production, None where there is none
    :param headline: better, worse or no clear difference, with the figures, one sentence
    :param rows: which rows both were scored on, one or two sentences
    :param items: the checklist
    :param facts: what else is known: label and text, e.g. data version, training end
    """

    model: str
    version: int
    live: int | None
    headline: str
    rows: str
    items: Sequence[Item]
    made: datetime
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst of its items: fail, warn or pass."""
        found = {item.verdict for item in self.items}
        return next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if verdict in found), Verdict.PASS)

    def with_verdict(self, verdict: Verdict) -> list[Item]:
        """Return its items with a verdict, in order."""
        return [item for item in self.items if item.verdict is verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**_plain(asdict(self)), "verdict": str(self.verdict)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None  # JSON knows no NaN
    return value
