import json
import math

import pytest

from include.lifecycle.moves.gate_record import record_gate
from include.lifecycle.rules.gates import evaluate_gate

from .support import MODEL

GOOD = {
    "metric": "rmspe",
    "value": 0.0999,
    "threshold": 0.10,
    "rows": 1000,
    "expected_rows": 1000,
    "seen_rows": 0,
}
HIGHER = GOOD | {"metric": "auc", "value": 0.97, "threshold": 0.8, "direction": "above", "bounds": (0.0, 1.0)}
"""A metric that is better the higher it is."""


def test_a_good_candidate_passes():
    result = evaluate_gate(**GOOD)
    assert result.passed
    assert result.failed_checks == []


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"value": 0.10}, "rmspe 0.1000 is not below 0.1"),
        ({"value": 0.1000000001}, "rmspe 0.1000000001 is not below 0.1"),
        ({"value": math.nextafter(0.10, 1)}, "is not below 0.1"),
        ({"value": 0.69}, "rmspe 0.6900 is not below 0.1"),
        ({"value": math.nan}, "rmspe is nan"),
        ({"value": math.inf}, "rmspe is inf"),
        ({"value": -math.inf}, "rmspe is -inf"),
        ({"value": -0.01}, "not between 0 and inf"),
        ({"threshold": math.nan}, "the threshold nan"),
        ({"threshold": math.inf}, "the threshold inf"),
        ({"rows": 0, "expected_rows": 0}, "the holdout is empty"),
        ({"rows": 999}, "999 of the holdout's 1000 rows were scored"),
        ({"rows": 1001}, "1001 of the holdout's 1000 rows were scored"),
        ({"seen_rows": 1}, "may have been trained on 1 rows of the holdout"),
    ],
)
def test_the_gate_is_strict(change, check):
    result = evaluate_gate(**{**GOOD, **change})
    assert not result.passed
    assert [failed for failed in result.failed_checks if check in failed] == result.failed_checks


def test_a_metric_that_is_better_the_higher_it_is():
    assert evaluate_gate(**HIGHER).passed
    assert evaluate_gate(**HIGHER | {"value": math.nextafter(0.8, 1)}).passed
    for value in (0.8, 0.5, 0.0, 1.01, -0.1, math.nan):
        assert len(evaluate_gate(**HIGHER | {"value": value}).failed_checks) == 1
    assert evaluate_gate(**HIGHER | {"value": 0.5}).failed_checks == ["auc 0.5000 is not above 0.8"]


def test_the_largest_value_below_the_threshold_passes():
    assert evaluate_gate(**{**GOOD, "value": math.nextafter(0.10, 0)}).passed


def test_every_failed_check_is_named():
    result = evaluate_gate(**{**GOOD, "value": math.nan, "rows": 0, "seen_rows": 4})
    assert len(result.failed_checks) == 3


def test_the_outcome_is_on_the_version_and_its_run(registry, add):
    version = add(passed=None)
    info = registry.version(MODEL, version)
    bad = evaluate_gate(**{**GOOD, "value": math.nan, "rows": 9})
    said = record_gate(registry, info, bad, data_version="d1", rows=9)
    assert (said.passed, said.outcome, said.value, said.rows, said.digest) == (False, "failed", "nan", 9, "")
    assert (said.failed, said.data_version) == (tuple(bad.failed_checks), "d1")
    tags = registry.version(MODEL, version).tags
    assert tags["validation.outcome"] == "failed"
    assert tags["retrain_required"] == "true"
    assert registry.client.get_run(info.run_id).data.tags["retrain_required"] == "true"
    assert json.loads(tags["validation.failed_checks"]) == ["9 of the holdout's 1000 rows were scored", "rmspe is nan"]

    registry.client.set_model_version_tag(MODEL, str(version), "artifacts.digest", "a" * 64)
    said = record_gate(registry, registry.version(MODEL, version), evaluate_gate(**GOOD), data_version="d2")
    assert (said.passed, said.value, said.threshold, said.digest) == (True, "0.0999", "0.1", "a" * 64)
    assert registry.ledger(MODEL).read().entries == (), "who entered it in the ledger is another's part"
    info = registry.version(MODEL, version)
    assert info.tags["validation.outcome"] == "passed"
    assert "retrain_required" not in info.tags
    assert (info.tags["validation.value"], info.tags["validation.threshold"]) == ("0.0999", "0.1")
    assert info.tags["validation.data_version"] == "d2"
    run = registry.client.get_run(info.run_id)
    assert run.data.metrics["validation_rmspe"] == 0.0999
    assert run.data.tags["validation.outcome"] == "passed"
    assert "retrain_required" not in run.data.tags


def test_killed_while_it_records_a_failure_a_version_never_seems_to_have_passed(registry, add, monkeypatch):
    version = add(passed=True)
    real, left = registry.client.set_model_version_tag, 2

    def dies(*args, **kwargs):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(registry.client, "set_model_version_tag", dies)
    with pytest.raises(KeyboardInterrupt):
        record_gate(registry, registry.version(MODEL, version), evaluate_gate(**{**GOOD, "value": 1}), data_version="d")
    assert registry.version(MODEL, version).tags["validation.outcome"] == "failed"
