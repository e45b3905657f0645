"""Step ``register``: assemble the model artifact, log it, and register it as a new model version."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS

from include.lifecycle.errors import ReportedError
from include.lifecycle.moves.integrity import ArtifactIntegrity, Manifest, download
from include.lifecycle.registry.client import connect
from include.lifecycle.tags import ARTIFACTS_DIGEST
from include.retraining.config.model import ModelConfig
from include.retraining.pipeline import ConfigT, Pipeline
from include.retraining.provenance import library_versions
from include.retraining.run import KEY_TAG, RetrainRun, is_error
from include.retraining.steps.pull import DATA

log = logging.getLogger(__name__)

CONTENT_TAG = "model.content"
CARRIED_TAGS = ("data.", "code.", "training.", "holdout.", "airflow.", "retrain.")


def register(model: Pipeline[ConfigT, Any], config: ConfigT, run_id: str) -> dict[str, Any]:
    """Register what a retrain made.

    The same retrain with the same content finds the version that an earlier try registered, instead of making
    a second one.

    :return: model name, version number, size of the artifact
    """
    client = connect()
    run = RetrainRun.of(client, config, run_id)
    name = config.lifecycle.model
    with run.step("register") as scratch:
        build = scratch / "model"
        data = model.restore(run.fetch(DATA, scratch))
        build.mkdir()
        package = model.build(run, config, data, build)
        version = registered(client, name, run.tags[KEY_TAG], package.content)
        if version is None:
            info = package.log({CONTENT_TAG: package.content})
            digest = record_digests(client, run_id, str(info.model_id), package.folders, scratch / "uploaded")
            tags = version_tags(run, model.libraries, package.tags)
            tags |= {CONTENT_TAG: package.content, ARTIFACTS_DIGEST: digest}
            ensure_model(client, config, model.about)
            client.create_model_version(
                name, info.model_uri, run_id, tags=tags, model_id=info.model_id, description=package.description
            )
            # read back instead of trusting the answer: a lost answer is repeated by the client, and makes a second
            version = registered(client, name, run.tags[KEY_TAG], package.content)
            if version is None:
                raise RuntimeError(f"MLflow took a new version of {name!r} and does not list it")
        else:
            log.info("Version %s of %s is already registered from this content", version.version, name)
        megabytes = sum(path.stat().st_size for path in build.rglob("*") if path.is_file()) / 1e6
        run.log(metrics={"model_mb": megabytes}, tags={"model.version": str(version.version)})
    log.info("Registered %s version %s (%.1f MB)", name, version.version, megabytes)
    return {"run_id": run_id, "model": name, "version": int(version.version), "megabytes": round(megabytes, 1)}


def record_digests(client: MlflowClient, run_id: str, model_id: str, folders: Sequence[Path], scratch: Path) -> str:
    """Record the digest of every file of a logged model and return the digest of that list.

    What the artifact store holds is read back, so that a damaged upload is found here and not at night.

    :raises ReportedError: when the store does not hold what was uploaded
    """
    download(client, str(client.get_logged_model(model_id).artifact_location), scratch)
    stored = Manifest.of(scratch)
    held = set(stored.files.values())
    for member in folders:
        for name, file in Manifest.of(member).files.items():
            if file not in held:
                raise ReportedError(f"the artifact store does not hold {member.name}/{name} as it was uploaded")
    return ArtifactIntegrity(client).record(run_id, stored)


def registered(client: MlflowClient, model: str, key: str, content: str) -> ModelVersion | None:
    """Return the oldest version that this retrain registered from this content; younger twins are removed."""
    found = [
        version
        for version in client.search_model_versions(f"name = '{model}' and tags.`{KEY_TAG}` = '{key}'")
        if version.tags.get(CONTENT_TAG) == content
    ]
    found.sort(key=lambda version: int(version.version))
    for twin in found[1:]:
        if twin.current_stage == "None":
            log.warning("Removing version %s: a repeated request made it beside %s", twin.version, found[0].version)
            client.delete_model_version(model, twin.version)
    return found[0] if found else None


def ensure_model(client: MlflowClient, config: ModelConfig, about: str) -> None:
    """Create the registered model unless there is one."""
    name = config.lifecycle.model
    # asked first: a name that is taken is an error in the database's log
    if client.search_registered_models(f"name = '{name}'", max_results=1):
        return
    try:
        client.create_registered_model(
            name,
            tags={"owner": config.lifecycle.owner},
            description=f"{about} Moves between stages are made by the DAGs and recorded in the promotion ledger:"
            f" `python -m include.models.{config.lifecycle.name} history`.",
        )
    except MlflowException as error:
        if not is_error(error, RESOURCE_ALREADY_EXISTS):
            raise


def version_tags(run: RetrainRun, libraries: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a version: what made it, from what, and what the model adds."""
    carried = {name: value for name, value in run.tags.items() if name.startswith(CARRIED_TAGS)}
    return carried | {"libraries": json.dumps(library_versions(libraries))} | dict(own)
