"""Write the file .env of a new deployment: every secret generated, none known to anybody before. Stdlib only.

python deploy/make_env.py [.env], with COMPOSE_PROJECT_NAME, AIRFLOW_PORT or MLFLOW_PORT in the environment
where others than its own are wanted.
"""

import base64
import hashlib
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

SOCKET = Path("/var/run/docker.sock")
IMAGES = ("retrain-trainer", "retrain-mlflow", "retrain-engine", "retrain-airflow")
"""What `make images` builds."""
REVISION = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
PASSWORDS = (
    "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD", "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_PIPELINE_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY", "AIRFLOW_SECRET_KEY",
)  # fmt: skip
JWT_BYTES = 64
"""Of the key that signs Airflow's tokens: HS512 wants one as long as its digest."""
SETTINGS = """\
# Settings of the deployment. The secrets below were made for it alone: keep this file as you keep a key.
# Its containers, networks and volumes carry this name: with another one the stack begins anew, beside the old volumes.
COMPOSE_PROJECT_NAME={project}
# The web interfaces, on this machine only; put TLS in front before you open them to others.
LISTEN=127.0.0.1
AIRFLOW_PORT={airflow}
MLFLOW_PORT={mlflow}
# Where people reach them, as a browser shows it: these go with the ports.
AIRFLOW_URL=http://localhost:{airflow}
MLFLOW_URL=http://localhost:{mlflow}
MLFLOW_HOSTS=localhost:{mlflow},127.0.0.1:{mlflow}
# Data registry: a git URL. This one is the service `data`, which holds generated sample data.
DATA_REGISTRY=http://data:8000/registry/.git
# Login of that git server, and environment variables of the DVC remote: {{"AWS_ACCESS_KEY_ID": "...", ...}}
DATA_REGISTRY_LOGIN=
DATA_REGISTRY_TOKEN=
DATA_REGISTRY_ENV={{}}
# Tasks that a worker runs at once: each may be a container with the memory of lifecycle.containers.limits.
WORKER_CONCURRENCY=4
# Who may approve, by the roles of Airflow's users.
RETRAIN_APPROVERS=role:Approver,role:Admin
"""


def main(arguments: list[str]) -> int:
    """Write the file; returns the exit code."""
    file = Path(arguments[0] if arguments else ".env")
    try:
        project = project_name(file)
        ports = {name: port(f"{name.upper()}_PORT", default) for name, default in (("airflow", 8080), ("mlflow", 5000))}
        if ports["airflow"] == ports["mlflow"]:
            raise ValueError(f"AIRFLOW_PORT and MLFLOW_PORT are both {ports['mlflow']}: give each its own")
        if file.exists():
            raise FileExistsError
        refuse_old_volumes(project)
        lines = [SETTINGS.format(project=project, **ports)]
        lines.append(f"DOCKER_GID={SOCKET.stat().st_gid if SOCKET.exists() else 0}")
        lines += [f"{name}={secrets.token_urlsafe(32)}" for name in PASSWORDS]
        lines.append(f"AIRFLOW_JWT_SECRET={secrets.token_urlsafe(JWT_BYTES)}")
        lines.append(f"RETRAIN_LEDGER_KEY={secrets.token_hex(32)}")
        lines.append(f"AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(os.urandom(32)).decode()}")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(f"error: {file} is there already, and holds the secrets of a deployment: move it away first\n")
        return 2
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    sys.stdout.write(f"{file} written for the stack {project}, readable by you alone. Next: {next_step()}\n")
    return 0


def project_name(file: Path) -> str:
    """Return the name of the stack: the one that is asked for, else one that no other clone has.

    :param file: the settings; the folder that holds them gives the name, and its whole path tells it from others
    :raises ValueError: when compose does not take the name that is asked for
    """
    if asked := os.environ.get("COMPOSE_PROJECT_NAME"):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", asked):
            raise ValueError(
                f"COMPOSE_PROJECT_NAME={asked!r}: compose takes lower-case letters, digits, - and _, and one of the"
                " first two to begin with"
            )
        return asked
    folder = file.resolve().parent
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:30].strip("-") or "retrain"
    return f"{name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]}"


def port(name: str, default: int) -> int:
    """Return a port of the environment.

    :raises ValueError: when it is none
    """
    text = os.environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{name}={text!r} is no port: give a number from 1 to 65535")
    return int(text)


def refuse_old_volumes(project: str) -> None:
    """Refuse a name under which an engine here holds a database, which no new password opens.

    :raises ValueError: names the volume, and the ways on
    """
    volume = f"{project}_postgres"
    if docker("volume", "inspect", "--format", "{{.Name}}", volume) == volume:
        raise ValueError(
            f"the volume {volume} holds the database of an earlier stack, which opens with the .env that it was made"
            f" with and no other: put that back (it belongs beside each backup), or begin anew beside it with"
            f" make env COMPOSE_PROJECT_NAME={project}-2"
        )


def next_step() -> str:
    """Return what to run next: the images come first where they are missing."""
    found = docker("image", "inspect", "--format", REVISION, *IMAGES).split()
    if len(found) != len(IMAGES):
        return "make images, then make up"
    commits = ", ".join(sorted({commit[:12] for commit in found}))
    return f"make up (the images are there, built from {commits}; make images builds them anew)"


def docker(*arguments: str) -> str:
    """Return what docker says, nothing where it fails or is missing."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
