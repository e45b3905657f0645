"""The MLflow runs that hold a ledger: found, made, read, and followed by another one when they are full.

The first run's id is found through an experiment whose unique name contains the model's; each later one is named
by the last entry of the run before. That entry is appended like every other, so exactly one process says where
the ledger goes on. A closed run never changes: it is read once in a process.
"""

import json
import logging
from dataclasses import replace
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from include.lifecycle.errors import BadInputError, LedgerGoneError, ReportedError
from include.lifecycle.ledger.anchors import Anchor
from include.lifecycle.ledger.chain import Part, Trust, join, read_part
from include.lifecycle.ledger.keys import KEY_ENV, KEY_FILE_ENV, MAC, Keyring
from include.lifecycle.ledger.state import Account, LedgerState
from include.lifecycle.registry.client import ensure_experiment
from include.lifecycle.registry.stored_run import read_params
from include.lifecycle.registry.versions import missing, pages

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

SEAL_TAG = "promotion_ledger.seal"
"""Tag of the experiment that points to a ledger: up to where it is believed without a keyed digest. Signed itself."""
UNSEALED = "it was written before there was a ledger key: look at it, then take it on trust with `seal-ledger`"

_closed: dict[tuple[str, str, Trust], Part] = {}
"""Closed runs that this process has read, by server and id: a copy of a server has runs of the same ids."""

_accounts: dict[tuple[str, Trust], tuple[tuple[Part, ...], Account]] = {}
"""What the closed runs of a ledger say together, by its first one."""


