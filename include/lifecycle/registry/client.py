"""A client of the MLflow that the environment names, and the experiments in it."""

import os
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import ArgumentError

from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.errors import BadInputError
from include.lifecycle.tags import EXPERIMENT_TAGS
from include.lifecycle.tracking_address import REGISTRY_URI_ENV, TRACKING_URI_ENV, tracking_address
from include.lifecycle.untrusted_text import one_line, without_credentials


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


def ensure_experiment(client: MlflowClient, name: str, tags: Mapping[str, str] = EXPERIMENT_TAGS) -> str:
    """Return the id of an experiment, made with the tags when there is none of that name.

    :raises BadInputError: when it was deleted (MLflow keeps the name), and how to get it back
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, tags=dict(tags)))
        except MlflowException:
            # another process may have been faster, or the answer was lost
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    if found.lifecycle_stage != "active":
        raise BadInputError(
            f"The experiment {name!r} was deleted: restore it with"
            f" `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)
