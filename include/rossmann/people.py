"""What a person does at the command line: promote, reject, roll back, look into the history."""

import getpass
import json
import os
import socket
from zoneinfo import ZoneInfo

from include.lifecycle.decisions import OPERATING_SYSTEM, Decision, Door, Outcome
from include.lifecycle.errors import BadInputError
from include.lifecycle.events import Event
from include.lifecycle.limits import CLIENT_LIMITS
from include.lifecycle.messages import confirm, confirm_decision, confirm_reconciliation
from include.lifecycle.policy import Facts, blackout_end, require, validated_at
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.stages import STAGING
from include.lifecycle.text import one_line
from include.lifecycle.versions import VersionInfo
from include.rossmann.config import RossmannConfig
from include.rossmann.tracking import connect

COLUMNS = ("time (UTC)", "version", "event", "archived", "user", "known from", "reason", "run")


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
        decision = permitted(config, decision, info)
    return confirm(registry.promote(model, chosen, decision))


def reject(config: RossmannConfig, version: int, reason: str) -> list[str]:
    """Reject a version that waits in Staging; Production stays as it is."""
    decision = decided(Outcome.REJECTED, reason)
    return confirm_decision(version, decision, open_registry(config).reject(config.lifecycle.model, version, decision))


def rollback(config: RossmannConfig, version: int, reason: str) -> list[str]:
    """Put a version back that was in Production; the current one is archived.

    :raises BadInputError: when a second person has to approve it, which a command line cannot show
    """
    if config.lifecycle.rollback.require_second_person:
        raise BadInputError(
            "a rollback needs a second person (lifecycle.rollback.require_second_person): trigger rossmann_rollback"
            " in Airflow, where somebody else approves it"
        )
    decision = require(config.lifecycle.rollback.policy, decided(Outcome.APPROVED, reason), Facts())
    return confirm(open_registry(config).rollback(config.lifecycle.model, version, decision))


def reconcile(config: RossmannConfig) -> list[str]:
    """Repair stages and aliases from the promotion ledger."""
    return confirm_reconciliation(open_registry(config).reconcile(config.lifecycle.model))


def history(config: RossmannConfig, *, as_json: bool = False) -> list[str]:
    """Return the promotion history, the oldest event first.

    :param config: the configuration
    :param as_json: one JSON array instead of a table
    """
    events = open_registry(config).history(config.lifecycle.model)
    if as_json:
        return [json.dumps([event.as_row() for event in events], indent=2, default=str)]
    if not events:
        return [f"No version of {config.lifecycle.model} has been promoted, rejected or moved yet"]
    return table([COLUMNS, *(row(event) for event in events)])


def row(event: Event) -> tuple[str, ...]:
    """Return an event as the cells of the history's table."""
    what = f"{event.from_stage} -> {event.to_stage}" if event.moved else str(event.outcome)
    return (
        f"{event.time:%Y-%m-%d %H:%M:%S}",
        str(event.version),
        what,
        ", ".join(map(str, event.archived)) or "-",
        one_line(event.user, 40),
        one_line(event.user_source, 30),
        one_line(event.reason, 60) or "-",
        one_line(event.run_id or "-", 50),
    )


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as aligned lines."""
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]


def decided(outcome: Outcome, reason: str) -> Decision:
    """Return the decision of whoever runs this command: the operating system's user, which nobody verified.

    :raises BadInputError: when the reason is empty
    """
    if not reason.strip():
        raise BadInputError("the reason is empty: say in --reason why, it is kept in the promotion history")
    user = f"{getpass.getuser()}@{socket.gethostname()}"
    return Decision(outcome, user=user, user_source=OPERATING_SYSTEM, reason=reason.strip(), door=Door.CLI)


def permitted(config: RossmannConfig, decision: Decision, info: VersionInfo) -> Decision:
    """Return the approval with what the policy says of it.

    :raises BadInputError: when the policy is not met, or a blackout is in force: a command cannot wait for its end
    """
    policy, timezone = config.lifecycle.approval.policy, config.lifecycle.schedule.timezone
    decision = require(policy, decision, Facts(validated_at=validated_at(info.tags)))
    if end := blackout_end(policy, timezone):
        until = f"{end.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} ({timezone})"
        raise BadInputError(
            f"A blackout is in force until {until}: promote version {info.version} then, or approve it in Airflow,"
            " where the promotion waits for that"
        )
    return decision


def open_registry(config: RossmannConfig) -> ModelRegistry:
    """Return the registry, with requests to MLflow bounded so that a lock is never held for long."""
    for name, value in CLIENT_LIMITS.items():
        os.environ.setdefault(name, value)
    return ModelRegistry(connect(), integrity=config.lifecycle.integrity)
