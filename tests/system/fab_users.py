"""Make users of FAB as the stack does: ``python fab_users.py FILE``, a JSON list of [name, role, password]."""

import json
import sys
from pathlib import Path

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

from deploy.init import show_menus

with get_application_builder() as builder:
    builder.sm.sync_roles()
    show_menus(builder.sm)
    for number, (name, role, password) in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        found = builder.sm.find_role(role)
        if not builder.sm.add_user(name, "First", "Last", f"user{number}@example.com", found, password):
            raise SystemExit(f"FAB did not make the user {name!r} with the role {role!r}")
