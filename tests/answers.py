"""Answers under Required Actions, as the buttons of Airflow's UI give them."""

from urllib.parse import quote

from local_stack.airflow_api import AirflowApi


def answer(api: AirflowApi, dag_id: str, run_id: str, task_id: str, option: str, reason: str) -> None:
    """Answer a task that waits.

    :param option: the button, such as ``Approve``
    :raises ApiError: when Airflow refuses
    """
    run = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}"
    content = {"chosen_options": [option], "params_input": {"reason": reason}}
    api.request("PATCH", f"{run}/taskInstances/{quote(task_id)}/-1/hitlDetails", json=content)
