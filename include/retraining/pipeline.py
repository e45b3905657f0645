"""What a model says of itself so that the steps can retrain it; beyond that they know nothing of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pandas as pd

from include.retraining.config.model import ModelConfig
from include.retraining.protocol import RetrainedModel, Values
from include.retraining.run import RetrainRun

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo


@dataclass(frozen=True)
class DataFacts:
    """What ``pull`` records of a retrain's data.

    :param tags: go on to the version; ``training.end`` is the newest day that the served member learns from
    :param told: what the step prints
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedMember:
    """A member as ``train`` made it.

    :param folder: files that ``build`` needs, None where there are none
    :param told: what the step prints
    """

    folder: Path | None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Package:
    """A version before it is logged.

    :param folders: of its members; what the artifact store holds must have each of their files
    :param content: digest of everything that decides what it predicts: the same content is the same version
    :param log: logs it to the retrain's run, given metadata for the MLmodel file
    :param tags: of the version
    :param description: in Markdown
    """

    folders: Sequence[Path]
    content: str
    log: Callable[[Mapping[str, object]], "ModelInfo"]
    tags: Mapping[str, str]
    description: str


ConfigT = TypeVar("ConfigT", bound=ModelConfig)
ConfigT_contra = TypeVar("ConfigT_contra", bound=ModelConfig, contravariant=True)
DataT = TypeVar("DataT")


class Pipeline(RetrainedModel, Protocol[ConfigT_contra, DataT]):
    """A model that the steps of this package retrain. Its data is whatever it says, from ``read`` on.

    A step's ``run`` is the retrain's MLflow run: it has no disk but ``scratch``, an empty folder.
    """

    @property
    def about(self) -> str:
        """What it predicts, a sentence: the registered model's description."""
        ...

    @property
    def libraries(self) -> Sequence[str]:
        """Distributions that a registered version imports: their versions are recorded, and compared."""
        ...

    @property
    def decimals(self) -> int | None:
        """To how many decimals predictions are written, None: as they are."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """Tags of a version that a reader of its review wants to know: label and tag."""
        ...

    def check(self, config: ConfigT_contra) -> None:
        """Refuse settings that the training would trip over, before anything is done.

        :raises BadInputError: names the setting
        """
        ...

    def read(self, files: Mapping[str, Path], config: ConfigT_contra) -> DataT:
        """Read the files of the data registry, and check them.

        :param files: by their names in the configuration (``data.paths``)
        :raises BadInputError: names file, line or rows, and what was expected
        """
        ...

    def read_asked(self, path: Path) -> pd.DataFrame:
        """Read rows to predict that somebody named.

        :raises BadInputError: as ``read``
        """
        ...

    def save(self, data: DataT, folder: Path) -> None:
        """Write data for the steps after ``pull``."""
        ...

    def restore(self, folder: Path) -> DataT:
        """Read what ``save`` wrote."""
        ...

    def describe(self, data: DataT, config: ConfigT_contra) -> DataFacts:
        """Return what is recorded of data."""
        ...

    def warnings(self, data: DataT) -> Sequence[str]:
        """Return what the checks found odd, a sentence each."""
        ...

    def newest(self, data: DataT) -> pd.Timestamp | None:
        """Return the newest day of the actuals, None for a model without time."""
        ...

    def rows(self, data: DataT) -> pd.DataFrame:
        """Return the rows with their actual, and all columns that ``columns`` names."""
        ...

    def holdout(self, data: DataT, config: ConfigT_contra) -> pd.DataFrame:
        """Return the rows that no backtest member was trained on, as ``rows`` has them."""
        ...

    def next_rows(self, data: DataT) -> pd.DataFrame:
        """Return rows that consumers ask for next, without the actual."""
        ...

    def asked(self, data: DataT) -> pd.DataFrame | None:
        """Return the rows to predict that the data registry holds, None where it holds none."""
        ...

    def naive(self, predictions: pd.DataFrame, data: DataT) -> Values:
        """Return what a naive prediction of the same rows would be; NaN where there is none.

        :param predictions: keys and ``ForecastOrigin``
        :return: (rows,)
        """
        ...

    def members(self, config: ConfigT_contra) -> Sequence[str]:
        """Return the names of what is trained on its own."""
        ...

    def prepare(self, run: RetrainRun, config: ConfigT_contra, scratch: Path) -> Mapping[str, Any]:
        """Make what all members train on, and return what the step prints."""
        ...

    def train(
        self, run: RetrainRun, config: ConfigT_contra, member: str, member_run: str, scratch: Path
    ) -> TrainedMember:
        """Train a member, as it is served and without the holdout.

        :param member_run: id of the member's nested MLflow run
        """
        ...

    def combine(self, run: RetrainRun, config: ConfigT_contra, scratch: Path) -> Mapping[str, Any]:
        """Make one model of the members, and return what the step prints."""
        ...

    def build(self, run: RetrainRun, config: ConfigT_contra, data: DataT, scratch: Path) -> Package:
        """Assemble the version."""
        ...
