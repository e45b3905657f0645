"""What the door refuses, with Airflow's own API application and database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_registry import middleware
from model_registry.marks import EVENT_MARK, EVENT_REFUSED
from tests.plugins.api_server import APPROVAL, DAG, Run

SUCCESS = {"new_state": "success", "note": "because"}
NO_REASON = "Version 7 of churn-classifier is not approved. A reason is required"
ONLY_ANNA = {"approvers": ["user:anna"]}


@pytest.fixture
def door_log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the door logged of errors of its own."""
    return lambda: [record.getMessage() for record in caplog.records if record.name == middleware.__name__]


def refused(answer: Any) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == 403, answer.text
    return str(answer.json()["detail"])


@pytest.mark.parametrize("note", [None, "", "   ", "\u3164\u3164", "\u200b"])
def test_an_approval_without_a_reason(run: Run, note: str | None) -> None:
    run.ask()
    assert refused(run.patch("ben", {"new_state": "success", "note": note})).startswith(NO_REASON)
    assert run.state() == "deferred"
    ((event, task_id, owner, extra, try_number),) = run.rows()
    assert (event, task_id, owner, try_number) == (EVENT_REFUSED, APPROVAL, "ben", 1)
    assert (extra["tried"], extra["user"], extra["roles"]) == ("success", "ben", ["op"])
    assert extra["detail"].startswith(NO_REASON)


def test_a_reason_that_the_policy_does_not_ask_for(run: Run) -> None:
    run.ask({"reason_required": False})
    assert run.mark("ben", {"new_state": "success"}) == 200
    assert run.state() == "success"


def test_a_rejection_needs_a_reason_and_nothing_else(run: Run) -> None:
    run.ask(ONLY_ANNA | {"four_eyes": True, "evidence_max_age_days": 1}, requested_by="ben", validated_at=None)
    sentence = refused(run.patch("ben", {"new_state": "failed"}))
    assert sentence.startswith("Version 7 of churn-classifier is not rejected. A reason is required")
    assert run.state() == "deferred"
    assert run.mark("ben", {"new_state": "failed", "note": "odd figures"}) == 200
    assert run.state() == "failed"


def test_a_mark_skipped_decides_nothing(run: Run) -> None:
    run.ask(ONLY_ANNA)
    assert run.mark("ben", {"new_state": "skipped"}) == 200


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


def test_the_sentence_names_the_user_and_the_approvers(run: Run) -> None:
    run.ask({"approvers": ["user:zoe", "role:Release"]})
    sentence = refused(run.patch("ben", SUCCESS))
    assert all(name in sentence for name in ("ben", "user:zoe", "role:Release", "churn-classifier"))


def test_whoever_triggered_the_run_cannot_approve_it(run: Run) -> None:
    run.ask({"four_eyes": True}, requested_by="anna")
    assert "anna triggered this run" in refused(run.patch("anna", SUCCESS))
    assert run.mark("ben", SUCCESS) == 200


@pytest.mark.parametrize(("requested_by", "status"), [("", 200), (None, 403), (5, 403)])
def test_a_run_that_a_schedule_or_nobody_known_started(run: Run, requested_by: Any, status: int) -> None:
    run.ask({"four_eyes": True}, requested_by=requested_by)
    assert run.mark("ben", SUCCESS) == status


def test_evidence_that_is_too_old(run: Run) -> None:
    run.ask({"evidence_max_age_days": 2}, validated_at=(datetime.now(UTC) - timedelta(days=3)).isoformat())
    assert "The validation is 3 days old, at most 2 days are accepted" in refused(run.patch("ben", SUCCESS))
    assert run.state() == "deferred"
    run.ask({"evidence_max_age_days": 4}, validated_at=(datetime.now(UTC) - timedelta(days=3)).isoformat())
    assert run.mark("ben", SUCCESS) == 200


def test_after_the_time_to_decide(run: Run) -> None:
    run.ask(expires_at="2026-01-02T03:04:05+00:00")
    assert "ended at 2026-01-02 03:04 UTC" in refused(run.patch("ben", SUCCESS))
    assert run.mark("ben", {"new_state": "failed", "note": "too late anyway"}) == 200


def test_a_viewer_learns_nothing_of_the_policy(run: Run) -> None:
    run.ask(ONLY_ANNA)
    assert refused(run.patch("vera", {"new_state": "success"})) == "Forbidden"
    assert run.client.patch(run.approval, json=SUCCESS).status_code == 401
    assert run.rows() == []


def test_a_dry_run_passes(run: Run) -> None:
    run.ask()
    body = {"new_state": "success", "include_downstream": True}
    assert run.mark("ben", body, f"/taskInstances/{APPROVAL}/dry_run") == 200


