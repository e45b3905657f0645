"""Who may see which model: whoever may read the DAG that registered it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from sqlalchemy import select

if TYPE_CHECKING:
    from include.lifecycle.views.summary import Overview, Unreadable


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


def known_dags(dag_ids: Iterable[str]) -> frozenset[str]:
    """Return those of the DAGs that Airflow knows: what a user may read of others, no team or permission tells."""
    with create_session(scoped=False) as session:
        return frozenset(session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(sorted(set(dag_ids))))))


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


def why_unreadable(user: Any, found: "Unreadable") -> str:
    """Return why a model cannot be read; what quotes a configuration is for who may edit Airflow's connections.

    :param user: as Airflow's auth manager knows them
    :param found: what is shown of the model
    """
    if found.reason and get_auth_manager().is_authorized_connection(method="PUT", user=user):
        return found.reason
    return found.problem
