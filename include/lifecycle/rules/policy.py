"""Whether an approval meets the policy of its model: asked at the door, and again when the version is promoted.

Pure rules over a decision and a few facts; nothing is read here. A rule whose facts are not known is not met:
a policy that cannot be shown to hold does not hold. Runs in Airflow's API server: pydantic and standard library.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from include.lifecycle.config.approval import WEEKDAYS, BlackoutConfig, PolicyConfig
from include.lifecycle.errors import PolicyNotMetError
from include.lifecycle.rules.decisions import UNKNOWN, Decision, utc_now
from include.lifecycle.untrusted_text import one_line, says_something, storable

NOBODY = ""
"""Requester of a run that a schedule started."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two hosts may differ before a validation counts as one of the future."""
EVIDENCE = "evidence"
"""Name of the rule about the age of the validation."""
_SHOWN_APPROVERS = 10


@dataclass(frozen=True)
class Facts:
    """What a policy looks at beside the decision itself.

    :param requested_by: who triggered the run; ``NOBODY`` for a schedule, None when that is not known
    :param validated_at: when the version's gate was passed, None when that is not known
    """

    requested_by: str | None = None
    validated_at: datetime | None = None


@dataclass(frozen=True)
class Check:
    """A rule of the policy, whether it is met, and a sentence: what was found, and how to repair what is not met."""

    rule: str
    met: bool
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What a policy says of an approval: every rule that it asks for."""

    checks: tuple[Check, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether every rule is met."""
        return all(check.met for check in self.checks)

    @property
    def refusal(self) -> str:
        """The sentences of the rules that are not met, empty when all are."""
        return " ".join(check.sentence for check in self.checks if not check.met)

    def summary(self) -> str:
        """Return the rules and their outcome in one line, as the ledger keeps them."""
        return ", ".join(f"{check.rule} {'met' if check.met else 'NOT MET'}" for check in self.checks) or "no rule"


def evaluate(policy: PolicyConfig, decision: Decision, facts: Facts, *, now: datetime | None = None) -> Verdict:
    """Apply a policy to an approval. Blackouts are no rule of it: they delay a promotion (``blackout_end``).

    :param decision: who approved, when and why, as far as it is known
    :param now: the time now, which decides about the age of the evidence
    """
    return Verdict(tuple(_checks(policy, decision, facts, now or utc_now())))


def require(policy: PolicyConfig, decision: Decision, facts: Facts, *, now: datetime | None = None) -> Decision:
    """Return the decision with what the policy says of it, where every rule is met.

    :param decision: who approved, when and why
    :raises PolicyNotMetError: names each rule that is not met, what was found and how to repair it
    """
    verdict = evaluate(policy, decision, facts, now=now)
    if not verdict.allowed:
        raise PolicyNotMetError(verdict.refusal)
    return replace(decision, policy=verdict.summary())


def blackout_end(policy: PolicyConfig, timezone: str, now: datetime | None = None) -> datetime | None:
    """Return when the blackout ends that holds now, in UTC; None when none holds.

    Windows that follow one another without a gap count as one. Times of day are those of ``timezone``. Where its
    clocks change, a time that comes twice or never is read so that the window is the longer one.

    :param policy: holds the windows, which leave a gap in every week
    :param timezone: IANA name
    """
    zone = ZoneInfo(timezone)
    now = (now or utc_now()).astimezone(UTC)
    found: datetime | None = None
    while True:
        moment = found or now
        end = max(
            (end for start, end in _windows(policy.blackouts, zone, moment) if start <= moment < end), default=None
        )
        if end is None:
            return found
        found = end


def describe(policy: PolicyConfig) -> list[str]:
    """Return the rules of a policy, a sentence each, for whoever decides under it. Names in it are plain text."""
    rules = []
    if policy.approvers:
        rules.append(f"Approvers: {_listed(policy.approvers)}.")
    if policy.reason_required:
        rules.append("A reason is required.")
    if policy.four_eyes:
        rules.append("Whoever triggered the run cannot approve it.")
    if policy.evidence_max_age_days is not None:
        rules.append(f"The validation must not be older than {_days(policy.evidence_max_age_days)}.")
    if policy.review_required:
        rules.append("The version must have been reviewed, and not held back.")
    for window in policy.blackouts:
        days = "every day" if len(set(window.weekdays)) == len(WEEKDAYS) else ", ".join(window.weekdays)
        until = f"{window.end:%H:%M}{' of the next day' if window.days else ''}"
        rules.append(f"No promotion from {window.start:%H:%M} to {until}, {days}: an approval then waits.")
    return rules


