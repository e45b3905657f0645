"""Make users of FAB: ``python fab_users.py FILE``, a JSON list of [name, role, password]. Run as a process."""

import json
import sys
from pathlib import Path

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

with get_application_builder() as builder:
    builder.sm.sync_roles()
    for number, (name, role, password) in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        found = builder.sm.find_role(role)
        if not builder.sm.add_user(name, "First", "Last", f"user{number}@example.com", found, password):
            raise SystemExit(f"FAB did not make the user {name!r} with the role {role!r}")
