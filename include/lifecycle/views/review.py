"""What a reviewer reads before deciding: a candidate beside what is in Production, as Markdown.

Every value is untrusted (notes, names, tags that somebody edited) and shown as text.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.moves.checks import failed_checks
from include.lifecycle.registry.links import version_url
from include.lifecycle.registry.versions import VersionInfo, missing
from include.lifecycle.rules.decisions import Decision, Outcome, utc_now
from include.lifecycle.rules.policy import EVIDENCE, NOBODY, Facts, blackout_end, describe, evaluate
from include.lifecycle.untrusted_text import markdown

if TYPE_CHECKING:
    from include.lifecycle.moves.model_registry import ModelRegistry

METRICS = (
    "holdout_rmspe",
    "cv_rmspe_mean",
    "cv_rmspe_std",
    "holdout_rmspe_lightgbm",
    "holdout_rmspe_xgboost",
    "holdout_rmspe_catboost",
    "holdout_rmspe_naive",
    "ensemble_gain",
)
"""Metrics of a version's run that are shown when they are there, in this order."""
NOTHING = "–"
VERDICT_WORDS = {"pass": "✓ pass", "warn": "⚠ **warn**", "fail": "✗ **fail**", "none": NOTHING}
QUICK_WORDS = "Only a try: a quick run trained it, with less than a release gets."
_UNDECIDED = Decision(Outcome.APPROVED)

FACTS = (
    ("Data version", tag.DATA_VERSION),
    ("Data registry commit", tag.DATA_REGISTRY_COMMIT),
    ("Training ends", tag.TRAINING_END),
    ("Holdout starts", tag.HOLDOUT_START),
    ("Holdout ends", tag.HOLDOUT_END),
    ("Code commit", tag.CODE_COMMIT),
    ("Airflow run", tag.AIRFLOW_RUN_ID),
)


def render_review(
    registry: "ModelRegistry",
    model: str,
    version: int,
    *,
    metrics: Sequence[str] = METRICS,
    notes: Mapping[str, str] | None = None,
    review: Reviewed | None = None,
    page_url: str = "",
    link: str = "",
) -> str:
    """Return what is known of a candidate as Markdown: first whether it is only a try, then what its review said.

    :param metrics: keys of metrics on the versions' runs, shown when the run of either has them
    :param notes: further facts, e.g. the note of the run: label and untrusted text
    :param review: what compared it with Production on the same rows; without one the figures of both trainings are
        shown, each on its own holdout
    :param page_url: page of the review
    :param link: page of the version in MLflow as people reach it; by default below the address that is used here
    :raises VersionNotFoundError: when there is no such version
    """
    candidate, live = registry.version(model, version), registry.production(model)
    measured = run_metrics(registry, candidate)
    against = run_metrics(registry, live) if live is not None else {}
    parts = [f"**{QUICK_WORDS}**"] if candidate.quick else []
    parts += [render_checklist(review, page_url)] if review is not None else []
    parts += [
        f"**{markdown(model)}, version {version}** is in {candidate.stage}. {_compared(candidate, live)}",
        f"Gate: {_gate(candidate)}.",
        _metric_table([key for key in metrics if key in measured or key in against], measured, against, live)
        if review is None
        else "",
        _fact_table(candidate, live, notes or {}),
    ]
    if url := link or version_url(registry.tracking_uri, model, version):
        parts.append(f"[Version {version} in MLflow]({url})")
    return "\n\n".join(part for part in parts if part) + "\n"


def render_checklist(review: Reviewed, page_url: str = "") -> str:
    """Return the verdicts of a review as Markdown: what holds back or warns first, then every item."""
    lines = [f"**{markdown(verdict_line(review), 500)}**", "", markdown(review.headline), "", markdown(review.rows)]
    if page_url:
        lines += ["", f"[The review, with tables and pictures]({page_url})"]
    lines += ["", "| | Item | What was found |", "|:--|:--|:--|"]
    lines += [
        f"| {VERDICT_WORDS[item.verdict]} | {markdown(item.title)} | {markdown(item.sentence)} |"
        for item in review.items
    ]
    return "\n".join(lines)


def verdict_line(review: Reviewed) -> str:
    """Return the verdict of a review in a few words: ``2 warnings: Bias overall, The last days``."""
    failed, warned = review.titles("fail"), review.titles("warn")
    if failed:
        return f"Held back: {', '.join(failed)}"
    if warned:
        return f"{len(warned)} warning{'s' if len(warned) > 1 else ''}: {', '.join(warned)}"
    return "No warning"


def render_policy(policy: PolicyConfig, timezone: str, facts: Facts, *, now: datetime | None = None) -> str:
    """Return what a policy asks for, and what is known before anybody decides, as Markdown.

    :param timezone: of its times of day
    :param facts: what it looks at beside the decision
    :param now: the time that it is shown for
    """
    now = now or utc_now()
    rules = [*describe(policy), *_known(policy, timezone, facts, now)]
    rules = rules or ["No rule: whoever Airflow lets mark or answer this task may approve."]
    title = f"**Policy**, as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return "\n".join([title, "", *(f"- {markdown(rule)}" for rule in rules)]) + "\n"