def test_the_ui_gets_a_status_of_which_it_shows_the_sentence(run: Run) -> None:
    run.ask()
    token = run.token("ben")
    answer = run.client.patch(run.approval, json={"new_state": "success"}, headers={"Cookie": f"_token={token}"})
    assert answer.status_code == 432
    assert answer.json()["detail"].startswith(NO_REASON)
    assert run.state() == "deferred"


def test_a_bearer_token_counts_before_the_cookie(run: Run) -> None:
    run.ask(ONLY_ANNA)
    headers = {"Cookie": f"_token={run.token('anna')}", "Authorization": f"Bearer {run.token('ben')}"}
    assert "ben" in refused(run.client.patch(run.approval, json=SUCCESS, headers=headers))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/taskInstances/{APPROVAL}/-1", {}),
        (f"/taskInstances/{APPROVAL}?update_mask=new_state", {"note": "left alone"}),
        ("/taskInstances/stage", {"include_downstream": True}),
        ("/taskInstances/promote", {"include_upstream": True}),
        ("/taskInstances/promote", {"include_upstream": "yes"}),
    ],
)
def test_every_way_to_mark_it(run: Run, path: str, body: dict[str, Any]) -> None:
    run.ask()
    assert refused(run.patch("ben", {"new_state": "success", **body}, path)).startswith(NO_REASON)
    assert run.state() == "deferred"
    assert run.state("promote") is None


@pytest.mark.parametrize("path", ["/taskInstances/stage", "/taskInstances/promote"])
def test_marks_that_do_not_reach_it(run: Run, path: str) -> None:
    run.ask()
    assert run.mark("ben", {"new_state": "failed"}, "/taskInstances/stage") == 200
    assert run.mark("ben", {"new_state": "success"}, path) == 200
    assert run.state() == "deferred"


def bulk(*entities: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"actions": [{"action": "update", "entities": list(entities), **fields}]}


def test_a_bulk_mark_is_refused_as_a_whole(run: Run) -> None:
    run.ask()
    body = bulk({"task_id": "stage", "new_state": "failed"}, {"task_id": APPROVAL, "new_state": "success"})
    assert refused(run.patch("ben", body, "/taskInstances")).startswith(NO_REASON)
    assert run.state("stage") == "success"


def test_a_bulk_mark_with_each_its_own_note(run: Run, api_client: Any) -> None:
    other = Run(api_client)
    run.ask()
    other.ask(version=8)
    noted = {"task_id": APPROVAL, "new_state": "success", "dag_id": DAG, "dag_run_id": run.run_id, "note": "because"}
    silent = noted | {"dag_run_id": other.run_id, "note": None}
    path = "/api/v2/dags/~/dagRuns/~/taskInstances"
    sentence = refused(run.request("ben", "PATCH", path, bulk(noted, silent)))
    assert "Version 8" in sentence
    assert "Version 7" not in sentence
    assert run.request("ben", "PATCH", path, bulk(noted, silent | {"note": "too"})).status_code == 200
    assert (run.state(), other.state()) == ("success", "success")
    assert [extra["note"] for _, _, _, extra, _ in run.rows()] == ["because"]


def test_a_mark_of_runs_before_and_after(api_client: Any) -> None:
    runs = [Run(api_client, logical_date=f"2026-0{month}-01T00:00:00+00:00") for month in (2, 3, 4)]
    runs[0].ask(version=1)
    runs[2].ask(version=3)
    past = {"new_state": "success", "include_past": True}
    assert "Version 1 " in refused(runs[1].patch("ben", past))
    assert "Version 3 " in refused(runs[1].patch("ben", past | {"include_past": False, "include_future": True}))
    assert [run.state() for run in runs] == ["deferred"] * 3
    assert runs[1].mark("ben", past | {"note": "both"}) == 200
    assert [run.state() for run in runs] == ["success", "success", "deferred"]


def test_a_mark_of_its_task_group(api_client: Any) -> None:
    run = Run(api_client, "grouped_approval", "decide.await_approval")
    run.ask()
    path = "/taskGroupInstances/decide"
    assert refused(run.patch("ben", {"new_state": "success"}, path)).startswith(NO_REASON)
    assert run.mark("ben", {"new_state": "success"}, f"{path}/dry_run") == 200
    assert run.mark("ben", SUCCESS, path) == 200


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_mark_of_the_whole_run_is_recorded_and_promotes_nothing(
    run: Run, state: str, door_log: Callable[[], list[str]]
) -> None:
    run.ask(ONLY_ANNA)
    assert run.mark("ben", {"state": state}, "") == 200
    assert door_log() == []
    ((event, task_id, owner, extra, _),) = run.rows()
    assert (event, task_id, owner, extra["whole_run"]) == (EVENT_MARK, APPROVAL, "ben", True)
    assert (run.state(), run.state("promote")) == (state, "skipped")


