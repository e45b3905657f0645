"""The approval in a real browser: an operator triggers, is refused, approves and rejects; a viewer cannot.

The tests go on where the one before ended, as a working day does. Their pictures are kept (``RETRAIN_PICTURES``).
"""

import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow_ui import AirflowUi
from mlflow import MlflowClient

from include.local_stack.stack import APPROVAL_TASK, DAG_ID, Stack

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1500)]

MODEL = "rossmann-ensemble"
NOTE = "Holdout error <b>well</b> below the gate, weights plausible"
READING_SECONDS = 6.0
Users = Callable[[str], AirflowUi]


def until(stack: Stack, what: str, ask: Callable[[], Any], seconds: float = 900.0) -> Any:
    """Ask until the answer is true; servers that end meanwhile end the wait."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        stack.processes.check()
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(1)
    return answer


def state(stack: Stack, run_id: str, task_id: str = APPROVAL_TASK) -> str | None:
    return stack.api.task(DAG_ID, run_id, task_id).state


def until_waiting(stack: Stack, run_id: str) -> None:
    until(stack, "the approval waits", lambda: state(stack, run_id) == "deferred")
    time.sleep(READING_SECONDS)


def version_of(stack: Stack, run_id: str) -> Any:
    (version,) = MlflowClient(stack.mlflow.url).search_model_versions(
        f"name='{MODEL}' and tags.`airflow.run_id`='{run_id}'"
    )
    return version


@pytest.fixture(scope="module")
def first(stack: Stack, as_user: Users) -> str:
    """A run that the operator triggered with the form; it waits for a decision."""
    stack.api.unpause(DAG_ID)
    olga = as_user("olga")
    dialog = olga.open_trigger_form()
    olga.shoot("1-trigger-form")
    olga.trigger_quick(dialog)
    run = until(stack, "the run", lambda: next(iter(stack.api.active_runs(DAG_ID)), None))
    assert run.conf["quick"] is True
    until(stack, "training", lambda: state(stack, run.run_id, "train_lightgbm") in ("running", "success"))
    olga.graph(run.run_id, "2-graph-training")
    until_waiting(stack, run.run_id)
    return str(run.run_id)


@pytest.fixture(scope="module")
def second(stack: Stack, first: str) -> str:
    """The next run, which waits as well."""
    run_id = stack.api.trigger(DAG_ID, {"quick": True})
    until_waiting(stack, run_id)
    return run_id


def test_a_viewer_cannot_mark(stack: Stack, as_user: Users, first: str) -> None:
    vera = as_user("vera")
    vera.open_approval(first)
    vera.shoot("3-viewer")
    dialog = vera.open_mark("Success")
    vera.write_note(dialog, "let me")
    vera.confirm(dialog)
    said = vera.toast()
    vera.shoot("4-viewer-refused", toast=True)
    assert "You do not have permission" in said
    assert state(stack, first) == "deferred"


def test_a_mark_without_a_reason_is_refused_with_the_sentence(stack: Stack, as_user: Users, first: str) -> None:
    olga = as_user("olga")
    olga.open_approval(first)
    dialog = olga.open_mark("Success")
    olga.confirm(dialog)
    said = olga.toast()
    olga.shoot("5-refused-at-the-door", toast=True)
    assert "A reason is required" in said
    assert MODEL in said
    assert state(stack, first) == "deferred"


def test_an_operator_approves_by_a_mark_with_a_note(stack: Stack, as_user: Users, first: str) -> None:
    olga = as_user("olga")
    olga.open_approval(first)
    dialog = olga.open_mark("Success")
    olga.write_note(dialog, NOTE)
    olga.shoot("6-mark-success")
    olga.confirm(dialog)
    until(stack, "the end", lambda: stack.api.run(DAG_ID, first).state == "success")
    olga.graph(first, "7-graph-finished")
    version = version_of(stack, first)
    tags = version.tags
    assert version.current_stage == "Production"
    assert (tags["decision.user"], tags["decision.reason"]) == ("olga", NOTE)
    olga.model_version(MODEL, version.version)
    olga.shoot("8-mlflow-version")
    shown = olga.page.inner_text("body")
    assert "champion" in shown
    assert "olga" in shown
    assert NOTE in shown  # as text, not as bold text


def test_an_operator_rejects_in_required_actions(stack: Stack, as_user: Users, second: str) -> None:
    olga = as_user("olga")
    olga.page.goto(f"{olga.url}/required_actions")
    olga.shoot("9-required-actions")
    olga.open_approval(second, "required_actions")
    reject = olga.page.get_by_role("button", name="Reject")
    assert reject.is_disabled(), "a reason is required"
    olga.page.locator("#element_reason").fill("weekend figures look odd")
    reject.click()
    olga.shoot("10-rejected")
    until(stack, "the end", lambda: stack.api.run(DAG_ID, second).state == "failed")
    version = version_of(stack, second)
    tags = version.tags
    assert version.current_stage == "Staging"
    assert (tags["decision.outcome"], tags["decision.user"]) == ("rejected", "olga")
    assert tags["decision.reason"] == "weekend figures look odd"
    assert version_of(stack, first_of(stack)).current_stage == "Production"


def first_of(stack: Stack) -> str:
    client = MlflowClient(stack.mlflow.url)
    champion = client.get_model_version_by_alias(MODEL, "champion")
    return str(champion.tags["airflow.run_id"])
