"""Moves of a version between stages, made under the model's lock and recorded in its ledger.

The order of effects of every move: lock (``begin``), reconciliation, checks, the stage transition (one call
that archives and promotes), the check that exactly one version is in Production, the aliases ``champion`` and
``previous``, the decision's tags, the version's description, ``end`` with the event. A process killed at any
of these and started again ends with the same stages, aliases, tags and one event: before ``end`` the retry
takes the lock over and goes on where the first stopped, after ``end`` it finds the event and does nothing.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import ReportedError, TransitionRefusedError
from include.lifecycle.ledger.anchors import Anchor
from include.lifecycle.ledger.entries import Intent
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import previous_champion
from include.lifecycle.ledger.lock import FencedError, HeldLock
from include.lifecycle.ledger.promotion_ledger import PromotionLedger
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.moves.checks import Request, check_move, check_recordable
from include.lifecycle.moves.integrity import ArtifactIntegrity
from include.lifecycle.moves.reconcile import Plan, Repair, plan
from include.lifecycle.moves.writes import RegistryWriter
from include.lifecycle.registry.versions import VersionCatalog, VersionInfo, in_production, numbers
from include.lifecycle.rules.decisions import UNKNOWN, Channel, Decision, Outcome, utc_now
from include.lifecycle.stages import ARCHIVED, NONE, PRODUCTION, STAGING

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PEOPLE = (Channel.MARK, Channel.REQUIRED_ACTIONS, Channel.CLI)
"""Doors through which a person decides: only such a decision is recorded when it comes late."""


class MovedMeanwhileError(ReportedError):
    """A version was moved between the check of a move and its lock, and may still be moved from where it is now."""


@dataclass(frozen=True)
class Transition:
    """What a move did.

    :param archived: versions that it archived
    :param event: the ledger's event, with the entry and digest that anchor it
    :param changed: False when the version was there already, by an earlier move
    """

    model: str
    version: int
    from_stage: str
    to_stage: str
    archived: list[int]
    event: Event
    changed: bool = True

    @classmethod
    def of(cls, event: Event, *, changed: bool = True) -> "Transition":
        """Return the transition that an event records."""
        return cls(event.model, event.version, event.from_stage, event.to_stage, list(event.archived), event, changed)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, such as an XCom: the move, who decided it and why, and the ledger's anchor."""
        return {
            "model": self.model,
            "version": self.version,
            "from": self.from_stage,
            "to": self.to_stage,
            "archived": list(self.archived),
            "changed": self.changed,
            "user": self.event.user,
            "reason": self.event.reason,
            "ledger_entry": self.event.entry,
            "ledger_digest": self.event.digest,
        }


@dataclass(frozen=True)
class Reconciliation:
    """What a reconciliation found and did.

    :param production: the version in Production now
    :param repairs: stages that were put back
    :param events: what was moved from outside, entered in the ledger
    :param aliases: aliases that were set; None for one that was removed
    """

    model: str
    production: int | None
    repairs: list[Repair] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    aliases: dict[str, int | None] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.repairs or self.events or self.aliases)


