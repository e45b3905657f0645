"""MLflow's names of a model: made by the pipeline's user before anybody else can take them, and whose they are.

With MLflow's basic-auth every user may create experiments and registered models, whoever creates one owns it, and it
cannot be switched off; but a name that exists cannot be taken.
"""

from collections.abc import Iterable, Iterator

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import http_request

from include.lifecycle.errors import BadInputError, RetrainError
from include.lifecycle.registry import ModelRegistry
from include.lifecycle.runs import EXPERIMENT
from include.lifecycle.tags import EXPERIMENT_TAGS
from include.lifecycle.versions import missing

_PERMISSIONS = "/api/3.0/mlflow/users/current/permissions"
_OWNER = "MANAGE"


def claim(registry: ModelRegistry, model: str, experiments: Iterable[str]) -> list[str]:
    """Make what a model needs in MLflow where it is missing, and check that it belongs to this login.

    :param registry: the registry, with the pipeline's login
    :param model: registered model
    :param experiments: of its runs
    :return: a line for each name
    :raises BadInputError: names what belongs to somebody else, and the remedy
    """
    client = registry.client
    try:
        client.get_registered_model(model)
    except MlflowException as error:
        if not missing(error):
            raise
        client.create_registered_model(model)
    registry.ledger(model).runs.open()
    names = (*experiments, EXPERIMENT, f"{EXPERIMENT}/{model}")
    found = {name: _experiment(client, name) for name in names}
    owned = _owned(client)
    wanted = [("registered_model", model, model), *(("experiment", found[name], name) for name in names)]
    if owned is not None:
        foreign = [f"{kind.replace('_', ' ')} {name!r}" for kind, key, name in wanted if (kind, key) not in owned]
        if foreign:
            raise BadInputError(
                f"MLflow says that {', '.join(foreign)} belongs to somebody else, who may change it: have MLflow's"
                " admin take it from them, and give this login MANAGE"
            )
    whose = "belongs to this login" if owned is not None else "is there; this MLflow knows no owners"
    return [f"{kind.replace('_', ' ')} {name} {whose}" for kind, _, name in wanted]


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, tags=EXPERIMENT_TAGS))
    if found.lifecycle_stage != "active":
        raise BadInputError(
            f"The experiment {name!r} was deleted: restore it with"
            f" `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)


def _owned(client: MlflowClient) -> set[tuple[str, str]] | None:
    """Return what this login owns, by kind and name or id; None where MLflow has no logins.

    :raises RetrainError: when MLflow does not say
    """
    if not client.tracking_uri.startswith(("http://", "https://")):
        return None
    from mlflow.tracking._tracking_service.utils import _get_store

    login = _get_store(client.tracking_uri).get_host_creds()  # type: ignore[no-untyped-call]
    answer = http_request(login, _PERMISSIONS, "GET")  # type: ignore[no-untyped-call]
    if answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise RetrainError(f"MLflow does not say what this login owns: HTTP status {answer.status_code}")
    return set(_grants(answer.json()))


def _grants(content: dict[str, object]) -> Iterator[tuple[str, str]]:
    rows = content.get("permissions")
    for row in rows if isinstance(rows, list) else ():
        if row.get("permission") == _OWNER:
            yield str(row.get("resource_type")), str(row.get("resource_pattern"))
