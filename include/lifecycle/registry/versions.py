"""Model versions as the registry shows them, and how to find one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import ModelNotFoundError, VersionNotFoundError
from include.lifecycle.stages import PRODUCTION
from include.lifecycle.tags import QUICK, TRUE
from include.lifecycle.untrusted_text import one_line

SHOWN = 20
"""How many names or numbers an error lists."""


@dataclass(frozen=True)
class VersionInfo:
    """A version of a registered model.

    :param run_id: the MLflow run that registered it
    :param created: in UTC
    :param source: where its artifacts are
    """

    model: str
    version: int
    stage: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    description: str = ""
    source: str = ""

    @property
    def named(self) -> str:
        """The version as a sentence begins with it."""
        return f"Version {self.version} of {self.model!r}"

    @property
    def quick(self) -> bool:
        """Whether a quick run trained it: a try, and no release."""
        return self.tags.get(QUICK) == TRUE

    @classmethod
    def of(cls, found: ModelVersion) -> Self:
        """Return what MLflow's version holds; a search result carries no aliases."""
        return cls(
            model=found.name,
            version=int(found.version),
            stage=found.current_stage or "None",
            run_id=found.run_id or "",
            tags=dict(found.tags or {}),
            aliases=tuple(sorted(found.aliases)),
            created=datetime.fromtimestamp((found.creation_timestamp or 0) / 1000, UTC),
            description=found.description or "",
            source=found.source or "",
        )


class VersionCatalog:
    """Reads a registry's versions; every error says what exists."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def all(self, model: str, stage: str | None = None) -> list[VersionInfo]:
        """Return the versions of a model, newest number first.

        :raises ModelNotFoundError: when there is no such model
        """
        aliases: dict[int, list[str]] = {}
        for alias, version in self.aliases(model).items():
            aliases.setdefault(version, []).append(alias)
        found = [replace(item, aliases=tuple(sorted(aliases.get(item.version, [])))) for item in self.search(model)]
        return [item for item in found if stage is None or item.stage == stage]

    def search(self, model: str) -> list[VersionInfo]:
        """Return the versions of a model, newest number first, without aliases; none when it does not exist."""
        return sorted((VersionInfo.of(item) for item in self._search(model)), key=lambda item: -item.version)

    def stages(self, model: str) -> dict[int, str]:
        """Return the stage of every version: one query, which MLflow answers from one state."""
        return {int(item.version): item.current_stage or "None" for item in self._search(model)}

    def get(self, model: str, version: int) -> VersionInfo:
        """Return a version.

        :raises VersionNotFoundError: when the model has no such version
        :raises ModelNotFoundError: when there is no such model
        """
        try:
            return VersionInfo.of(self.client.get_model_version(model, str(version)))
        except MlflowException as error:
            if not missing(error):
                raise
            numbers = [item.version for item in self.all(model)]
            raise VersionNotFoundError(
                f"Model {model!r} has no version {version}: {_existing(sorted(numbers))}"
            ) from error

    def aliases(self, model: str) -> dict[str, int]:
        """Return the version of every alias.

        :raises ModelNotFoundError: when there is no such model
        """
        try:
            return {alias: int(version) for alias, version in self.client.get_registered_model(model).aliases.items()}
        except MlflowException as error:
            if not missing(error):
                raise
            raise ModelNotFoundError(self._no_model(model)) from error

    def _search(self, model: str) -> list[ModelVersion]:
        quote = '"' if "'" in model else "'"
        return list(pages(partial(self.client.search_model_versions, f"name={quote}{model}{quote}")))

    def _no_model(self, model: str) -> str:
        names = sorted(item.name for item in self.client.search_registered_models(max_results=SHOWN))
        exist = f"registered are {', '.join(names)}" if names else "none is registered"
        return f"MLflow has no registered model {one_line(model, 100)!r}: {exist}"


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a search of MLflow's client finds, page by page.

    :param search: takes the ``page_token``
    """
    token: str | None = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def missing(error: MlflowException) -> bool:
    """Whether MLflow says that what was asked for does not exist."""
    return bool(error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"))


def nobody_in(model: str, stage: str, versions: Sequence[VersionInfo]) -> str:
    """Return the sentence for a stage that holds no version of a model."""
    if not versions:
        return f"No version of {model!r} is in {stage}: the model has no version yet"
    others = sorted(versions, key=lambda item: item.version)[-SHOWN:]
    listed = ", ".join(f"{item.version} ({item.stage})" for item in others)
    return f"No version of {model!r} is in {stage}: versions in other stages: {listed}"


def in_production(stages: Mapping[int, str]) -> list[int]:
    """Return the versions in Production, lowest first."""
    return sorted(version for version, stage in stages.items() if stage == PRODUCTION)


def numbers(versions: Sequence[int]) -> str:
    """Return numbers as a person lists them: ``1, 2 and 3``."""
    shown = [str(version) for version in versions]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _existing(versions: Sequence[int]) -> str:
    if not versions:
        return "it has none yet"
    if len(versions) == 1:
        return f"only version {versions[0]} exists"
    shown = versions[-SHOWN:]
    return f"versions {'… ' if len(versions) > SHOWN else ''}{numbers(shown)} exist"
