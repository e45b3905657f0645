"""The hook: one Airflow connection of type ``http`` that leads to an MLflow server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from include.lifecycle.environment import OF_ANOTHER_RUN, shared_environment
from model_registry.addresses import checked_path, extras, flag, http_address, page_address, text
from model_registry.witness import ServerWitness, task_witness

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from include.lifecycle.config.approval import PolicyConfig
    from include.lifecycle.moves.integrity import IntegrityMode
    from include.lifecycle.moves.model_registry import ModelRegistry

API = "/api/2.0/mlflow"
_EDITABLE = ("MetastoreBackend", "ExecutionAPISecretsBackend")
"""Secrets backends that read Airflow's database, themselves or through the API server."""
_TEST_TIMEOUT = 10.0
LIMITS_OF_A_PERSON = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""Shorter than those of a task: in the API server a person waits, and can try again."""
CONNECTION_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
"""What a connection sets, or leaves out: a worker's own login is never sent to the server of a connection."""


@dataclass(frozen=True)
class TrackingServer:
    """How to reach an MLflow server. The representation shows no credential.

    :param uri: tracking URI, without credentials
    :param ui_url: where people see it, when that differs
    :param tls_verify: whether the server's certificate is verified
    :param ca_bundle: file of the certificates to verify with
    """

    uri: str
    ui_url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_verify: bool = True
    ca_bundle: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which MLflow's client reaches this server."""
        insecure = None if self.tls_verify else "true"
        values = (self.uri, self.uri, self.user, self.password, self.token, insecure, self.ca_bundle)
        return {name: value for name, value in zip(CONNECTION_VARIABLES, values, strict=True) if value}

    def request_options(self) -> dict[str, Any]:
        """Return the options with which an httpx client reaches this server."""
        options: dict[str, Any] = {"base_url": self.uri, "verify": self.ca_bundle or self.tls_verify}
        if self.user:
            options["auth"] = (self.user, self.password or "")
        elif self.token:
            options["headers"] = {"Authorization": f"Bearer {self.token}"}
        return options


