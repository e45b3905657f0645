"""What a person does at the command line: promote, reject, roll back. Each confirmation ends with an anchor."""

import getpass
import os
import socket
from zoneinfo import ZoneInfo

from include.lifecycle.anchors import Anchor
from include.lifecycle.decisions import OPERATING_SYSTEM, Decision, Door, Outcome
from include.lifecycle.errors import BadInputError
from include.lifecycle.limits import CLIENT_LIMITS
from include.lifecycle.messages import confirm, confirm_decision, confirm_reconciliation
from include.lifecycle.names import claim
from include.lifecycle.policy import Facts, blackout_end, require
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.retention import RETENTION_REASON, report
from include.lifecycle.stages import STAGING
from include.lifecycle.text import says_something
from include.rossmann import ledger_commands
from include.rossmann.config import RossmannConfig
from include.rossmann.ledger_commands import anchored
from include.rossmann.tracking import connect


def promote(config: RossmannConfig, version: int | None, reason: str) -> list[str]:
    """Promote a version from Staging to Production.

    :param config: the configuration
    :param version: the version; None is for the only one that waits in Staging
    :param reason: why
    :return: the confirmation, one sentence a line
    :raises BadInputError: when no version or several wait and none is named, or the move is refused
    """
    registry, model = open_registry(config), config.lifecycle.model
    chosen = version if version is not None else registry.candidate(model).version
    decision = decided(Outcome.APPROVED, reason)
    info = registry.version(model, chosen)
    if info.stage == STAGING:
        at = registry.ledger(model).read().validated_at(chosen)
        decision = permitted(config, decision, chosen, Facts(validated_at=at))
    reviewed = config.lifecycle.approval.policy.review_required
    return anchored(registry, model, confirm(registry.promote(model, chosen, decision, require_review=reviewed)))


def reject(config: RossmannConfig, version: int, reason: str) -> list[str]:
    """Reject a version that waits in Staging; Production stays as it is."""
    registry, model, decision = open_registry(config), config.lifecycle.model, decided(Outcome.REJECTED, reason)
    holds = registry.reject(model, version, decision)
    return anchored(registry, model, confirm_decision(version, decision, holds))


def rollback(config: RossmannConfig, version: int, reason: str) -> list[str]:
    """Put a version back that was in Production; the current one is archived.

    :raises BadInputError: when a second person has to approve it, which a command line cannot show
    """
    if config.lifecycle.rollback.require_second_person:
        raise BadInputError(
            "a rollback needs a second person (lifecycle.rollback.require_second_person): trigger rossmann_rollback"
            " in Airflow, where somebody else approves it"
        )
    registry, model = open_registry(config), config.lifecycle.model
    decision = require(config.lifecycle.rollback.policy, decided(Outcome.APPROVED, reason), Facts())
    return anchored(registry, model, confirm(registry.rollback(model, version, decision)))


def proposal(config: RossmannConfig) -> tuple[int, str]:
    """Return the version that a rollback goes back to when none is named, and what is known of it.

    :raises BadInputError: when there is none
    """
    return ledger_commands.proposal(open_registry(config), config.lifecycle.model)


def reconcile(config: RossmannConfig) -> list[str]:
    """Repair stages and aliases from the promotion ledger."""
    registry, model = open_registry(config), config.lifecycle.model
    return anchored(registry, model, confirm_reconciliation(registry.reconcile(model)))


def retention(config: RossmannConfig, *, delete: bool = False) -> list[str]:
    """Say which versions are kept and why and, where told to, delete the others.

    :param config: the configuration
    :param delete: else nothing is changed
    """
    lifecycle = config.lifecycle
    decision = decided(Outcome.SUPERSEDED, RETENTION_REASON)
    done = open_registry(config).retention(lifecycle.model, lifecycle.retention, decision, delete=delete)
    lines = report(done, delete=delete)
    return lines if delete else [*lines, "Nothing was changed: add --delete to delete"]


def init(config: RossmannConfig) -> list[str]:
    """Make the model's names in MLflow before anybody else can, and check that they belong to this login."""
    return claim(open_registry(config), config.lifecycle.model, config.lifecycle.experiments)


def accept_ledger(config: RossmannConfig, model: str, reason: str, after: str | None) -> list[str]:
    """Go on with a promotion ledger that is damaged or lost.

    :param after: ``ENTRY:DIGEST`` of the last entry that is known of
    :raises BadInputError: when nothing is wrong with it
    """
    registry, decision = open_registry(config), decided(Outcome.APPROVED, reason)
    known = Anchor.parse(after) if after is not None else None
    entry = registry.ledger(model).accept(decision.user, decision.user_source, decision.reason, known)
    lines = [f"The promotion ledger of {model} goes on with entry {entry.number}; accepted as it is:"]
    return anchored(registry, model, [*lines, *(f"  {problem}" for problem in entry.content["problems"])])


def seal(config: RossmannConfig, version: int) -> list[str]:
    """Record the digests of the artifacts of a version that was registered without them."""
    registry = open_registry(config)
    manifest = registry.integrity.seal(registry.version(config.lifecycle.model, version))
    return [f"Model version {version}: {len(manifest.files)} files, {manifest.megabytes:.1f} MB, {manifest.digest}"]


def decided(outcome: Outcome, reason: str) -> Decision:
    """Return the decision of whoever runs this command: the operating system's user, which nobody verified.

    :raises BadInputError: when the reason says nothing
    """
    if not says_something(reason):
        raise BadInputError("the reason says nothing: say in --reason why, it is kept in the promotion history")
    user = f"{getpass.getuser()}@{socket.gethostname()}"
    return Decision(outcome, user=user, user_source=OPERATING_SYSTEM, reason=reason.strip(), door=Door.CLI)


def permitted(config: RossmannConfig, decision: Decision, version: int, facts: Facts) -> Decision:
    """Return the approval with what the policy says of it.

    :raises BadInputError: when the policy is not met, or a blackout is in force: a command cannot wait for its end
    """
    policy, timezone = config.lifecycle.approval.policy, config.lifecycle.schedule.timezone
    decision = require(policy, decision, facts)
    if end := blackout_end(policy, timezone):
        until = f"{end.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} ({timezone})"
        raise BadInputError(
            f"A blackout is in force until {until}: promote version {version} then, or approve it in Airflow,"
            " where the promotion waits for that"
        )
    return decision


def open_registry(config: RossmannConfig) -> ModelRegistry:
    """Return the registry, with requests to MLflow bounded so that a lock is never held for long."""
    for name, value in CLIENT_LIMITS.items():
        os.environ.setdefault(name, value)
    return ModelRegistry(connect(), integrity=config.lifecycle.integrity)
