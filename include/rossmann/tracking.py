"""The retrain's MLflow run: what the steps share, since no step needs another's disk."""

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME
from sqlalchemy.exc import ArgumentError

from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.errors import BadInputError
from include.lifecycle.tags import EXPERIMENT_TAGS, QUICK, TRUE
from include.lifecycle.text import one_line, shorten, storable, without_credentials
from include.lifecycle.tracking_address import REGISTRY_URI_ENV, TRACKING_URI_ENV, tracking_address
from include.rossmann.config import Booster, RossmannConfig

log = logging.getLogger(__name__)

KEY_TAG = "retrain.key"
BOOSTER_TAG = "retrain.booster"
ORIGINS_TAG = "retrain.origins"
BACKTEST_TAG = "retrain.backtest_only"
MAX_TAG = 4000
"""Characters of a text that somebody typed which are kept as a tag."""


@dataclass(frozen=True)
class Origin:
    """Who asked for this retrain: an Airflow run, or a person at the command line."""

    dag_id: str | None = None
    dag_run_id: str | None = None
    note: str = ""

    @property
    def key(self) -> str:
        """Digest that a retried task finds its run and its model version by; random outside Airflow."""
        name = f"{self.dag_id}\n{self.dag_run_id}" if self.dag_run_id else uuid.uuid4().hex
        return hashlib.sha256(name.encode()).hexdigest()[:32]

    def as_tags(self) -> dict[str, str]:
        """Return the tags that name the Airflow run."""
        tags = {"airflow.dag_id": self.dag_id, "airflow.run_id": self.dag_run_id, "note": self.note}
        return {name: shorten(storable(value), MAX_TAG) for name, value in tags.items() if value}


def connect() -> MlflowClient:
    """Return a client of the MLflow that ``MLFLOW_TRACKING_URI`` names, for runs and registry alike.

    The environment, which parts of MLflow read themselves, is brought to the same: the address as it is understood,
    and nothing of another program's run.

    :raises BadInputError: when it is not set (a default would write into whatever folder one stands in), or cannot work
    """
    address = tracking_address(os.environ.get(TRACKING_URI_ENV, ""))
    registry = os.environ.get(REGISTRY_URI_ENV, "").strip()
    if registry and tracking_address(registry, REGISTRY_URI_ENV) != address:
        raise BadInputError(
            f"{REGISTRY_URI_ENV} names {without_credentials(registry)!r}, {TRACKING_URI_ENV} another MLflow:"
            f" models, runs and ledger are in one, so unset {REGISTRY_URI_ENV}"
        )
    for name in (*OF_ANOTHER_RUN, REGISTRY_URI_ENV):  # without one, the registry is where the runs are
        os.environ.pop(name, None)
    os.environ[TRACKING_URI_ENV] = address
    try:
        return MlflowClient(address, address)
    except (ImportError, ArgumentError) as error:
        raise BadInputError(
            f"{TRACKING_URI_ENV} is {without_credentials(address)!r}, whose driver is not installed"
            f" ({one_line(str(error), 200)}): name the MLflow server that uses this database, or install the driver"
        ) from error