class Promoter:
    """Makes the moves of one model.

    :param integrity: checks the artifacts of what is to come into Production
    """

    def __init__(self, client: MlflowClient, ledger: PromotionLedger, integrity: ArtifactIntegrity) -> None:
        self.ledger = ledger
        self.integrity = integrity
        self.model = ledger.model
        self.catalog = VersionCatalog(client)
        self.writer = RegistryWriter(client, ledger.model)

    def move(self, version: int, request: Request) -> Transition:
        """Move a version to a stage.

        :raises TransitionRefusedError: when the life cycle does not know the move, or evidence is missing
        :raises LedgerDamagedError: when a version is to be promoted and the ledger is not what was written
        """
        info, state = self.catalog.get(self.model, version), self.ledger.writable()
        if state.holder is None and (done := _done(state, info, request.to_stage)):
            if request.to_stage == PRODUCTION and not request.rollback:
                self._note_late(info, request.decision)
            return done
        intent = _intent(state, info, request)
        event = Event.of(self.model, version, intent.from_stage, request.to_stage, request.decision)
        event = replace(event, ask=request.ask)
        if request.to_stage not in (info.stage, intent.from_stage) or info.stage == intent.from_stage:
            self._check(state, info, request)
        # before the lock: the entry that records the move must fit once the move is made
        self.ledger.admit(_shown(state, info, event), request.decision.reason)
        if request.to_stage == PRODUCTION:
            if not request.rollback:
                self.ledger.require_intact(state)
            self.integrity.check(info, state)  # before the lock too: it downloads
        try:
            return self._locked(intent, lambda held: self._move(held, intent, event, request))
        except MovedMeanwhileError:
            # what the next try would be told is told at once
            self._check(self.ledger.read(), self.catalog.get(self.model, version), request)
            raise
        except TransitionRefusedError:
            self._note_late_approval(self.catalog.get(self.model, version), request)
            raise

    def record(self, version: int, decision: Decision) -> Decision:
        """Record a decision that moves nothing, on the version and in the ledger. The first one holds.

        :param decision: rejected, expired, superseded, or approved and to be promoted later
        :return: the decision that holds: an earlier one when there is one
        :raises TransitionRefusedError: when the version does not wait for a decision any more
        """
        info = self.catalog.get(self.model, version)
        if self.ledger.read().standing(version) is None:
            check_recordable(info, decision)
        self.ledger.admit(Event.of(self.model, version, STAGING, STAGING, decision), decision.reason)
        intent = Intent(version, info.stage, info.stage, decision.dag_id, decision.run_id)
        holds = self._locked(intent, lambda held: self._record(held, version, decision))
        if not _same(holds, decision):
            self._note_late(info, decision)
        return holds

    def reconcile(self, fenced: Intent | None = None) -> Reconciliation:
        """Bring stages and aliases to what the ledger says, and enter what was moved from outside.

        :param fenced: a promotion of this process that was taken over and may have written late
        :raises LedgerDamagedError: when the ledger is not what was written: it does not tell what to bring back
        """
        state, versions = self.ledger.writable(), self.catalog.search(self.model)
        self.ledger.require_intact(state, versions)
        stages = {info.version: info.stage for info in versions}
        if state.holder is None and plan(self.model, state, stages, fenced=fenced).is_empty:
            previous = _previous(state.events, state.production, stages)
            if not self.writer.wrong_aliases(state.production, previous):
                return Reconciliation(self.model, state.production)

        def run(held: HeldLock) -> Reconciliation:
            steps = self._apply(held, plan(self.model, held.state, self._stages(), fenced=fenced))
            previous = _previous([*held.state.events, *steps.events], steps.production, self._stages())
            aliases = self.writer.set_aliases(held, steps.production, previous)
            entry = held.end(steps.production, steps.events, steps.repair_records())
            return Reconciliation(self.model, steps.production, list(steps.repairs), list(entry.events), aliases)

        return self._locked(None, run)

    def _check(self, state: LedgerState, info: VersionInfo, request: Request) -> None:
        """Check a move; an approval that an earlier decision forbids is recorded as late."""
        try:
            check_move(state, info, request)
        except TransitionRefusedError:
            self._note_late_approval(info, request)
            raise

    def _note_late_approval(self, info: VersionInfo, request: Request) -> None:
        if request.to_stage != PRODUCTION or request.rollback:
            return
        if self.ledger.read().standing(info.version) is not None:
            self._note_late(info, request.decision)

    def _note_late(self, info: VersionInfo, decision: Decision) -> None:
        """Record a person's decision that comes after the one that holds, once; it changes nothing."""
        state = self.ledger.read()
        if decision.door not in PEOPLE or state.knows(info.version, decision):
            return
        log.warning("A decision on version %d of %s comes late: %s", info.version, self.model, decision.outcome)
        found = Event.of(self.model, info.version, info.stage, info.stage, decision)
        event = replace(_shown(state, info, found), late=True)
        self.ledger.admit(event, decision.reason)

        def run(held: HeldLock) -> None:
            held.end(held.state.production, [] if held.state.knows(info.version, decision) else [event])

        self._locked(Intent(info.version, info.stage, info.stage, decision.dag_id, decision.run_id), run)

    def _stages(self) -> dict[int, str]:
        return self.catalog.stages(self.model)

    def _locked(self, intent: Intent | None, run: Callable[[HeldLock], Result]) -> Result:
        """Run under the lock; whoever was taken over meanwhile puts right what it may have written late."""
        try:
            with self.ledger.lock(intent) as held:
                return run(held)
        except FencedError:
            if intent is not None and intent.to_stage == PRODUCTION:
                try:
                    self.reconcile(fenced=intent)
                except (ReportedError, MlflowException) as error:
                    log.warning("Not reconciled, the next promotion does it: %s", error)
            raise

    def _move(self, held: HeldLock, intent: Intent, event: Event, request: Request) -> Transition:
        version, to_stage, steps = intent.version, request.to_stage, Plan(held.state.production)
        if to_stage == PRODUCTION:
            steps = self._apply(held, plan(self.model, held.state, self._stages(), retried=intent))
        info = self.catalog.get(self.model, version)
        done = _done(held.state, info, to_stage)
        if done is not None or (to_stage == PRODUCTION and steps.production == version):
            adopted = [found for found in steps.events if found.version == version]
            entry = held.end(steps.production, steps.events, steps.repair_records())
            return done or Transition.of(entry.events[-1] if adopted else event, changed=False)
        if request.ask and not request.rollback and (newer := self._moved_since(steps, request.decision, version)):
            held.end(steps.production, steps.events, steps.repair_records())
            raise TransitionRefusedError(
                f"Version {version} of {self.model!r} was approved before version {newer}, which somebody moved to"
                " Production by hand: it stays"
            )
        if info.stage not in (intent.from_stage, to_stage):
            raise MovedMeanwhileError(
                f"Version {version} of {self.model!r} moved from {intent.from_stage} to {info.stage}: try again"
            )
        check_move(held.state, replace(info, stage=intent.from_stage), request)
        if request.ask:  # what was decided since the lock was taken counts as well
            check_move(self.ledger.read(), replace(info, stage=intent.from_stage), request)
        self._write_stage(held, info, to_stage)
        champion = version if to_stage == PRODUCTION else steps.production
        # the time of the move, not of the wait for the lock
        event = replace(_shown(held.state, info, event), time=utc_now())
        if to_stage == PRODUCTION:
            stages = self._stages()
            left = steps.production if stages.get(steps.production or 0) == ARCHIVED else None
            event = replace(event, archived=() if left is None else (left,))
            events = [*held.state.events, *steps.events, event]
            self.writer.set_aliases(held, version, _previous(events, version, stages))
            self.writer.anchor(info, Anchor(held.begin.number, held.begin.digest), self.ledger.keyring)
        if to_stage != STAGING:
            # a rejected or expired version that leaves Staging keeps its decision: the first one holds
            standing = held.state.standing(version) if to_stage == NONE else None
            kept = standing is not None and standing.outcome is not Outcome.APPROVED
            decision = standing.as_decision() if standing is not None and kept else request.decision
            self.writer.record_decision(info, event, decision)
        entry = held.end(champion, [*steps.events, event], steps.repair_records())
        log.info(
            "%s version %d: %s -> %s (promotion ledger: entry %d, digest %s)",
            self.model, version, event.from_stage, to_stage, entry.number, entry.digest,
        )  # fmt: skip
        return Transition.of(entry.events[-1])

    def _moved_since(self, steps: Plan, approval: Decision, version: int) -> int | None:
        """Return the newer version that somebody moved to Production by hand since an approval, if there is one."""
        for event in steps.events:
            if event.is_promotion and event.version > version:
                found = self.catalog.client.get_model_version(self.model, str(event.version))
                if (found.last_updated_timestamp or 0) / 1000 > approval.at.timestamp():
                    return event.version
        return None

    def _write_stage(self, held: HeldLock, info: VersionInfo, to_stage: str) -> None:
        """Move the version unless an earlier try did, and make sure that it is alone in Production."""
        if info.stage != to_stage:
            self.writer.transition(held, info.version, to_stage)
        if to_stage != PRODUCTION or in_production(self._stages()) == [info.version]:
            return
        log.warning("Another version of %s came into Production at the same moment: archiving it", self.model)
        self.writer.transition(held, info.version, to_stage)
        if (live := in_production(self._stages())) != [info.version]:
            raise ReportedError(
                f"Versions {numbers(live)} of {self.model!r} are in Production: something else moves them too"
            )

    def _apply(self, held: HeldLock, steps: Plan) -> Plan:
        """Make the repairs of a plan and log them."""
        for repair in steps.repairs:
            log.warning("Repairing %s: %s", self.model, repair)
            self.writer.transition(held, repair.version, repair.to_stage)
        for event in steps.events:
            log.warning("Found from outside: %s version %d is %s", self.model, event.version, event.to_stage)
        return steps

    def _record(self, held: HeldLock, version: int, decision: Decision) -> Decision:
        info, standing = self.catalog.get(self.model, version), held.state.standing(version)
        approved = held.state.approval(version)
        if standing is None and approved is not None and not _same(approved.decision, decision):
            return approved.decision
        holds = decision if standing is None else standing.as_decision()
        if standing is None:
            check_recordable(info, decision)
        elif _same(holds, decision):
            # an earlier try of this one, whose tags may be missing; it has the whole reason
            holds = decision
        event = _shown(held.state, info, Event.of(self.model, version, info.stage, info.stage, holds))
        if standing is None:
            self.ledger.admit(event, holds.reason)
            self.writer.record_decision(info, event, holds)
            held.end(held.state.production, [event])
        elif Decision.from_tags(info.tags) is None:
            self.writer.record_decision(info, event, holds)
        return holds


