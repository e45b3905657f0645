"""Where the pages get what they show: MLflow, asked in one thread, with short limits and a short memory."""

import asyncio
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk.exceptions import AirflowNotFoundException

from include.lifecycle.config import LifecycleConfig, load_lifecycle_config
from include.lifecycle.errors import BadInputError, LedgerDamagedError, ModelNotFoundError, RetrainError
from include.lifecycle.text import one_line
from include.retraining.monitor.config import DASHBOARD
from model_registry.hooks import LIMITS_OF_A_PERSON as LIMITS
from model_registry.hooks import MLflowRegistryHook
from model_registry.witness import ServerWitness

if TYPE_CHECKING:
    from include.lifecycle.registry import ModelRegistry
    from include.lifecycle.summary import Overview, Unreadable

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
READING_SECONDS = 15.0
"""For the list: each model costs a few requests. Those that are left then are named, and read on their own page."""


class PageError(Exception):
    """What the page says instead of its content: one sentence.

    :param status: HTTP status
    :param sentence: what is wrong and what to do
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


UNKNOWN_MODEL = "There is no model of this name with a promotion ledger, or you may not see it."


class Source:
    """Overviews of models.

    One thread does all the reading: MLflow's client takes its credentials from the environment of the process.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model-pages")
        self._memory: dict[tuple[str | int, ...], tuple[float, Any]] = {}

    async def models(self) -> "list[Overview | Unreadable]":
        """Return every model that has a ledger, and the configured one.

        :raises PageError: when it is not even known which there are
        """
        found: list[Overview | Unreadable] = await self._ask(("models",), _read_all)
        return found

    async def model(self, name: str) -> "Overview":
        """Return one model.

        :raises PageError: when it cannot be read
        """
        found: Overview = await self._ask(("model", name), lambda: _read_one(name))
        return found

    async def review(self, name: str, version: int) -> str:
        """Return the page of a version's review, once it is what the ledger says was shown.

        :raises PageError: when there is none, or it was changed
        """
        found: str = await self._ask(("review", version, name), lambda: _read_review(name, version))
        return found

    async def dashboard(self, name: str) -> str:
        """Return the page of the newest night of a model's monitoring.

        :raises PageError: when there is none
        """
        found: str = await self._ask(("dashboard", name), lambda: _read_dashboard(name))
        return found

    async def _ask(self, key: tuple[str | int, ...], read: Callable[[], Any]) -> Any:
        await asyncio.to_thread(_import_mlflow)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, lambda: self._remembered(key, read))
        try:
            found = await asyncio.wait_for(work, PATIENCE_SECONDS)
        except TimeoutError:
            raise PageError(504, f"MLflow gave no answer within {PATIENCE_SECONDS:.0f} s: try again later.") from None
        if isinstance(found, PageError):
            raise PageError(found.status, found.sentence)
        return found

    def _remembered(self, key: tuple[str | int, ...], read: Callable[[], Any]) -> Any:
        """Return what was read in the last seconds, a failure too, so that those who queue do not wait in turn."""
        now = time.monotonic()
        self._memory = {name: kept for name, kept in self._memory.items() if now - kept[0] < REMEMBERED_SECONDS}
        if key not in self._memory:
            found = told(read)
            self._memory[key] = (time.monotonic(), found)
        return self._memory[key][1]


def told(read: Callable[[], Any]) -> Any:
    """Return what ``read`` returns, or the ``PageError`` that says why not."""
    from mlflow.exceptions import MlflowException

    try:
        return read()
    except PageError as error:
        return error
    except AirflowNotFoundException:
        return PageError(503, "The Airflow connection that the configuration names for MLflow is not defined.")
    except BadInputError as error:  # a configuration or a ledger that somebody has to mend
        return PageError(503, one_line(str(error), 500))
    except (MlflowException, RetrainError) as error:
        log.warning("MLflow could not be read for the page of the models: %s", one_line(str(error), 1000))
        if getattr(error, "error_code", None) in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            return PageError(503, "MLflow refuses the user of the Airflow connection: check login and permissions.")
        return PageError(503, "MLflow does not answer: try again later. The API server's log says more.")
    except Exception:
        log.exception("The page of the models could not be made")
        return PageError(500, "The page could not be made: the API server's log says why.")


