"""What a review found: a verdict for each item of the checklist, with its figures. How it looks: ``page``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from include.retraining.pages.figures import Bars, Chart, Lines, Series, Table, Verdict

__all__ = ["Bars", "Chart", "Item", "Lines", "Review", "Rule", "Series", "Table", "Verdict"]

Rule = Literal["block", "warn", "off"]
"""What an item that is not as it should be does: it holds the candidate back, it is told, or nobody looks."""


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
