"""Who may see which model: whoever may read the DAG that registered it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.models.dag import DagModel

if TYPE_CHECKING:
    from include.lifecycle.summary import Overview, Unreadable


def readable_dags(user: Any, dag_ids: Iterable[str]) -> set[str]:
    """Return those of the DAGs that a user may read.

    :param user: as Airflow's auth manager knows them
    :param dag_ids: DAGs, which need not exist any more
    """
    wanted = sorted(set(dag_ids))
    teams = DagModel.get_dag_id_to_team_name_mapping(wanted) if wanted else {}
    manager = get_auth_manager()
    return {
        dag_id
        for dag_id in wanted
        if manager.is_authorized_dag(
            method="GET", details=DagDetails(id=dag_id, team_name=teams.get(dag_id)), user=user
        )
    }


def may_see(user: Any, overview: "Overview | Unreadable", readable: set[str]) -> bool:
    """Whether a user may see a model: who may read a DAG that registered it.

    Where nothing tells which DAG that was, whoever may edit every DAG.

    :param user: as Airflow's auth manager knows them
    :param overview: the model
    :param readable: the DAGs that the user may read
    """
    if overview.registered_by:
        return bool(overview.registered_by & readable)
    return bool(get_auth_manager().is_authorized_dag(method="PUT", user=user))
