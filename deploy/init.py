"""What a deployment needs before its servers start, done once and again at each start: it changes nothing twice.

Airflow's database, the role Approver (an Op whom the policy of the approval names), the menu for Viewers, the users
that the stack itself needs, and MLflow's login for the pipeline. Run inside the image ``airflow``.
"""

import logging
import os
import sys
import time
from typing import Any

import httpx

log = logging.getLogger("init")
MLFLOW = "http://mlflow:5000"
PATIENCE_SECONDS = 180.0


def main() -> int:
    """Prepare everything; returns the exit code."""
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    migrate()
    users()
    password = os.environ["MLFLOW_PIPELINE_PASSWORD"]
    mlflow_login("pipeline", password)
    mlflow_names("pipeline", password)
    log.info("Everything is prepared")
    return 0


def migrate() -> None:
    """Make Airflow's database, or bring it up to date.

    ``airflow db migrate`` would first enter itself in a table of that database, which PostgreSQL calls an error.
    """
    from airflow.providers_manager import ProvidersManager
    from airflow.utils.db import upgradedb

    ProvidersManager().initialize_providers_configuration()  # type: ignore[no-untyped-call]
    upgradedb()


def users() -> None:
    """Make the role Approver, and the admin."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        manager.sync_roles()
        show_menus(manager)
        role = manager.find_role("Approver") or manager.add_role("Approver")
        for permission in manager.find_role("Op").permissions:
            manager.add_permission_to_role(role, permission)
        if manager.find_user("admin") is None:
            password = os.environ["AIRFLOW_ADMIN_PASSWORD"]
            role = manager.find_role("Admin")
            if not manager.add_user("admin", "admin", "user", "admin@example.invalid", role, password):
                raise SystemExit("error: Airflow's user admin could not be made")
            log.info("Airflow's user admin is made, with the role Admin")


def show_menus(manager: Any) -> None:
    """Let every role that reads DAGs read the list of plugins too, from which Airflow's UI takes *Browse > Models*.

    FAB lets only Op and above. The page itself shows a model to whoever may read its DAG, with or without the menu.

    :param manager: FAB's security manager, its roles made
    """
    permission = manager.create_permission("can_read", "Plugins")
    for name in ("Viewer", "User"):
        manager.add_permission_to_role(manager.find_role(name), permission)


def mlflow_login(name: str, password: str) -> None:
    """Make a login of MLflow, or set the password of one that is there."""
    admin = "admin", os.environ["MLFLOW_ADMIN_PASSWORD"]
    login = {"username": name, "password": password}

    def call(method: str, path: str) -> int:
        return httpx.request(
            method, f"{MLFLOW}/api/2.0/mlflow/users/{path}", json=login, auth=admin, timeout=20, trust_env=False
        ).status_code

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            # in this order: a name that is taken would be an error in the database's log, with the password's hash
            status = call("PATCH", "update-password")
            if status == 404:
                status = call("POST", "create")
        except httpx.TransportError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"error: MLflow does not answer: {error}") from error
            time.sleep(2)
            continue
        if status in (401, 403):
            raise SystemExit(
                "error: MLflow refuses its admin, whose password is the one that MLFLOW_ADMIN_PASSWORD was when its"
                " database was made: put back that .env"
            )
        if status != 200:
            raise SystemExit(f"error: MLflow refused the login {name}: HTTP status {status}")
        return


def mlflow_names(name: str, password: str) -> None:
    """Make the models' names in MLflow as the pipeline's user, before anybody else who could take one has a login.

    What goes wrong for a model is logged, and the others have their turn. The stack starts all the same: with a ledger
    key a taken ledger decides nothing.
    """
    from mlflow.exceptions import MlflowException

    from include.lifecycle.config.files import configured_models
    from include.lifecycle.errors import ReportedError
    from include.lifecycle.untrusted_text import one_line

    os.environ |= {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    try:
        models = configured_models()
    except ReportedError as error:
        log.error("error: no model has its names in MLflow: %s", error)
        return
    for model in models:
        try:
            for line in names_of(model):
                log.info("%s", line)
        except (ReportedError, MlflowException) as error:
            log.error("error: the model %s lacks names in MLflow: %s", model, one_line(str(error), 500))


def names_of(model: str) -> list[str]:
    """Make the names of a model in MLflow and return a line for each.

    :raises ReportedError: when its configuration is wrong, or a name is somebody else's
    :raises MlflowException: when MLflow refuses or is away
    """
    from include.lifecycle.config.load import load_lifecycle_config
    from include.lifecycle.moves.claim import claim
    from include.lifecycle.moves.model_registry import ModelRegistry

    config = load_lifecycle_config(model)
    return claim(ModelRegistry(tracking_uri=MLFLOW), config.model, config.experiments)


if __name__ == "__main__":
    sys.exit(main())
