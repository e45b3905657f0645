"""What must be shown before a version moves or a decision is recorded: pure checks, one sentence each."""

import json
from dataclasses import dataclass

from include.lifecycle import tags as tag
from include.lifecycle.decisions import Decision, Outcome
from include.lifecycle.entries import LedgerState
from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.stages import ARCHIVED, MOVES, NONE, PRODUCTION, STAGING
from include.lifecycle.text import one_line
from include.lifecycle.versions import VersionInfo, numbers


@dataclass(frozen=True)
class Request:
    """A move that somebody asks for.

    :param to_stage: Staging, Production or None
    :param decision: who decided it and why
    :param require_validation: the version needs the tag ``validation.outcome=passed``
    :param rollback: the version was in Production before and comes back
    """

    to_stage: str
    decision: Decision
    require_validation: bool = True
    rollback: bool = False


def check_move(state: LedgerState, info: VersionInfo, request: Request) -> None:
    """Check that the life cycle knows the move and that its evidence is on the version.

    :raises TransitionRefusedError: names version, stage, what is missing and what is allowed
    """
    if request.to_stage == PRODUCTION and request.decision.outcome is not Outcome.APPROVED:
        raise TransitionRefusedError(
            f"Version {info.version} of {info.model!r} was {request.decision.outcome}: only what is approved moves"
            " to Production"
        )
    if request.rollback:
        check_rollback(state, info)
        return
    if request.to_stage not in MOVES[info.stage]:
        raise TransitionRefusedError(_unknown_move(state, info, request.to_stage))
    if request.to_stage == NONE:
        if request.decision.outcome is not Outcome.SUPERSEDED:
            raise TransitionRefusedError(
                f"Version {info.version} of {info.model!r} leaves Staging for None only when it is superseded,"
                f" not {request.decision.outcome}: a rejected or expired version stays in Staging"
            )
        _check_not_approved(state, info)
        return
    _check_standing_decision(info, request.to_stage)
    if request.require_validation:
        _check_validated(info, request.to_stage)


def check_recordable(info: VersionInfo, decision: Decision) -> None:
    """Check that a version can still take a decision that moves nothing.

    :raises TransitionRefusedError: when it is in Production, or does not wait in Staging
    """
    open_stages = (STAGING, NONE, ARCHIVED) if decision.outcome is Outcome.SUPERSEDED else (STAGING,)
    if info.stage not in open_stages:
        raise TransitionRefusedError(
            f"Version {info.version} of {info.model!r} is in {info.stage}, not in Staging:"
            f" nothing waits there to be {decision.outcome}"
        )


def check_rollback(state: LedgerState, info: VersionInfo) -> None:
    """Check that the ledger saw a version in Production.

    :raises TransitionRefusedError: names the versions that can come back
    """
    former = sorted(set(state.champions) | {version for event in state.events for version in event.archived})
    if info.version in former:
        return
    known = [version for version in former if version != state.production]
    exist = f"rollback can take {numbers(known)}" if known else "no former Production version is recorded"
    raise TransitionRefusedError(f"Version {info.version} of {info.model!r} was never in Production: {exist}")


def overtaken_by(state: LedgerState, info: VersionInfo) -> int | None:
    """Return the newer version that came into Production after this one was approved, None when none did."""
    approved, live = Decision.from_tags(info.tags), state.production
    if approved is None or live is None or live <= info.version:
        return None
    last = state.last_move(live)
    return live if last is not None and (last.decided or last.time) > approved.at else None


def _check_not_approved(state: LedgerState, info: VersionInfo) -> None:
    """An approved version that waits for its promotion (a blackout) is not superseded, unless it was overtaken."""
    standing = Decision.from_tags(info.tags)
    if standing is not None and standing.outcome is Outcome.APPROVED and overtaken_by(state, info) is None:
        raise TransitionRefusedError(
            f"Version {info.version} of {info.model!r} was approved on {standing.at:%Y-%m-%d %H:%M} UTC by"
            f" {one_line(standing.user, 60)} and waits for its promotion: it is not superseded"
        )


def _check_standing_decision(info: VersionInfo, to_stage: str) -> None:
    standing = Decision.from_tags(info.tags)
    if standing is None or standing.outcome is Outcome.APPROVED:
        return
    raise TransitionRefusedError(
        f"Version {info.version} of {info.model!r} was {standing.outcome} on {standing.at:%Y-%m-%d %H:%M} UTC by"
        f" {one_line(standing.user, 60)} and cannot move to {to_stage}: the first decision holds, retrain instead"
    )


def _check_validated(info: VersionInfo, to_stage: str) -> None:
    outcome = info.tags.get(tag.VALIDATION_OUTCOME)
    if outcome == tag.PASSED:
        return
    if outcome is None:
        found = "it was not validated: run `validate` first"
    else:
        found = f"its gate failed ({failed_checks(info) or one_line(outcome, 60)}): a retrain is required"
    raise TransitionRefusedError(f"Version {info.version} of {info.model!r} cannot move to {to_stage}: {found}")


def failed_checks(info: VersionInfo) -> str:
    """Return the checks that a version failed, as its tag lists them."""
    try:
        checks = json.loads(info.tags.get(tag.VALIDATION_FAILED_CHECKS, "[]"))
    except ValueError:
        return ""
    return one_line("; ".join(str(check) for check in checks)) if isinstance(checks, list) else ""


def _unknown_move(state: LedgerState, info: VersionInfo, to_stage: str) -> str:
    sentence = f"Version {info.version} of {info.model!r} is in {info.stage} and cannot move to {to_stage}"
    if to_stage == PRODUCTION and info.version in state.champions:
        return f"{sentence}: it was in Production before, bring it back with `rollback`"
    if to_stage == PRODUCTION:
        failed = failed_checks(info)
        return f"{sentence}: only a version in Staging is promoted" + (
            f", and its gate failed ({failed})" if failed else ""
        )
    if info.stage == PRODUCTION:
        return f"{sentence}: it leaves Production when another version is promoted or rolled back to"
    allowed = " or ".join(MOVES[info.stage])
    return f"{sentence}: from {info.stage} a version may move to {allowed or 'Production only, by `rollback`'}"