def _shown(state: LedgerState, info: VersionInfo, event: Event) -> Event:
    """Return an event with the evidence that is known of its version."""
    return replace(event, evidence=state.evidence(info.version, info.tags))


def _intent(state: LedgerState, info: VersionInfo, request: Request) -> Intent:
    """Return the move to announce. A version that is there already was moved by a try that was interrupted."""
    from_stage = info.stage
    if from_stage == request.to_stage:
        trace = state.interrupted(with_holder=True).get(info.version)
        from_stage = trace.from_stage if trace is not None else state.stage_of(info.version) or NONE
    return Intent(info.version, from_stage, request.to_stage, request.decision.dag_id, request.decision.run_id)


def _done(state: LedgerState, info: VersionInfo, to_stage: str) -> Transition | None:
    """Return the earlier move that brought the version where it is wanted, None when there was none."""
    last = state.last_move(info.version)
    if last is None or info.stage != to_stage or state.stage_of(info.version) != to_stage:
        return None
    if to_stage == PRODUCTION and state.production != info.version:
        return None
    return Transition.of(last, changed=False)


def _same(standing: Decision, decision: Decision) -> bool:
    """Whether a decision is the one that stands, asked again: a user who is not known at one try is no other."""
    same_user = standing.user == decision.user or UNKNOWN in (standing.user, decision.user)
    return (standing.outcome, standing.door) == (decision.outcome, decision.door) and same_user


def _previous(events: Iterable[Event], production: int | None, stages: Collection[int]) -> int | None:
    """Return the version that a rollback goes back to."""
    term = previous_champion(events, production, stages)
    return term.version if term is not None else None
