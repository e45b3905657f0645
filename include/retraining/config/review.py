"""Configuration of the review: what each item of its checklist does, and from where on it speaks."""

from typing import Annotated, Literal

from pydantic import Field

from include.lifecycle.config.sections import Positive, Section

Rule = Literal["block", "warn", "off"]
"""What an item that is not as it should be does: it holds the candidate back, it is told, or nobody looks."""
ItemKey = Literal[
    "outputs",
    "plausible",
    "consistent",
    "environment",
    "speed",
    "gate",
    "better",
    "slices",
    "bias",
    "recent",
    "horizon",
    "changes",
    "drift",
    "quality",
]
BLOCKING: tuple[ItemKey, ...] = ("outputs", "plausible", "consistent", "gate")
"""Items that hold a candidate back unless the configuration says otherwise: those that no taste decides."""

Share = Annotated[float, Field(gt=0, lt=1)]


class ReviewLimits(Section):
    """From where on an item of the review speaks."""

    bias: Share = Field(0.02, description="share by which all predictions together may be too high or too low")
    slice_bias: Share = Field(0.05, description="the same for a group of rows, beyond noise")
    recent_ratio: Positive = Field(1.3, description="error of the last days against the days before")
    change: Share = Field(0.2, description="share by which a store's forecast may differ from Production's")
    changed_share: Share = Field(0.01, description="share of the stores that may differ by more than that")
    plausible_factor: Positive = Field(3.0, description="forecasts may lie this far beyond a store's own history")
    slower: Positive = Field(2.0, description="times Production's time or memory")
    first_row_seconds: Positive = 60.0
    row_milliseconds: Positive = 5.0
    memory_mb: Positive = 8192.0
    drift: Positive = Field(0.25, description="population stability index of an input")
    confidence: Share = Field(0.95, description="of the intervals")


class ReviewConfig(Section):
    """The review between Staging and the approval."""

    rules: dict[ItemKey, Rule] = Field(default_factory=dict)
    """``block``, ``warn`` or ``off`` by item; those of ``BLOCKING`` block by default, the rest warns."""
    limits: ReviewLimits = ReviewLimits()
    replicates: Annotated[int, Field(ge=200, le=10_000)] = Field(1000, description="of the bootstrap")
    seed: int = 20150619

    def rule(self, key: ItemKey) -> Rule:
        """Return what an item that is not as it should be does."""
        return self.rules.get(key, "block" if key in BLOCKING else "warn")
