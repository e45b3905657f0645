"""Passwords and keys of the local stack: made once, kept in the state folder, readable by its owner alone."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from local_stack.errors import StackError

USER = "admin"
_FILE = "credentials.json"


@dataclass(frozen=True)
class Credentials:
    """What the servers and their clients must agree on."""

    user: str
    password: str
    jwt_secret: str
    new: bool = False


def write_private(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that no other user can read it, not even for a moment."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def load_or_create(state_dir: Path) -> Credentials:
    """Return the credentials of a state folder, made on the first call (``new`` is true then).

    :param state_dir: the folder of the local stack; it exists
    :raises StackError: when the file is there and cannot be used
    """
    path = state_dir / _FILE
    if path.exists():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            credentials = Credentials(user=kept["user"], password=kept["password"], jwt_secret=kept["jwt_secret"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StackError(
                f"cannot read the passwords in {path} ({error}): delete that file to make new ones"
            ) from error
    else:
        credentials = Credentials(USER, secrets.token_urlsafe(12), secrets.token_urlsafe(48), new=True)
        kept = {name: value for name, value in asdict(credentials).items() if name != "new"}
        write_private(path, json.dumps(kept))
        write_private(ledger_key_file(state_dir), f"{secrets.token_hex(32)}\n")
    # Written each time: Airflow reads this file, and someone may have deleted it.
    write_private(password_file(state_dir), json.dumps({credentials.user: credentials.password}))
    return credentials


def password_file(state_dir: Path) -> Path:
    """Return the file in which Airflow's SimpleAuthManager looks for passwords."""
    return state_dir / "airflow_passwords.json"


def ledger_key_file(state_dir: Path) -> Path:
    """Return the file that holds the key of the promotion ledger; a folder from before there was one has none."""
    return state_dir / "ledger.key"
