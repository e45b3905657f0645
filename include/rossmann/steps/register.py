"""Step ``register``: assemble the model artifact, log it, and register it as a new model version."""

import hashlib
import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS

from include.lifecycle.errors import RetrainError
from include.lifecycle.integrity import ArtifactIntegrity, Manifest, download
from include.lifecycle.tags import ARTIFACTS_DIGEST
from include.rossmann.config import RossmannConfig
from include.rossmann.dataset import Dataset, load_dataset
from include.rossmann.forecaster import Blend, Panel, save_forecaster
from include.rossmann.packaging import FORECASTER, ModelFolders, log_ensemble
from include.rossmann.steps.ensemble import BLEND_FILE
from include.rossmann.tracking import KEY_TAG, RetrainRun, connect, fetch, is_error
from include.rossmann.versions import folder_digest, library_versions

log = logging.getLogger(__name__)

CONTENT_TAG = "model.content"
CARRIED_TAGS = ("data.", "code.", "training.", "holdout.", "airflow.", "retrain.")
SHOWN_METRICS = {"RMSPE": "holdout_rmspe", "naive forecast": "holdout_rmspe_naive"}
CARRIED_METRICS = ("holdout_rmspe", "cv_rmspe_mean", "cv_rmspe_std", "ensemble_gain")


def register(config: RossmannConfig, run_id: str) -> dict[str, Any]:
    """Register the ensemble of a retrain.

    The same retrain with the same content finds the version that an earlier try registered, instead of making
    a second one.

    :param config: the configuration
    :param run_id: the retrain's MLflow run
    :return: model name, version number, size of the artifact
    """
    client = connect()
    run = RetrainRun(client, run_id)
    model = config.lifecycle.model
    with run.step("register"), TemporaryDirectory(prefix="rossmann-register-") as folder:
        scratch = Path(folder)
        dataset = load_dataset(run.fetch("data", scratch))
        blend_file = run.fetch(f"ensemble/{BLEND_FILE}", scratch)
        settings = json.loads(blend_file.read_text(encoding="utf-8"))
        blend = Blend(settings["weights"], settings["factor"])
        folders = build_folders(client, run, config, dataset, blend, scratch / "model")
        content = content_digest(folders)
        version = registered(client, model, run.tags[KEY_TAG], content)
        if version is None:
            info = log_ensemble(folders, scratch / "model", run_id=run_id, metadata={"model.content": content})
            digest = record_digests(client, run_id, str(info.model_id), folders, scratch / "uploaded")
            tags = version_tags(run, blend) | {CONTENT_TAG: content, ARTIFACTS_DIGEST: digest}
            ensure_model(client, config)
            client.create_model_version(
                model, info.model_uri, run_id, tags=tags, model_id=info.model_id, description=describe(run, blend)
            )
            # read back instead of trusting the answer: a lost answer is repeated by the client, and makes a second
            version = registered(client, model, run.tags[KEY_TAG], content)
            if version is None:
                raise RuntimeError(f"MLflow took a new version of {model!r} and does not list it")
        else:
            log.info("Version %s of %s is already registered from this content", version.version, model)
        megabytes = sum(path.stat().st_size for path in (scratch / "model").rglob("*") if path.is_file()) / 1e6
        run.log(metrics={"model_mb": megabytes}, tags={"model.version": str(version.version)})
    log.info("Registered %s version %s (%.1f MB)", model, version.version, megabytes)
    return {"run_id": run_id, "model": model, "version": int(version.version), "megabytes": round(megabytes, 1)}


def build_folders(
    client: MlflowClient, run: RetrainRun, config: RossmannConfig, dataset: Dataset, blend: Blend, target: Path
) -> ModelFolders:
    """Write the folders of the served and the backtest member.

    :param client: MLflow client
    :param run: the retrain's run
    :param config: the configuration
    :param dataset: the retrain's data
    :param blend: weights and correction
    :param target: scratch folder
    """
    natives: dict[str, dict[str, Path]] = {"served": {}, "backtest": {}}
    for booster in config.boosters:
        member_run = run.member(booster).info.run_id
        for role, files in natives.items():
            local = target.parent / "natives" / booster / role
            local.mkdir(parents=True)
            folder = fetch(client, member_run, f"member/{role}", local)
            files[booster] = next(path for path in folder.rglob(f"{booster}.*") if path.is_file())
    panel = Panel.from_frames(dataset.train, dataset.stores)
    horizon = pd.Timedelta(days=config.forecast.horizon_days)
    ends = {"served": dataset.end, "backtest": dataset.end - horizon}
    for role, files in natives.items():
        save_forecaster(
            target / role,
            panel=panel,
            members=files,
            blend=blend,
            training_end=ends[role].date(),
            horizon_days=config.forecast.horizon_days,
        )
    return ModelFolders(served=target / "served", backtest=target / "backtest")


