"""Retention: which versions of a model are kept, and the deletion of the others.

What is kept and why, ``_reasons`` says; the rest of None and Archived may go. The ledger stays, and each deletion is an
event in it.

A deletion is made under the promotion lock, where the rules are applied once more: a rollback that comes first
keeps its version, one that comes later is told that the version is gone. The order: ``begin`` with the intent, which
names the logged model and the run, the version, ``end`` with the event, which names them too; then, without the lock,
the files. A process killed in between leaves what the next run completes: from the intent the event, from the event
the files.

MLflow deletes a version for good. Of what it was made from, the logged model's files are deleted here and the
logged model marked as deleted, which ``mlflow gc`` removes; the artifacts of the retrain's run and of its nested
runs go as well when no other version was made from it. The runs stay: parameters, metrics and tags are small, and
they are the record of the training.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from include.lifecycle import tags as tag
from include.lifecycle.config.models import RetentionConfig
from include.lifecycle.errors import ReportedError
from include.lifecycle.ledger.entries import Intent
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import former_champions
from include.lifecycle.ledger.lock import HeldLock
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.moves.integrity import logged_model_id
from include.lifecycle.moves.reconcile import DELETED
from include.lifecycle.registry.versions import VersionCatalog, VersionInfo, missing, numbers
from include.lifecycle.rules.decisions import Decision, time_of, utc_now
from include.lifecycle.stages import PRODUCTION, STAGING
from include.lifecycle.untrusted_text import one_line

log = logging.getLogger(__name__)

RETENTION_REASON = "retention: nothing uses it any more"
MODEL_ID = "model_id"
RUN_ID = "run_id"
"""Names under which the event of a deletion keeps what belonged to the version alone."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a version, and why.

    :param why: why it is kept; empty for one that may go
    """

    info: VersionInfo
    why: str = ""

    @property
    def kept(self) -> bool:
        """Whether the version stays."""
        return bool(self.why)


@dataclass(frozen=True)
class Retention:
    """What a run of the retention found and did.

    :param verdicts: every version, newest number first
    :param deleted: versions that were deleted; empty for a dry run
    :param completed: versions deleted by an earlier run that was interrupted, completed by this one
    """

    verdicts: Sequence[Verdict]
    deleted: tuple[int, ...] = ()
    completed: tuple[int, ...] = ()


def judge(config: RetentionConfig, state: LedgerState, versions: Sequence[VersionInfo], now: datetime) -> list[Verdict]:
    """Return what becomes of each version; a pure function.

    :param config: what is kept
    :param versions: every version, with its aliases
    """
    former = former_champions(state.events, state.production, {info.version for info in versions})
    former = former[: config.keep_champions]
    since = now - timedelta(days=config.keep_days)
    return [Verdict(info, next(_reasons(info, state, former, since), "")) for info in versions]


def _reasons(info: VersionInfo, state: LedgerState, former: Sequence[int], since: datetime) -> Iterator[str]:
    if info.stage in (PRODUCTION, STAGING):
        yield f"it is in {info.stage}"
    if info.version == state.production:
        yield "the promotion ledger has it in Production"
    if info.aliases:
        yield f"it has the alias {', '.join(info.aliases)}"
    if info.version in former:
        yield f"it is one of the last {len(former)} former Production versions"
    if info.version in state.interrupted(with_holder=True):
        yield "a promotion of it is under way or was interrupted"
    if info.created >= since:
        yield f"it was registered on {info.created:%Y-%m-%d}"
    named = [event.time for event in state.events if info.version in (event.version, *event.archived)]
    if named and max(named) >= since:
        yield f"the promotion ledger names it on {max(named):%Y-%m-%d}"
    if (asked := time_of(info.tags.get(tag.ROLLBACK_REQUESTED))) and asked >= since:
        yield f"a rollback to it was asked for on {asked:%Y-%m-%d}"


class RetentionRunner:
    """Applies the retention to one model.

    :param config: what is kept
    """

    def __init__(self, client: MlflowClient, ledger: PromotionLedger, config: RetentionConfig) -> None:
        self.client = client
        self.ledger = ledger
        self.model = ledger.model
        self.config = config
        self.catalog = VersionCatalog(client)

    def run(self, decision: Decision, *, delete: bool = False) -> Retention:
        """Judge every version and, where told to, delete those that may go; else nothing is changed.

        :param decision: who asked for it; its reason goes into the ledger
        :raises ModelNotFoundError: when there is no such model
        :raises LedgerDamagedError: when something is to be deleted by a ledger that was changed
        """
        state = self.ledger.read()
        verdicts = self._verdicts(state)
        if not delete:
            return Retention(verdicts)
        self.ledger.require_intact(state, [verdict.info for verdict in verdicts])
        completed = self._complete(decision)
        doomed = sorted((verdict.info for verdict in verdicts if not verdict.kept), key=lambda info: info.version)
        deleted = tuple(info.version for info in doomed if self._delete(info, decision))
        return Retention(verdicts, deleted, completed)

    def _verdicts(self, state: LedgerState) -> list[Verdict]:
        return judge(self.config, state, self.catalog.all(self.model), utc_now())

    def _delete(self, info: VersionInfo, decision: Decision) -> bool:
        """Delete a version unless something keeps it by now; return whether it was deleted."""
        version, owned = info.version, self._owned(info)
        evidence = self.ledger.read().evidence(version, info.tags)
        intent = Intent(version, info.stage, DELETED, decision.dag_id, decision.run_id, {**evidence, **owned})
        with self.ledger.lock(intent) as held:
            verdict = next((item for item in self._verdicts(held.state) if item.info.version == version), None)
            if verdict is None or verdict.kept:
                log.info("Version %d of %s stays: %s", version, self.model, verdict.why if verdict else "it is gone")
                return False
            if self._owned(verdict.info) != owned:
                log.info("Version %d of %s stays: another was made from it just now", version, self.model)
                return False
            held.before_write()
            self.client.delete_model_version(self.model, str(version))
            event = self._enter(held, intent, decision)
        log.info("Deleted version %d of %s (promotion ledger: entry %s)", version, self.model, event.entry)
        self._delete_files(event)
        return True

    def _owned(self, info: VersionInfo) -> dict[str, str]:
        """Return what was made for this version alone: its logged model, its run."""
        others = [
            item for item in self._relatives(info) if (item.name, int(item.version)) != (info.model, info.version)
        ]
        owned, model_id = {}, logged_model_id(info.source)
        if model_id and all(item.source != info.source for item in others):
            owned[MODEL_ID] = model_id
        if info.run_id and not others:
            owned[RUN_ID] = info.run_id
        return owned

    def _relatives(self, info: VersionInfo) -> list[ModelVersion]:
        """Return the versions of any model that the same run registered, or that have the same source."""
        quote = '"' if "'" in info.source else "'"
        same = {f"source_path={quote}{info.source}{quote}": info.source, f"run_id='{info.run_id}'": info.run_id}
        return [item for query, known in same.items() if known for item in self.client.search_model_versions(query)]

    def _enter(self, held: HeldLock, intent: Intent, decision: Decision) -> Event:
        event = Event.of(self.model, intent.version, intent.from_stage or "unknown", DELETED, decision)
        event = replace(event, evidence=dict(intent.evidence))
        return held.end(held.state.production, [event]).events[0]

    def _complete(self, decision: Decision) -> tuple[int, ...]:
        """Complete what an earlier run was interrupted in: events that are missing, files that are left."""
        lost = self._interrupted()
        for intent in lost:
            intent = replace(intent, dag_id=decision.dag_id, run_id=decision.run_id, evidence=self._still(intent))
            with self.ledger.lock(intent) as held:
                self._enter(held, intent, decision)
        events = [event for event in self.ledger.read().events if event.to_stage == DELETED]
        left = [event for event in events if self._has_files(event)]
        for event in left:
            self._delete_files(event)
        return tuple(sorted({intent.version for intent in lost} | {event.version for event in left}))

    def _interrupted(self) -> list[Intent]:
        """Return the deletions that were begun and never ended, of versions that are gone."""
        begun = self.ledger.read().interrupted(DELETED, with_holder=True)
        return [begun[version] for version in sorted(begun.keys() - self.catalog.stages(self.model).keys())]

    def _still(self, intent: Intent) -> dict[str, str]:
        """Return an intent's evidence, without what another version was made from since."""
        source = f"models:/{intent.evidence[MODEL_ID]}" if MODEL_ID in intent.evidence else ""
        run_id = intent.evidence.get(RUN_ID, "")
        still = self._owned(VersionInfo(self.model, intent.version, intent.from_stage, run_id, source=source))
        return {name: text for name, text in intent.evidence.items() if name not in (MODEL_ID, RUN_ID) or name in still}

    def _has_files(self, event: Event) -> bool:
        """Whether files of a deleted version are left: its logged model is marked as deleted last."""
        try:
            if MODEL_ID in event.evidence:
                self.client.get_logged_model(event.evidence[MODEL_ID])
                return True
            if run_id := event.evidence.get(RUN_ID):
                return any(self._repository(location).list_artifacts() for location in self._runs(run_id))
        except MlflowException as error:
            if not missing(error):
                raise
        return False

    def _delete_files(self, event: Event) -> None:
        """Delete the files of a deleted version, as its event names them; what is gone already is no error.

        :raises ReportedError: when the artifact store does not delete: the next run tries again
        """
        try:
            if run_id := event.evidence.get(RUN_ID):
                for run in self._runs(run_id):
                    self._delete_at(run)
            if model_id := event.evidence.get(MODEL_ID):
                self._delete_at(str(self.client.get_logged_model(model_id).artifact_location))
                self.client.delete_logged_model(model_id)
        except (MlflowException, OSError) as error:
            raise ReportedError(
                f"Version {event.version} of {self.model!r} is deleted, and not all of its files:"
                f" {one_line(str(error))}; the next run goes on"
            ) from error

    def _runs(self, run_id: str) -> list[str]:
        """Return where the artifacts of a run and of its nested runs are."""
        run = self.client.get_run(run_id)
        nested = self.client.search_runs([run.info.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'")
        return [str(item.info.artifact_uri) for item in (run, *nested)]

    def _repository(self, location: str) -> ArtifactRepository:
        return get_artifact_repository(location, tracking_uri=self.client.tracking_uri)

    def _delete_at(self, location: str) -> None:
        repository = self._repository(location)
        if repository.list_artifacts():
            repository.delete_artifacts()  # type: ignore[no-untyped-call]


def report(done: Retention, *, delete: bool) -> list[str]:
    """Return what a retention found and did, one sentence a line."""
    lines = [
        f"Version {verdict.info.version} ({verdict.info.stage}) stays: {verdict.why}"
        for verdict in done.verdicts
        if verdict.kept
    ]
    for verdict in done.verdicts:
        if not verdict.kept:
            became = "deleted" if verdict.info.version in done.deleted else ("stays" if delete else "would be deleted")
            lines.append(f"Version {verdict.info.version} ({verdict.info.stage}) {became}")
    if done.completed:
        lines.append(f"Completed what was interrupted before: version {numbers(done.completed)}")
    return lines or ["The model has no version"]
