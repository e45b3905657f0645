"""What the ledger is told beside moves: what was validated, what was asked, and what was decided.

These entries are written without the lock, whoever holds it: the first decision on an ask is the one that holds, and
"first" is the order of the ledger. They are what a promotion believes; tags, XComs, notes and audit rows are for
people.

``validated``
    a version passed or failed its gate: what a move to Staging and a promotion ask for.
``reviewed``
    a review looked at a version: one that it held back is not promoted (``reviewed``).
``asked``
    a task asks about a version: the same ask again when Airflow tries the task once more, another one when somebody
    clears it.
``decided``
    somebody decided on an ask, in Airflow.
"""

import json
import secrets
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.reviewed import REVIEW_SCHEMA, REVIEWED, Reviewed
from include.lifecycle.ledger.stored import Stored, Time
from include.lifecycle.rules.decisions import Decision, Outcome, utc_now
from include.lifecycle.untrusted_text import one_line, shorten, storable

VALIDATED, ASKED, DECIDED = "validated", "asked", "decided"
STATEMENTS = {VALIDATED: 3, ASKED: 3, DECIDED: 3, REVIEWED: REVIEW_SCHEMA}
"""The schema of each."""
IN_AIRFLOW_ENV = "RETRAIN_IN_AIRFLOW"
"""Set for a step that a task runs: the task, which has the ledger's key, enters what the step's gate said."""
MAX_NAME = 250
"""Characters of a name; Airflow's ids have no more."""
MAX_FAILED = 8
"""Failed checks that a validation lists."""
MAX_REASON = 2000
"""Characters of a reason given in Airflow that are kept."""
MAX_QUOTED = 2500
"""Characters of the same as JSON text."""
Purpose = Literal["promotion", "rollback"]
Statement = TypeVar("Statement")


