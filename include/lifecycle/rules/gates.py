"""The gate that a candidate passes before Staging."""

import math
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["below", "above"]
"""On which side of its threshold a metric passes."""


@dataclass(frozen=True)
class GateResult:
    """Outcome of a gate.

    :param value: the metric's value, NaN when there is none
    :param failed_checks: one sentence for each check that failed
    """

    metric: str
    value: float
    threshold: float
    failed_checks: list[str] = field(default_factory=list)
    direction: Direction = "below"

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed_checks


def evaluate_gate(
    *,
    metric: str,
    value: float,
    threshold: float,
    rows: int,
    expected_rows: int,
    seen_rows: int,
    direction: Direction = "below",
    bounds: tuple[float, float] = (0.0, math.inf),
) -> GateResult:
    """Apply the gate: strict, a value that equals its threshold does not pass.

    :param value: its value on the holdout
    :param threshold: what it must stay below, or come above
    :param rows: rows of the holdout that were scored
    :param expected_rows: rows that the holdout has
    :param seen_rows: rows of the holdout that what was scored may have been trained on
    :param direction: side of the threshold on which the metric passes
    :param bounds: smallest and largest value that the metric can have
    :return: the outcome, with every check that failed
    """
    failed: list[str] = []
    if expected_rows <= 0:
        failed.append("the holdout is empty")
    elif rows != expected_rows:
        failed.append(f"{rows} of the holdout's {expected_rows} rows were scored")
    if seen_rows:
        failed.append(f"what was scored may have been trained on {seen_rows} rows of the holdout")
    if not math.isfinite(threshold):
        failed.append(f"the threshold {threshold} is not a number to compare with")
    low, high = bounds
    if not math.isfinite(value):
        failed.append(f"{metric} is {value}")
    elif not low <= value <= high:
        failed.append(f"{metric} is {value:g}, which is not between {low:g} and {high:g}")
    elif math.isfinite(threshold) and not (value < threshold if direction == "below" else value > threshold):
        failed.append(f"{metric} {_digits(value, threshold)} is not {direction} {threshold:g}")
    return GateResult(metric, float(value), float(threshold), failed, direction)


def _digits(value: float, threshold: float) -> str:
    """Return a value with as many digits as it takes to tell it from the threshold."""
    for digits in range(4, 17):
        shown = f"{value:.{digits}f}"
        if value == threshold or float(shown) != threshold:
            return shown
    return repr(value)
