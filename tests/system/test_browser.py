"""The approval in a real browser: an operator triggers, is refused, approves and rejects; a viewer cannot.

The tests go on where the one before ended, as a working day does; the life cycle goes on with the version that is
approved here. Their pictures are kept (``RETRAIN_PICTURES``).
"""

from collections.abc import Callable

import pytest
from operations import FIRST_REASON, MODEL, Operations

from local_stack.stack import APPROVAL_TASK, DAG_ID
from tests.registry_server import copy_version
from tests.ui.airflow_ui import AirflowUi

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

Users = Callable[[str], AirflowUi]
TOY_DAG, COPY = "doors", "browser-copy"


@pytest.fixture(scope="module")
def waiting(session_operator: Operations, first_run: str) -> str:
    """The first run, which the operator triggered with the form and which waits for a decision."""
    session_operator.until_waiting(first_run)
    return first_run


def test_a_run_is_triggered_with_the_form_and_shows_its_graph(
    session_operator: Operations, as_user: Users, first_run: str
) -> None:
    assert session_operator.api.run(DAG_ID, first_run).conf["quick"] is True
    as_user("olga").page.goto(as_user("olga").run_url(first_run))
    for task in ("train_lightgbm", "train_xgboost", "train_catboost"):
        as_user("olga").page.get_by_text(task).first.wait_for()


def test_a_viewer_cannot_mark(session_operator: Operations, as_user: Users, waiting: str) -> None:
    vera = as_user("vera")
    vera.open_approval(waiting)
    vera.shoot("3-viewer")
    dialog = vera.open_mark("Success")
    vera.write_note(dialog, "let me")
    vera.confirm(dialog)
    said = vera.toast()
    vera.shoot("4-viewer-refused", toast=True)
    vera.page.goto("about:blank")
    assert "You do not have permission" in said
    assert session_operator.task(waiting, APPROVAL_TASK).state == "deferred"


def test_a_mark_without_a_reason_is_refused_with_the_sentence(
    session_operator: Operations, as_user: Users, waiting: str
) -> None:
    olga = as_user("olga")
    olga.open_approval(waiting)
    dialog = olga.open_mark("Success")
    olga.confirm(dialog)
    said = olga.toast()
    olga.shoot("5-refused-at-the-door", toast=True)
    assert "A reason is required" in said
    assert MODEL in said
    assert session_operator.task(waiting, APPROVAL_TASK).state == "deferred"


def test_an_operator_approves_by_a_mark_with_a_note(session_operator: Operations, as_user: Users, waiting: str) -> None:
    operator, olga = session_operator, as_user("olga")
    olga.open_approval(waiting)
    dialog = olga.open_mark("Success")
    olga.write_note(dialog, FIRST_REASON)
    olga.shoot("6-mark-success")
    olga.confirm(dialog)
    assert operator.until_end(waiting) == "success", operator.why(waiting)
    olga.graph(waiting, "7-graph-finished")
    version = operator.version_of(waiting)
    tags = operator.tags(version)
    assert operator.production() == version
    assert (tags["decision.user"], tags["decision.reason"]) == ("olga", FIRST_REASON)
    olga.model_version(MODEL, version)
    olga.shoot("8-mlflow-version")
    shown = olga.page.inner_text("body")
    olga.page.goto("about:blank")
    assert "champion" in shown
    assert "olga" in shown
    assert FIRST_REASON in shown  # as text, not as bold text


def test_an_operator_rejects_in_required_actions(session_operator: Operations, as_user: Users, first: int) -> None:
    """About a copy of the version that is live, under a name of its own: what was trained once is enough."""
    operator, olga = session_operator, as_user("olga")
    version = copy_version(operator.stack.mlflow.url, MODEL, first, COPY)
    run_id = operator.api.trigger(TOY_DAG, {"model": COPY, "version": version})
    operator.until_waiting(run_id, TOY_DAG)
    olga.page.goto(f"{olga.url}/required_actions")
    olga.shoot("9-required-actions")
    olga.open_approval(run_id, "required_actions", dag_id=TOY_DAG)
    reject = olga.page.get_by_role("button", name="Reject")
    assert reject.is_disabled(), "a reason is required"
    olga.page.locator("#element_reason").fill("weekend figures look odd")
    reject.click()
    olga.shoot("10-rejected")
    olga.page.goto("about:blank")
    assert operator.until_end(run_id, TOY_DAG) == "failed"
    found = operator.registry.get_model_version(COPY, str(version))
    assert found.current_stage == "Staging"
    assert (found.tags["decision.outcome"], found.tags["decision.user"]) == ("rejected", "olga")
    assert found.tags["decision.reason"] == "weekend figures look odd"
    assert operator.production() == first
