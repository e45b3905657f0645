"""The Airflow plugin: who decides on an approval, and the link to a model version."""

from airflow.plugins_manager import AirflowPlugin

from model_registry.links import ModelVersionLink
from model_registry.marks import MarkListener
from model_registry.middleware import ApprovalMiddleware


class ModelRegistryPlugin(AirflowPlugin):
    """Faces of the model registry in Airflow."""

    name = "model_registry"
    listeners = [MarkListener()]  # noqa: RUF012 -- Airflow reads lists from the class
    fastapi_root_middlewares = [  # noqa: RUF012
        {"name": "The door of approvals", "middleware": ApprovalMiddleware, "args": [], "kwargs": {}}
    ]
    operator_extra_links = [ModelVersionLink()]  # noqa: RUF012
