"""Whether an approval meets the policy of its model: asked at the door, and again when the version is promoted.

Pure rules over a decision and a few facts; nothing is read here. A rule whose facts are not known is not met:
a policy that cannot be shown to hold does not hold. Runs in Airflow's API server: pydantic and standard library.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from include.lifecycle.config import WEEKDAYS, BlackoutConfig, PolicyConfig
from include.lifecycle.decisions import UNKNOWN, Decision, utc_now
from include.lifecycle.text import one_line

NOBODY = ""
"""Requester of a run that a schedule started."""
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
    """A rule of the policy, whether it is met, and a sentence on what was found and how to repair it."""

    rule: str
    met: bool
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What a policy says of an approval.

    :param checks: every rule that the policy asks for
    :param wait_until: the end of a blackout; the approval holds and the promotion waits. None: at once
    """

    checks: tuple[Check, ...] = ()
    wait_until: datetime | None = None

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
    """Apply a policy to an approval.

    :param policy: what an approval needs
    :param decision: who approved, when and why, as far as it is known
    :param facts: what else the rules look at
    :param now: the time now, which decides about the age of the evidence
    """
    now = now or utc_now()
    return Verdict(tuple(_checks(policy, decision, facts, now)))


def blackout_end(policy: PolicyConfig, timezone: str, now: datetime | None = None) -> datetime | None:
    """Return when the blackout ends that holds now, in UTC; None when none holds.

    Windows that follow one another without a gap count as one. Times of day are those of ``timezone``, also
    on the days when its clocks change.

    :param policy: holds the windows
    :param timezone: IANA name
    :param now: the time now
    """
    zone = ZoneInfo(timezone)
    now = (now or utc_now()).astimezone(UTC)
    moment, found = now, None
    for _ in range(len(policy.blackouts) * 8 + 1):
        end = max(
            (end for start, end in _windows(policy.blackouts, zone, moment) if start <= moment < end), default=None
        )
        if end is None:
            return found
        moment = found = end
    raise ValueError("the blackouts cover the whole week: nothing could ever be promoted")


def describe(policy: PolicyConfig) -> list[str]:
    """Return the rules of a policy, a sentence each, for whoever decides under it."""
    rules = []
    if policy.approvers:
        rules.append(f"Approvers: {', '.join(policy.approvers[:_SHOWN_APPROVERS])}.")
    if policy.reason_required:
        rules.append("A reason is required.")
    if policy.four_eyes:
        rules.append("Whoever triggered the run cannot approve it.")
    if policy.evidence_max_age_days is not None:
        rules.append(f"The validation must not be older than {policy.evidence_max_age_days:g} days.")
    for window in policy.blackouts:
        days = "every day" if len(set(window.weekdays)) == len(WEEKDAYS) else ", ".join(window.weekdays)
        rules.append(f"No promotion from {window.start:%H:%M} to {window.end:%H:%M}, {days}; it then waits.")
    return rules


def _checks(policy: PolicyConfig, decision: Decision, facts: Facts, now: datetime) -> Iterator[Check]:
    if policy.approvers:
        yield _approver(policy.approvers, decision)
    if policy.reason_required:
        given = bool(decision.reason.strip())
        yield Check("reason", given, "A reason is required: write one (the note of the mark, or the form's field).")
    if policy.four_eyes:
        yield _four_eyes(decision, facts)
    if policy.evidence_max_age_days is not None:
        yield _fresh(policy.evidence_max_age_days, facts, now)


def _approver(approvers: tuple[str, ...], decision: Decision) -> Check:
    allowed = ", ".join(approvers[:_SHOWN_APPROVERS])
    if not decision.user_is_verified:
        who = "who approved is unknown" if decision.user == UNKNOWN else f"{_name(decision.user)} is not verified"
        return Check(
            "approvers", False, f"Approvers are {allowed}, and {who}: approve in Airflow, logged in as one of them."
        )
    names = {f"user:{decision.user}"} | {f"role:{role}" for role in decision.roles or ()}
    met = bool(names & set(approvers))
    known = (
        ""
        if decision.roles is not None or not any(name.startswith("role:") for name in approvers)
        else (" (the roles are not known: the plugin must be loaded in Airflow's API server)")
    )
    return Check("approvers", met, f"{_name(decision.user)} is not among the approvers {allowed}{known}.")


def _four_eyes(decision: Decision, facts: Facts) -> Check:
    if facts.requested_by is None:
        return Check(
            "four eyes", False, "Four eyes are required, and who triggered the run is unknown: trigger it anew."
        )
    if facts.requested_by == NOBODY:
        return Check("four eyes", True, "A schedule started the run.")
    if not decision.user_is_verified:
        return Check(
            "four eyes",
            False,
            "Four eyes are required, and who approved is not known: approve it in Airflow, logged in.",
        )
    met = decision.user != facts.requested_by
    return Check(
        "four eyes", met, f"{_name(decision.user)} triggered this run and cannot approve it: somebody else has to."
    )


def _fresh(days: float, facts: Facts, now: datetime) -> Check:
    if facts.validated_at is None:
        return Check("evidence", False, "When the version was validated is unknown: clear `validate` and decide again.")
    age = now - facts.validated_at
    return Check(
        "evidence",
        age <= timedelta(days=days),
        f"The validation is {age / timedelta(days=1):.1f} days old, at most {days:g} are accepted: validate the version"
        " again or retrain.",
    )


def _windows(
    blackouts: tuple[BlackoutConfig, ...], zone: ZoneInfo, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Return start and end, in UTC, of the windows that begin on the days around ``now``."""
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
        for window in blackouts:
            if WEEKDAYS[day.weekday()] in window.weekdays:
                last = day if window.end > window.start else day + timedelta(days=1)
                start = datetime.combine(day, window.start, zone)
                yield start.astimezone(UTC), datetime.combine(last, window.end, zone).astimezone(UTC)


def _name(user: str) -> str:
    return one_line(user, 60)
