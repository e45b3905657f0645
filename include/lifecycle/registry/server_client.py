"""A client of one MLflow server that carries its login, for a process whose threads ask several servers at once.

MLflow's own client takes its login from the environment of the process, at every request: one thread would have to
wait until another server has answered another thread. Files are the exception: MLflow's stores of artifacts know no
other way, so requests for those of several servers come one after the other.
"""

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.environment_variables import (
    MLFLOW_TRACKING_AUTH,
    MLFLOW_TRACKING_AWS_SIGV4,
    MLFLOW_TRACKING_CLIENT_CERT_PATH,
)
from mlflow.store.model_registry.rest_store import RestStore as RegistryStore
from mlflow.store.tracking.rest_store import RestStore as TrackingStore
from mlflow.tracking._model_registry.client import ModelRegistryClient
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.utils.rest_utils import MlflowHostCreds

from include.lifecycle.environment import shared_environment

_OF_THE_PROCESS: dict[str, Any] = {
    "aws_sigv4": MLFLOW_TRACKING_AWS_SIGV4,
    "auth": MLFLOW_TRACKING_AUTH,
    "client_cert_path": MLFLOW_TRACKING_CLIENT_CERT_PATH,
}
"""What no connection sets, and so the process's environment, whatever the server."""


class ServerClient(MlflowClient):
    """A client of one server.

    :param uri: address of the server, without credentials
    :param login: MLflow's variables that lead to it: name, password, token, TLS; None for one that must not be there
    """

    def __init__(self, uri: str, login: Mapping[str, str | None]) -> None:
        super().__init__(uri, uri)
        self._login = dict(login)
        credentials = _credentials(uri, login)
        self._tracking_client = _Tracking(uri)  # type: ignore[no-untyped-call]
        self._tracking_client.store = TrackingStore(lambda: credentials)  # type: ignore[no-untyped-call]
        self._registry_client = _Registry(uri, uri)  # type: ignore[no-untyped-call]
        self._registry_client.store = RegistryStore(lambda: credentials)  # type: ignore[no-untyped-call]

    def _get_registry_client(self) -> ModelRegistryClient:
        return self._registry_client

    def list_artifacts(self, run_id: str, path: str | None = None) -> Any:
        """Return the files of a run."""
        with shared_environment(self._login):
            return super().list_artifacts(run_id, path)

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        """Download files of a run and return where they are."""
        with shared_environment(self._login):
            return str(super().download_artifacts(run_id, path, dst_path))

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        """Keep a file with a run; so does ``log_text``, through this."""
        with shared_environment(self._login):
            super().log_artifact(run_id, local_path, artifact_path)


class _Tracking(TrackingServiceClient):
    """Runs and experiments, through a store of its own instead of the one that all clients of the process share."""

    store: Any = None


class _Registry(ModelRegistryClient):
    """Registered models, through a store of its own."""

    store: Any = None


def _credentials(uri: str, login: Mapping[str, str | None]) -> MlflowHostCreds:
    return MlflowHostCreds(  # type: ignore[no-untyped-call]
        uri,
        username=login.get("MLFLOW_TRACKING_USERNAME"),
        password=login.get("MLFLOW_TRACKING_PASSWORD"),
        token=login.get("MLFLOW_TRACKING_TOKEN"),
        ignore_tls_verification=login.get("MLFLOW_TRACKING_INSECURE_TLS") == "true",
        server_cert_path=login.get("MLFLOW_TRACKING_SERVER_CERT_PATH"),
        **{name: variable.get() for name, variable in _OF_THE_PROCESS.items()},
    )
