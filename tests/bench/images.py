"""Sizes of the images, what dominates them, and what must not be in them.

    python3 tests/bench/images.py [--env-file .env] [IMAGE ...]

Needs the Docker engine that holds the images, and nothing but Python's standard library. Prints two Markdown tables and
the paths behind them; the exit code is 1 when something was found that must not be there. With ``--env-file`` no file,
variable or build step may hold one of its passwords and keys. ``make scan-images`` calls it.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT)]

from tests import image_contents

IMAGES = ("retrain-trainer", "retrain-mlflow", "retrain-engine", "retrain-airflow")
REVISION = "org.opencontainers.image.revision"
BASE = "org.opencontainers.image.base.name"
KINDS = ("runs as root", *image_contents.KINDS, "not locked")
SHOWN_PACKAGES = 5


@dataclass(frozen=True)
class Image:
    """What is known about one image; sizes in bytes."""

    name: str
    size: int
    base: int | None
    """None: the engine has built on it and does not hold it by its name."""
    venv: int
    packages: Mapping[str, int]
    user: str
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    found: Mapping[str, Sequence[str]]
    """Paths or values of each of ``KINDS``; all are empty in a good image."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="*", default=IMAGES, metavar="IMAGE", help=f"default: {' '.join(IMAGES)}")
    parser.add_argument("--env-file", type=Path, help="a .env whose secrets must be nowhere")
    given = parser.parse_args()
    secrets = secrets_of(given.env_file.read_text()) if given.env_file else {}
    images = [examine(name, secrets) for name in given.images]
    print(sizes(images), contents(images), sep="\n\n")
    findings = [f"{image.name}: {kind}: {what}" for image in images for kind in KINDS for what in image.found[kind]]
    print(*findings, sep="\n", file=sys.stderr)
    return 1 if findings else 0


def examine(name: str, secrets: Mapping[str, str] | None = None) -> Image:
    """Return what is in an image; it takes some seconds and one container without a network.

    :param name: the image
    :param secrets: values that must be nowhere, by name
    """
    secrets = secrets or {}
    described = docker("image", "inspect", name)
    details = json.loads(described)[0]
    config = details["Config"]
    labels = config.get("Labels") or {}
    looked = look(name, secrets)
    # a number is what can be checked without the image's own list of users
    number = re.fullmatch(r"[1-9]\d*(:.*)?", config["User"])
    found = {**looked["found"], "runs as root": [] if number else [config["User"] or "no user is set"]}
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", name)
    found["secret"] += [f"build ({known})" for known, value in secrets.items() if value in described + history]
    locked = lock()
    found["not locked"] = [
        f"{package} {version}"
        for package, (version, _) in looked["packages"].items()
        if version not in locked.get(package, ())
    ]
    return Image(
        name=name,
        size=details["Size"],
        base=size_of(labels.get(BASE)),
        venv=looked["venv"],
        packages={package: size for package, (_, size) in looked["packages"].items()},
        user=config["User"] or "root",
        labels=labels,
        environment=dict(variable.split("=", 1) for variable in config["Env"]),
        found=found,
    )


def look(name: str, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``image_contents`` finds inside an image; secrets do not appear in its command line."""
    script = Path(image_contents.__file__).read_text()
    run = ("run", "--rm", "--interactive", "--network", "none", "--read-only", "--user", "0", "--entrypoint", "python3")
    return dict(json.loads(docker(*run, name, "-I", "-c", script, stdin=json.dumps(dict(secrets)))))


def docker(*arguments: str, stdin: str = "") -> str:
    """Return what a command of Docker prints."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"error: docker {arguments[0]} failed: {done.stderr.strip()} (`make images` builds the images)"
        )
    return done.stdout


def size_of(image: str | None) -> int | None:
    """Return the size of an image that may not be there."""
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", image or ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else None


def lock() -> dict[str, set[str]]:
    """Return the versions of each package in constraints.txt; markers may give one several."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (PROJECT / "constraints.txt").read_text(), re.MULTILINE):
        versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    return versions


def secrets_of(env: str) -> dict[str, str]:
    """Return the passwords and keys of an env file."""
    pairs = re.findall(r"^(\w*(?:PASSWORD|SECRET|KEY)\w*)=(\S{8,})$", env, re.MULTILINE)
    return dict(pairs)


def sizes(images: Sequence[Image]) -> str:
    """Return the table of the sizes."""
    rows = ["| image | MB | base | packages | rest | biggest packages |", "|---|---:|---:|---:|---:|---|"]
    for image in images:
        biggest = sorted(image.packages.items(), key=lambda item: -item[1])[:SHOWN_PACKAGES]
        rest = "?" if image.base is None else megabytes(image.size - image.base - image.venv)
        base = "?" if image.base is None else megabytes(image.base)
        most = ", ".join(f"{name} {megabytes(size)}" for name, size in biggest) or "none"
        rows.append(
            f"| `{image.name}` | {megabytes(image.size)} | {base} | {megabytes(image.venv)} | {rest} | {most} |"
        )
    return "\n".join(rows)


def contents(images: Sequence[Image]) -> str:
    """Return the table of what must not be there."""
    rows = ["| found | " + " | ".join(f"`{image.name}`" for image in images) + " |", "|---" * (len(images) + 1) + "|"]
    rows.append("| runs as user | " + " | ".join(image.user for image in images) + " |")
    rows += [
        f"| {kind} | " + " | ".join(str(len(image.found[kind]) or "none") for image in images) + " |" for kind in KINDS
    ]
    return "\n".join(rows)


def megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}"


if __name__ == "__main__":
    sys.exit(main())
