"""MLflow's names of a model: made by the pipeline's user before anybody else can take them, and whose they are.

With MLflow's basic-auth every user may create experiments and registered models, whoever creates one owns it, and it
cannot be switched off; but a name that exists cannot be taken.
"""

from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.ledger.runs import EXPERIMENT
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import ensure_experiment
from include.lifecycle.registry.stored_run import ask
from include.lifecycle.registry.versions import missing

_PERMISSIONS = "/api/3.0/mlflow/users/current/permissions"
_OWNER = "MANAGE"


def claim(registry: ModelRegistry, model: str, experiments: Iterable[str]) -> list[str]:
    """Make what a model needs in MLflow where it is missing, and check that it belongs to this login.

    :param registry: the registry, with the pipeline's login
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
    found = {name: ensure_experiment(client, name) for name in names}
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


def _owned(client: MlflowClient) -> set[tuple[str, str]] | None:
    """Return what this login owns, by kind and name or id; None where MLflow has no logins.

    :raises ReportedError: when MLflow does not say
    """
    answer = ask(client, _PERMISSIONS)
    if answer is None or answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise ReportedError(f"MLflow does not say what this login owns: HTTP status {answer.status_code}")
    rows = answer.json().get("permissions")
    owned = [row for row in (rows if isinstance(rows, list) else ()) if row.get("permission") == _OWNER]
    return {(str(row.get("resource_type")), str(row.get("resource_pattern"))) for row in owned}
