"""Whose request it is that reaches Airflow's API server, as Airflow itself finds it."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import HTTPException
from starlette.requests import Request


@dataclass(frozen=True)
class Caller:
    """A user who is logged in.

    :param name: the user's name
    :param roles: their roles; None where the auth manager shows none
    :param id: what Airflow keeps as the author of a note
    """

    name: str
    roles: tuple[str, ...] | None
    id: str


async def caller_of(scope: MutableMapping[str, Any]) -> Caller | None:
    """Return who sent a request, None when nobody is logged in.

    :param scope: the request
    """
    request = Request(scope)
    try:
        user = await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        return None
    return Caller(str(user.get_name()), roles_of(user), str(user.get_id()))


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
