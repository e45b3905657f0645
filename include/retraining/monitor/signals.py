"""What one night finds: a verdict about one thing over one window, with its figures and a sentence."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from include.retraining.config.monitor import Kind

Verdict = Literal["bad", "between", "calm"]


@dataclass(frozen=True)
class Signal:
    """One comparison. What cannot be judged, for want of rows, gives no signal at all.

    :param kind: what an alarm about it is called
    :param subject: what it is about, e.g. ``Promo = 1``; kind and subject name the alarm
    :param day: the window's last day; a window that is judged again replaces its verdict
    :param window: its days, None: no window
    :param bad: whether it is evidence against the version or the data
    :param calm: whether it is surely none: between both, a raised alarm stays raised
    :param value: what was found
    :param limit: from where on it is bad, in the same unit
    :param sentence: what a person reads
    """

    kind: Kind
    subject: str
    day: pd.Timestamp
    window: int | None
    bad: bool
    calm: bool
    value: float
    limit: float
    sentence: str

    @property
    def key(self) -> str:
        """Name of the alarm."""
        return f"{self.kind}: {self.subject}" if self.subject else self.kind

    @property
    def verdict(self) -> Verdict:
        """How the window counts."""
        return "bad" if self.bad else "calm" if self.calm else "between"

    @property
    def excess(self) -> float:
        """How far beyond its limit it is, as a ratio: which of several windows is told."""
        return abs(self.value) / abs(self.limit) if self.limit else float(self.bad)


def percent(share: float, digits: int = 0) -> str:
    """Return a share as people read it, with its sign left out."""
    return f"{abs(share) * 100:.{digits}f} %"


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Return which of several tests are significant, so that any false one is as rare as ``alpha``.

    Step-down procedure of Holm (1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6:65-70); the tests may depend on each other.
    """
    known = [1.0 if p_value != p_value else p_value for p_value in p_values]
    order = sorted(range(len(known)), key=lambda position: known[position])
    found = [False] * len(p_values)
    for rank, position in enumerate(order):
        if known[position] > alpha / (len(known) - rank):
            break
        found[position] = True
    return found
