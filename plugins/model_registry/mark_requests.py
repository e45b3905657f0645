"""What a request to Airflow's API server would mark or answer, read as Airflow itself reads it.

Bodies go through Airflow's own models: what those refuse is answered by Airflow, and what they make of a value
(``"include_past": "yes"``) is what happens. Only stdlib at module level: every part of Airflow imports the plugin.
"""

import re
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]

_RUNS = r"/api/v2/dags/(?P<dag>[^/]+)/dagRuns"
_INSTANCES = rf"{_RUNS}/(?P<run>[^/]+)/taskInstances"
_TASK = re.compile(rf"{_INSTANCES}/(?P<task>[^/]+)(?:/(?P<index>[^/]+))?")
_BULK = re.compile(_INSTANCES)
_GROUP = re.compile(rf"{_RUNS}/(?P<run>[^/]+)/taskGroupInstances/(?P<group>[^/]+)")
_RUN = re.compile(rf"{_RUNS}/(?P<run>[^/]+)")
_BULK_RUNS = re.compile(_RUNS)
_ANSWER = re.compile(rf"{_INSTANCES}/(?P<task>[^/]+)/(?P<index>[^/]+)/hitlDetails")
_WATCHED = (_TASK, _BULK, _GROUP, _RUN, _BULK_RUNS, _ANSWER)
_DRY_RUN = "dry_run"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A mark of one task, one task group or, when it names neither, a whole run.

    :param state: the new state; None for a request that changes nothing but the note
    :param note: the note that comes with it
    :param map_index: None: all of a mapped task
    """

    dag_id: str
    run_id: str
    task_id: str | None = None
    group_id: str | None = None
    map_index: int | None = None
    state: str | None = None
    note: str = ""
    upstream: bool = False
    downstream: bool = False
    future: bool = False
    past: bool = False

    @property
    def whole_run(self) -> bool:
        """Whether it marks the run itself."""
        return self.task_id is None and self.group_id is None

    @property
    def wide(self) -> bool:
        """Whether it reaches more than the one task that it names."""
        return self.task_id is None or self.upstream or self.downstream or self.future or self.past

    def names(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> bool:
        """Tell whether it names exactly this task instance."""
        named = (self.dag_id, self.run_id, self.task_id) == (dag_id, run_id, task_id)
        return named and self.map_index in (None, map_index)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response in Required Actions."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    chosen: tuple[str, ...]
    params: dict[str, Any]


Request = tuple[Mark, ...] | Answer
"""The marks of one request, or its response in Required Actions."""


def is_watched(scope: Scope) -> bool:
    """Tell whether a request may mark or answer something; cheap, for it is asked of each request."""
    return (
        scope["type"] == "http"
        and scope["method"] == "PATCH"
        and any(pattern.fullmatch(_route_path(scope)) for pattern in _WATCHED)
    )


def read_request(scope: Scope, body: bytes) -> Request:
    """Return what a watched request would do.

    :param scope: the request
    :param body: its whole body
    :raises ValueError: when Airflow will not take it either
    """
    from airflow.api_fastapi.core_api.datamodels.common import BulkBody
    from airflow.api_fastapi.core_api.datamodels.dag_run import BulkDAGRunBody, DAGRunPatchBody
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.datamodels.task_instances import BulkTaskInstanceBody, PatchTaskInstanceBody

    path, mask = _route_path(scope), _update_mask(scope)
    if found := _ANSWER.fullmatch(path):
        given = UpdateHITLDetailPayload.model_validate_json(body)
        return Answer(
            dag_id=found["dag"],
            run_id=found["run"],
            task_id=found["task"],
            map_index=_map_index(found["index"]),
            chosen=tuple(given.chosen_options),
            params=dict(given.params_input),
        )
    if found := _BULK.fullmatch(path):
        tasks = BulkBody[BulkTaskInstanceBody].model_validate_json(body)
        return tuple(_bulk(tasks, found["dag"], found["run"]))
    if found := _BULK_RUNS.fullmatch(path):
        runs = BulkBody[BulkDAGRunBody].model_validate_json(body)
        return tuple(_bulk(runs, found["dag"], None))
    if found := _RUN.fullmatch(path):
        run = DAGRunPatchBody.model_validate_json(body)
        return (_mark(run, mask, dag_id=found["dag"], run_id=found["run"]),)
    if found := _GROUP.fullmatch(path):
        named = {"dag_id": found["dag"], "run_id": found["run"], "group_id": found["group"]}
        return (_mark(PatchTaskInstanceBody.model_validate_json(body), mask, **named),)
    if (found := _TASK.fullmatch(path)) and found["index"] != _DRY_RUN:
        named = {"dag_id": found["dag"], "run_id": found["run"], "task_id": found["task"]}
        index = None if found["index"] is None else _map_index(found["index"])
        return (_mark(PatchTaskInstanceBody.model_validate_json(body), mask, map_index=index, **named),)
    return ()


def note_of(marks: Iterable[Mark], state: str, dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Return the note that came with the mark that changed a task instance.

    :param marks: the marks of the request
    :param state: the state that the task instance was given
    """
    last_first = [mark for mark in reversed(list(marks)) if mark.state is not None and mark.dag_id == dag_id]
    for mark in last_first:
        if mark.names(dag_id, run_id, task_id, map_index):
            return mark.note
    for mark in last_first:
        reaches = mark.run_id == run_id or mark.future or mark.past
        if mark.wide and reaches and mark.state in (state, "skipped"):
            return mark.note
    return ""


def _route_path(scope: Scope) -> str:
    """Return the path below the base URL, decoded, as Airflow's router sees it."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _update_mask(scope: Scope) -> list[str] | None:
    query = scope.get("query_string", b"").decode("latin-1")
    return parse_qs(query, keep_blank_values=True).get("update_mask")


def _map_index(text: str) -> int:
    from pydantic import TypeAdapter

    return TypeAdapter(int).validate_python(text)


def _bulk(body: Any, dag_id: str, run_id: str | None) -> Iterable[Mark]:
    """Yield the marks of a bulk request; its entities may name another DAG and run than its path."""
    for action in body.actions:
        if action.action.value != "update":
            continue
        for entity in action.entities:
            named = {"dag_id": entity.dag_id or dag_id, "run_id": entity.dag_run_id or run_id}
            if hasattr(entity, "task_id"):
                named |= {"task_id": entity.task_id, "map_index": entity.map_index}
            yield _mark(entity, action.update_mask, **named)


def _mark(body: Any, mask: list[str] | None, **named: Any) -> Mark:
    """Return the mark that a body asks for; Airflow leaves fields alone that ``update_mask`` does not name."""
    fields = set(body.model_fields_set) & set(mask) if mask else set(body.model_fields_set)
    state = getattr(body, "new_state", None) if "new_state" in fields else None
    if "state" in fields and hasattr(body, "state"):
        state = body.state
    return Mark(
        state=None if state is None else str(state.value),
        note=(body.note or "") if "note" in fields else "",
        upstream=getattr(body, "include_upstream", False),
        downstream=getattr(body, "include_downstream", False),
        future=getattr(body, "include_future", False),
        past=getattr(body, "include_past", False),
        **named,
    )
