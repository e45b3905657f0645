"""Write the file .env of a new deployment: every secret generated, none known to anybody before. Stdlib only.

python include/deploy/make_env.py [.env]
"""

import base64
import os
import secrets
import sys
from pathlib import Path

SOCKET = Path("/var/run/docker.sock")
PASSWORDS = (
    "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD", "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_PIPELINE_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET", "AIRFLOW_SECRET_KEY",
)  # fmt: skip
SETTINGS = """\
# Settings of the deployment. The secrets below were made for it alone: keep this file as you keep a key.
COMPOSE_PROJECT_NAME=retrain
# The web interfaces, on this machine only; put TLS in front before you open them to others.
LISTEN=127.0.0.1
AIRFLOW_PORT=8080
MLFLOW_PORT=5000
# Where people reach them, as a browser shows it: these go with the ports.
AIRFLOW_URL=http://localhost:8080
MLFLOW_URL=http://localhost:5000
MLFLOW_HOSTS=localhost:5000,127.0.0.1:5000
# Data registry: a git URL. This one is the service `data`, which holds generated sample data.
DATA_REGISTRY=http://data:8000/registry/.git
# Login of that git server, and environment variables of the DVC remote: {"AWS_ACCESS_KEY_ID": "...", ...}
DATA_REGISTRY_LOGIN=
DATA_REGISTRY_TOKEN=
DATA_REGISTRY_ENV={}
# Tasks that a worker runs at once: each may be a container with the memory of lifecycle.containers.limits.
WORKER_CONCURRENCY=4
# Who may approve, by the roles of Airflow's users.
RETRAIN_APPROVERS=role:Approver,role:Admin
"""


def main(arguments: list[str]) -> int:
    """Write the file; returns the exit code."""
    file = Path(arguments[0] if arguments else ".env")
    lines = [SETTINGS, f"DOCKER_GID={SOCKET.stat().st_gid if SOCKET.exists() else 0}"]
    lines += [f"{name}={secrets.token_urlsafe(32)}" for name in PASSWORDS]
    lines.append(f"RETRAIN_LEDGER_KEY={secrets.token_hex(32)}")
    lines.append(f"AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(os.urandom(32)).decode()}")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(f"error: {file} is there already, and holds the secrets of a deployment: move it away first\n")
        return 2
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    sys.stdout.write(f"{file} written, readable by you alone. Next: make up\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
