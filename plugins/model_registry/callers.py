"""Whose request it is that reaches Airflow's API server, as Airflow itself finds it."""

from dataclasses import dataclass
from typing import Any

from model_registry.mark_requests import Scope


@dataclass(frozen=True)
class Caller:
    """A user who is logged in.

    :param name: the user's name
    :param roles: their roles; None where the auth manager shows none
    :param user: the auth manager's own object
    """

    name: str
    roles: tuple[str, ...] | None
    user: Any

    def may(self, dag_id: str, *, answer: bool = False) -> bool:
        """Tell whether Airflow lets the user change tasks of a DAG. It has no permission for a single task.

        :param dag_id: the DAG
        :param answer: ask for answers in Required Actions instead
        """
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
        from airflow.models import DagModel

        entity = DagAccessEntity.HITL_DETAIL if answer else DagAccessEntity.TASK_INSTANCE
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        manager = get_auth_manager()
        return bool(manager.is_authorized_dag(method="PUT", access_entity=entity, details=details, user=self.user))


async def caller_of(scope: Scope) -> Caller | None:
    """Return who sent a request, None when nobody is logged in.

    :param scope: the request
    """
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException
    from starlette.requests import Request

    request = Request(scope)
    try:
        user = await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        return None
    return Caller(str(user.get_name()), roles_of(user), user)


def roles_of(user: Any) -> tuple[str, ...] | None:
    """Return the names of a user's roles: ``roles`` in FAB, ``role`` in SimpleAuthManager.

    :param user: the auth manager's object
    """
    if isinstance(role := getattr(user, "role", None), str):
        return (role,)
    roles = getattr(user, "roles", None)
    if roles is None:
        return None
    return tuple(sorted(str(getattr(role, "name", role)) for role in roles))
