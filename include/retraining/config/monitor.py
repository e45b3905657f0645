"""Configuration of the monitoring: what is compared with what, and from where on it speaks.

The defaults are what ``tests/bench/false_alarms.py`` was tuned with: at most one false alarm in twelve quiet months.

Days are days of the rows. A model without time has none: its windows are of the days on which rows were predicted, and
what is counted in days elsewhere is counted in rows.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from include.lifecycle.config.sections import Cron, Positive, Section

DASHBOARD = "monitor/dashboard.html"
"""Where a night's run keeps the dashboard among its artifacts."""

Days = Annotated[int, Field(ge=1)]
Rows = Annotated[int, Field(ge=1)]
Windows = Annotated[tuple[Days, ...], Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]

Kind = Literal["error", "bias", "drift", "missing", "late"]
"""What an alarm is about: the metric, too high or too low, inputs and predictions, absent rows, late actuals."""


class ErrorConfig(Section):
    """When the live error is clearly worse than the version's own validation figure."""

    windows: Windows = Field((14, 28), description="days that are pooled")
    worse_by: Positive = Field(0.35, description="share of the validation figure that may be lost, beyond noise")
    confidence: Share = Field(0.95, description="of the interval by days; its better end has to be worse")
    replicates: Annotated[int, Field(ge=100, le=10_000)] = Field(400, description="of the bootstrap")
    seed: int = 20150619


class BiasConfig(Section):
    """When predictions together are clearly too high or too low, overall or in a slice."""

    windows: Windows = (10, 28)
    limit: Share = Field(0.04, description="share by which all predictions together may be off")
    slice_limit: Share = Field(0.08, description="the same for a slice")
    alpha: Share = Field(0.02, description="error level of a night's tests of all predictions together (Holm)")
    slice_alpha: Share = Field(0.05, description="error level of a night's tests of all slices together (Holm)")
    slice_rows: Share = Field(0.02, description="slices with a smaller share of the rows are not judged")


class DriftConfig(Section):
    """When inputs or predictions are distributed otherwise than in the training window."""

    windows: Windows = Field((7, 14, 28), description="days that are compared")
    effect: Share = Field(0.03, description="share of the rows that has to lie elsewhere before it matters")
    prediction_effect: Share = Field(0.20, description="the same for predictions, which are compared with actuals")
    rows_effect: Share = Field(
        0.10, description="the same without time, where rows to predict are compared with those that came true"
    )
    beyond: Positive = Field(
        2.0,
        description="times the largest distance of a year's windows (more where there is no year of them); without time"
        " of as many rows drawn at random",
    )
    alpha: Share = Field(0.05, description="error level of all these tests of a night together (Holm)")
    slack_days: Annotated[int, Field(ge=0, le=56)] = Field(
        21, description="how far from the same weeks a year before one may look: Easter and school holidays move"
    )


class CoverageConfig(Section):
    """When rows are missing or late."""

    delay_days: Annotated[int, Field(ge=0)] = Field(1, description="after how many days the actuals of a day are due")
    wait_days: Annotated[int, Field(ge=0)] = Field(
        28, description="without time: after how many days the actual of a row that was predicted is due"
    )
    late_days: Days = Field(2, description="overdue for so many days is late")
    missing_days: Days = Field(3, description="an entity without rows on so many delivered days is missing")
    complete: Share = Field(0.5, description="share of its rows from which on a day counts as delivered")
    predicted: Share = Field(0.9, description="share of the actuals of a week that should have been predicted")

    def due_days(self, *, timed: bool) -> int:
        """Return after how many days actuals are due."""
        return self.delay_days if timed else self.wait_days


class HolidayConfig(Section):
    """Known odd days: their figures are shown, but they are no evidence against the version."""

    column: str = Field(description="column of the rows that names holidays, e.g. StateHoliday")
    ordinary: tuple[str, ...] = Field(("0",), description="its values on ordinary days, as text")
    share: Share = Field(0.25, description="share of a day's rows that makes it a holiday")
    before_days: Annotated[int, Field(ge=0)] = Field(3, description="days before it that count as well")
    after_days: Annotated[int, Field(ge=0)] = Field(3, description="days after it that count as well")


class FlappingConfig(Section):
    """How many windows it takes."""

    bad: Days = Field(2, description="an alarm is raised when so many of the last windows and the newest are bad")
    of: Days = 5
    calm: Days = Field(7, description="... and cleared when the last so many windows were within all limits")
    forget_days: Days = Field(60, description="what could not be judged for so many days, e.g. a slice that is gone")

    @model_validator(mode="after")
    def _some_of_all(self) -> Self:
        if self.bad > self.of:
            raise ValueError(f"bad ({self.bad}) cannot be more than of ({self.of})")
        return self


class RequestConfig(Section):
    """What an alarm starts."""

    kinds: frozenset[Kind] = Field(
        frozenset({"error", "bias", "drift", "missing", "late"}), description="alarms that ask for a retrain"
    )
    quiet_days: Annotated[int, Field(ge=0)] = Field(
        42, description="alarms raised within so many days after a request belong to it"
    )
    open_days: Days = Field(14, description="a request that nobody closed is taken as closed after so many days")


class RollbackConfig(Section):
    """When the message of an alarm proposes to go back to the former champion."""

    days: Days = Field(7, description="days on which both have predictions")
    rows: Rows = Field(100, description="without time: rows on which both have predictions")
    window: Days = Field(28, description="newest days that are compared")
    better_by: Share = Field(0.05, description="share of the live figure by which the former champion is better")
    confidence: Share = 0.95


class MonitorConfig(Section):
    """The section ``monitor`` of a model's configuration."""

    cron: Cron = Field("0 6 * * *", description="when the nights are judged, in the schedule's timezone")
    clock: Literal["run", "data"] = Field(
        "run", description="which night it is: the one of the run, or for data that has ended the day after the newest"
    )
    windows: Windows = Field((7, 14, 28), description="rolling figures that are kept")
    least_days: Share = Field(0.4, description="share of a window's days that have to be there to judge it")
    least_rows: Rows = Field(100, description="without time: rows that have to be there to judge a window or slice")
    error: ErrorConfig = ErrorConfig()
    bias: BiasConfig = BiasConfig()
    drift: DriftConfig = DriftConfig()
    coverage: CoverageConfig = CoverageConfig()
    holidays: HolidayConfig | None = Field(None, description="null: every day is evidence")
    flapping: FlappingConfig = FlappingConfig()
    request: RequestConfig = RequestConfig()
    rollback: RollbackConfig = RollbackConfig()

    @field_validator("windows")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("expected windows in ascending order, each once, such as [7, 14, 28]")
        return value

    @property
    def longest(self) -> int:
        """Days of the longest window that anything looks at."""
        return max(*self.windows, *self.error.windows, *self.bias.windows, *self.drift.windows)
