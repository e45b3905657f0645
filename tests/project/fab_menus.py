"""Print who may read the list of plugins, before and after the stack's preparation; run as a process with FAB."""

import json
import logging

import airflow.models
from airflow import settings
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.models.base import Base
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.models import Model

from deploy.init import show_menus

ROLES = ("Viewer", "User", "Op")

logging.disable(logging.ERROR)
airflow.models.import_all_models()
Base.metadata.create_all(settings.engine)
Model.metadata.create_all(settings.engine)
with get_application_builder() as builder:
    manager = builder.sm
    manager.bulk_sync_roles([config for config in manager.ROLE_CONFIGS if config["role"] in ROLES])
    for role in ROLES:
        manager.add_user(role, "First", "Last", f"{role}@example.com", manager.find_role(role), "password")

    def allowed() -> dict[str, bool]:
        manager.session.expire_all()
        return {
            role: get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=manager.find_user(role))
            for role in ROLES
        }

    seen = [allowed()]
    for _ in range(2):  # at each start
        show_menus(manager)
        seen.append(allowed())
    print(json.dumps(seen))
