"""Step ``pull``: open the retrain's MLflow run, get the data from the data registry, check it, log it."""

import logging
from pathlib import Path
from typing import Any

from include.lifecycle.errors import BadInputError
from include.lifecycle.registry.client import connect
from include.lifecycle.tags import QUICK
from include.retraining.config.model import DATA_REGISTRY_ENV
from include.retraining.data_source.pull import PulledData, pull_revision
from include.retraining.pipeline import ConfigT, DataT, Pipeline
from include.retraining.provenance import code_version, library_versions
from include.retraining.run import BACKTEST_TAG, ORIGINS_TAG, Origin, RetrainRun, write_json

log = logging.getLogger(__name__)

DATA = "data"
"""Where the retrain's run keeps its data."""
SOURCE_FILE = "source.json"
"""Where the data came from, and what its checks found odd; beside the data."""


def pull(
    model: Pipeline[ConfigT, Any],
    config: ConfigT,
    origin: Origin,
    *,
    revision: str | None = None,
    quick: bool = False,
    origins: int = 1,
    backtest_only: bool = False,
) -> dict[str, Any]:
    """Open the run and log a checked revision of the data there.

    :param revision: branch, tag or commit of the data registry; by default the configured one
    :param quick: whether less is trained: a try, not a release
    :param origins: forecast origins of the backtest, the holdout's among them
    :param backtest_only: whether the backtest is all that is wanted, and no version
    :return: MLflow run id, data version, registry commit, MD5 per file, and what the model tells of its data
    :raises BadInputError: when registry, revision, data or a setting is not usable
    """
    run = RetrainRun.open(connect(), config, origin)
    with run.step("pull") as scratch:
        check_metric(model, config)
        model.check(config)
        data, pulled = pull_data(model, config, revision or config.data.revision, scratch / "pulled")
        (scratch / DATA).mkdir()
        model.save(data, scratch / DATA)
        source = describe(pulled)
        write_json(scratch / DATA / SOURCE_FILE, {**source, "warnings": list(model.warnings(data))})
        facts = model.describe(data, config)
        run.log(
            params={"quick": quick, **facts.params}
            | {f"version_{name}": value for name, value in library_versions(model.libraries).items()},
            metrics=facts.metrics,
            tags={
                QUICK: str(quick).lower(),
                ORIGINS_TAG: str(origins),
                BACKTEST_TAG: str(backtest_only).lower(),
                **facts.tags,
            }
            | data_tags(pulled)
            | code_version().as_tags(),
        )
        run.upload(scratch / DATA, DATA)
    return {
        "run_id": run.run_id,
        "data_version": pulled.data_version,
        "registry_commit": pulled.registry_commit,
        "files": source["files"],
        **facts.told,
    }


def check_metric(model: Pipeline[ConfigT, Any], config: ConfigT) -> None:
    """Refuse a gate of another metric than the model's: it would only change what the figure is called.

    :raises BadInputError: names the field
    """
    if (metric := config.lifecycle.gate.metric) != model.metric.name:
        raise BadInputError(
            f"lifecycle.gate.metric: this model is measured by {model.metric.name!r}, found {metric!r}:"
            " correct the configuration, threshold included"
        )
    low, high = model.metric.bounds
    if not low < (threshold := config.lifecycle.gate.threshold) <= high:
        raise BadInputError(
            f"lifecycle.gate.threshold: {model.metric.title} lies between {low:g} and {high:g}, found {threshold:g}"
        )


def pull_data(
    model: Pipeline[ConfigT, DataT], config: ConfigT, revision: str, destination: Path
) -> tuple[DataT, PulledData]:
    """Get a revision of the data registry, read it and check it.

    :param revision: branch, tag or commit
    :raises BadInputError: when no data registry is configured, or the data fails a check
    """
    url = config.data_registry
    if not url:
        raise BadInputError(
            f"no data registry: set data.registry in the configuration, {DATA_REGISTRY_ENV} in the"
            " environment, or the host of the Airflow connection for the data"
        )
    pulled = pull_revision(url, revision, config.data.files, destination)
    data = model.read({name: file.path for name, file in pulled.files.items()}, config)
    for warning in model.warnings(data):
        log.warning("%s", warning)
    return data, pulled


def describe(pulled: PulledData) -> dict[str, Any]:
    """Return what names this data exactly: registry commit, data version, MD5 of each file."""
    return {
        "registry_commit": pulled.registry_commit,
        "revision": pulled.revision,
        "data_version": pulled.data_version,
        "files": {file.repo_path: file.md5 for file in pulled.files.values()},
    }


def data_tags(pulled: PulledData) -> dict[str, str]:
    """Return the tags that name this data on runs and versions."""
    return {
        "data.version": pulled.data_version,
        "data.registry_commit": pulled.registry_commit,
        "data.revision": pulled.revision,
    } | {f"data.md5.{file.repo_path}": file.md5 for file in pulled.files.values()}
