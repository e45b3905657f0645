"""What a task asks a person, and what the promotion ledger says of it."""

import httpx
from airflow.sdk import Context
from airflow.sdk.configuration import conf

from include.lifecycle.ledger.keys import KEY_ENV, Keyring
from include.lifecycle.ledger.statements import Place
from model_registry.web import PREFIX

APPROVE, REJECT, REASON = "Approve", "Reject", "reason"

APPROVAL_OPERATORS = frozenset({"ModelApprovalSensor", "RollbackApprovalOperator"})
"""Operators whose task instances ask a person."""


def known_operator(operator: object) -> None:
    """Check that Airflow's API server knows an operator that asks: it sees the class's name alone.

    :raises ValueError: for a subclass, whose marks it would not see
    """
    if type(operator).__name__ not in APPROVAL_OPERATORS:
        raise ValueError(
            f"{type(operator).__name__}: marks of a subclass are not seen in Airflow's API server, which knows"
            f" {' and '.join(sorted(APPROVAL_OPERATORS))}: use one of them"
        )


def place_of(context: Context, task_id: str | None = None) -> Place:
    """Return what names a task of this run in the ledger, by default the one that is running."""
    ti = context["ti"]
    index = ti.map_index if ti.map_index is not None else -1
    return Place(dag_id=ti.dag_id, run_id=ti.run_id, task_id=task_id or ti.task_id, map_index=index)


def series_of(context: Context, retries: int) -> str:
    """Return what tries of a task have in common that go on waiting for the same answer.

    Airflow may retry a task that a response had resumed (apache/airflow#72716), and the person is not asked twice.
    Clearing asks again, so earlier tries do not count; nor do those of a run that was made anew under the same id.

    :param context: context of the task
    :param retries: how often Airflow retries it: clearing moves the last try on by as many
    """
    ti, run = context["ti"], context.get("dag_run")
    first = min(max((ti.max_tries or 0) - retries + 1, 1), ti.try_number)
    started = getattr(run, "start_date", None)
    return f"{started.isoformat() if started else ''}/{first}"


def desk_objection() -> str:
    """Return why no mark and no answer counts here, empty when they do, or when the API server cannot be asked."""
    url = conf.get("core", "execution_api_server_url", fallback="") or ""
    if not url.startswith("http"):
        return ""
    try:
        answer = httpx.get(f"{url.rstrip('/').removesuffix('/execution')}{PREFIX}/desk", timeout=5.0)
        there = answer.json().get("ledger_keys") if answer.is_success else None
    except httpx.HTTPError:
        return ""
    except (ValueError, AttributeError):
        there = None
    if there is None:
        return (
            "Airflow's API server runs without the plugin of this package, so marks and answers approve nothing: load"
            " it there (`airflow plugins` lists it), then clear this task."
        )
    if there != Keyring.from_environment().ids:
        return (
            "Airflow's API server has another ledger key than this worker, so marks and answers approve nothing: give"
            f" both the same {KEY_ENV}, then clear this task."
        )
    return ""


def task_state(context: Context, task_id: str) -> str | None:
    """Return the state of another task of this run, None when it has none yet."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id])
    found = states.get(ti.run_id) or {}
    state = next((found[name] for name in (task_id, f"{task_id}_{ti.map_index}") if name in found), None)
    return str(getattr(state, "value", state)) if state else None