def _import_mlflow() -> None:
    """Import MLflow's client, which takes seconds the first time: that is no sign that the server is away."""
    importlib.import_module("include.lifecycle.overview")


@dataclass(frozen=True)
class Opened:
    """A registry that can be read, and what the configuration says of one of its models.

    :param objection: why nothing of that model is promoted through the connection; empty where something is
    """

    registry: "ModelRegistry"
    config: LifecycleConfig
    ui_url: str
    objection: str = ""

    def names(self) -> set[str]:
        """Return the models that a page exists for."""
        from include.lifecycle.overview import known_models

        return {self.config.model, *known_models(self.registry)}

    def overview(self, name: str) -> "Overview | None":
        """Return one of them, None when the registry has neither the model nor its ledger."""
        from include.lifecycle.overview import overview

        policy = self.config.approval.policy if name == self.config.model else None
        timezone = self.config.schedule.timezone
        try:
            found = overview(self.registry, name, policy=policy, timezone=timezone, ui_url=self.ui_url)
        except ModelNotFoundError:
            return None
        objections = (self.objection,) if self.objection and name == self.config.model else ()
        return replace(found, warnings=(*objections, *found.warnings))

    def card(self, name: str, deadline: float) -> "Overview | Unreadable | None":
        """Return what the list shows of one of them: why, where it cannot be read, and the others all the same.

        :param deadline: on the monotonic clock; past it nothing more is read
        """
        from include.lifecycle.overview import registered_by
        from include.lifecycle.summary import Unreadable

        if time.monotonic() > deadline:
            return Unreadable(name, "Not read: MLflow was too slow for all models. Its own page reads it alone.")
        found = told(lambda: self.overview(name))
        if not isinstance(found, PageError):
            return cast("Overview | None", found)
        dags = told(lambda: registered_by(self.registry.versions(name), ()))
        return Unreadable(name, found.sentence, frozenset() if isinstance(dags, PageError) else dags)


def _read_all() -> "list[Overview | Unreadable]":
    with _opened() as opened:
        deadline = time.monotonic() + READING_SECONDS
        # the configured one first: no number of other names keeps it from being read
        names = sorted(opened.names(), key=lambda name: (name != opened.config.model, name))
        found = [opened.card(name, deadline) for name in names]
    return sorted((item for item in found if item is not None), key=lambda item: item.model)


def _read_one(name: str) -> "Overview":
    with _opened() as opened:
        found = opened.overview(name) if name in opened.names() else None
    if found is None:
        raise PageError(404, UNKNOWN_MODEL)
    return found


def _read_review(name: str, version: int) -> str:
    from include.lifecycle.stored_file import read_stored

    with _opened() as opened:
        if name not in opened.names():
            raise PageError(404, UNKNOWN_MODEL)
        review = opened.registry.ledger(name).read().review(version)
        if review is None:
            raise PageError(404, f"Version {version} was not reviewed.")
        try:
            return read_stored(opened.registry.client, *review.artifact, review.page).decode()
        except LedgerDamagedError as error:
            sentence = f"The review of version {version} is not shown: {one_line(str(error))}. Clear the task `review`"
            raise PageError(410, f"{sentence} to make it anew.") from error


def _read_dashboard(name: str) -> str:
    from include.lifecycle.stored_file import newest_artifact

    with _opened() as opened:
        if name != opened.config.model:
            raise PageError(404, "No monitoring is configured for this model.")
        page = newest_artifact(opened.registry.client, opened.config.monitoring_experiment, name, DASHBOARD)
    if page is None:
        raise PageError(404, "No night was judged yet: the DAG of the monitoring makes this page.")
    return page.decode("utf-8", errors="replace")


@contextmanager
def _opened() -> Iterator[Opened]:
    config = load_lifecycle_config()
    hook = MLflowRegistryHook(config.connections.mlflow)
    try:
        server = hook.server
    except ValueError as error:
        raise PageError(503, f"MLflow cannot be reached: {one_line(str(error), 500)}.") from error
    with hook.registry(limits=LIMITS, witness=ServerWitness(hook.mlflow_conn_id)) as registry:
        yield Opened(registry, config, server.ui_url, hook.objection(config.approval.policy))