class RetrainRun:
    """The MLflow run of one retrain, the parent of the boosters' runs.

    :param client: MLflow client
    :param run_id: id of the run that ``pull`` opened
    :raises BadInputError: when there is no such run
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.run = self._get(run_id)

    @classmethod
    def open(cls, client: MlflowClient, config: RossmannConfig, origin: Origin) -> "RetrainRun":
        """Return the run of this Airflow run, newly created unless an earlier try of ``pull`` did."""
        experiment_id = ensure_experiment(client, config.lifecycle.experiment)
        key = origin.key
        found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        if found:
            log.info("Going on with the MLflow run %s of an earlier try", found[0].info.run_id)
            return cls(client, found[0].info.run_id)
        name = f"retrain {origin.dag_run_id or time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        tags = {KEY_TAG: key, MLFLOW_RUN_NAME: name, MLFLOW_SOURCE_NAME: "include.rossmann"} | origin.as_tags()
        run = client.create_run(experiment_id, tags=tags)
        log.info("Opened the MLflow run %s in experiment %s", run.info.run_id, config.lifecycle.experiment)
        return cls(client, run.info.run_id)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run as it was when this object was made."""
        return dict(self.run.data.tags)

    @property
    def quick(self) -> bool:
        """Whether the retrain was started with the quick switch."""
        return self.tags.get(QUICK) == TRUE

    @property
    def backtest_only(self) -> bool:
        """Whether nothing will be registered: the folds are all that is wanted."""
        return self.tags.get(BACKTEST_TAG) == TRUE

    @property
    def origins(self) -> int:
        """How many forecast origins the backtest has, the holdout's among them."""
        return int(self.tags.get(ORIGINS_TAG, 1))

    def cv_folds(self, config: RossmannConfig) -> int:
        """Return how many folds are forecast before the holdout: so many before each origin as are configured."""
        return self.origins - 1 + config.forecast.cv_folds

    def log(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log parameters, metrics and tags on the run.

        A parameter that an earlier try logged with another value keeps the first one, and the log says so:
        MLflow's parameters are immutable.
        """
        log_values(self.client, self.run_id, params=params, metrics=metrics, tags=tags)

    def upload(self, folder: Path, artifact_path: str) -> None:
        """Upload the files of ``folder`` under ``artifact_path`` of the run."""
        upload(self.client, self.run_id, folder, artifact_path)

    def fetch(self, artifact_path: str, scratch: Path) -> Path:
        """Download an artifact file or folder of the run into ``scratch`` and return its local path.

        :raises BadInputError: when the run has no such artifact, naming the step that makes it
        """
        return fetch(self.client, self.run_id, artifact_path, scratch)

    def open_member(self, booster: Booster) -> str:
        """Create the nested run of a booster and return its id. A retry makes a run of its own."""
        tags = {
            MLFLOW_PARENT_RUN_ID: self.run_id,
            MLFLOW_RUN_NAME: booster,
            MLFLOW_SOURCE_NAME: "include.rossmann",
            BOOSTER_TAG: booster,
        }
        return str(self.client.create_run(self.run.info.experiment_id, tags=tags).info.run_id)

    def member(self, booster: Booster) -> Run:
        """Return the newest finished run of a booster.

        :raises BadInputError: when it has none
        """
        found = self.client.search_runs(
            [self.run.info.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}' and tags.`{BOOSTER_TAG}` = '{booster}'"
            " and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if not found:
            raise BadInputError(
                f"the retrain's MLflow run {self.run_id} has no finished run of {booster}:"
                f" run `train --booster {booster}` first"
            )
        return found[0]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Mark the run as running during a step, and as failed (with the reason) when the step fails."""
        self.client.update_run(self.run_id, status="RUNNING")
        try:
            yield
        except BaseException as error:
            reason = shorten(without_credentials(storable(f"{name}: {error or type(error).__name__}")), MAX_TAG)
            try:
                self.client.set_tag(self.run_id, "failure", reason)
                self.client.set_terminated(self.run_id, "FAILED")
            except MlflowException as second:
                log.warning("MLflow did not take the failure of %s: %s", name, second)
            raise

    def finish(self) -> None:
        """Mark the run as finished."""
        if "failure" in self._get(self.run_id).data.tags:
            self.client.delete_tag(self.run_id, "failure")
        self.client.set_terminated(self.run_id, "FINISHED")

    def _get(self, run_id: str) -> Run:
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if is_error(error, RESOURCE_DOES_NOT_EXIST):
                raise BadInputError(f"MLflow has no run {run_id!r}: `pull` opens one and prints its id") from error
            raise


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, created when there is none of that name.

    :raises BadInputError: when it was deleted (MLflow keeps the name)
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, tags=EXPERIMENT_TAGS))
        except MlflowException as error:
            # another run may have been faster, or the answer to our own first try was lost
            if not is_error(error, RESOURCE_ALREADY_EXISTS):
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise BadInputError(f"the MLflow experiment {name!r} was deleted: restore it or configure another name")
    return str(experiment.experiment_id)


def log_values(
    client: MlflowClient,
    run_id: str,
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log parameters, metrics and tags on a run (see ``RetrainRun.log``)."""
    known = client.get_run(run_id).data.params if params else {}
    fresh = []
    for name, value in (params or {}).items():
        if name not in known:
            fresh.append(Param(name, str(value)))
        elif known[name] != str(value):
            log.warning("Parameter %s stays %r as an earlier try logged it; now %r", name, known[name], str(value))
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()],
        params=fresh,
        tags=[RunTag(name, str(value)) for name, value in (tags or {}).items()],
    )


def upload(client: MlflowClient, run_id: str, folder: Path, artifact_path: str) -> None:
    """Upload the files of a folder under ``artifact_path`` of a run, and log how much that was."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    started = time.monotonic()
    client.log_artifacts(run_id, str(folder), artifact_path)
    log.info("Uploaded %s: %.1f MB in %.1f s", artifact_path, size / 1e6, time.monotonic() - started)


def fetch(client: MlflowClient, run_id: str, artifact_path: str, scratch: Path) -> Path:
    """Download an artifact of a run (see ``RetrainRun.fetch``)."""
    started = time.monotonic()
    try:
        path = Path(client.download_artifacts(run_id, artifact_path, str(scratch)))
    except (MlflowException, OSError) as error:
        parent, _, name = artifact_path.rpartition("/")
        if name not in {Path(item.path).name for item in client.list_artifacts(run_id, parent or None)}:
            raise BadInputError(
                f"the MLflow run {run_id} has no artifact {artifact_path!r}: the step that makes it did not end"
            ) from error
        raise
    log.info("Fetched %s in %.1f s", artifact_path, time.monotonic() - started)
    return path


def write_json(path: Path, content: object) -> None:
    """Write JSON that is the same for the same content."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_error(error: MlflowException, code: int) -> bool:
    """Whether MLflow's error has this code."""
    return bool(error.error_code == ErrorCode.Name(code))
