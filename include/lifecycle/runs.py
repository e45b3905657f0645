"""The MLflow runs that hold a ledger: found, made, read, and followed by another one when they are full.

The first run's id is found through an experiment whose unique name contains the model's; each later one is named
by the last entry of the run before. That entry is appended like every other, so exactly one process says where
the ledger goes on. A closed run never changes: it is read once in a process.
"""

import logging
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from include.lifecycle.chain import Part, join, read_part
from include.lifecycle.entries import LedgerState
from include.lifecycle.errors import BadInputError, RetrainError
from include.lifecycle.versions import missing

log = logging.getLogger(__name__)

EXPERIMENT = "promotion-ledger"
"""Experiment of the runs that hold the ledgers; ``promotion-ledger/MODEL`` points to a model's first run."""
RUN_TAG = "promotion_ledger.run_id"
FIRST_ENTRY_TAG = "promotion_ledger.first_entry"
NOTE = (
    "Append-only record and lock of the promotions of a registered model. Written by the life cycle only:"
    " do not delete or edit."
)
MAX_CACHED = 64

_closed: dict[str, Part] = {}
"""Closed runs that this process has read, by id; ids are unique, whatever the server."""


class LedgerRuns:
    """The runs of one model's ledger.

    :param client: MLflow client
    :param model: registered model
    """

    def __init__(self, client: MlflowClient, model: str) -> None:
        self.client = client
        self.model = model
        self._first: str | None = None

    def find(self) -> str | None:
        """Return the id of the first run, None when there is no ledger yet."""
        self._first = self._first or self._find()
        return self._first

    def open(self) -> str:
        """Return the id of the first run, made when there is none."""
        self._first = self._first or self._find() or self._create()
        return self._first

    def read(self, *, fresh: bool = False) -> LedgerState:
        """Return what the ledger says; an empty state when there is none.

        :param fresh: read the closed runs again as well
        :raises BadInputError: when a run of it is gone, and how to get it back
        """
        run_id = self.find()
        if run_id is None:
            return LedgerState("")
        parts = [self._part(run_id, 0, None, fresh=fresh)]
        while (following := parts[-1].successor) is not None:
            if any(part.run_id == following for part in parts):
                raise BadInputError(f"The promotion ledger of {self.model!r} turns in a circle: run {following}")
            parts.append(self._part(following, parts[-1].next_number, parts[-1].head, fresh=fresh))
        return join(parts)

    def params(self, run_id: str) -> dict[str, str]:
        """Return the parameters of a run of the ledger.

        :raises BadInputError: when it is gone or deleted, and how to get it back
        """
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if not missing(error):
                raise
            raise BadInputError(
                f"The promotion ledger of {self.model!r} (MLflow run {run_id}) is gone: restore MLflow's database"
                f" from a backup, or rename the experiment {EXPERIMENT}/{self.model} to begin a new ledger"
            ) from error
        if run.info.lifecycle_stage != "active":
            raise BadInputError(
                f"The promotion ledger of {self.model!r} was deleted: restore it with"
                f" `mlflow runs restore --run-id {run_id}`"
            )
        return dict(run.data.params)

    def create(self, first_entry: int) -> str:
        """Make an empty run and return its id.

        :param first_entry: number of the entry that it begins with
        """
        name = f"{self.model} from entry {first_entry}" if first_entry else self.model
        tags: dict[str, Any] = {
            MLFLOW_RUN_NAME: name,
            FIRST_ENTRY_TAG: str(first_entry),
            "mlflow.note.content": NOTE,
        }
        return str(self.client.create_run(self._experiment(), tags=tags).info.run_id)

    def discard(self, run_id: str) -> None:
        """Delete a run that another process was faster than; an empty run that stays does no harm."""
        try:
            self.client.delete_run(run_id)
        except MlflowException as error:
            log.debug("The empty run %s stays: %s", run_id, error)

    def _part(self, run_id: str, first: int, after: str | None, *, fresh: bool) -> Part:
        cached = None if fresh else _closed.get(run_id)
        if cached is not None and (after is None or (cached.first, cached.after) == (first, after)):
            return cached
        part = read_part(run_id, self.params(run_id), first=first, after=after)
        if part.successor is not None and not part.problems:
            while len(_closed) >= MAX_CACHED:
                _closed.pop(next(iter(_closed)), None)
            _closed[run_id] = part
        return part

    def _find(self) -> str | None:
        name = f"{EXPERIMENT}/{self.model}"
        pointer = self.client.get_experiment_by_name(name)
        if pointer is None:
            return None
        run_id = pointer.tags.get(RUN_TAG)
        if pointer.lifecycle_stage != "active" or run_id is None:
            raise BadInputError(
                f"The experiment {name!r}, which points to the promotion ledger, was deleted or its tag"
                f" {RUN_TAG} removed: restore it (experiment id {pointer.experiment_id})"
            )
        return str(run_id)

    def _create(self) -> str:
        run_id = self.create(0)
        try:
            # one transaction, one winner for the name: the tag is there as soon as the name is
            self.client.create_experiment(
                f"{EXPERIMENT}/{self.model}", tags={RUN_TAG: run_id, "mlflow.note.content": NOTE}
            )
        except MlflowException as error:
            log.debug("Another process made the ledger, or the answer was lost: %s", error)
        found = self._find()
        if found is None:
            raise RetrainError(f"MLflow did not take the promotion ledger of {self.model!r}: try again")
        if found != run_id:
            self.discard(run_id)
        return found

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                return str(self.client.create_experiment(EXPERIMENT, tags={"mlflow.note.content": NOTE}))
            except MlflowException:
                found = self.client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise BadInputError(
                f"The experiment {EXPERIMENT!r} was deleted: restore it with"
                f" `mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        return str(found.experiment_id)
