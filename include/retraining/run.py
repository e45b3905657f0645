"""The retrain's MLflow run: what the steps share, since no step needs another's disk."""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME

from include.lifecycle.errors import BadInputError
from include.lifecycle.registry.client import ensure_experiment
from include.lifecycle.tags import QUICK, TRUE
from include.lifecycle.untrusted_text import shorten, storable, without_credentials
from include.retraining.config.model import ModelConfig

log = logging.getLogger(__name__)

SOURCE = "include.retraining"
"""What MLflow shows as the source of a run."""
KEY_TAG = "retrain.key"
MEMBER_TAG = "retrain.booster"
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


class RetrainRun:
    """The MLflow run of one retrain, the parent of its members' runs.

    :param run: the run, or its id
    :raises BadInputError: when there is no such run
    """

    def __init__(self, client: MlflowClient, run: Run | str) -> None:
        self.client = client
        self.run = run if isinstance(run, Run) else _stored(client, run)
        self.run_id = str(self.run.info.run_id)

    @classmethod
    def open(cls, client: MlflowClient, config: ModelConfig, origin: Origin) -> "RetrainRun":
        """Return the run of this Airflow run, newly created unless an earlier try of ``pull`` did."""
        name = f"retrain {origin.dag_run_id or time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        return cls.with_tags(client, config.lifecycle.experiment, {KEY_TAG: origin.key}, name, origin.as_tags())

    @classmethod
    def with_tags(
        cls, client: MlflowClient, experiment: str, tags: Mapping[str, str], name: str, more: Mapping[str, str]
    ) -> "RetrainRun":
        """Return the run of an experiment that has tags, newly created with a name and more tags where there is none.

        :raises BadInputError: when the experiment was deleted
        """
        experiment_id = ensure_experiment(client, experiment)
        same = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        if found := client.search_runs([experiment_id], same, max_results=1):
            log.info("Going on with the MLflow run %s of an earlier try", found[0].info.run_id)
            return cls(client, found[0])
        named = {MLFLOW_RUN_NAME: name, MLFLOW_SOURCE_NAME: SOURCE}
        run = client.create_run(experiment_id, tags={**tags, **named, **more})
        log.info("Opened the MLflow run %s in experiment %s", run.info.run_id, experiment)
        return cls(client, run)

    @classmethod
    def of(cls, client: MlflowClient, config: ModelConfig, run_id: str) -> "RetrainRun":
        """Return the run of one of the model's retrains.

        Between tasks its id travels where people may edit it: another model's run is neither read nor written.

        :raises BadInputError: when there is no such run, or it is another model's
        """
        run, name = cls(client, run_id), config.lifecycle.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is None or run.run.info.experiment_id != experiment.experiment_id or KEY_TAG not in run.tags:
            raise BadInputError(
                f"the MLflow run {run_id} is no retrain's in the experiment {name!r}: name the run that `pull` opened"
            )
        return run

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
        known = self.client.get_run(self.run_id).data.params if params else {}
        fresh = []
        for name, value in (params or {}).items():
            if name not in known:
                fresh.append(Param(name, str(value)))
            elif known[name] != str(value):
                log.warning("Parameter %s stays %r as an earlier try logged it; now %r", name, known[name], str(value))
        now = int(time.time() * 1000)
        self.client.log_batch(
            self.run_id,
            metrics=[Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()],
            params=fresh,
            tags=[RunTag(name, str(value)) for name, value in (tags or {}).items()],
        )

    def upload(self, folder: Path, artifact_path: str) -> None:
        """Upload the files of ``folder`` under ``artifact_path`` of the run, and log how much that was."""
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        started = time.monotonic()
        self.client.log_artifacts(self.run_id, str(folder), artifact_path)
        log.info("Uploaded %s: %.1f MB in %.1f s", artifact_path, size / 1e6, time.monotonic() - started)

    def fetch(self, artifact_path: str, scratch: Path) -> Path:
        """Download an artifact file or folder of the run into ``scratch`` and return its local path.

        :raises BadInputError: when the run has no such artifact, naming the step that makes it
        """
        started = time.monotonic()
        try:
            path = Path(self.client.download_artifacts(self.run_id, artifact_path, str(scratch)))
        except (MlflowException, OSError) as error:
            parent, _, name = artifact_path.rpartition("/")
            if name not in {Path(item.path).name for item in self.client.list_artifacts(self.run_id, parent or None)}:
                raise BadInputError(
                    f"the MLflow run {self.run_id} has no artifact {artifact_path!r}: the step that makes it did not"
                    " end"
                ) from error
            raise
        log.info("Fetched %s in %.1f s", artifact_path, time.monotonic() - started)
        return path

    def open_member(self, member: str) -> "RetrainRun":
        """Create the nested run of a member, e.g. of a booster. A retry makes a run of its own."""
        tags = {
            MLFLOW_PARENT_RUN_ID: self.run_id,
            MLFLOW_RUN_NAME: member,
            MLFLOW_SOURCE_NAME: SOURCE,
            MEMBER_TAG: member,
        }
        return RetrainRun(self.client, self.client.create_run(self.run.info.experiment_id, tags=tags))

    def member(self, name: str) -> "RetrainRun":
        """Return the newest finished run of a member.

        :raises BadInputError: when it has none
        """
        found = self.client.search_runs(
            [self.run.info.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}' and tags.`{MEMBER_TAG}` = '{name}'"
            " and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if not found:
            raise BadInputError(f"the retrain's MLflow run {self.run_id} has no finished run of {name}: train it first")
        return RetrainRun(self.client, found[0])

    @contextmanager
    def step(self, name: str) -> Iterator[Path]:
        """Give a step an empty folder; mark the run as running, and as failed (with the reason) when the step fails."""
        self.client.update_run(self.run_id, status="RUNNING")
        try:
            with TemporaryDirectory(prefix=f"retrain-{name.partition(' ')[0]}-") as scratch:
                yield Path(scratch)
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
        if "failure" in self.client.get_run(self.run_id).data.tags:
            self.client.delete_tag(self.run_id, "failure")
        self.client.set_terminated(self.run_id, "FINISHED")


def _stored(client: MlflowClient, run_id: str) -> Run:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if is_error(error, RESOURCE_DOES_NOT_EXIST):
            raise BadInputError(f"MLflow has no run {run_id!r}: `pull` opens one and prints its id") from error
        raise


def write_json(path: Path, content: object) -> None:
    """Write JSON that is the same for the same content."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_error(error: MlflowException, code: int) -> bool:
    """Whether MLflow's error has this code."""
    return bool(error.error_code == ErrorCode.Name(code))
