"""What a person does at the command line: promote, reject, roll back. Each confirmation ends with an anchor."""

import getpass
import os
import socket
from zoneinfo import ZoneInfo

from include.lifecycle.cli.record import described, with_anchor
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.anchors import Anchor
from include.lifecycle.ledger.limits import CLIENT_LIMITS
from include.lifecycle.moves.claim import claim
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.moves.retention import RETENTION_REASON, report
from include.lifecycle.registry.client import connect
from include.lifecycle.rules.decisions import OPERATING_SYSTEM, Channel, Decision, Outcome
from include.lifecycle.rules.policy import Facts, blackout_end, require
from include.lifecycle.stages import STAGING
from include.lifecycle.untrusted_text import says_something
from include.lifecycle.views.messages import confirm, confirm_decision, confirm_reconciliation


class Person:
    """Whoever sits at the command line.

    :param config: of a model
    :param model: registered model whose ledger is meant; by default the configured one
    """

    def __init__(self, config: LifecycleConfig, model: str | None = None) -> None:
        for name, value in CLIENT_LIMITS.items():  # a lock is never held for long
            os.environ.setdefault(name, value)
        self.config = config
        self.model = model or config.model
        self.registry = ModelRegistry(connect(), integrity=config.integrity)

    def promote(self, version: int | None, reason: str) -> list[str]:
        """Promote a version from Staging to Production.

        :param version: the version; None is for the only one that waits in Staging
        :return: the confirmation, one sentence a line
        :raises BadInputError: when no version or several wait and none is named, or the move is refused
        """
        chosen = version if version is not None else self.registry.candidate(self.model).version
        decision = decided(Outcome.APPROVED, reason)
        info = self.registry.version(self.model, chosen)
        if info.stage == STAGING:
            at = self.registry.ledger(self.model).read().validated_at(chosen)
            decision = after_policy(self.config, decision, chosen, Facts(validated_at=at))
        reviewed = self.config.approval.policy.review_required
        return self._anchored(confirm(self.registry.promote(self.model, chosen, decision, require_review=reviewed)))

    def reject(self, version: int, reason: str) -> list[str]:
        """Reject a version that waits in Staging; Production stays as it is."""
        decision = decided(Outcome.REJECTED, reason)
        holds = self.registry.reject(self.model, version, decision)
        return self._anchored(confirm_decision(version, decision, holds))

    def rollback(self, version: int, reason: str) -> list[str]:
        """Put a version back that was in Production; the current one is archived.

        :raises BadInputError: when a second person has to approve it, which a command line cannot show
        """
        if self.config.rollback.require_second_person:
            raise BadInputError(
                "a rollback needs a second person (lifecycle.rollback.require_second_person): trigger its rollback DAG"
                " in Airflow, where somebody else approves it"
            )
        decision = require(self.config.rollback.policy, decided(Outcome.APPROVED, reason), Facts())
        return self._anchored(confirm(self.registry.rollback(self.model, version, decision)))

    def proposal(self) -> tuple[int, str]:
        """Return the version that a rollback goes back to when none is named, and what is known of it.

        :raises BadInputError: when there is none
        """
        term = self.registry.previous_champion(self.model)
        if term is None:
            raise BadInputError(
                f"{self.model} has no former Production version to go back to, or the last rollback came from it:"
                " name one with --version"
            )
        return term.version, described(term)

    def reconcile(self) -> list[str]:
        """Repair stages and aliases from the promotion ledger."""
        return self._anchored(confirm_reconciliation(self.registry.reconcile(self.model)))

    def retention(self, *, delete: bool = False) -> list[str]:
        """Say which versions are kept and why and, where told to, delete the others; else nothing is changed."""
        decision = decided(Outcome.SUPERSEDED, RETENTION_REASON)
        done = self.registry.retention(self.model, self.config.retention, decision, delete=delete)
        lines = report(done, delete=delete)
        return lines if delete else [*lines, "Nothing was changed: add --delete to delete"]

    def init(self) -> list[str]:
        """Make the model's names in MLflow before anybody else can, and check that they belong to this login."""
        return claim(self.registry, self.model, self.config.experiments)

    def accept_ledger(self, reason: str, after: str | None) -> list[str]:
        """Go on with a promotion ledger that is damaged or lost.

        :param after: ``ENTRY:DIGEST`` of the last entry that is known of
        :raises BadInputError: when nothing is wrong with it
        """
        decision = decided(Outcome.APPROVED, reason)
        known = Anchor.parse(after) if after is not None else None
        entry = self.registry.ledger(self.model).accept(decision.user, decision.user_source, decision.reason, known)
        lines = [f"The promotion ledger of {self.model} goes on with entry {entry.number}; accepted as it is:"]
        return self._anchored([*lines, *(f"  {problem}" for problem in entry.content["problems"])])

    def seal(self, version: int) -> list[str]:
        """Record the digests of the artifacts of a version that was registered without them."""
        manifest = self.registry.integrity.seal(self.registry.version(self.model, version))
        return [f"Model version {version}: {len(manifest.files)} files, {manifest.megabytes:.1f} MB, {manifest.digest}"]

    def _anchored(self, lines: list[str]) -> list[str]:
        return with_anchor(self.registry, self.model, lines)


def decided(outcome: Outcome, reason: str) -> Decision:
    """Return the decision of whoever runs this command: the operating system's user, which nobody verified.

    :raises BadInputError: when the reason says nothing
    """
    if not says_something(reason):
        raise BadInputError("the reason says nothing: say in --reason why, it is kept in the promotion history")
    user = f"{getpass.getuser()}@{socket.gethostname()}"
    return Decision(outcome, user=user, user_source=OPERATING_SYSTEM, reason=reason.strip(), door=Channel.CLI)


def after_policy(config: LifecycleConfig, decision: Decision, version: int, facts: Facts) -> Decision:
    """Return the approval with what the policy says of it.

    :raises BadInputError: when the policy is not met, or a blackout is in force: a command cannot wait for its end
    """
    policy, timezone = config.approval.policy, config.schedule.timezone
    decision = require(policy, decision, facts)
    if end := blackout_end(policy, timezone):
        until = f"{end.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} ({timezone})"
        raise BadInputError(
            f"A blackout is in force until {until}: promote version {version} then, or approve it in Airflow,"
            " where the promotion waits for that"
        )
    return decision
