"""``ModelRegistry``: the one door to a registry for everything that reads or moves model versions."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.config.models import RetentionConfig
from include.lifecycle.errors import (
    BadInputError,
    LedgerDamagedError,
    ReportedError,
    TransitionRefusedError,
    VersionNotFoundError,
)
from include.lifecycle.ledger.anchors import Anchor
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import Term, live_at, previous_champion
from include.lifecycle.ledger.promotion_ledger import RUN_ENTRIES, PromotionLedger, Witness
from include.lifecycle.ledger.reviewed import REVIEWED, Reviewed
from include.lifecycle.ledger.statements import ASKED, DECIDED, VALIDATED, Ask, Decided, Validation
from include.lifecycle.moves.checks import Request, check_rollback, overtaken_by
from include.lifecycle.moves.integrity import ArtifactIntegrity, IntegrityMode
from include.lifecycle.moves.promotion import Promoter, Reconciliation, Transition
from include.lifecycle.moves.retention import Retention, RetentionRunner
from include.lifecycle.moves.writes import note_rolled_back
from include.lifecycle.registry.links import version_url
from include.lifecycle.registry.versions import VersionCatalog, VersionInfo, nobody_in, numbers
from include.lifecycle.rules.decisions import Channel, Decision, Outcome, utc_now
from include.lifecycle.stages import NONE, PRODUCTION, STAGING, parse_stage
from include.lifecycle.untrusted_text import one_line

log = logging.getLogger(__name__)

MAX_NOTE = 1000
"""Characters of a note that a version's tag keeps."""


