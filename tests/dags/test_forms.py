"""Every field of every DAG's form, and the run's id: refused by the form, or handed to the step as text."""

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.sdk.exceptions import ParamValidationError

from tests.hostile import HOSTILE, MEGABYTE

TEXTS = [text for name, text in HOSTILE.items() if name != "surrogate"]  # half a character: no JSON, no form
FORMS = {
    "maintenance": {"delete": "boolean"},
    "monitor": {"data_revision": "text", "day": "day"},
    "predict": {
        "stage": "stage", "version": "integer", "data_revision": "text", "input": "name", "output": "name",
    },
    "retrain": {"data_revision": "text", "note": "text", "quick": "boolean"},
    "rollback": {"version": "integer", "reason": "reason"},
}  # fmt: skip
FIELDS = {f"{model}_{kind}": fields for model in ("churn", "rossmann") for kind, fields in FORMS.items()}
FIELDS["rossmann_retrain"] = {**FORMS["retrain"], "origins": "integer"}
EACH = pytest.mark.parametrize(
    ("dag_id", "name", "kind"),
    [(dag_id, name, kind) for dag_id, fields in FIELDS.items() for name, kind in fields.items()],
)
USUAL = {f"{model}_rollback": {"reason": "because"} for model in ("churn", "rossmann")}


@lru_cache
def form_of(dag: Any) -> Any:
    """Return the fields as the API server knows them."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(DagSerialization.to_dict(dag)).params


def filled(bag: Any, dag_id: str, **form: Any) -> dict[str, Any]:
    """Fill a form in, as the API server does with what is sent; returns what a run is given."""
    return dict(form_of(bag.dags[dag_id]).deep_merge(USUAL.get(dag_id, {}) | form).validate())


def takes(bag: Any, dag_id: str, name: str, value: object) -> bool:
    try:
        return filled(bag, dag_id, **{name: value})[name] == value
    except ParamValidationError:
        return False


def test_every_field_is_known_here(bag: Any) -> None:
    assert {dag_id: set(dag.params) for dag_id, dag in bag.dags.items() if dag.params} == {
        dag_id: set(fields) for dag_id, fields in FIELDS.items()
    }


@EACH
def test_a_value_of_another_type_is_refused(bag: Any, dag_id: str, name: str, kind: str) -> None:
    others: list[object] = [[], {}, ["x"], 1.5]
    others += {"boolean": ["true", 1, None], "integer": ["1", True, 0, -1, "latest"]}.get(kind, [1, True, 2**70])
    assert [value for value in others if takes(bag, dag_id, name, value)] == []


@EACH
def test_a_megabyte_is_refused(bag: Any, dag_id: str, name: str, kind: str) -> None:
    assert not takes(bag, dag_id, name, MEGABYTE)


@EACH
def test_odd_characters_are_kept_or_refused(bag: Any, dag_id: str, name: str, kind: str) -> None:
    kept = [text for text in TEXTS if takes(bag, dag_id, name, text)]
    assert kept == (TEXTS if kind in ("text", "reason") else [])


@pytest.mark.parametrize("day", ["2015-13-01", "2015-02-30", "2015-06", "19.06.2015", "2015-06-19T00:00:00", "today"])
def test_what_is_no_day_is_refused_by_the_form(bag: Any, day: str) -> None:
    assert not takes(bag, "rossmann_monitor", "day", day)
    assert takes(bag, "rossmann_monitor", "day", "2015-06-19")


@pytest.mark.parametrize("reason", ["", " ", "\n\t", None])
def test_a_reason_is_required(bag: Any, reason: str | None) -> None:
    assert not takes(bag, "rossmann_rollback", "reason", reason)


@pytest.mark.parametrize("text", TEXTS, ids=[name for name in HOSTILE if name != "surrogate"])
def test_what_is_taken_reaches_the_step_as_text(bag: Any, text: str) -> None:
    """Nobody's text is a template: Airflow renders what the DAG's author wrote, once."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    for dag_id, fields in FIELDS.items():
        names = [name for name, kind in fields.items() if kind in ("text", "reason")]
        params = filled(bag, dag_id, **dict.fromkeys(names, text))
        dag = bag.dags[dag_id]
        context = {
            "params": params, "dag": dag, "run_id": text, "dag_run": SimpleNamespace(run_after="2026-11-26"),
            "triggering_asset_events": {}, "ti": SimpleNamespace(xcom_pull=lambda *_, **__: {}),
        }  # fmt: skip
        for task in dag.tasks:
            for variable, template in (getattr(task, "env", None) or {}).items():
                if "params." in template or "run_id" in template:
                    rendered = environment.from_string(template).render(context)
                    if "RETRAIN_DAG_RUN_ID" in variable or any(f"params.{name}" in template for name in names):
                        assert text in rendered, (dag_id, task.task_id, variable)