class LedgerRuns:
    """The runs of one model's ledger.

    :param keyring: the keys that sign its entries
    """

    def __init__(self, client: MlflowClient, model: str, keyring: Keyring | None = None) -> None:
        self.client = client
        self.model = model
        self.keyring = keyring or Keyring()
        self._first: str | None = None
        self._seal: Anchor | None = None

    def open(self) -> str:
        """Return the id of the first run, made when there is none."""
        self._first = self._first or self._find() or self._create()
        return self._first

    def read(self, *, fresh: bool = False) -> LedgerState:
        """Return what the ledger says; an empty state when there is none.

        :param fresh: read the closed runs again as well
        :raises BadInputError: when a run of it is gone, and how to get it back
        """
        self._first = self._first or self._find()
        if self._first is None:
            return LedgerState()
        state = self._read(self._first, Trust(self.model, self.keyring, self._seal), fresh=fresh)
        if not state.foreign or state.entries or self._seal is not None:
            return state
        earlier = self._read(self._first, Trust(self.model), fresh=fresh)
        if all(MAC in entry.content or not entry.kind for entry in earlier.entries):
            return state
        return replace(earlier, problems=(UNSEALED, *earlier.problems), unsealed=True)

    def seal(self) -> Anchor:
        """Take what was written before there was a key on trust, as it is now, and say so in a signed tag.

        :return: up to where
        :raises BadInputError: when there is no key, or nothing that needs a seal
        """
        if not self.keyring:
            raise BadInputError(f"there is no ledger key: set {KEY_ENV} or {KEY_FILE_ENV}")
        state = self.read(fresh=True)
        if not state.unsealed:
            raise BadInputError(f"The promotion ledger of {self.model!r} has nothing that was written without a key")
        wrong = [problem for problem in state.problems if problem != UNSEALED]
        if wrong or state.holder is not None:
            raise BadInputError(
                f"The promotion ledger of {self.model!r} is not taken on trust:"
                f" {wrong[0] if wrong else 'a promotion is under way'}"
            )
        seal = Anchor(state.entries[-1].number, state.head)
        content = self.keyring.sign({"number": seal.entry, "digest": seal.digest}, *self._place(state.ledger_id))
        self._tag_pointer(SEAL_TAG, json.dumps(content, sort_keys=True))
        self._seal = seal
        return seal

    def _read(self, run_id: str, trust: Trust, *, fresh: bool) -> LedgerState:
        parts = [self._part(run_id, trust, 0, None, fresh=fresh)]
        while (following := parts[-1].successor) is not None:
            if any(part.run_id == following for part in parts):
                raise BadInputError(f"The promotion ledger of {self.model!r} turns in a circle: run {following}")
            parts.append(self._part(following, trust, parts[-1].next_number, parts[-1].head, fresh=fresh))
        return join(parts, _account(tuple(parts[:-1]), trust), len(parts) - 1)

    def _place(self, ledger_id: str) -> tuple[str, str, str]:
        return "seal", self.model, ledger_id

    def params(self, run_id: str) -> dict[str, str]:
        """Return the parameters of a run of the ledger.

        :raises BadInputError: when it is gone or deleted, and how to get it back
        """
        try:
            stage, params = read_params(self.client, run_id)
        except MlflowException as error:
            if not missing(error):
                raise
            raise LedgerGoneError(
                f"The promotion ledger of {self.model!r} (MLflow run {run_id}) is gone: restore MLflow's database"
                " from a backup, or begin another one behind its last known entry: `accept-ledger --after ENTRY:DIGEST`"
            ) from error
        if stage != "active":
            raise BadInputError(
                f"The promotion ledger of {self.model!r} was deleted: restore it with"
                f" `mlflow runs restore --run-id {run_id}`"
            )
        return params

    def create(self, first_entry: int) -> str:
        """Make an empty run and return its id.

        :param first_entry: number of the entry that it begins with
        """
        name = f"{self.model} from entry {first_entry}" if first_entry else self.model
        tags: dict[str, Any] = {MLFLOW_RUN_NAME: name, FIRST_ENTRY_TAG: str(first_entry), "mlflow.note.content": NOTE}
        experiment = ensure_experiment(self.client, EXPERIMENT, {"mlflow.note.content": NOTE})
        return str(self.client.create_run(experiment, tags=tags).info.run_id)

    def lead_back(self) -> bool:
        """Let the name lead to the ledger that has entries of the model, where it leads to an empty one or nowhere.

        An experiment can be renamed, and its tag edited, by whoever may edit it; entries that carry the key cannot be
        made.

        :return: whether it leads elsewhere now
        :raises BadInputError: when there are several
        """
        found = self._first_runs() - {self._first}
        if not found:
            return False
        if len(found) > 1:
            raise BadInputError(
                f"MLflow holds {len(found)} promotion ledgers of {self.model!r}, none of them under its name: let the"
                f" tag {RUN_TAG} of the experiment {EXPERIMENT}/{self.model} name the right one of {sorted(found)}"
            )
        self.lead_to(found.pop())
        log.error("The promotion ledger of %s was not where its name led: it is run %s", self.model, self._first)
        return True

    def lead_to(self, run_id: str) -> None:
        """Let the name lead to a run."""
        self.open()
        self._tag_pointer(RUN_TAG, run_id)
        self._first = self._find()

    def _tag_pointer(self, key: str, value: str) -> None:
        if (pointer := self.client.get_experiment_by_name(f"{EXPERIMENT}/{self.model}")) is None:
            raise ReportedError(f"The experiment {EXPERIMENT}/{self.model} is gone: try again")
        self.client.set_experiment_tag(pointer.experiment_id, key, value)

    def _first_runs(self) -> set[str]:
        """Return the runs that hold the first entries of a ledger of the model, wherever they are."""
        trust, found = Trust(self.model, self.keyring), set[str]()
        experiments = [
            item.experiment_id for item in pages(partial(self.client.search_experiments, view_type=ViewType.ALL))
        ]
        for begins in ("params.`00000000` LIKE '%'", f"tags.`{FIRST_ENTRY_TAG}` = '0'"):
            search = partial(self.client.search_runs, experiments, begins, run_view_type=ViewType.ALL)
            for run in pages(search):
                part = read_part(run.info.run_id, run.data.params, trust)
                ours = bool(self.keyring) or run.data.tags.get(MLFLOW_RUN_NAME) == self.model
                if ours and part.entries:
                    found.add(str(run.info.run_id))
        return found

    def discard(self, run_id: str) -> None:
        """Delete a run that another process was faster than; an empty run that stays does no harm."""
        try:
            self.client.delete_run(run_id)
        except MlflowException as error:
            log.debug("The empty run %s stays: %s", run_id, error)

    def _part(self, run_id: str, trust: Trust, first: int, after: str | None, *, fresh: bool) -> Part:
        key = (self.client.tracking_uri, run_id, trust)
        cached = None if fresh else _closed.get(key)
        if cached is not None and (after is None or (cached.first, cached.after) == (first, after)):
            return cached
        part = read_part(run_id, self.params(run_id), trust, first=first, after=after)
        if part.successor is not None and not part.problems:
            while len(_closed) >= MAX_CACHED:
                _closed.pop(next(iter(_closed)), None)
            _closed[key] = part
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
        self._seal = self._seal_of(pointer.tags.get(SEAL_TAG), str(run_id))
        return str(run_id)

    def _seal_of(self, text: str | None, ledger_id: str) -> Anchor | None:
        """Return the seal that a tag holds, None when no key of ours signed it: people can edit tags."""
        try:
            content = json.loads(text or "null")
            if isinstance(content, dict) and self.keyring.accepts(content, *self._place(ledger_id)):
                return Anchor(int(content["number"]), str(content["digest"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return None

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
            raise ReportedError(f"MLflow did not take the promotion ledger of {self.model!r}: try again")
        if found != run_id:
            self.discard(run_id)
        return found


def _account(parts: tuple[Part, ...], trust: Trust) -> Account:
    """Return what closed parts say together, which is not to be added to; what was known of them is not read again."""
    if not parts:
        return Account()
    key = parts[0].run_id, trust
    known, account = _accounts.get(key, ((), Account()))
    # the very same: a part that was read again may say something else
    if len(known) > len(parts) or any(old is not new for old, new in zip(known, parts, strict=False)):
        known, account = (), Account()
    if len(known) < len(parts):
        account = account.copy().add(entry for part in parts[len(known) :] for entry in part.entries)
        while len(_accounts) >= MAX_CACHED:
            _accounts.pop(next(iter(_accounts)), None)
        _accounts[key] = parts, account
    return account