class ModelRegistry:
    """A registry of models and its promotion ledgers.

    :param tracking_uri: instead of a client: where MLflow is; by default what the environment says
    :param lock_ttl: seconds after which a silent holder of the lock counts as dead; by default see ``limits``
    :param integrity: ``required`` moves nothing to Production whose artifacts have no recorded digests
    :param witness: where anchors of a model's ledger are kept beside MLflow and the environment's file
    :param run_entries: entries of a ledger after which another MLflow run goes on
    """

    def __init__(
        self,
        client: MlflowClient | None = None,
        tracking_uri: str | None = None,
        *,
        lock_ttl: float | None = None,
        integrity: IntegrityMode = "when_recorded",
        witness: Witness | None = None,
        run_entries: int = RUN_ENTRIES,
    ) -> None:
        if client is not None and tracking_uri is not None:
            raise ValueError("ModelRegistry takes a client or a tracking_uri, not both")
        self._client = client
        self._tracking_uri = tracking_uri
        self._lock_ttl = lock_ttl
        self._integrity: IntegrityMode = integrity
        self._witness = witness
        self._run_entries = run_entries
        self._ledgers: dict[str, PromotionLedger] = {}

    @property
    def client(self) -> MlflowClient:
        """The MLflow client, made when it is first used."""
        if self._client is None:
            self._client = MlflowClient(tracking_uri=self._tracking_uri)
        return self._client

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is."""
        return str(self.client.tracking_uri)

    @property
    def catalog(self) -> VersionCatalog:
        """What is in the registry."""
        return VersionCatalog(self.client)

    @property
    def integrity(self) -> ArtifactIntegrity:
        """Records and checks the digests of artifacts."""
        return ArtifactIntegrity(self.client, self._integrity)

    def ledger(self, model: str) -> PromotionLedger:
        """Return the promotion ledger of a model."""
        if model not in self._ledgers:
            self._ledgers[model] = PromotionLedger(
                self.client, model, ttl=self._lock_ttl, run_entries=self._run_entries, witness=self._witness
            )
        return self._ledgers[model]

    def version(self, model: str, version: int) -> VersionInfo:
        """Return a version of a model.

        :raises VersionNotFoundError: names the versions that exist
        :raises ModelNotFoundError: names the models that exist
        """
        return self.catalog.get(model, version)

    def versions(self, model: str, stage: str | None = None) -> list[VersionInfo]:
        """Return the versions of a model, newest number first.

        :param stage: only those in this stage
        :raises ModelNotFoundError: names the models that exist
        """
        return self.catalog.all(model, parse_stage(stage) if stage is not None else None)

    def download(self, info: VersionInfo, folder: Path) -> Path:
        """Download a version's artifacts, check them against what was registered, and return the folder.

        :param folder: an empty folder
        :raises ArtifactsChangedError: names what was changed, is missing or was added
        """
        return self.integrity.download(info, self.ledger(info.model).read(), folder)

    def production(self, model: str) -> VersionInfo | None:
        """Return the version in Production, the highest number should there be several."""
        return next(iter(self.versions(model, PRODUCTION)), None)

    def resolve(self, model: str, stage: str) -> VersionInfo:
        """Return the newest version in a stage; the log says so when there are several.

        :raises VersionNotFoundError: names the versions in other stages
        """
        stage = parse_stage(stage)
        versions = self.versions(model)
        found = [item for item in versions if item.stage == stage]
        if not found:
            raise VersionNotFoundError(nobody_in(model, stage, versions))
        if len(found) > 1:
            others = numbers(sorted(item.version for item in found[1:]))
            log.warning("%d versions of %s are in %s: taking the newest, %d (not %s)",
                        len(found), model, stage, found[0].version, others)  # fmt: skip
        return found[0]

    def candidate(self, model: str) -> VersionInfo:
        """Return the one version that waits in Staging without a decision, for who names no number.

        :raises VersionNotFoundError: when none waits
        :raises BadInputError: when several do, listing them
        """
        versions, state = self.versions(model), self.ledger(model).read()
        undecided = [item for item in versions if state.standing(item.version) is None]
        waiting = [item for item in undecided if item.stage == STAGING and state.approval(item.version) is None]
        if not waiting:
            raise VersionNotFoundError(nobody_in(model, f"{STAGING} without a decision", versions))
        if len(waiting) > 1:
            listed = numbers(sorted(item.version for item in waiting))
            raise BadInputError(f"Versions {listed} of {model!r} wait in Staging: name one with --version")
        return waiting[0]

    def transition(
        self, model: str, version: int, to_stage: str, decision: Decision, *, require_validation: bool = True
    ) -> Transition:
        """Move a version to a stage: None to Staging, Staging to Production, Staging to None (superseded).

        Where the version is there already by an earlier move, that move is returned (``changed`` is False)
        and nothing is recorded: a retried task makes no second event.

        :param require_validation: refuse a version of which the ledger does not know that it passed its gate
        :raises TransitionRefusedError: when the life cycle does not know the move, or evidence is missing
        :raises VersionNotFoundError: when there is no such version
        """
        request = Request(parse_stage(to_stage), decision, require_validation)
        return self._promoter(model).move(version, request)

    def stage(self, model: str, version: int, decision: Decision | None = None) -> Transition:
        """Move a version that passed its gate to Staging; archives nothing."""
        return self.transition(
            model, version, STAGING, decision or Decision(Outcome.APPROVED, reason="passed its gate")
        )

    def supersede(self, model: str, *, dag_id: str | None = None, run_id: str | None = None) -> list[Transition]:
        """Empty Staging but for its newest version: older ones go back to None, and their waits end.

        A version without a decision is tagged as superseded; one that was rejected or expired keeps that
        decision. A version that is approved and waits for its promotion stays, and so does one that was
        promoted meanwhile. Whoever is interrupted in between calls it again.

        :param dag_id: Airflow DAG whose run brought the newest version
        :return: what was moved
        :raises ModelNotFoundError: when there is no such model
        """
        staged, moved = self.versions(model, STAGING), []
        for item in reversed(staged[1:]):
            reason = f"version {staged[0].version} reached Staging"
            decision = Decision(Outcome.SUPERSEDED, reason=reason, dag_id=dag_id, run_id=run_id)
            try:
                moved.append(self.transition(model, item.version, NONE, decision))
            except ReportedError as error:
                if self.version(model, item.version).stage == STAGING and not isinstance(error, TransitionRefusedError):
                    raise
                log.info("Not superseded: %s", error)
        return moved

    def promote(
        self,
        model: str,
        version: int,
        decision: Decision,
        *,
        require_validation: bool = True,
        ask: str = "",
        require_review: bool = False,
    ) -> Transition:
        """Move a version from Staging to Production; the one there is archived by the same call.

        :param ask: the ask on which it was approved; empty for who decides by making this call
        :param require_review: refuse a version of which the ledger knows no review
        """
        request = Request(PRODUCTION, decision, require_validation, ask=ask, require_review=require_review)
        return self._promoter(model).move(version, request)

    def rollback(self, model: str, version: int, decision: Decision, *, ask: str = "") -> Transition:
        """Put a version back that the ledger shows in Production; the one there is archived, tagged with the reason.

        :raises TransitionRefusedError: when the version was never in Production
        """
        request = Request(PRODUCTION, decision, require_validation=False, rollback=True, ask=ask)
        done = self._promoter(model).move(version, request)
        note_rolled_back(self.client, done.event)
        return done

    def prepare_rollback(self, model: str, version: int, folder: Path) -> VersionInfo:
        """Check that a version can come back and download it into an empty folder; retention keeps it for a while.

        :raises TransitionRefusedError: when the version was never in Production, or its artifacts were changed
        """
        info, state = self.version(model, version), self.ledger(model).read()
        check_rollback(state, info)
        self.client.set_model_version_tag(model, str(version), tag.ROLLBACK_REQUESTED, utc_now().isoformat())
        self.integrity.download(info, state, folder)
        return info

    def reject(self, model: str, version: int, decision: Decision) -> Decision:
        """Record the rejection of a version in Staging, which stays there.

        :return: the decision that holds: the first one
        :raises TransitionRefusedError: when the version is not in Staging
        """
        if decision.outcome is not Outcome.REJECTED:
            raise ValueError(f"reject needs the outcome rejected, found {decision.outcome}")
        return self.record_decision(model, version, decision)

    def record_decision(self, model: str, version: int, decision: Decision) -> Decision:
        """Record a decision that moves nothing (rejected, expired, superseded, or approved and to be promoted later).

        :return: the decision that holds: the first one
        :raises TransitionRefusedError: when the version does not wait for a decision any more
        """
        return self._promoter(model).record(version, decision)

    def validated(self, validation: Validation) -> None:
        """Enter in the ledger what a gate said of a version; the last word counts."""
        self.ledger(validation.model).state(VALIDATED, validation.to_dict())

    def reviewed(self, review: Reviewed) -> Transition | None:
        """Enter what a review said of a version; return the move from Staging to None of one that it holds back."""
        self.ledger(review.model).state(REVIEWED, review.to_dict())
        info = self.version(review.model, review.version)
        tags = {tag.REVIEW_OUTCOME: review.verdict, tag.REVIEW_HEADLINE: review.headline}
        if review.failed:
            tags[tag.RETRAIN_REQUIRED] = tag.TRUE
        for key, value in tags.items():
            self.client.set_model_version_tag(review.model, str(review.version), key, one_line(value, MAX_NOTE))
        if not review.failed or info.stage != STAGING:
            return None
        reason = f"held back by its review: {', '.join(review.titles('fail'))}"
        decision = Decision(
            Outcome.REJECTED, reason=reason, door=Channel.AUTOMATIC, dag_id=review.dag_id, run_id=review.run_id
        )
        return self.transition(review.model, review.version, NONE, decision)

    def ask(self, ask: Ask) -> Ask:
        """Enter what a task asks, unless an earlier try of it asked the same; return what a decision is made on."""
        ledger = self.ledger(ask.model)
        before = ledger.read().statements.last_ask(ask.place, ask.purpose)
        if before is not None and ask.continues(before):
            if before.instance == ask.instance:
                return before
            ask = replace(before, instance=ask.instance)
        ledger.state(ASKED, ask.to_dict())
        return ask

    def decide(self, model: str, decided: Decided) -> Anchor | None:
        """Enter a decision on an ask in the ledger; whether it is the first on it, which holds, the ledger tells.

        :return: the entry that holds it, None where the ledger had it before
        """
        ledger = self.ledger(model)
        if decided.id in ledger.read().statements.ids:
            return None
        entry = ledger.state(DECIDED, decided.to_dict())
        return Anchor(entry.number, entry.digest)

    def overtaken_by(self, model: str, version: int) -> int | None:
        """Return the newer version that came into Production after this one was approved, None when none did.

        What was moved by hand is entered in the ledger first.
        """
        self.reconcile(model)
        return overtaken_by(self.ledger(model).read(), self.version(model, version))

    def note_refusal(self, model: str, version: int, sentence: str) -> None:
        """Keep on a version when and why the policy refused to promote it, until it is promoted."""
        text = f"{utc_now():%Y-%m-%d %H:%M} UTC: {one_line(sentence, MAX_NOTE)}"
        self.client.set_model_version_tag(model, str(version), tag.PROMOTION_REFUSED, text)

    def note_wait(self, model: str, version: int, until: datetime) -> None:
        """Keep on an approved version until when its promotion waits."""
        self.client.set_model_version_tag(model, str(version), tag.PROMOTION_WAITS_UNTIL, until.isoformat())

    def history(self, model: str, *, whole: bool = False) -> list[Event]:
        """Return every event of a model, oldest first.

        :param whole: read long reasons from their artifacts; one that is gone or changed stays shortened
        :raises ModelNotFoundError: when there is neither such a model nor its ledger
        """
        events = self.ledger(model).read().events
        if not events:
            self.catalog.aliases(model)
        return [self._whole(event) if whole else event for event in events]

    def _whole(self, event: Event) -> Event:
        try:
            return self.ledger(event.model).texts.complete(event)
        except LedgerDamagedError as error:
            log.error("Promotion ledger of %s, entry %s: %s", event.model, event.entry, error)
            return event

    def verify(self, model: str, anchors: Iterable[tuple[int, str]] = ()) -> list[str]:
        """Return what is wrong with a model's ledger, one sentence each; empty when nothing is.

        :param anchors: of entries, kept outside MLflow, beside those that the ledger finds itself
        """
        return self.ledger(model).verify(anchors)

    def live_at(self, model: str, when: datetime) -> Event | None:
        """Return what brought the version into Production that was live at a time with a timezone; None for none."""
        return live_at(self.history(model), when)

    def previous_champion(self, model: str) -> Term | None:
        """Return the term in Production that a rollback would bring back, None when there is none."""
        state = self.ledger(model).read()
        return previous_champion(state.events, state.production, self.catalog.stages(model))

    def reconcile(self, model: str) -> Reconciliation:
        """Repair stages and aliases from the ledger, and enter what was moved from outside."""
        self.catalog.aliases(model)
        return self._promoter(model).reconcile()

    def retention(self, model: str, config: RetentionConfig, decision: Decision, *, delete: bool = False) -> Retention:
        """Say which versions of a model are kept and why and, where told to, delete the others.

        :param config: what is kept
        :param delete: else nothing is changed
        :raises ModelNotFoundError: names the models that exist
        """
        return RetentionRunner(self.client, self.ledger(model), config).run(decision, delete=delete)

    def version_url(self, model: str, version: int) -> str | None:
        """Return the page of a version in MLflow's UI, None when MLflow is not an HTTP server."""
        return version_url(self.tracking_uri, model, version)

    def _promoter(self, model: str) -> Promoter:
        return Promoter(self.client, self.ledger(model), self.integrity)
