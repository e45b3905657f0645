"""How the tests and benchmarks call compose: its settings and its command line."""

import re
import subprocess
from pathlib import Path


def read_settings(file: Path) -> dict[str, str]:
    """Return the variables of an env file."""
    return dict(re.findall(r"^([A-Za-z_]\w*)=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))


def compose_command(compose_file: Path, env_file: Path, project: str, *overrides: Path) -> list[str]:
    """Return the beginning of a compose command: ``docker compose`` where it is, else docker-compose.

    :param overrides: files laid over the compose file
    """
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    program = ["docker", "compose"] if plugin else ["docker-compose"]
    where = ["--project-directory", str(compose_file.resolve().parent)]
    for file in (compose_file, *overrides):
        where += ["-f", str(file.resolve())]
    return [*program, *where, "--env-file", str(env_file.resolve()), "-p", project]