def _known(policy: PolicyConfig, timezone: str, facts: Facts, now: datetime) -> Iterator[str]:
    if policy.four_eyes and facts.requested_by is None:
        yield "Who triggered this run is not known, so nobody can approve it: trigger a new run, logged in to Airflow."
    elif policy.four_eyes and facts.requested_by == NOBODY:
        yield "A schedule started this run: nobody is excluded."
    elif policy.four_eyes:
        yield f"{facts.requested_by} triggered this run and cannot approve it: somebody else has to."
    if policy.evidence_max_age_days is not None:
        checks = evaluate(policy, _UNDECIDED, facts, now=now).checks
        yield from (check.sentence for check in checks if check.rule == EVIDENCE)
    if policy.blackouts and (end := blackout_end(policy, timezone, now)):
        yield f"A blackout is in force until {_local(end, timezone)}: an approval is taken now, and promoted then."
    elif policy.blackouts:
        yield f"No blackout is in force. It is {_local(now, timezone)}."


def _local(at: datetime, timezone: str) -> str:
    return f"{at.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} in {timezone} ({at.astimezone(UTC):%H:%M} UTC)"


def _compared(candidate: VersionInfo, live: VersionInfo | None) -> str:
    if live is None:
        return "Nothing is in Production yet."
    if live.version == candidate.version:
        return "It is the version in Production."
    return f"Approval puts it in the place of version {live.version}, which is then archived."


def _gate(info: VersionInfo) -> str:
    outcome = info.tags.get(tag.VALIDATION_OUTCOME)
    if outcome is None:
        return "not validated"
    found = {key: markdown(info.tags.get(key, "unknown"), 60) for key in (tag.VALIDATION_METRIC, tag.VALIDATION_TIME)}
    value, threshold = (
        _number_text(info.tags.get(key, "")) for key in (tag.VALIDATION_VALUE, tag.VALIDATION_THRESHOLD)
    )
    sentence = (
        f"**{markdown(outcome, 20)}**, {found[tag.VALIDATION_METRIC]} {value} (must stay below {threshold}),"
        f" checked {found[tag.VALIDATION_TIME]}"
    )
    failed = failed_checks(info)
    return f"{sentence}; failed: {markdown(failed)}" if failed else sentence


def _metric_table(
    keys: Sequence[str], measured: Mapping[str, float], against: Mapping[str, float], live: VersionInfo | None
) -> str:
    if not keys:
        return ""
    live_title = f"Production (version {live.version})" if live is not None else "Production"
    rows = [f"| Metric | Candidate | {live_title} | Difference |", "|:--|--:|--:|--:|"]
    for key in keys:
        ours, theirs = measured.get(key), against.get(key)
        difference = f"{ours - theirs:+.4f}" if ours is not None and theirs is not None else NOTHING
        label = key.replace("_", " ").replace("rmspe", "RMSPE").replace("cv ", "CV ")
        rows.append(f"| {markdown(label, 60)} | {_number(ours)} | {_number(theirs)} | {difference} |")
    return "\n".join(rows)


def _fact_table(candidate: VersionInfo, live: VersionInfo | None, notes: Mapping[str, str]) -> str:
    rows = ["| | Candidate | Production |", "|:--|:--|:--|"]
    shown = [(label, _fact(candidate, key), _fact(live, key)) for label, key in FACTS]
    shown.append(("Weights", _weights(candidate), _weights(live)))
    shown.append(("Created", _created(candidate), _created(live)))
    rows += [f"| {label} | {ours} | {theirs} |" for label, ours, theirs in shown if {ours, theirs} != {NOTHING}]
    rows += [f"| {markdown(label, 60)} | {markdown(text, 500)} | |" for label, text in notes.items() if text]
    return "\n".join(rows)


def _fact(info: VersionInfo | None, key: str) -> str:
    if info is None or not info.tags.get(key):
        return NOTHING
    changed = (
        " (with uncommitted changes)" if key == tag.CODE_COMMIT and info.tags.get(tag.CODE_DIRTY) == tag.TRUE else ""
    )
    return markdown(info.tags[key], 120) + changed


def _weights(info: VersionInfo | None) -> str:
    text = info.tags.get(tag.ENSEMBLE_WEIGHTS, "") if info is not None else ""
    try:
        weights = json.loads(text)
        return markdown(", ".join(f"{name} {float(weight):.3f}" for name, weight in sorted(weights.items())), 300)
    except (ValueError, TypeError, AttributeError):
        return markdown(text, 300) if text else NOTHING


def _created(info: VersionInfo | None) -> str:
    return f"{info.created:%Y-%m-%d %H:%M} UTC" if info is not None else NOTHING


def run_metrics(registry: "ModelRegistry", info: VersionInfo) -> dict[str, float]:
    """Return the metrics of a version's run, none when the run is gone."""
    if not info.run_id:
        return {}
    try:
        return dict(registry.client.get_run(info.run_id).data.metrics)
    except MlflowException as error:
        if not missing(error):
            raise
        return {}


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}" if math.isfinite(value) else str(value)


def _number_text(text: str) -> str:
    try:
        return f"{float(text):.4f}"
    except ValueError:
        return markdown(text or "unknown", 30)