def test_the_note_that_the_same_user_wrote_before_is_the_reason(run: Run) -> None:
    run.ask()
    assert run.mark("anna", {"note": "looks good"}) == 200
    assert refused(run.patch("ben", {"new_state": "success"})).startswith(NO_REASON)
    assert run.mark("anna", {"new_state": "success"}) == 200


def test_a_note_of_an_earlier_try_is_no_reason(run: Run) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    run.ask()
    assert run.mark("anna", {"note": "looks good"}) == 200
    with create_session() as session:
        session.query(TaskInstance).filter_by(run_id=run.run_id, task_id=APPROVAL).one().try_number = 2
    assert refused(run.patch("anna", {"new_state": "success"})).startswith(NO_REASON)


def test_nothing_was_asked(run: Run) -> None:
    assert run.mark("ben", {"new_state": "success"}) == 200


def test_what_is_in_the_state_already(run: Run) -> None:
    run.ask()
    assert run.mark("ben", SUCCESS) == 200
    assert run.mark("ben", {"new_state": "success"}) == 409


def test_responses(run: Run) -> None:
    run.ask(ONLY_ANNA, requested_by="")
    run.ask_in_required_actions()
    assert run.answer("vera", "Approve").json()["detail"] == "Forbidden"
    assert "ben is not among the approvers" in refused(run.answer("ben", "Approve", "because"))
    assert "not rejected. A reason is required" in refused(run.answer("ben", "Reject", " "))
    assert "not approved. A reason is required" in refused(run.answer("anna", "Approve", ""))
    assert "not approved. A reason is required" in refused(run.answer("anna", "Approve"))
    assert run.answer("anna", "Approve", "because", map_index="0").status_code == 404
    tried = [(owner, extra["tried"], extra["reason"]) for _, _, owner, extra, _ in run.rows()]
    assert tried == [
        ("ben", "Approve", "because"),
        ("ben", "Reject", ""),
        ("anna", "Approve", ""),
        ("anna", "Approve", ""),
    ]
    assert run.answer("anna", "Approve", "because").status_code == 200


def test_a_rejection_as_response_needs_no_approver(run: Run) -> None:
    run.ask(ONLY_ANNA)
    run.ask_in_required_actions()
    assert run.answer("ben", "Reject", "odd figures").status_code == 200


@pytest.mark.parametrize("reason", [["list"], 5, {"a": 1}])
def test_a_reason_that_is_no_text(run: Run, reason: Any) -> None:
    run.ask()
    run.ask_in_required_actions()
    assert run.answer("ben", "Approve", reason).status_code == 403


@pytest.mark.parametrize("content", ["text", 5, [], {}, {"policy": {"unknown": 1}}, {"policy": {}, "version": "x"}])
def test_a_request_that_cannot_be_read_refuses_nothing(run: Run, content: Any) -> None:
    run.leave("approval_request", content)
    assert run.mark("ben", {"new_state": "success"}) == 200


@pytest.mark.parametrize("broken", ["caller_of", "read_request", "door.refusals"])
def test_an_error_of_the_door_lets_the_request_pass(
    run: Run, monkeypatch: pytest.MonkeyPatch, broken: str, door_log: Callable[[], list[str]]
) -> None:
    run.ask(ONLY_ANNA)
    monkeypatch.setattr(f"{middleware.__name__}.{broken}", _failing())
    assert run.mark("ben", {"new_state": "success"}) == 200
    assert run.state() == "success"
    assert len(door_log()) == 1


def test_a_refusal_that_cannot_be_recorded_is_one_all_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.ask()
    monkeypatch.setattr(middleware.marks, "_write", _failing())
    assert refused(run.patch("ben", {"new_state": "success"})).startswith(NO_REASON)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "{{ 7 * 7 }}", "'; DROP TABLE log; --", "[x](javascript:1)"]
)
def test_untrusted_text_is_text(run: Run, text: str) -> None:
    run.ask({"approvers": [f"user:{text}"]}, model=text)
    answer = run.patch("ben", {"new_state": "success", "note": text})
    assert answer.headers["content-type"] == "application/json"
    assert text in refused(answer)
    ((_, _, _, extra, _),) = run.rows()
    assert extra["reason"] == text


def test_a_body_of_a_megabyte(run: Run) -> None:
    run.ask()
    run.ask_in_required_actions()
    assert run.mark("ben", {"new_state": "success", "note": "x" * 1_000_000}) == 422
    assert run.answer("ben", "Approve", "x" * 1_000_000).status_code == 200


def _failing() -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("broken on purpose")

    return fail