class MLflowRegistryHook(BaseHook):
    """Reach an MLflow server through an Airflow connection of type ``http``.

    Host, port, schema, login and password are the connection's own; its extra may hold ``token`` (instead
    of login and password), ``tls_verify`` (false trusts any certificate), ``ca_bundle`` (file), ``path``
    (where the server sits behind a proxy) and ``ui_url`` (where people reach it). Nothing is contacted,
    and the connection is not even read, before the first use.

    :param mlflow_conn_id: the connection
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = "mlflow_default"
    conn_type = "http"
    hook_name = "MLflow model registry"
    allowed_extras = frozenset({"token", "tls_verify", "ca_bundle", "path", "ui_url"})

    def __init__(self, mlflow_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def server(self) -> TrackingServer:
        """The server that the connection describes.

        :raises ValueError: names the connection and what is wrong with it
        """
        return self._server(self.get_connection(self.mlflow_conn_id))

    async def async_server(self) -> TrackingServer:
        """Return the server that the connection describes, from inside the triggerer."""
        return self._server(await self.aget_connection(self.mlflow_conn_id))

    @property
    def is_editable(self) -> bool:
        """Whether the connection lies in Airflow's database: whoever may edit connections can point it elsewhere."""
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

        for backend in ensure_secrets_backend_loaded():
            if type(backend).__name__ in _EDITABLE:
                continue
            try:
                if backend.get_connection(conn_id=self.mlflow_conn_id):
                    return False
            except Exception:  # noqa: BLE001 -- a backend that does not answer vouches for nothing
                self.log.debug("%s gives no connection %s", type(backend).__name__, self.mlflow_conn_id)
        return True

    def objection(self, policy: "PolicyConfig | None") -> str:
        """Return why no promotion under a policy may go through this connection, empty when it may.

        :param policy: what the approval needs
        """
        if policy is None or not (policy.approvers or policy.four_eyes) or not self.is_editable:
            return ""
        return (
            f"The connection {self.mlflow_conn_id!r} lies in Airflow's database, where whoever may edit connections can"
            " point it to another server, and that server would say who approved. With approvers or four eyes define it"
            f" as AIRFLOW_CONN_{self.mlflow_conn_id.upper()} in the environment of API server and workers, or in a"
            " secrets backend."
        )

    @property
    def tracking_uri(self) -> str:
        """The tracking URI, without credentials."""
        return self.server.uri

    def environment(self) -> dict[str, str]:
        """Return the ``MLFLOW_*`` environment variables for a child process; credentials are masked in logs."""
        return self.server.environment()

    @contextmanager
    def registry(self, *, integrity: "IntegrityMode" = "when_recorded") -> Iterator["ModelRegistry"]:
        """Yield the model registry to a task, whose process asks no other server meanwhile.

        MLflow's client reads its credentials and time limits from the environment at every call, so they
        stand there as long as the context lasts: the connection's login and no other, and time limits where the
        environment sets none.

        :param integrity: ``required`` promotes nothing whose artifacts have no recorded digests
        """
        from include.lifecycle.ledger.limits import bounded_requests
        from include.lifecycle.moves.model_registry import ModelRegistry

        with shared_environment({**dict.fromkeys(OF_ANOTHER_RUN), **self._login()}), bounded_requests():
            witness = partial(task_witness, self.mlflow_conn_id)
            yield ModelRegistry(tracking_uri=self.tracking_uri, integrity=integrity, witness=witness)

    @contextmanager
    def registry_beside_others(self) -> Iterator["ModelRegistry"]:
        """Yield the model registry to a thread of the API server, others of which ask other servers.

        The client carries the connection's login, and no other, so that a server that is slow or away holds up nobody
        who asks another one. Only for files they come one after the other: a request for one waits for those that
        other servers have not answered, at most ``shared_environment``'s patience. The time limits are those of a
        person who waits.
        """
        from include.lifecycle.moves.model_registry import ModelRegistry
        from include.lifecycle.registry.server_client import ServerClient

        client = ServerClient(self.tracking_uri, self._login())
        with shared_environment({**dict.fromkeys(OF_ANOTHER_RUN), **LIMITS_OF_A_PERSON}):
            yield ModelRegistry(client, witness=ServerWitness(self.mlflow_conn_id))

    def _login(self) -> dict[str, str | None]:
        """Return MLflow's variables as this connection sets them, None for those that it leaves out."""
        return {**dict.fromkeys(CONNECTION_VARIABLES), **self.environment()}

    def version_url(self, model_name: str, version: int | str) -> str:
        """Return the address of a model version's page in MLflow's UI."""
        return f"{self.server.ui_url}/#/models/{quote(model_name, safe='')}/versions/{quote(str(version), safe='')}"

    def test_connection(self) -> tuple[bool, str]:
        """Ask the server for one registered model; returns whether it answered, and a sentence."""
        try:
            with httpx.Client(timeout=_TEST_TIMEOUT, **self.server.request_options()) as client:
                answer = client.get(f"{API}/registered-models/search", params={"max_results": 1})
        except ValueError as error:
            return False, str(error)
        except httpx.HTTPError as error:
            return False, f"MLflow at {self.tracking_uri} does not answer: {type(error).__name__}"
        if answer.is_success:
            return True, f"MLflow at {self.tracking_uri} answers"
        return False, f"MLflow at {self.tracking_uri} answers with HTTP status {answer.status_code}"

    def _server(self, connection: "Connection") -> TrackingServer:
        extra, where = extras(connection, self.allowed_extras), f"connection {self.mlflow_conn_id!r}"
        tls_verify = flag(extra.get("tls_verify", True), f"{where}: extra tls_verify")
        if not tls_verify and extra.get("ca_bundle"):
            raise ValueError(f"{where}: give either tls_verify: false or ca_bundle, not both")
        token = text(extra.get("token"), f"{where}: extra token")
        if token and (connection.login or connection.password):
            raise ValueError(f"{where}: give either login and password, or the extra token, not both")
        if connection.password and not connection.login:
            raise ValueError(f"{where} has a password and no login: a token goes into the extra token")
        for secret in (connection.password, token):
            if secret:
                mask_secret(secret)
        ca_bundle = extra.get("ca_bundle")
        if ca_bundle and not Path(str(ca_bundle)).is_file():  # a client would tell that in a traceback
            raise ValueError(f"{where}: there is no file {ca_bundle!r} here, which ca_bundle names")
        path = checked_path(f"{where}: extra path", text(extra.get("path"), f"{where}: extra path").strip("/"))
        uri = f"{http_address(connection, 'http')}/{path}".rstrip("/")
        return TrackingServer(
            uri=uri,
            ui_url=page_address(extra.get("ui_url"), f"{where}: extra ui_url") or uri,
            user=connection.login or None,
            password=connection.password or None,
            token=token or None,
            tls_verify=tls_verify,
            ca_bundle=str(ca_bundle) if ca_bundle else None,
        )
