"""A stack for the scripts of deploy: compose and docker are doubles that answer as told and note what is asked.

The real ones are asked by the tests that need an engine (``tests/system/test_compose*.py``).
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("postgres", "redis", "mlflow", "data", "engine", "apiserver", "scheduler", "worker")
IMAGES = ("retrain-trainer:latest", "retrain-mlflow:latest", "retrain-engine:latest", "retrain-airflow:latest")
COMPOSE = """#!/bin/bash
echo "compose $*" >>"$DOUBLE/calls"
case $1 in
config)
	if ! grep -q "^POSTGRES_PASSWORD=." .env 2>/dev/null; then
		echo 'ERROR: something long: is not set. Run make env' >&2
		exit 1
	fi
	[ "${2:-}" = --quiet ] || cat "$DOUBLE/config"
	;;
ps) [ ! -s "$DOUBLE/containers" ] || echo 4711 ;;
up | logs) [ ! -e "$DOUBLE/$1" ] || exec "$DOUBLE/$1" "$@" ;;
exec | run) [ ! -e "$DOUBLE/within" ] || exec "$DOUBLE/within" "$@" ;;
esac
"""
DOCKER = """#!/bin/bash
echo "docker $*" >>"$DOUBLE/calls"
case "$1 $2" in
"info ") [ ! -e "$DOUBLE/away" ] ;;
"ps --all") if [ "$3" = --no-trunc ]; then cat "$DOUBLE/containers"; fi ;;
"image inspect")
	for name; do
		case $name in retrain-* | rossmann-*)
			grep -q "^${name%:latest}:latest$" "$DOUBLE/images" || exit 1
			echo 0123456789abcdef
			;;
		esac
	done
	;;
"volume inspect") grep -x "${*: -1}" "$DOUBLE/volumes" ;;
esac
"""


class Double:
    """A folder with settings and the doubles.

    :param folder: an empty folder
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder / "clone", folder / "double"
        for made in (self.folder, self.state):
            made.mkdir()
        for name, text in (("compose", COMPOSE), ("docker", DOCKER)):
            self.program(name, text)
        shutil.copy(ROOT / "docker-compose.yaml", self.folder)
        needed = (ROOT / "docker-compose.yaml").read_text()
        self.settings = {name.split(":?")[0]: "secret" for name in needed.split("${") if ":?" in name.split("}")[0]}
        self.write_settings()
        (self.state / "images").write_text("".join(f"{name}\n" for name in IMAGES))
        (self.state / "config").write_text(
            "".join(f"    image: {name}\n" for name in (*IMAGES, "postgres:15", "registry.example/redis:7"))
        )
        (self.state / "volumes").touch()
        self.runs(*PARTS)

    def program(self, name: str, text: str) -> None:
        """Put a program where the scripts find it; ``within`` is what containers run."""
        file = self.state / name
        file.write_text(text)
        file.chmod(0o755)

    def write_settings(self) -> None:
        """Write .env."""
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def runs(self, *services: str, **ended: str) -> None:
        """Say which services run, and of others how they ended, as ``docker ps`` words it."""
        lines = [f"{name} running id-of-{name} Up 5 minutes (healthy)" for name in services]
        lines += [
            f"{name} {'running' if status.startswith('Up') else 'exited'} old-{name} {status}"
            for name, status in ended.items()
        ]
        (self.state / "containers").write_text("".join(f"{line}\n" for line in lines))

    @property
    def calls(self) -> list[str]:
        """What compose and docker were asked."""
        file = self.state / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the doubles are found."""
        path = f"{self.state}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE", "AIRFLOW_"))}
        return {**kept, "PATH": path, "COMPOSE": "compose", "DOUBLE": str(self.state)}

    def script(self, name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy in the folder."""
        return subprocess.run(
            [str(ROOT / "deploy" / name), *arguments],
            capture_output=True, text=True, check=False, cwd=self.folder, env={**self.environment, **variables},
        )  # fmt: skip
