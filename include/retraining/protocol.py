"""What a model says of itself, so that its versions can be reviewed, used and watched without knowing it.

A model fulfils ``RetrainedModel`` with an object that a module holds: ``module:NAME`` names it to a new process.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Score(Protocol):
    """A metric's value over rows."""

    def __call__(self, actual: Values, prediction: Values, weight: Values | None = None, /) -> float:
        """Return the metric.

        :param actual: (rows,)
        :param prediction: (rows,)
        :param weight: (rows,) how often each row counts, None: once
        :return: NaN where it cannot be told
        """
        ...


@dataclass(frozen=True)
class Metric:
    """What a model is measured by.

    :param name: as MLflow's metrics have it, e.g. ``rmspe``
    :param score: computes it
    :param lower_is_better: whether a smaller value is the better one
    :param bounds: smallest and largest value that it can have; a gate lets nothing else pass
    :param label: what people call it; by default its name
    :param digits: decimals that are shown
    """

    name: str
    score: Score
    lower_is_better: bool = True
    bounds: tuple[float, float] = (0.0, math.inf)
    label: str = ""
    digits: int = 4

    @property
    def title(self) -> str:
        """What people call it."""
        return self.label or self.name

    def gain(self, ours: float, theirs: float) -> float:
        """Return by how much ``ours`` is better than ``theirs``: above 0 is better, whatever the direction."""
        return theirs - ours if self.lower_is_better else ours - theirs

    def text(self, value: float) -> str:
        """Return a value as people read it."""
        return f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Columns:
    """What the columns of a model's rows mean.

    :param keys: tell a row from every other
    :param actual: what came true; a row without it is one to predict. Its prediction has the same name in the outputs
    :param time: day of a row, None for a model without time
    :param entity: what a row is about, e.g. the store; its rows are drawn and compared as one
    :param slices: columns whose values part the rows into groups that are looked at alone, with their labels
    :param inputs: columns whose distribution is watched, with their labels
    :param kept: columns of the rows to predict that the outputs have as well, where they are there
    """

    keys: tuple[str, ...]
    actual: str
    time: str | None = None
    entity: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowRule:
    """What each prediction has to satisfy.

    :param name: what is asked, e.g. ``closed days are 0``
    :param broken: given the rows that were predicted and (rows,) predictions, tells which break the rule
    """

    name: str
    broken: Callable[[pd.DataFrame, Values], Mask]


class Member(Protocol):
    """A fitted model inside a registered version."""

    def unseen(self, rows: pd.DataFrame) -> Mask:
        """Return which rows it was not trained on."""
        ...

    def predict(self, rows: pd.DataFrame, known: pd.DataFrame) -> Values:
        """Predict rows as a consumer would, through the version's own interface.

        :param rows: without the actual
        :param known: rows with it that were known when the prediction is made, for models that use newer history
        :return: (rows,) in their order
        :raises ValueError: names what cannot be predicted
        """
        ...


@dataclass(frozen=True)
class LoadedVersion:
    """A version as it was loaded from the registry.

    :param served: what consumers use, trained on everything
    :param load_backtest: loads the same recipe, trained without the holdout, once somebody asks for it
    """

    served: Member
    load_backtest: Callable[[], Member]

    @cached_property
    def backtest(self) -> Member:
        """The member that does not know the holdout."""
        return self.load_backtest()


class RetrainedModel(Protocol):
    """A model whose versions are reviewed, used and watched."""

    @property
    def reference(self) -> str:
        """``module:NAME`` of this object, for a process of its own."""
        ...

    @property
    def columns(self) -> Columns:
        """What the columns of its rows mean."""
        ...

    @property
    def metric(self) -> Metric:
        """What it is measured by."""
        ...

    @property
    def horizon_days(self) -> int | None:
        """How many days after what is known it predicts, None for a model without time."""
        ...

    @property
    def rules(self) -> Sequence[RowRule]:
        """What each prediction has to satisfy, beside being a finite number."""
        ...

    def load(self, folder: Path) -> LoadedVersion:
        """Load the artifacts of a version, a folder as MLflow's registry keeps it."""
        ...

    def counts(self, rows: pd.DataFrame) -> Mask:
        """Return which rows with an actual are scored."""
        ...


def find_model(reference: str) -> RetrainedModel:
    """Return the model that ``module:NAME`` names.

    :raises ValueError: when it names none
    """
    module, _, name = reference.partition(":")
    try:
        return cast("RetrainedModel", getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{reference!r} names no model: expected module:NAME ({error})") from error
