"""What must be shown before a version moves or a decision is recorded: pure checks, one sentence each."""

import json
from dataclasses import dataclass
from datetime import datetime

from include.lifecycle import tags as tag
from include.lifecycle.errors import TransitionRefusedError
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.registry.versions import VersionInfo, numbers
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.stages import ARCHIVED, MOVES, NONE, PRODUCTION, STAGING
from include.lifecycle.untrusted_text import one_line


@dataclass(frozen=True)
class Request:
    """A move that somebody asks for.

    :param require_validation: the ledger has to know that the version passed its gate
    :param rollback: the version was in Production before and comes back
    :param ask: the ask whose approval is used, empty for who decides by making the move
    :param require_review: the ledger has to know a review of the version
    """

    to_stage: str
    decision: Decision
    require_validation: bool = True
    rollback: bool = False
    ask: str = ""
    require_review: bool = False


def check_move(state: LedgerState, info: VersionInfo, request: Request) -> None:
    """Check that the life cycle knows the move and that its evidence is on the version.

    :raises TransitionRefusedError: names version, stage, what is missing and what is allowed
    """
    if request.to_stage == PRODUCTION and request.decision.outcome is not Outcome.APPROVED:
        raise TransitionRefusedError(
            f"{info.named} was {request.decision.outcome}: only what is approved moves to Production"
        )
    if request.ask:
        check_approved(state, info, request)
    if request.rollback:
        check_rollback(state, info)
        return
    if request.to_stage not in MOVES[info.stage]:
        raise TransitionRefusedError(_unknown_move(state, info, request.to_stage))
    if request.to_stage == NONE:
        review = state.review(info.version)
        held_back = review is not None and review.failed and request.decision.door is Channel.AUTOMATIC
        if request.decision.outcome is not Outcome.SUPERSEDED and not held_back:
            raise TransitionRefusedError(
                f"{info.named} leaves Staging for None only when it is superseded or its"
                f" review holds it back, not {request.decision.outcome}: a rejected or expired version stays in Staging"
            )
        _check_not_approved(state, info)
        return
    _check_standing_decision(state, info, request.to_stage)
    if request.require_validation:
        _check_validated(state, info, request.to_stage)
    if request.to_stage == PRODUCTION:
        check_reviewed(state, info, required=request.require_review)


def check_reviewed(state: LedgerState, info: VersionInfo, *, required: bool) -> None:
    """Check that no review held a version back and, where one is required, that there was one of these artifacts.

    :raises TransitionRefusedError: when it is not so, with what to do
    """
    review, which = state.review(info.version), info.named
    if review is not None and review.failed:
        why = one_line(", ".join(review.titles("fail")))
        raise TransitionRefusedError(f"{which} was held back by its review ({why}): a retrain is required")
    if not required:
        return
    if review is None:
        raise TransitionRefusedError(f"{which} was not reviewed, as the promotion ledger knows: run `review` first")
    if review.digest != info.tags.get(tag.ARTIFACTS_DIGEST, ""):
        raise TransitionRefusedError(f"{which} is not what was reviewed: its artifacts changed, review it again")


def check_approved(state: LedgerState, info: VersionInfo, request: Request) -> None:
    """Check that somebody approved what a task asked, that it was asked of this version, and not used before.

    :raises TransitionRefusedError: when it is not so
    """
    said, which = state.statements, info.named
    ask, decided = said.asks.get(request.ask), said.decided.get(request.ask)
    # a rollback may be asked for to the champion before, whichever that is
    asked_about = (info.version, 0) if request.rollback else (info.version,)
    purpose = "rollback" if request.rollback else "promotion"
    if ask is None or ask.purpose != purpose or ask.version not in asked_about:
        raise TransitionRefusedError(f"No {purpose} of {which[0].lower()}{which[1:]} was asked for in {request.ask!r}")
    if decided is None or decided.what.decision.outcome is not Outcome.APPROVED:
        raise TransitionRefusedError(f"{which} was not approved where {ask.place.task_id} asked about it")
    if (used := state.used(ask.id)) is not None:
        raise TransitionRefusedError(
            f"{which} is in {info.stage}, and its approval was used in entry {used.entry}: to bring it back, roll back"
        )
    if not request.rollback and (newer := overtaken_by(state, info)) is not None:
        raise TransitionRefusedError(f"{which} was approved before version {newer}, which is in Production: it stays")
    found = info.tags.get(tag.ARTIFACTS_DIGEST, "")
    if ask.digest and ask.digest != found:
        raise TransitionRefusedError(
            f"{which} is not what was approved: its artifacts were {ask.digest[:12]} then, and are {found[:12]} now"
        )


