"""Reading files of MLflow runs: those that must be what the ledger says, and those that nobody vouches for."""

import hashlib
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import LedgerDamagedError
from include.lifecycle.untrusted_text import one_line

MAX_BYTES = 20_000_000
"""A file that is longer is not read: what the ledger names is shorter."""


def read_stored(client: MlflowClient, run_id: str, path: str, digest: str) -> bytes:
    """Return an artifact of a run.

    :param digest: its SHA-256, as the ledger has it
    :raises LedgerDamagedError: when it is gone or was changed
    """
    name = f"the file {path} of run {run_id}"
    try:
        parent = path.rpartition("/")[0]
        sizes = {item.path: item.file_size or 0 for item in client.list_artifacts(run_id, parent or None)}
        if sizes.get(path, 0) > MAX_BYTES:
            raise LedgerDamagedError(f"{name} was changed: it has {sizes[path]} bytes")
        with tempfile.TemporaryDirectory() as folder:
            stored = Path(client.download_artifacts(run_id, path, folder)).read_bytes()
    except (MlflowException, OSError) as error:
        raise LedgerDamagedError(f"{name} cannot be read: {one_line(str(error), 200)}") from error
    if hashlib.sha256(stored).hexdigest() != digest:
        raise LedgerDamagedError(f"{name} was changed")
    return stored


def newest_artifact(client: MlflowClient, experiment: str, model: str, path: str) -> bytes | None:
    """Return an artifact of the newest finished run whose tag ``model`` names a model, None where there is none.

    Nobody vouches for it.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    finished = f"attributes.status = 'FINISHED' and tags.model = '{model}'"
    newest = ["attributes.start_time DESC"]
    runs = client.search_runs([found.experiment_id], finished, max_results=1, order_by=newest)
    if not runs:
        return None
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(client.download_artifacts(runs[0].info.run_id, path, folder))
        return stored.read_bytes() if stored.stat().st_size <= MAX_BYTES else None
