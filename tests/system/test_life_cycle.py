"""The life cycle on real servers, in the order in which a team meets it. Each test leaves what the next one needs."""

import csv
import json
import time
from pathlib import Path

import pytest
from operations import FIRST_REASON, MODEL, Operations

from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.stack import APPROVAL_TASK
from tests.stopping import stop_server

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

OUTAGE_SECONDS = 10


@pytest.fixture(scope="module")
def second(session_operator: Operations, first: int) -> int:
    """The second, which replaced the first, although a training process was killed and MLflow was down."""
    operator = session_operator
    run_id = operator.trigger(note="second")

    process = operator.step_process("train", "--member", "xgboost")
    process.kill()
    killed = operator.until_task(run_id, "train_xgboost", {"up_for_retry"})
    operator.saw("a killed training task", operator.sentence(run_id, "train_xgboost"))
    assert killed.try_number == 1
    assert operator.production() == first

    operator.step_process("register")
    start_again = stop_server(operator.stack.processes, "mlflow")
    time.sleep(OUTAGE_SECONDS)
    start_again()
    operator.wait("MLflow is back", lambda: operator.stack.mlflow.healthy(operator.stack.processes), 120)

    operator.until_waiting(run_id)
    version = operator.version_of(run_id)
    assert operator.task(run_id, "train_xgboost").try_number == 2
    register = operator.task(run_id, "register")
    operator.saw(
        "MLflow down during register",
        f"register is {register.state} at attempt {register.try_number}; one version ({version}) of this run",
    )
    assert operator.production() == first
    operator.approve(run_id, "second version")
    assert operator.until_end(run_id) == "success", operator.why(run_id)
    said = operator.log_text(run_id, "promote")
    assert f"Model version {version} is now in Production" in said
    assert f"Previous Production model (version {first}) archived" in said
    return version


def versions_in(file: Path) -> set[str]:
    """The versions that a file of predictions names."""
    with file.open() as lines:
        return {row["ModelVersion"] for row in csv.DictReader(lines)}


def unchanged(operator: Operations, live: int, events: int) -> None:
    """Production, its alias and its history are as they were."""
    assert operator.production() == live
    assert operator.champion() == live
    assert len(operator.promotions()) == events


def test_a_second_retrain_archives_the_first(operator, first, second):
    stages = operator.stages()
    assert (stages[first], stages[second]) == ("Archived", "Production")
    assert operator.champion() == second
    assert [(event.version, event.user, event.reason) for event in operator.promotions()] == [
        (first, operator.tags(first)["decision.user"], FIRST_REASON),  # olga in the browser, where that came before
        (second, "admin", "second version"),
    ]
    operator.saw("second retrain", f"version {second} in Production, version {first} archived")


def test_spoilt_data_stops_at_the_gate(operator, second, broken_runs):
    run_id = broken_runs.spoilt
    assert operator.until_end(run_id) == "failed"
    validate = operator.task(run_id, "validate")
    assert (validate.state, validate.try_number) == ("failed", 1)
    assert operator.states(run_id)[APPROVAL_TASK] == "upstream_failed"
    version = operator.version_of(run_id)
    assert operator.stages()[version] == "None"
    tags = operator.tags(version)
    assert tags["validation.outcome"] == "failed"
    assert tags["retrain_required"] == "true"
    unchanged(operator, second, 2)
    operator.saw("the gate", operator.sentence(run_id, "validate"))


def test_a_corrupt_csv_stops_before_training(operator, second, broken_runs):
    run_id = broken_runs.corrupt
    assert operator.until_end(run_id) == "failed"
    pull = operator.task(run_id, "pull")
    assert (pull.state, pull.try_number) == ("failed", 1)
    assert operator.states(run_id)["features"] == "upstream_failed"
    assert operator.versions_of(run_id) == []
    unchanged(operator, second, 2)
    line = operator.sentence(run_id, "pull")
    assert "train.csv" in line
    operator.saw("a corrupt CSV", line)


def test_rollback_restores_the_first_and_predictions_name_their_version(operator, first, second, tmp_path):
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    assert operator.predict(before) == second
    said = operator.run_cli("rollback", "--version", str(first), "--reason", "second forecasts too low")
    assert f"Model version {first} is now in Production" in said
    assert f"Previous Production model (version {second}) archived" in said
    assert operator.production() == first
    assert operator.champion() == first
    assert operator.stages()[second] == "Archived"
    assert operator.predict(after) == first
    assert versions_in(before) == {str(second)}
    assert versions_in(after) == {str(first)}
    newest = json.loads(operator.run_cli("history", "--json"))[-1]
    assert (newest["version"], newest["reason"], newest["door"]) == (first, "second forecasts too low", "cli")
    operator.saw("rolled back", " / ".join(said.strip().splitlines()))


def test_a_night_predicts_and_is_judged(operator, first, second):
    """The DAGs beside the retrain: files that name the one version, and a monitoring that has nothing to tell."""
    for dag_id in ("rossmann_predict", "rossmann_monitor"):
        operator.api.unpause(dag_id)
        run_id = operator.api.trigger(dag_id, {})
        assert operator.until_end(run_id, dag_id) == "success", operator.why(run_id, dag_id)
    folder = Path(operator.config.content["prediction"]["place"]) / MODEL
    latest = json.loads((folder / "latest.json").read_text())
    assert latest["version"] == operator.production()
    files = [path for path in folder.rglob("*.csv") if versions_in(path) == {str(latest["version"])}]
    assert files
    runs = operator.registry.search_runs(
        [operator.registry.get_experiment_by_name("rossmann-forecasting-monitoring").experiment_id],
        f"tags.`airflow.run_id` = '{run_id}'",
    )
    assert [run.data.tags["monitor.asked"] for run in runs if run.info.status == "FINISHED"] == [""]
    operator.saw("a night", f"version {latest['version']} predicted {latest['rows']} rows; no alarm")


def test_the_review_that_was_approved_is_kept(operator, second):
    """What the approver read: a page whose digest the ledger has, in the run that trained the version."""
    review = ModelRegistry(operator.registry).ledger(MODEL).read().review(second)
    assert review is not None
    assert review.verdict in ("pass", "warn")
    assert review.live is not None
    run_id, path = review.artifact
    assert path in [item.path for item in operator.registry.list_artifacts(run_id, path.rpartition("/")[0])]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("rollback", "--version", "999", "--reason", "x"), "999"),
        (("predict", "--stage", "Produktion", "--output", "x.csv"), "Produktion"),
        (("promote", "--version", "999", "--reason", "x"), "999"),
    ],
)
def test_a_wrong_name_is_one_sentence(operator, first, second, arguments, word):
    events, live = len(operator.promotions()), operator.production()
    done = operator.cli(*arguments)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert word in line
    unchanged(operator, live, events)
    operator.saw(f"{MODEL} {' '.join(arguments[:3])}", line)
