"""Make people's logins, the same for Airflow and MLflow: ``users.py NAME:ROLE ...``. Run inside the image ``airflow``.

The role is one of Airflow's (Viewer, User, Op, Approver, Admin); in MLflow everybody may look and change nothing: what
moves a version there is the pipeline, after somebody approved it in Airflow. Who is there already gets the role and a
new password. Each password is said once, on stdout.
"""

import logging
import re
import secrets
import sys

from deploy.init import mlflow_login

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = frozenset({"admin", "pipeline"})


def main(arguments: list[str]) -> int:
    """Make the logins; returns the exit code."""
    logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stderr)
    try:
        wanted = dict(map(parse, arguments))
        if not wanted:
            raise ValueError('name at least one: make users WHO="anna:Approver olga:Op"')
        made = airflow_logins(wanted)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for name, password in made.items():
        mlflow_login(name, password)
        sys.stdout.write(f"{name} {wanted[name]} {password}\n")
    return 0


def parse(argument: str) -> tuple[str, str]:
    """Return name and role of ``NAME:ROLE``.

    :raises ValueError: when it is not that, or the name is one of the stack's own
    """
    name, found, role = argument.partition(":")
    if not found or not role or not NAME.fullmatch(name):
        raise ValueError(f"{argument!r} is not NAME:ROLE, such as anna:Approver")
    if name in RESERVED:
        raise ValueError(f"{name} is a login of the stack itself: take another name")
    return name, role


def airflow_logins(wanted: dict[str, str]) -> dict[str, str]:
    """Make Airflow's users and return their passwords.

    :raises ValueError: names the roles that exist, when one does not
    :raises SystemExit: when Airflow's database cannot be used
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from sqlalchemy.exc import OperationalError, ProgrammingError

    made = {}
    try:
        with get_application_builder() as builder:
            manager = builder.sm
            roles = {role.name: role for role in manager.get_all_roles()}
            if unknown := sorted(set(wanted.values()) - set(roles)):
                raise ValueError(f"there is no role {', '.join(unknown)}: the roles are {', '.join(sorted(roles))}")
            for name, role in wanted.items():
                made[name] = secrets.token_urlsafe(18)
                user = manager.find_user(name)
                if user is not None:
                    user.roles = [roles[role]]
                    manager.update_user(user)
                    manager.reset_password(user.id, made[name])
                elif not manager.add_user(name, name, "-", f"{name}@example.invalid", roles[role], made[name]):
                    raise ValueError(f"Airflow did not make the user {name}")
    except (OperationalError, ProgrammingError) as error:
        why = str(error.orig).strip().splitlines()[0]
        raise SystemExit(f"error: Airflow's database cannot be used ({why}): see make smoke") from None
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
