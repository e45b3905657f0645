"""A model at a glance: what is live, what waits, what it can go back to, what its ledger says. Writes nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from mlflow.entities import ViewType

from include.lifecycle import tags as tag
from include.lifecycle.anchors import Anchor, compare
from include.lifecycle.config import PolicyConfig
from include.lifecycle.decisions import Decision, Outcome, utc_now
from include.lifecycle.errors import ModelNotFoundError
from include.lifecycle.events import Event
from include.lifecycle.history import terms
from include.lifecycle.links import version_url
from include.lifecycle.policy import Check, Facts, blackout_end, describe, evaluate
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.review import METRICS, run_metrics
from include.lifecycle.runs import EXPERIMENT, RUN_TAG
from include.lifecycle.stages import ARCHIVED, STAGING
from include.lifecycle.state import LedgerState
from include.lifecycle.summary import Former, Ledger, Live, Overview, Rules, Shown, Waiting
from include.lifecycle.verify import accepted, foreign
from include.lifecycle.versions import VersionInfo, in_production, numbers, pages

MEASURED = 10
"""Waiting versions, newest first, whose metrics are read: each costs a request."""
NOTES = "promotion."
"""Tags that begin so say what happened to an approved version on its way to Production."""


def known_models(registry: ModelRegistry) -> list[str]:
    """Return the models that have a promotion ledger, by name."""
    search = partial(
        registry.client.search_experiments,
        view_type=ViewType.ACTIVE_ONLY,
        filter_string=f"name LIKE '{EXPERIMENT}/%'",
    )
    return sorted({item.name.removeprefix(f"{EXPERIMENT}/") for item in pages(search) if RUN_TAG in item.tags})


def overview(
    registry: ModelRegistry,
    model: str,
    *,
    policy: PolicyConfig | None = None,
    timezone: str = "UTC",
    ui_url: str | None = None,
    now: datetime | None = None,
) -> Overview:
    """Return a model at a glance.

    :param registry: the registry
    :param model: registered model
    :param policy: what an approval of this model needs, None where it is not known
    :param timezone: of the policy's times of day
    :param ui_url: where people reach MLflow, when that is not where the registry does
    :param now: the time now
    :raises ModelNotFoundError: when there is neither such a model nor its ledger
    """
    now = now or utc_now()
    ledger = registry.ledger(model)
    state = ledger.read()
    try:
        versions, registered = registry.versions(model), True
    except ModelNotFoundError:
        if not state.entries:
            raise
        versions, registered = [], False
    anchors = ledger.anchors(versions)
    state = ledger.at_least(state, anchors)
    show = _Shower(registry, model, ui_url or registry.tracking_uri)
    return Overview(
        model=model,
        registered=registered,
        live=_live(show, state, versions),
        waiting=tuple(_waiting(show, state, versions, policy, now)),
        former=tuple(_former(show, state, versions)),
        ledger=_ledger(state, anchors),
        warnings=tuple(_warnings(state, versions, registered)),
        policy=_rules(policy, timezone, now),
        registered_by=registered_by(versions, state.events),
    )


@dataclass(frozen=True)
class _Shower:
    """Shows versions of a model: their metrics and links."""

    registry: ModelRegistry
    model: str
    ui_url: str

    def url(self, version: int) -> str | None:
        return version_url(self.ui_url, self.model, version)

    def __call__(self, info: VersionInfo, *, measured: bool = True) -> Shown:
        metrics = run_metrics(self.registry, info) if measured else {}
        return Shown(info, self.url(info.version), {key: metrics[key] for key in METRICS if key in metrics})


def _live(show: _Shower, state: LedgerState, versions: Sequence[VersionInfo]) -> Live | None:
    version = state.production or max(in_production({item.version: item.stage for item in versions}), default=None)
    if version is None:
        return None
    info = next((item for item in versions if item.version == version), None)
    last = next((term for term in reversed(terms(state.events)) if term.version == version), None)
    return Live(version, show(info) if info else None, last)


def _waiting(
    show: _Shower,
    state: LedgerState,
    versions: Sequence[VersionInfo],
    policy: PolicyConfig | None,
    now: datetime,
) -> Iterator[Waiting]:
    staged = {event.version: event for event in state.events if event.moved and event.to_stage == STAGING}
    decided = [(info, _standing(state, info.version)) for info in versions if info.stage == STAGING]
    undecided = [(info, found) for info, found in decided if found is None or found.outcome is Outcome.APPROVED]
    for number, (info, found) in enumerate(undecided):
        event = staged.get(info.version)
        yield Waiting(
            shown=show(info, measured=number < MEASURED),
            since=event.time if event else info.created,
            run=_run(event, info),
            approval=found,
            evidence=_evidence(policy, state.validated_at(info.version), now),
            notes=tuple(value for key, value in sorted(info.tags.items()) if key.startswith(NOTES)),
            review=state.review(info.version),
        )


def _standing(state: LedgerState, version: int) -> Decision | None:
    if (approved := state.approval(version)) is not None and state.standing(version) is None:
        return approved.decision
    standing = state.standing(version)
    return standing.as_decision() if standing is not None else None


def _run(event: Event | None, info: VersionInfo) -> tuple[str, str] | None:
    staged = (event.dag_id, event.run_id) if event else (None, None)
    registered = info.tags.get(tag.AIRFLOW_DAG_ID), info.tags.get(tag.AIRFLOW_RUN_ID)
    return next(((dag_id, run_id) for dag_id, run_id in (staged, registered) if dag_id and run_id), None)


def _evidence(policy: PolicyConfig | None, validated_at: datetime | None, now: datetime) -> tuple[Check, ...]:
    """Return the rules of a policy that hang on the version alone, not on who will decide."""
    if policy is None:
        return ()
    nobody = PolicyConfig(reason_required=False, evidence_max_age_days=policy.evidence_max_age_days)
    return evaluate(nobody, Decision(Outcome.APPROVED), Facts(validated_at=validated_at), now=now).checks


def _former(show: _Shower, state: LedgerState, versions: Sequence[VersionInfo]) -> Iterator[Former]:
    live, stages = state.production, {item.version: item.stage for item in versions}
    seen = [term for term in terms(state.events) if term.version != live]
    last, times = {term.version: term for term in seen}, Counter(term.version for term in seen)
    for version, term in sorted(last.items(), key=lambda item: item[1].since, reverse=True):
        yield Former(
            version=version,
            last=term,
            times=times[version],
            available=stages.get(version) == ARCHIVED,
            url=show.url(version) if version in stages else None,
        )


def _ledger(state: LedgerState, anchors: Sequence[Anchor]) -> Ledger:
    holder = state.holder
    return Ledger(
        events=tuple(state.events),
        problems=(*state.problems, *foreign(state), *compare(state, anchors)),
        accepted=accepted(state),
        entries=len(state.entries),
        head=state.head if state.entries else "",
        locked_since=str(holder.content.get("time")) if holder is not None else None,
    )


def _warnings(state: LedgerState, versions: Sequence[VersionInfo], registered: bool) -> Iterator[str]:
    if not registered:
        yield "MLflow has no registered model of this name any more: this is what its ledger kept."
        return
    live = in_production({item.version: item.stage for item in versions})
    expected = [state.production] if state.production is not None else []
    if state.holder is not None or live == expected:
        return
    shows = f"version{'s' if len(live) > 1 else ''} {numbers(live)}" if live else "no version"
    says = f"version {state.production}" if expected else "no version"
    yield f"MLflow shows {shows} in Production, the ledger {says}: run `reconcile`."


def _rules(policy: PolicyConfig | None, timezone: str, now: datetime) -> Rules | None:
    if policy is None:
        return None
    return Rules(tuple(describe(policy)), blackout_end(policy, timezone, now), now)


def registered_by(versions: Sequence[VersionInfo], events: Sequence[Event]) -> frozenset[str]:
    """Return the DAGs that registered the versions; where no version tells, those that moved one."""
    found = {info.tags[tag.AIRFLOW_DAG_ID] for info in versions if info.tags.get(tag.AIRFLOW_DAG_ID)}
    return frozenset(found or {event.dag_id for event in events if event.dag_id})
