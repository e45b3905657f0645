"""What is shown of a model at a glance: plain data, filled by ``overview``.

Every text in it is untrusted: whoever shows it escapes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from include.lifecycle import tags as tag
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import Term
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.registry.versions import VersionInfo
from include.lifecycle.rules.decisions import Decision
from include.lifecycle.rules.policy import Check


@dataclass(frozen=True)
class Shown:
    """A version with the evidence on it.

    :param url: its page in MLflow, None when MLflow is not an HTTP server
    :param metrics: of its run, in the order of the review
    """

    info: VersionInfo
    url: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version's number."""
        return self.info.version

    @property
    def gate(self) -> dict[str, str]:
        """What the gate found: outcome, metric, value, threshold, time; empty when it was never asked."""
        keys = {
            "outcome": tag.VALIDATION_OUTCOME,
            "metric": tag.VALIDATION_METRIC,
            "value": tag.VALIDATION_VALUE,
            "threshold": tag.VALIDATION_THRESHOLD,
            "time": tag.VALIDATION_TIME,
        }
        return {name: self.info.tags[key] for name, key in keys.items() if key in self.info.tags}

    @property
    def data_version(self) -> str | None:
        """The version of the data it was trained on."""
        return self.info.tags.get(tag.DATA_VERSION)


@dataclass(frozen=True)
class Live:
    """The version in Production.

    :param shown: None when the registry has lost the version
    :param term: since when, by whom and why; None when it is in Production without a ledger
    """

    version: int
    shown: Shown | None
    term: Term | None


@dataclass(frozen=True)
class Waiting:
    """A version in Staging that waits for a decision, or, once approved, for its promotion.

    :param since: when it reached Staging
    :param run: the Airflow DAG and run that staged it, else those that registered it
    :param approval: the approval that waits for its promotion, None while nobody decided
    :param evidence: whether the evidence still meets the policy, where the policy asks
    :param notes: what its way to Production met, such as a refusal
    :param review: what its review said, None where there was none
    """

    shown: Shown
    since: datetime
    run: tuple[str, str] | None = None
    approval: Decision | None = None
    evidence: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    review: Reviewed | None = None

    @property
    def version(self) -> int:
        """The version's number."""
        return self.shown.version


@dataclass(frozen=True)
class Former:
    """A former champion.

    :param last: the last time it was in Production
    :param times: how often it was there
    :param available: whether it can come back: it still exists, archived
    """

    version: int
    last: Term
    times: int
    available: bool
    url: str | None = None


@dataclass(frozen=True)
class Ledger:
    """The ledger of a model.

    :param events: oldest first
    :param problems: what is wrong with the chain of digests, one sentence each
    :param accepted: who accepted what stands before an entry as it is, and why; empty where nobody had to
    :param entries: how many there are
    :param head: digest of the last one
    :param locked_since: when the promotion under way took the lock, ISO 8601; None when there is none
    """

    events: tuple[Event, ...] = ()
    problems: tuple[str, ...] = ()
    accepted: str = ""
    entries: int = 0
    head: str = ""
    locked_since: str | None = None


@dataclass(frozen=True)
class Rules:
    """What an approval needs, in sentences.

    :param rules: one sentence each
    :param blackout_until: the end of the blackout that holds now
    :param as_of: when that was looked at
    """

    rules: tuple[str, ...]
    blackout_until: datetime | None
    as_of: datetime


@dataclass(frozen=True)
class Overview:
    """A model at a glance.

    :param registered: whether the registry still has the model
    :param warnings: where registry and ledger disagree, one sentence each
    :param policy: the policy in force, None where it is not known
    :param registered_by: the Airflow DAGs that registered its versions
    """

    model: str
    registered: bool
    live: Live | None
    waiting: tuple[Waiting, ...]
    former: tuple[Former, ...]
    ledger: Ledger
    warnings: tuple[str, ...] = ()
    policy: Rules | None = None
    registered_by: frozenset[str] = frozenset()

    @property
    def dag_ids(self) -> set[str]:
        """Every Airflow DAG that is named in it."""
        return {*self.registered_by, *(event.dag_id for event in self.ledger.events if event.dag_id)}


@dataclass(frozen=True)
class Unreadable:
    """A model of which no overview could be made: it stands beside the others, and hides none of them.

    :param problem: why, one sentence
    :param registered_by: the Airflow DAGs that registered its versions, as far as the registry tells, or else its
        configuration
    :param reason: why, for administrators alone: it quotes what is configured
    """

    model: str
    problem: str
    registered_by: frozenset[str] = frozenset()
    reason: str = ""

    @property
    def dag_ids(self) -> set[str]:
        """Every Airflow DAG that is known of it."""
        return set(self.registered_by)