def _checks(policy: PolicyConfig, decision: Decision, facts: Facts, now: datetime) -> Iterator[Check]:
    if policy.approvers:
        yield Check("approvers", *_approver(policy.approvers, decision))
    if policy.reason_required:
        yield Check("reason", *_reason(decision))
    if policy.four_eyes:
        yield Check("four eyes", *_four_eyes(decision, facts))
    if policy.evidence_max_age_days is not None:
        yield Check(EVIDENCE, *_fresh(policy.evidence_max_age_days, facts, now))


def _approver(approvers: tuple[str, ...], decision: Decision) -> tuple[bool, str]:
    repair = "one of them has to approve, logged in to Airflow"
    if not decision.user_is_verified:
        return False, f"Approvers are {_listed(approvers)}, and {_unverified(decision)}: {repair}."
    names = {f"user:{decision.user}", *(f"role:{role}" for role in decision.roles or ())}
    if found := names.intersection(approvers):
        return True, f"{_name(decision.user)} is an approver ({_listed(sorted(found))})."
    sentence = f"{_name(decision.user)} is not among the approvers {_listed(approvers)}"
    if decision.roles is None and any(name.startswith("role:") for name in approvers):
        sentence += ", and no role of theirs is known (the plugin in Airflow's API server tells it)"
    return False, f"{sentence}: {repair}."


def _reason(decision: Decision) -> tuple[bool, str]:
    if says_something(decision.reason):
        return True, "A reason is given."
    repair = "approve again and say why, in the note of the mark or in the form's field"
    return False, f"A reason is required and none was found: {repair}."


def _four_eyes(decision: Decision, facts: Facts) -> tuple[bool, str]:
    if facts.requested_by == NOBODY:
        return True, "Nobody triggered the run: a schedule did."
    if not decision.user_is_verified:
        repair = "somebody who did not trigger the run has to approve, logged in to Airflow"
        return False, f"Four eyes are required, and {_unverified(decision)}: {repair}."
    if facts.requested_by is None:
        why = "by command line or backfill, or Airflow's API cannot be asked"
        return False, f"Four eyes are required, and who triggered the run is unknown ({why}): trigger a new run."
    if _same_user(decision.user, facts.requested_by):
        return False, f"{_name(decision.user)} triggered this run and cannot approve it: somebody else has to."
    return True, f"{_name(facts.requested_by)} triggered the run, {_name(decision.user)} approved it."


def _fresh(days: float, facts: Facts, now: datetime) -> tuple[bool, str]:
    if facts.validated_at is None:
        return False, "When the version was validated is unknown: validate it again, then approve."
    age = now - facts.validated_at
    if age < -CLOCK_TOLERANCE:
        at = f"{facts.validated_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return False, f"The version was validated in the future ({at}): validate it again, then approve."
    # rounded up: what is just too old is not said to be as old as is accepted
    shown = math.ceil(max(age / timedelta(days=0.1), 0.0) - 0.001) / 10
    found = f"The validation is {_days(shown)} old, at most {_days(days)} are accepted"
    if age <= timedelta(days=days):
        return True, f"{found}."
    return False, f"{found}: validate the version again or retrain, then approve."


def _windows(
    blackouts: tuple[BlackoutConfig, ...], zone: ZoneInfo, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end, in UTC, of the windows that began today or yesterday."""
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        for window in blackouts:
            if WEEKDAYS[day.weekday()] in window.weekdays:
                end = day + timedelta(days=window.days)
                yield min(_instants(day, window.start, zone)), max(_instants(end, window.end, zone))


def _instants(day: date, at: time, zone: ZoneInfo) -> list[datetime]:
    """Return what a time of day may mean, in UTC: two moments where the clocks change, else the same one twice."""
    return [datetime.combine(day, at.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1)]


def _same_user(one: str, other: str) -> bool:
    return storable(one).strip().casefold() == storable(other).strip().casefold()


def _unverified(decision: Decision) -> str:
    if decision.user == UNKNOWN:
        return "who approved is unknown"
    return f"that {_name(decision.user)} approved is not verified"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = [one_line(name, 60) for name in names[:_SHOWN_APPROVERS]]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _days(days: float) -> str:
    return f"{days:.1f} days" if days % 1 else f"{days:.0f} day{'' if days == 1 else 's'}"


def _name(user: str) -> str:
    return one_line(user, 60)