def as_reason(text: object) -> str:
    """Return what a person typed as it can be stored: untrusted text, cut where it is longer than kept."""
    said = shorten(storable(text if isinstance(text, str) else ""), MAX_REASON).strip()
    while len(json.dumps(said, ensure_ascii=False)) > MAX_QUOTED:  # quotes and line ends count twice in an entry
        said = shorten(said, len(said) * 3 // 4)
    return said


@dataclass(frozen=True, kw_only=True)
class Place:
    """A task of a run of Airflow that asks.

    :param map_index: -1 for a task that is not mapped
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True, kw_only=True)
class Validation(Stored):
    """What a gate said of a version.

    :param digest: of the artifacts that were scored, empty where none is recorded
    :param value: of the metric, as text: it may be no number
    :param direction: side of the threshold on which the metric passes: ``below`` or ``above``
    :param rows: how many rows were scored, None where the gate does not tell
    :param failed: the checks that failed, a sentence each
    :param dag_id: Airflow run that validated it, None at the command line
    """

    model: str
    version: int
    outcome: str
    metric: str
    value: str
    threshold: str
    direction: str = "below"
    digest: str = ""
    rows: int | None = None
    data_version: str = ""
    failed: tuple[str, ...] = ()
    dag_id: str | None = None
    run_id: str | None = None
    at: Time = field(default_factory=utc_now)

    @property
    def passed(self) -> bool:
        """Whether the version passed."""
        return self.outcome == "passed"

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores, its texts cut to what an entry holds."""
        texts = {name: one_line(value, MAX_NAME) for name, value in asdict(self).items() if isinstance(value, str)}
        failed = [one_line(text, MAX_NAME) for text in self.failed[:MAX_FAILED]]
        return {**super().to_dict(), **texts, "failed": failed}


def _policy(policy: PolicyConfig | None) -> dict[str, Any] | None:
    """Return a policy as it is stored: without what it leaves at its default."""
    return policy.model_dump(mode="json", exclude_defaults=True) if policy is not None else None


@dataclass(frozen=True, kw_only=True)
class Ask(Stored):
    """A question to a person: whether this version shall go into Production.

    :param id: what a decision names; the same for every try of the task that goes on waiting
    :param digest: of the version's artifacts, empty where none is recorded
    :param place: the task that asks
    :param instance: id of its try, which nobody can choose
    :param series: tells the tries that go on waiting for the same from those after the task was cleared
    :param policy: what a decision needs, None: whatever Airflow permits
    :param evidence: what was known of the version, e.g. the gate's figures
    :param expires_at: until when somebody may decide, None: for ever
    :param made_by: DAG and run id of what registered or validated the version: whoever triggered one of them made it
    """

    model: str
    version: int
    place: Place
    instance: str
    series: str = ""
    purpose: Purpose = "promotion"
    digest: str = ""
    policy: Annotated[PolicyConfig | None, PlainSerializer(_policy)] = None
    timezone: str = "UTC"
    evidence: Mapping[str, str] = field(default_factory=dict)
    validated_at: Time | None = None
    expires_at: Time | None = None
    reason: str = ""
    made_by: tuple[tuple[str, str], ...] = ()
    id: Annotated[str, Field(alias="ask")] = field(default_factory=lambda: secrets.token_hex(8))
    at: Time = field(default_factory=utc_now)

    def continues(self, other: "Ask") -> bool:
        """Whether this is an earlier ask's question, asked by the same task: the person need not answer twice."""
        same = (self.version, self.place, self.purpose) == (other.version, other.place, other.purpose)
        return same and (self.instance == other.instance or (bool(self.series) and self.series == other.series))

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        content = super().to_dict()
        return {**content.pop("place"), **content}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the ask that the ledger stores."""
        place = {item.name: content[item.name] for item in fields(Place)}
        rest = {name: value for name, value in content.items() if name not in place}
        # not by default: without them any answer would do, at any time
        limits = {name: content[name] for name in ("policy", "expires_at")}
        return super().from_dict({**rest, **limits, "place": place})


@dataclass(frozen=True, kw_only=True)
class Decided(Stored):
    """What somebody decided on an ask.

    :param ask: the ask's id
    :param decision: who decided what, when, why, and what the policy said
    :param requested_by: who triggered the run, as Airflow's login tells: empty for a schedule, None: unknown
    :param id: the same when it is delivered twice
    """

    ask: str
    decision: Annotated[Decision, PlainSerializer(Decision.to_dict), PlainValidator(Decision.from_dict)]
    requested_by: Annotated[str, PlainSerializer(storable)] | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True)
class Numbered(Generic[Statement]):
    """A statement and the entry that holds it."""

    number: int
    digest: str
    what: Statement


class Collecting:
    """Base of a data class to which entry after entry is added."""

    def copy(self) -> Self:
        """Return a copy to which others are added without this one; its items are shared: nobody changes one."""
        found = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list, set, Collecting)):
                setattr(found, name, value.copy())
        return found


@dataclass
class Statements(Collecting):
    """What the statements of a ledger say together.

    :param validations: the last one of each version
    :param reviews: the last one of each version
    :param by_run: the version that a run of Airflow validated last, by DAG and run id
    :param validated_by: the runs of Airflow that validated a version
    :param asks: by id, as they were asked last
    :param instances: the ask of each task instance
    :param decided: the decision that holds, by ask
    :param late: decisions that came after it
    :param approvals: the approvals of each version, whether they were used or not
    :param by_place: the asks of a task
    :param first_validation: the first entry that holds a validation
    :param ids: of all decisions
    """

    validations: dict[int, Numbered[Validation]] = field(default_factory=dict)
    reviews: dict[int, Reviewed] = field(default_factory=dict)
    by_run: dict[tuple[str, str], int] = field(default_factory=dict)
    validated_by: dict[int, frozenset[tuple[str, str]]] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    decided: dict[str, Numbered[Decided]] = field(default_factory=dict)
    late: list[Numbered[Decided]] = field(default_factory=list)
    approvals: dict[int, tuple[Numbered[Decided], ...]] = field(default_factory=dict)
    by_place: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    first_validation: int | None = None
    ids: set[str] = field(default_factory=set)

    def add_validation(self, item: Numbered[Validation]) -> None:
        """Add what a gate said: the last word counts."""
        validation = item.what
        self.validations[validation.version] = item
        if validation.dag_id is not None and validation.run_id is not None:
            run = (validation.dag_id, validation.run_id)
            self.by_run[run] = validation.version
            self.validated_by[validation.version] = self.validated_by.get(validation.version, frozenset()) | {run}
        if self.first_validation is None:
            self.first_validation = item.number

    def add_ask(self, ask: Ask) -> None:
        """Add what a task asks; a later try goes on with what was asked: it cannot ask about something else."""
        first = self.asks.get(ask.id)
        self.asks[ask.id] = ask if first is None else replace(first, instance=ask.instance)
        self.instances[ask.instance] = ask.id
        if first is None:
            self.by_place[ask.place] = (*self.by_place.get(ask.place, ()), ask.id)

    def add_decided(self, item: Numbered[Decided]) -> bool | None:
        """Add a decision: the first one on an ask holds.

        :return: whether it came late; None where it is known already or decides nothing that was asked
        """
        decided = item.what
        if decided.id in self.ids:
            return None
        self.ids.add(decided.id)
        if (ask := self.asks.get(decided.ask)) is None:
            return None
        if decided.ask in self.decided:
            self.late.append(item)
            return True
        self.decided[decided.ask] = item
        if decided.decision.outcome is Outcome.APPROVED and ask.purpose == "promotion":
            self.approvals[ask.version] = (*self.approvals.get(ask.version, ()), item)
        return False

    def last_ask(self, place: Place, purpose: Purpose = "promotion") -> Ask | None:
        """Return what a task asked last, None when it asked nothing."""
        asks = (self.asks[ask] for ask in reversed(self.by_place.get(place, ())))
        return next((ask for ask in asks if ask.purpose == purpose), None)

    def versions_asked(self, place: Place) -> set[int]:
        """Return every version that a task ever asked about, also in a run of the same id that was deleted."""
        return {self.asks[ask].version for ask in self.by_place.get(place, ())}

    def ask_of(self, instance: str) -> Ask | None:
        """Return what a try of a task asked, None when it asked nothing."""
        ask = self.instances.get(instance)
        return self.asks[ask] if ask is not None else None
