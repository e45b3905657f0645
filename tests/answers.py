"""Answers under Required Actions, as the buttons of Airflow's UI give them."""

from urllib.parse import quote

from local_stack.airflow_api import AirflowApi, run_path


def answer(api: AirflowApi, dag_id: str, run_id: str, task_id: str, option: str, reason: str) -> None:
    """Answer a task that waits.

    :param option: the button, such as ``Approve``
    :raises ApiError: when Airflow refuses
    """
    content = {"chosen_options": [option], "params_input": {"reason": reason}}
    path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/-1/hitlDetails"
    api.request("PATCH", path, json=content)
