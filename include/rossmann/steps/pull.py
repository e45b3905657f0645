"""Step ``pull``: open the retrain's MLflow run, get the data from the data registry, check it, log it."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from include.lifecycle.errors import BadInputError
from include.lifecycle.tags import QUICK
from include.rossmann.config import RossmannConfig
from include.rossmann.data.load import read_future, read_store, read_train
from include.rossmann.data.pull import PulledData, pull_revision
from include.rossmann.data.schema import check_data
from include.rossmann.dataset import SOURCE_FILE, Dataset, save_dataset
from include.rossmann.tracking import BACKTEST_TAG, ORIGINS_TAG, Origin, RetrainRun, connect, write_json
from include.rossmann.versions import code_version, library_versions

log = logging.getLogger(__name__)


def pull(
    config: RossmannConfig,
    origin: Origin,
    *,
    revision: str | None = None,
    quick: bool = False,
    origins: int = 1,
    backtest_only: bool = False,
) -> dict[str, Any]:
    """Open the run and log a checked revision of the data there.

    :param config: the configuration
    :param origin: who asked
    :param revision: branch, tag or commit of the data registry; by default the configured one
    :param quick: whether the boosters train with fewer rounds
    :param origins: forecast origins of the backtest, the holdout's among them, each with as many folds before it as
        the configuration asks for
    :param backtest_only: whether folds are all that is wanted, and no model
    :return: MLflow run id, data version, registry commit, MD5 per file, rows, newest day
    :raises BadInputError: when registry, revision or data is not usable, or a booster does not take its parameters
    """
    from include.rossmann.booster_parameters import (
        check_parameters,  # brings all boosters, which other steps do not use
    )

    run = RetrainRun.open(connect(), config, origin)
    with run.step("pull"), tempfile.TemporaryDirectory(prefix="rossmann-pull-") as folder:
        for booster, settings in config.boosters.items():
            check_parameters(booster, settings.params)
        scratch = Path(folder)
        dataset, pulled = pull_dataset(config, revision or config.data.revision, scratch / "pulled")
        save_dataset(dataset, scratch / "data")
        source = describe(pulled)
        write_json(scratch / "data" / SOURCE_FILE, {**source, "warnings": list(dataset.warnings)})
        run.log(
            params={"quick": quick, "horizon_days": config.forecast.horizon_days, "seed": config.forecast.seed}
            | {f"version_{name}": value for name, value in library_versions().items()},
            metrics={"data_rows": len(dataset.train), "data_stores": len(dataset.stores)},
            tags={
                QUICK: str(quick).lower(),
                ORIGINS_TAG: str(origins),
                BACKTEST_TAG: str(backtest_only).lower(),
                "training.end": str(dataset.end.date()),
            }
            | data_tags(pulled)
            | code_version().as_tags(),
        )
        run.upload(scratch / "data", "data")
    return {
        "run_id": run.run_id,
        "data_version": pulled.data_version,
        "registry_commit": pulled.registry_commit,
        "files": source["files"],
        "rows": len(dataset.train),
        "newest": str(dataset.end.date()),
    }


def pull_dataset(config: RossmannConfig, revision: str, destination: Path) -> tuple[Dataset, PulledData]:
    """Get a revision of the data registry, read it and check it.

    :param config: the configuration
    :param revision: branch, tag or commit
    :param destination: scratch folder for the files
    :raises BadInputError: when no data registry is configured, or the data fails a check
    """
    url = config.data_registry
    if not url:
        raise BadInputError(
            "no data registry: set data.registry in the configuration, RETRAIN_DATA_REGISTRY in the"
            " environment, or the host of the Airflow connection for the data"
        )
    pulled = pull_revision(url, revision, config.data.files, destination)
    train = read_train(pulled.files["train"].path)
    stores = read_store(pulled.files["store"].path)
    future = read_future(pulled.files["future"].path) if "future" in pulled.files else None
    warnings = check_data(
        train, stores, future, freshness_days=config.data.freshness_days, horizon_days=config.forecast.horizon_days
    )
    for warning in warnings:
        log.warning("%s", warning)
    log.info(
        "Data: %d rows, %d stores, newest day %s", len(train), len(stores), pd.Timestamp(train["Date"].max()).date()
    )
    return Dataset(train, stores, future, tuple(warnings)), pulled


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
