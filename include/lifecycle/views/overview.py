"""A model at a glance: what is live, what waits, what it can go back to, what its ledger says. Writes nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial

from mlflow.entities import ViewType

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.errors import ModelNotFoundError
from include.lifecycle.ledger.anchors import Anchor, compare
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.history import terms
from include.lifecycle.ledger.runs import EXPERIMENT, RUN_TAG
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.ledger.verify import accepted, foreign
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.links import version_url
from include.lifecycle.registry.versions import VersionInfo, in_production, numbers, pages
from include.lifecycle.rules.decisions import Decision, Outcome, utc_now
from include.lifecycle.rules.policy import Check, Facts, blackout_end, describe, evaluate
from include.lifecycle.stages import ARCHIVED, STAGING
from include.lifecycle.views.review import METRICS, run_metrics
from include.lifecycle.views.summary import Former, Ledger, Live, Overview, Rules, Shown, Waiting

MEASURED = 10
"""Waiting versions, newest first, whose metrics are read: each costs a request."""
NOTES = "promotion."
"""Tags that begin so say what happened to an approved version on its way to Production."""


def known_models(registry: ModelRegistry) -> list[str]:
    """Return the models that have a promotion ledger, by name."""
    search = partial(
        registry.client.search_experiments, view_type=ViewType.ACTIVE_ONLY, filter_string=f"name LIKE '{EXPERIMENT}/%'"
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

    :param policy: what an approval of this model needs, None where it is not known
    :param ui_url: where people reach MLflow, when that is not where the registry does
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
    seen = _Seen(registry, model, ui_url or registry.tracking_uri, state, versions)
    return Overview(
        model=model,
        registered=registered,
        live=seen.live(),
        waiting=tuple(seen.waiting(policy, now)),
        former=tuple(seen.former()),
        ledger=_ledger(state, anchors),
        warnings=tuple(seen.warnings(registered)),
        policy=Rules(tuple(describe(policy)), blackout_end(policy, timezone, now), now) if policy is not None else None,
        registered_by=registered_by(versions, state.events),
    )


@dataclass(frozen=True)
class _Seen:
    """What registry and ledger have of a model."""

    registry: ModelRegistry
    model: str
    ui_url: str
    state: LedgerState
    versions: Sequence[VersionInfo]

    @cached_property
    def stages(self) -> dict[int, str]:
        return {item.version: item.stage for item in self.versions}

    def url(self, version: int) -> str | None:
        return version_url(self.ui_url, self.model, version)

    def shown(self, info: VersionInfo, *, measured: bool = True) -> Shown:
        metrics = run_metrics(self.registry, info) if measured else {}
        return Shown(info, self.url(info.version), {key: metrics[key] for key in METRICS if key in metrics})

    def live(self) -> Live | None:
        version = self.state.production or max(in_production(self.stages), default=None)
        if version is None:
            return None
        info = next((item for item in self.versions if item.version == version), None)
        last = next((term for term in reversed(terms(self.state.events)) if term.version == version), None)
        return Live(version, self.shown(info) if info else None, last)

    def waiting(self, policy: PolicyConfig | None, now: datetime) -> Iterator[Waiting]:
        staged = {event.version: event for event in self.state.events if event.moved and event.to_stage == STAGING}
        decided = [(info, _standing(self.state, info.version)) for info in self.versions if info.stage == STAGING]
        undecided = [(info, found) for info, found in decided if found is None or found.outcome is Outcome.APPROVED]
        for number, (info, found) in enumerate(undecided):
            event = staged.get(info.version)
            yield Waiting(
                shown=self.shown(info, measured=number < MEASURED),
                since=event.time if event else info.created,
                run=_run(event, info),
                approval=found,
                evidence=_evidence(policy, self.state.validated_at(info.version), now),
                notes=tuple(value for key, value in sorted(info.tags.items()) if key.startswith(NOTES)),
                review=self.state.review(info.version),
            )

    def former(self) -> Iterator[Former]:
        seen = [term for term in terms(self.state.events) if term.version != self.state.production]
        last, times = {term.version: term for term in seen}, Counter(term.version for term in seen)
        for version, term in sorted(last.items(), key=lambda item: item[1].since, reverse=True):
            yield Former(
                version=version,
                last=term,
                times=times[version],
                available=self.stages.get(version) == ARCHIVED,
                url=self.url(version) if version in self.stages else None,
            )

    def warnings(self, registered: bool) -> Iterator[str]:
        if not registered:
            yield "MLflow has no registered model of this name any more: this is what its ledger kept."
            return
        live, champion = in_production(self.stages), self.state.production
        expected = [champion] if champion is not None else []
        if self.state.holder is not None or live == expected:
            return
        shows = f"version{'s' if len(live) > 1 else ''} {numbers(live)}" if live else "no version"
        says = f"version {champion}" if expected else "no version"
        yield f"MLflow shows {shows} in Production, the ledger {says}: run `reconcile`."


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


def registered_by(versions: Sequence[VersionInfo], events: Sequence[Event]) -> frozenset[str]:
    """Return the DAGs that registered the versions; where no version tells, those that moved one."""
    found = {info.tags[tag.AIRFLOW_DAG_ID] for info in versions if info.tags.get(tag.AIRFLOW_DAG_ID)}
    return frozenset(found or {event.dag_id for event in events if event.dag_id})
