"""A model at a glance, on a real MLflow."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from include.lifecycle import tags as tag
from include.lifecycle.config.approval import BlackoutConfig, PolicyConfig
from include.lifecycle.errors import ModelNotFoundError
from include.lifecycle.ledger.history import terms
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.views.overview import known_models, overview
from tests.validations import validation

from .support import MODEL, approved

SUPERSEDED = Decision(Outcome.SUPERSEDED, reason="a newer one came")
REJECTED = Decision(Outcome.REJECTED, "bob", "test", "too optimistic", Channel.CLI)


def test_a_model_without_a_ledger_is_empty_and_an_unknown_one_an_error(registry):
    found = overview(registry, MODEL)
    assert (found.live, found.waiting, found.former, found.ledger.events) == (None, (), (), ())
    assert found.registered
    assert known_models(registry) == []
    with pytest.raises(ModelNotFoundError):
        overview(registry, "nothing")


def test_what_is_live_and_what_was(registry, add):
    add(stage="Production", metrics={"holdout_rmspe": 0.09})
    add(stage="Production", metrics={"holdout_rmspe": 0.08, "of_no_interest": 1.0}, **{tag.DATA_VERSION: "md5-2"})
    add(stage="Production")
    registry.rollback(MODEL, 2, approved("eve", "3 is bad"))
    found = overview(registry, MODEL)
    assert found.live.version == 2
    assert (found.live.term.event.user, found.live.term.event.reason) == ("eve", "3 is bad")
    assert found.live.shown.metrics == {"holdout_rmspe": 0.08}
    assert found.live.shown.data_version == "md5-2"
    assert found.live.shown.gate == {"outcome": "passed"}
    assert [(former.version, former.times, former.available) for former in found.former] == [
        (3, 1, True),
        (1, 1, True),
    ]
    times = [(term.version, term.since, term.until) for term in terms(registry.history(MODEL))]
    assert [item[0] for item in times] == [1, 2, 3, 2]
    assert all(before[2] == after[1] for before, after in pairwise(times))
    assert times[-1][2] is None
    assert known_models(registry) == [MODEL]
    assert found.warnings == ()


def test_what_waits_and_what_does_not(registry, add):
    add(stage="Production")
    add(stage="Staging", **{tag.AIRFLOW_DAG_ID: "retrain", tag.AIRFLOW_RUN_ID: "night 2"})
    add(stage="Staging")
    add(stage="Staging")
    registry.reject(MODEL, 3, REJECTED)
    registry.transition(MODEL, 4, "None", SUPERSEDED)
    add(passed=False)
    found = overview(registry, MODEL)
    assert [waiting.version for waiting in found.waiting] == [2]
    (waiting,) = found.waiting
    staged = next(event for event in registry.history(MODEL) if event.version == 2)
    assert (waiting.since, waiting.run, waiting.approval) == (staged.time, ("retrain", "night 2"), None)
    assert found.registered_by == {"retrain"}


def test_an_approved_version_waits_for_its_promotion(registry, add):
    add(stage="Staging")
    registry.record_decision(MODEL, 1, approved("eve", "fine"))
    registry.client.set_model_version_tag(MODEL, "1", "promotion.refused", "an approver is needed")
    (waiting,) = overview(registry, MODEL).waiting
    assert waiting.approval.user == "eve"
    assert waiting.notes == ("an approver is needed",)


def test_the_policy_and_the_state_of_the_evidence(registry, add):
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    ages = {1: (timedelta(days=2), timedelta(days=9)), 2: (timedelta(days=9), timedelta(days=2))}
    for version, (age, in_tag) in ages.items():
        add(passed=None, **{tag.VALIDATION_TIME: (now - in_tag).isoformat()})
        registry.validated(validation(MODEL, version, at=now - age))
        registry.stage(MODEL, version)
    add(passed=None, **{tag.VALIDATION_TIME: "tomorrow, perhaps"})
    registry.transition(MODEL, 3, "Staging", approved(), require_validation=False)
    policy = PolicyConfig(
        approvers=("user:ana",), evidence_max_age_days=7, blackouts=(BlackoutConfig(start="11:00", end="14:00"),)
    )
    found = overview(registry, MODEL, policy=policy, timezone="UTC", now=now)
    assert found.policy.rules[0] == "Approvers: user:ana."
    assert found.policy.blackout_until == datetime(2026, 3, 2, 14, tzinfo=UTC)
    met = {waiting.version: [(check.rule, check.met) for check in waiting.evidence] for waiting in found.waiting}
    assert met == {1: [("evidence", True)], 2: [("evidence", False)], 3: [("evidence", False)]}
    assert overview(registry, MODEL).policy is None


def test_a_disagreement_of_registry_and_ledger_is_told(registry, add, by_hand):
    add(stage="Production")
    add(stage="Staging")
    by_hand(2, "Production")
    found = overview(registry, MODEL)
    assert found.warnings == ("MLflow shows versions 1 and 2 in Production, the ledger version 1: run `reconcile`.",)
    by_hand(1, "Archived")
    by_hand(2, "Archived")
    assert overview(registry, MODEL).warnings == (
        "MLflow shows no version in Production, the ledger version 1: run `reconcile`.",
    )


def test_while_somebody_promotes_nothing_is_told(registry, add, by_hand):
    add(stage="Production")
    add(stage="Staging")
    with registry.ledger(MODEL).lock():
        by_hand(2, "Production")
        found = overview(registry, MODEL)
        by_hand(2, "Staging")
    assert found.warnings == ()
    assert datetime.fromisoformat(found.ledger.locked_since)


def test_in_production_without_a_ledger(registry, add, by_hand):
    add()
    by_hand(1, "Production")
    found = overview(registry, MODEL)
    assert (found.live.version, found.live.term) == (1, None)
    assert found.warnings == ("MLflow shows version 1 in Production, the ledger no version: run `reconcile`.",)


def test_a_ledger_outlives_its_versions_and_its_model(registry, add):
    add(stage="Production")
    add(stage="Production")
    registry.client.delete_model_version(MODEL, "1")
    (former,) = overview(registry, MODEL).former
    assert (former.version, former.available, former.url) == (1, False, None)
    registry.client.delete_registered_model(MODEL)
    found = overview(registry, MODEL)
    assert (found.registered, found.live.version, found.live.shown) == (False, 2, None)
    assert len(found.ledger.events) == 4
    assert found.registered_by == {"retrain"}, "of the events, as no version is left to tell"


def test_a_changed_entry_is_named(registry, add, mlflow_uri):
    import sqlite3

    add(stage="Production")
    add(stage="Staging")
    assert overview(registry, MODEL).ledger.problems == ()
    with sqlite3.connect(mlflow_uri.removeprefix("sqlite:///")) as database:
        database.execute("update params set value = replace(value, 'looks right', 'looks wrong')")
    assert overview(registry, MODEL).ledger.problems != ()
