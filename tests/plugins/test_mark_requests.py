"""What requests would mark, read as Airflow reads them."""

import json
from typing import Any

import pytest

from model_registry.mark_requests import Answer, Mark, is_watched, note_of, read_request

RUN = "/api/v2/dags/d/dagRuns/r"


def read(path: str, body: Any, query: str = "", **fields: Any) -> Any:
    scope = {"type": "http", "method": "PATCH", "path": path, "query_string": query.encode(), **fields}
    assert is_watched(scope)
    return read_request(scope, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/taskInstances/t", {"task_id": "t"}),
        ("/taskInstances/t/-1", {"task_id": "t", "map_index": -1}),
        ("/taskInstances/t/3", {"task_id": "t", "map_index": 3}),
        ("/taskInstances/dry_run", {"task_id": "dry_run"}),
        ("/taskGroupInstances/g.h", {"group_id": "g.h"}),
    ],
)
def test_a_mark_of_a_task_or_group(path: str, found: dict[str, Any]) -> None:
    body = {"new_state": "SUCCESS", "note": "because", "include_past": "yes"}
    expected = Mark(dag_id="d", run_id="r", state="success", note="because", past=True, **found)
    assert read(RUN + path, body) == (expected,)


def test_a_mark_of_the_run() -> None:
    (mark,) = read(RUN, {"state": "failed", "note": "stuck"})
    assert mark == Mark(dag_id="d", run_id="r", state="failed", note="stuck")
    assert mark.whole_run


def test_marks_of_several_runs() -> None:
    entities = [{"dag_run_id": "one", "state": "success"}, {"dag_id": "e", "dag_run_id": "two", "note": "n"}]
    found = read("/api/v2/dags/d/dagRuns", {"actions": [{"action": "update", "entities": entities}]})
    assert found == (
        Mark(dag_id="d", run_id="one", state="success"),
        Mark(dag_id="e", run_id="two", note="n"),
    )


def test_a_bulk_mark_names_tasks_of_any_dag() -> None:
    entities = [
        {"task_id": "t", "new_state": "success", "note": "one", "include_downstream": True},
        {"dag_id": "e", "dag_run_id": "s", "task_id": "u", "map_index": 2, "new_state": "failed"},
    ]
    found = read(
        "/api/v2/dags/~/dagRuns/~/taskInstances",
        {
            "actions": [
                {"action": "update", "entities": entities, "update_mask": ["new_state"]},
                {"action": "delete", "entities": ["gone"]},
            ]
        },
    )
    assert found == (
        Mark(dag_id="~", run_id="~", task_id="t", state="success", downstream=True),
        Mark(dag_id="e", run_id="s", task_id="u", map_index=2, state="failed"),
    )


def test_an_answer() -> None:
    body = {"chosen_options": ["Approve"], "params_input": {"reason": "because"}}
    expected = Answer(
        dag_id="d", run_id="r", task_id="t", map_index=-1, chosen=("Approve",), params={"reason": "because"}
    )
    assert read(f"{RUN}/taskInstances/t/-1/hitlDetails", body) == expected
    assert read(f"/prefix{RUN}/taskInstances/t/-1/hitlDetails", body, root_path="/prefix") == expected


@pytest.mark.parametrize("path", ["/taskInstances/t/dry_run"])
def test_a_dry_run_marks_nothing(path: str) -> None:
    assert read(RUN + path, {"new_state": "success"}) == ()


def test_fields_outside_the_mask_do_not_count() -> None:
    body = {"new_state": "success", "note": "n"}
    (mark,) = read(f"{RUN}/taskInstances/t", body, "update_mask=note")
    assert (mark.state, mark.note) == (None, "n")


@pytest.mark.parametrize("body", [[], "x", {"new_state": "nonsense"}, {"note": "x" * 1001}, {"unknown": 1}])
def test_what_airflow_refuses(body: Any) -> None:
    with pytest.raises(ValueError):
        read(f"{RUN}/taskInstances/t", body)


def test_the_note_of_the_mark_that_reached_a_task() -> None:
    wide = Mark(dag_id="d", run_id="r", task_id="stage", state="success", note="wide", downstream=True)
    exact = Mark(dag_id="d", run_id="r", task_id="t", state="success", note="exact")
    other = Mark(dag_id="d", run_id="s", task_id="t", state="success", note="other run")
    assert note_of([exact, wide, other], "success", "d", "r", "t", -1) == "exact"
    assert note_of([wide, other], "success", "d", "r", "t", -1) == "wide"
    assert note_of([other], "success", "d", "r", "t", -1) == ""