def check_recordable(info: VersionInfo, decision: Decision) -> None:
    """Check that a version can still take a decision that moves nothing.

    :raises TransitionRefusedError: when it is in Production, or does not wait in Staging
    """
    open_stages = (STAGING, NONE, ARCHIVED) if decision.outcome is Outcome.SUPERSEDED else (STAGING,)
    if info.stage not in open_stages:
        raise TransitionRefusedError(
            f"{info.named} is in {info.stage}, not in Staging: nothing waits there to be {decision.outcome}"
        )


def check_rollback(state: LedgerState, info: VersionInfo) -> None:
    """Check that the ledger saw a version in Production.

    :raises TransitionRefusedError: names the versions that can come back
    """
    former = state.former
    if info.version in former:
        return
    known = sorted(version for version in former if version != state.production)
    exist = f"rollback can take {numbers(known)}" if known else "no former Production version is recorded"
    raise TransitionRefusedError(f"{info.named} was never in Production: {exist}")


def overtaken_by(state: LedgerState, info: VersionInfo) -> int | None:
    """Return the newer version that came into Production after this one was approved, None when none did."""
    approved, live = approved_at(state, info.version), state.production
    if approved is None or live is None or live <= info.version:
        return None
    last = state.last_move(live)
    return live if last is not None and (last.decided or last.time) > approved else None


def approved_at(state: LedgerState, version: int) -> datetime | None:
    """Return when a version was approved that was not promoted since, None when it was not."""
    if (decided := state.approval(version)) is not None:
        return decided.decision.at
    standing = state.standing(version)
    if standing is None or standing.outcome is not Outcome.APPROVED:
        return None
    return standing.decided or standing.time


def _check_not_approved(state: LedgerState, info: VersionInfo) -> None:
    """An approved version that waits for its promotion (a blackout) is not superseded, unless it was overtaken."""
    at = approved_at(state, info.version)
    if at is not None and overtaken_by(state, info) is None:
        raise TransitionRefusedError(
            f"{info.named} was approved on {at:%Y-%m-%d %H:%M} UTC and waits for its promotion: it is not superseded"
        )


def _check_standing_decision(state: LedgerState, info: VersionInfo, to_stage: str) -> None:
    standing = state.standing(info.version)
    if standing is None or standing.outcome is Outcome.APPROVED:
        return
    raise TransitionRefusedError(
        f"{info.named} was {standing.outcome} on"
        f" {standing.decided or standing.time:%Y-%m-%d %H:%M} UTC by {one_line(standing.user, 60)} and cannot move to"
        f" {to_stage}: the first decision holds, retrain instead"
    )


def _check_validated(state: LedgerState, info: VersionInfo, to_stage: str) -> None:
    """Check that the ledger knows that a version passed its gate; tags are for people, and people can edit them."""
    said = state.statements.validations.get(info.version)
    if said is None:
        # a version that came to Staging before the ledger knew validations: its move carries what was shown then
        staged, first = state.last_move(info.version), state.statements.first_validation
        early = staged is not None and (first is None or (staged.entry or 0) < first)
        if staged is not None and early and staged.to_stage == STAGING and staged.evidence.get("outcome") == tag.PASSED:
            return
        found = "the promotion ledger knows no validation of it: run `validate` first"
    elif not said.what.passed:
        found = f"its gate failed ({one_line('; '.join(said.what.failed)) or said.what.outcome}): a retrain is required"
    elif said.what.digest not in ("", info.tags.get(tag.ARTIFACTS_DIGEST, "")):
        found = "its artifacts are not those that were validated: validate it again"
    else:
        return
    raise TransitionRefusedError(f"{info.named} cannot move to {to_stage}: {found}")


def failed_checks(info: VersionInfo) -> str:
    """Return the checks that a version failed, as its tag lists them."""
    try:
        checks = json.loads(info.tags.get(tag.VALIDATION_FAILED_CHECKS, "[]"))
    except ValueError:
        return ""
    return one_line("; ".join(str(check) for check in checks)) if isinstance(checks, list) else ""


def _unknown_move(state: LedgerState, info: VersionInfo, to_stage: str) -> str:
    sentence = f"{info.named} is in {info.stage} and cannot move to {to_stage}"
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