def record_digests(client: MlflowClient, run_id: str, model_id: str, folders: ModelFolders, scratch: Path) -> str:
    """Record the digest of every file of a logged model and return the digest of that list.

    What the artifact store holds is read back, so that a damaged upload is found here and not at night.

    :param client: MLflow client
    :param run_id: the retrain's run
    :param model_id: the logged model
    :param folders: the members that were uploaded
    :param scratch: folder for the files that are read back
    :raises RetrainError: when the store does not hold what was uploaded
    """
    download(client, str(client.get_logged_model(model_id).artifact_location), scratch)
    stored = Manifest.of(scratch)
    held = set(stored.files.values())
    for member in (folders.served, folders.backtest):
        for name, file in Manifest.of(member).files.items():
            if file not in held:
                raise RetrainError(f"the artifact store does not hold {member.name}/{name} as it was uploaded")
    return ArtifactIntegrity(client).record(run_id, stored)


def content_digest(folders: ModelFolders) -> str:
    """Return the digest of everything that decides what the model predicts."""
    parts = [folder_digest(folders.served, "*"), folder_digest(folders.backtest, "*"), folder_digest(FORECASTER)]
    parts += [f"{name}=={version}" for name, version in sorted(library_versions().items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def registered(client: MlflowClient, model: str, key: str, content: str) -> ModelVersion | None:
    """Return the oldest version that this retrain registered from this content; younger twins are removed.

    :param client: MLflow client
    :param model: registered model
    :param key: the retrain's key
    :param content: digest of the content
    """
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


def ensure_model(client: MlflowClient, config: RossmannConfig) -> None:
    """Create the registered model unless there is one."""
    # asked first: a name that is taken is an error in the database's log
    if client.search_registered_models(f"name = '{config.lifecycle.model}'", max_results=1):
        return
    try:
        client.create_registered_model(
            config.lifecycle.model,
            tags={"owner": config.lifecycle.owner},
            description=f"Daily sales by store, {config.forecast.horizon_days} days ahead. Moves between stages are"
            " made by the DAGs and recorded in the promotion ledger: `python -m include.rossmann history`.",
        )
    except MlflowException as error:
        if not is_error(error, RESOURCE_ALREADY_EXISTS):
            raise


def version_tags(run: RetrainRun, blend: Blend) -> dict[str, str]:
    """Return the tags of a version: what made it, from what, and how well it forecasts."""
    tags = {name: value for name, value in run.tags.items() if name.startswith(CARRIED_TAGS)}
    tags["ensemble.weights"] = json.dumps({name: round(weight, 6) for name, weight in blend.weights.items()})
    tags["ensemble.factor"] = f"{blend.factor:.6f}"
    tags["libraries"] = json.dumps(library_versions())
    tags |= {name: f"{run.run.data.metrics[name]:.6f}" for name in CARRIED_METRICS if name in run.run.data.metrics}
    return tags


def describe(run: RetrainRun, blend: Blend) -> str:
    """Return the version's description, in Markdown."""
    metrics, tags = run.run.data.metrics, run.tags
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in blend.weights.items())
    scores = [f"{name} {metrics[key]:.4f}" for name, key in SHOWN_METRICS.items() if key in metrics]
    lines = [
        f"Weighted blend of boosted trees ({weights}).",
        f"Trained up to {tags.get('training.end', 'unknown')}, data version `{tags.get('data.version', 'unknown')}`.",
        f"Backtest on {tags.get('holdout.start')} to {tags.get('holdout.end')}: {', '.join(scores)}.",
    ]
    return "\n\n".join(lines)
