"""One retrain through a real Airflow and a real MLflow: triggered, approved with a note, in Production, predicted."""

import csv

import pytest
from operations import MODEL

pytestmark = [pytest.mark.smoke, pytest.mark.timeout(900)]

NOTE = "figures are better on all stores"


def test_a_retrain_reaches_production_when_the_approval_is_marked_success(operator, tmp_path):
    run_id = operator.trigger(note="smoke test")
    version = operator.until_waiting(run_id)
    assert operator.stages()[version] == "Staging"
    assert operator.production() is None

    operator.approve(run_id, NOTE)
    assert operator.until_end(run_id) == "success", operator.why(run_id)

    assert operator.production() == version
    assert operator.champion() == version
    assert f"Model version {version} is now in Production" in operator.log_text(run_id, "promote")
    tags = operator.tags(version)
    assert tags["validation.outcome"] == "passed"
    assert tags["decision.outcome"] == "approved"
    assert tags["decision.user"] == "admin"
    assert tags["decision.reason"] == NOTE
    (event,) = operator.promotions()
    assert (event["version"], event["user"], event["reason"]) == (version, "admin", NOTE)

    output = tmp_path / "predictions.csv"
    assert operator.predict(output) == version
    rows = list(csv.DictReader(output.open()))
    assert rows
    assert all(float(row["Sales"]) >= 0 for row in rows)
    operator.saw(
        "approved", f"{MODEL} version {version} by {event['user']}: {event['reason']}; {len(rows)} rows predicted"
    )
