"""What marks and answers decide, with Airflow's own API application, its database and a real MLflow."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_registry.api_server import outbox
from model_registry.hooks import MLflowRegistryHook
from tests.plugins.api_server import APPROVAL, MODEL, Run, said
from tests.plugins.gates import Gate

SUCCESS = {"new_state": "success", "note": "because"}
ONLY_ANNA = {"approvers": ["user:anna"]}
EXAMPLE = "example_other_model"


def bulk(*entities: dict[str, Any]) -> dict[str, Any]:
    return {"actions": [{"action": "update", "entities": list(entities)}]}


def approval(**fields: Any) -> dict[str, Any]:
    return {"task_id": APPROVAL, "map_index": -1, **SUCCESS, **fields}


def refused(answer: Any, status: int = 403) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


@pytest.mark.parametrize(("state", "outcome"), [("success", "approved"), ("failed", "rejected")])
def test_a_mark_is_a_decision_with_its_user_and_note(run: Run, state: str, outcome: str) -> None:
    ask = run.ask()
    assert run.mark("ben", {"new_state": state, "note": "because"}) == 200
    assert run.decided() == (outcome, "ben", "because", "mark")
    decision = said().decided[ask.id].what.decision
    assert (decision.user_source, decision.user_is_verified, decision.dag_id, decision.run_id) == (
        "airflow login", True, run.dag_id, run.run_id,
    )  # fmt: skip
    ((event, task_id, owner, extra, try_number),) = run.rows()
    assert (event, task_id, owner, try_number) == ("approval_decided", APPROVAL, "ben", 1)
    assert (extra["model"], extra["decided"]["ask"]) == (MODEL, ask.id)


@pytest.mark.parametrize(("option", "outcome"), [("Approve", "approved"), ("Reject", "rejected")])
def test_an_answer_in_required_actions_is_a_decision(run: Run, option: str, outcome: str) -> None:
    run.ask()
    run.ask_in_required_actions()
    assert run.answer("ben", option, "good").status_code == 200
    assert run.decided() == (outcome, "ben", "good", "required_actions")


def test_a_mark_skipped_decides_nothing(run: Run) -> None:
    run.ask(ONLY_ANNA)
    assert run.mark("ben", {"new_state": "skipped"}) == 200
    assert (run.decided(), run.rows()) == (None, [])


def test_a_task_that_asked_nothing_is_marked_and_decides_nothing(run: Run) -> None:
    assert run.mark("ben", SUCCESS) == 200
    assert (run.decided(), run.rows()) == (None, [])


def test_an_operator_that_never_asks_is_none_of_it(run: Run) -> None:
    run.ask(ONLY_ANNA)
    run.is_of("EmptyOperator")
    assert run.mark("ben", SUCCESS) == 200
    assert run.decided() is None


def test_what_airflow_refuses_decides_nothing(run: Run) -> None:
    run.ask()
    assert run.mark("vera", SUCCESS) == 403
    assert run.client.patch(run.approval, json=SUCCESS).status_code == 401
    assert run.mark("ben", {"new_state": "nonsense"}) == 422
    assert (run.decided(), run.rows()) == (None, [])
    assert run.mark("ben", {"new_state": "success", "note": "one"}) == 200
    assert run.mark("anna", {"new_state": "success", "note": "two"}) == 409
    assert run.decided() == ("approved", "ben", "one", "mark")


def test_the_first_decision_holds(run: Run) -> None:
    run.ask()
    assert run.mark("ben", {"new_state": "failed", "note": "one"}) == 200
    assert "was rejected by ben" in refused(run.patch("anna", SUCCESS))
    assert run.mark("ben", {"note": "edited", "new_state": "skipped"}) == 200
    assert run.decided() == ("rejected", "ben", "one", "mark")


@pytest.mark.parametrize("note", [None, "", "   ", "\u3164\u3164", "\u200b"])
def test_an_approval_without_a_reason(run: Run, note: str | None) -> None:
    ask = run.ask()
    sentence = refused(run.patch("ben", {"new_state": "success", "note": note}))
    assert sentence.startswith(f"Version {ask.version} of {MODEL} is not approved. A reason is required")
    assert (run.state(), run.decided()) == ("deferred", None)
    ((event, task_id, owner, extra, try_number),) = run.rows()
    assert (event, task_id, owner, try_number) == ("approval_refused", APPROVAL, "ben", 1)
    assert (extra["tried"], extra["user"], extra["roles"]) == ("approved", "ben", ["op"])
    assert extra["detail"] == sentence


def test_a_reason_that_the_policy_does_not_ask_for(run: Run) -> None:
    run.ask({"reason_required": False})
    assert run.mark("ben", {"new_state": "success"}) == 200
    assert run.decided() == ("approved", "ben", "", "mark")


def test_a_rejection_needs_a_reason_and_nothing_else(run: Run) -> None:
    run.ask(ONLY_ANNA | {"four_eyes": True, "evidence_max_age_days": 1}, validated_at=None)
    assert "is not rejected. A reason is required" in refused(run.patch("ben", {"new_state": "failed"}))
    assert run.state() == "deferred"
    assert run.mark("ben", {"new_state": "failed", "note": "odd figures"}) == 200
    assert run.decided() == ("rejected", "ben", "odd figures", "mark")


@pytest.mark.parametrize(
    ("approvers", "ben", "anna"),
    [
        (["user:anna"], 403, 200),
        (["role:admin"], 403, 200),
        (["role:op", "user:anna"], 200, 409),
        (["user:admin", "role:ben"], 403, 403),
    ],
)
def test_who_may_approve(run: Run, approvers: list[str], ben: int, anna: int) -> None:
    run.ask({"approvers": approvers})
    assert run.mark("ben", SUCCESS) == ben
    assert run.mark("anna", SUCCESS) == anna
    decided = run.decided()
    assert (decided[1] if decided else None) == ("ben" if ben == 200 else "anna" if anna == 200 else None)


def test_the_sentence_names_the_user_and_the_approvers(run: Run) -> None:
    run.ask({"approvers": ["user:zoe", "role:Release"]})
    sentence = refused(run.patch("ben", SUCCESS))
    assert all(name in sentence for name in ("ben", "user:zoe", "role:Release", MODEL))


def test_the_ui_shows_the_sentence_of_a_status_that_nobody_registered(run: Run) -> None:
    run.ask()
    cookie = {"Cookie": f"_token={run.token('ben')}"}
    answer = run.client.patch(run.approval, json={"new_state": "success"}, headers=cookie)
    assert "A reason is required" in refused(answer, 432)
    assert run.client.patch(run.approval, json=SUCCESS, headers=cookie).status_code == 200
    assert run.decided() == ("approved", "ben", "because", "mark")


def test_the_time_to_decide(run: Run) -> None:
    run.ask(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert "The time to decide ended at" in refused(run.patch("ben", SUCCESS))
    assert run.mark("ben", {"new_state": "failed", "note": "late, and no"}) == 200


def test_evidence_that_is_too_old_or_unknown(run: Run) -> None:
    run.ask({"evidence_max_age_days": 1}, validated_at=datetime.now(UTC) - timedelta(days=2))
    assert "at most 1 day" in refused(run.patch("ben", SUCCESS))
    run.ask({"evidence_max_age_days": 1}, validated_at=None, series="again")


def test_four_eyes(run: Run) -> None:
    run.ask({"four_eyes": True})  # anna triggered the run
    assert "anna triggered this run" in refused(run.patch("anna", SUCCESS))
    assert run.mark("ben", SUCCESS) == 200
    assert run.decided() == ("approved", "ben", "because", "mark")


@pytest.mark.parametrize("triggered_by", ["cli", "backfill", "test"])
def test_four_eyes_where_nobody_was_logged_in(run: Run, triggered_by: str) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    run.ask({"four_eyes": True})
    with create_session() as session:
        session.query(DagRun).filter_by(run_id=run.run_id).update({"triggered_by": triggered_by.upper()})
    assert "who triggered the run is unknown" in refused(run.patch("ben", SUCCESS))


def test_a_note_of_the_same_user_is_the_reason_and_no_other(run: Run) -> None:
    run.ask()
    assert run.mark("anna", {"note": "looked at it"}) == 200
    assert "A reason is required" in refused(run.patch("ben", {"new_state": "success"}))
    assert run.mark("anna", {"new_state": "success"}) == 200
    assert run.decided() == ("approved", "anna", "looked at it", "mark")


def test_a_note_edited_later_changes_no_reason(run: Run) -> None:
    run.ask()
    assert run.mark("ben", SUCCESS) == 200
    for number in range(3):
        assert run.mark("anna", {"note": f"another {number}"}) == 200
    assert run.decided() == ("approved", "ben", "because", "mark")


def test_a_whole_run_is_closed_and_decides_nothing(run: Run) -> None:
    run.ask(ONLY_ANNA)
    assert run.mark("ben", {"state": "success", "note": "all of it"}, "") == 200
    assert (run.state(), run.state("promote")) == ("success", "skipped")
    assert (run.decided(), run.rows()) == (None, [])


def _encoded(body: Any, how: str) -> bytes:
    return json.dumps(body).encode(how)


PATHS = {
    "the task": lambda run: (run.approval, SUCCESS),
    "its map index": lambda run: (f"{run.approval}/-1", SUCCESS),
    "bulk": lambda run: (f"{run.path}/taskInstances", bulk(approval())),
    "bulk, every run": lambda run: (
        "/api/v2/dags/~/dagRuns/~/taskInstances",
        bulk(approval(dag_id=run.dag_id, dag_run_id=run.run_id)),
    ),
    "from another task, upstream": lambda run: (
        f"{run.path}/taskInstances/promote", {**SUCCESS, "include_upstream": True},
    ),
    "from an earlier task, downstream": lambda run: (
        f"{run.path}/taskInstances/stage", {"new_state": "failed", "note": "because", "include_downstream": True},
    ),
}  # fmt: skip
ODD = {
    "as it is": lambda path: path,
    "a trailing newline": lambda path: f"{path}%0A",
    "a letter encoded": lambda path: path.replace("taskInstances", "task%49nstances"),
}


ENCODED = [
    ("bulk", odd, encoding) for odd in sorted(ODD) for encoding in ("utf-8-sig", "utf-16", "utf-32", "utf-16-le")
]


@pytest.mark.parametrize(
    ("where", "odd", "encoding"), [*((where, odd, "utf-8") for where in sorted(PATHS) for odd in sorted(ODD)), *ENCODED]
)
def test_no_path_and_no_encoding_passes_the_desk(run: Run, where: str, odd: str, encoding: str) -> None:
    run.ask(ONLY_ANNA)
    path, body = PATHS[where](run)
    for user, allowed in (("ben", False), ("anna", True)):
        if body.get("new_state") == "failed":
            allowed = True
        headers = {"Authorization": f"Bearer {run.token(user)}", "Content-Type": "application/json"}
        answer = run.client.patch(ODD[odd](path), content=_encoded(body, encoding), headers=headers)
        decided = run.decided()
        if answer.status_code == 200 and run.state() in ("success", "failed"):
            assert allowed
            assert decided is not None
            assert decided[1] == user
            return
        assert run.state() in ("deferred", None), "what is behind a failed task is cleared"
        assert decided is None


def test_bulk_marks_of_several_approvals_at_once(api_client: Any, run: Run) -> None:
    other = Run(api_client)
    mine, theirs = run.ask(ONLY_ANNA), other.ask({"approvers": ["user:ben"]})
    entities = [approval(dag_id=each.dag_id, dag_run_id=each.run_id) for each in (run, other)]
    path = "/api/v2/dags/~/dagRuns/~/taskInstances"
    for user, version in (("ben", mine.version), ("anna", theirs.version)):
        assert f"Version {version} of" in refused(run.request(user, "PATCH", path, bulk(*entities)))
    assert [each.state() for each in (run, other)] == ["deferred", "deferred"]
    assert [each.decided() for each in (run, other)] == [None, None]


def test_marks_of_the_past_and_the_future_decide_on_each(api_client: Any, mlflow: str) -> None:
    dates = [f"2026-02-0{day}T00:00:00Z" for day in (1, 2, 3)]
    runs = [Run(api_client, logical_date=date) for date in dates]
    for each in runs:
        each.ask({"approvers": ["role:admin"]})
    body = {**SUCCESS, "include_past": True, "include_future": True}
    assert refused(runs[1].patch("ben", body)).count("is not among the approvers") == len(runs)
    assert runs[1].mark("anna", body) == 200
    assert [each.decided() for each in runs] == [("approved", "anna", "because", "mark")] * len(runs)


def test_a_task_group(api_client: Any, mlflow: str) -> None:
    run = Run(api_client, "grouped_approval", "decide.await_approval")
    run.ask(ONLY_ANNA)
    path = "/taskGroupInstances/decide"
    assert "is not among the approvers" in refused(run.patch("ben", SUCCESS, path))
    assert run.mark("anna", SUCCESS, path) == 200
    assert run.decided() == ("approved", "anna", "because", "mark")


@pytest.fixture
def mlflow_away(connect: Any, mlflow: str, mlflow_url: str) -> Iterator[Any]:
    """Let MLflow be away, and come back."""

    def away(*, gone: bool) -> None:
        host, port = mlflow_url.removeprefix("http://").split(":")
        connect("mlflow_default", host=host, port=9 if gone else int(port), schema="http")

    yield away
    away(gone=False)


def test_while_mlflow_is_away_nothing_is_decided_and_the_sentence_says_so(run: Run, mlflow_away: Any) -> None:
    run.ask()
    mlflow_away(gone=True)
    assert "cannot be read now" in refused(run.patch("ben", SUCCESS), 503)
    assert run.state() == "deferred"
    assert run.mark("ben", {"state": "failed"}, "") == 200, "a stuck run can be closed all the same"
    mlflow_away(gone=False)
    assert run.decided() is None


def test_what_mlflow_did_not_take_is_delivered_later(
    run: Run, mlflow_away: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.ask()
    monkeypatch.setattr(outbox, "LOOK_SECONDS", 3600)
    deliver = outbox.deliver_now
    monkeypatch.setattr(outbox, "deliver_now", lambda conn_ids: (mlflow_away(gone=True), deliver(conn_ids)))
    assert run.mark("ben", SUCCESS) == 200
    assert [row[0] for row in run.rows()] == ["approval_pending"]
    mlflow_away(gone=False)
    assert run.decided() is None
    deliver()
    deliver()
    assert run.decided() == ("approved", "ben", "because", "mark")
    assert [row[0] for row in run.rows()] == ["approval_decided"]
    assert said().late == []


# ---- another server that does not answer ----


def test_a_decision_does_not_wait_for_another_server(gate: Gate, run: Run, beside: Any, patient: None) -> None:
    run.ask()
    gate.close()
    held_up = beside(_look, "mlflow_b")
    assert gate.came.wait(30)
    assert run.mark("ben", SUCCESS) == 200
    assert run.decided() == ("approved", "ben", "because", "mark")
    assert not held_up.done()


def _look(conn_id: str) -> None:
    with MLflowRegistryHook(conn_id).registry_beside_others() as registry:
        registry.ledger(MODEL).read()


def test_a_decision_is_delivered_while_those_for_another_server_wait(
    gate: Gate, run: Run, beside: Any, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "start", lambda: None)
    run.ask()
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "deliver_now", lambda *_: None)
        assert run.mark("ben", SUCCESS) == 200
    lead_elsewhere(run, "mlflow_b")
    gate.close()
    held_up = beside(outbox.deliver_now)
    assert gate.came.wait(30)
    other = Run(run.client)
    other.ask()
    assert other.mark("ben", SUCCESS) == 200
    assert other.decided() == ("approved", "ben", "because", "mark")
    assert [row[0] for row in other.rows()] == ["approval_decided"]
    assert not held_up.done()
    gate.open()
    held_up.result(60)
    assert [row[0] for row in run.rows()] == ["approval_decided"]


def lead_elsewhere(run: Run, conn_id: str) -> None:
    """Let the letter of a run lead to another server; no key is set in these tests, which would not let it."""
    from airflow.models import Log
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        letter = session.query(Log).filter_by(event=outbox.PENDING, run_id=run.run_id).one()
        letter.extra = json.dumps({**json.loads(letter.extra), "conn_id": conn_id})
