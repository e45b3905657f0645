"""The Airflow plugin: who decides on an approval, the link to a model version, and the page of the models."""

from airflow.plugins_manager import AirflowPlugin

from model_registry.api_server.middleware import ApprovalMiddleware
from model_registry.links import ModelVersionLink, ReviewLink
from model_registry.web import PREFIX, ModelPages, page_url


class ModelRegistryPlugin(AirflowPlugin):
    """Faces of the model registry in Airflow."""

    name = "model_registry"
    fastapi_root_middlewares = [  # noqa: RUF012 -- Airflow reads lists from the class
        {"name": "Decisions on approvals", "middleware": ApprovalMiddleware, "args": [], "kwargs": {}}
    ]
    operator_extra_links = [ModelVersionLink(), ReviewLink()]  # noqa: RUF012
    fastapi_apps = [{"app": ModelPages(), "url_prefix": PREFIX, "name": "Models"}]  # noqa: RUF012
    # A page of its own rather than in Airflow's frame (url_route), which lets no link out. In a menu: a button outside
    # of one that leads to such a page does nothing when it is clicked (Airflow 3.3.2).
    external_views = [  # noqa: RUF012
        {"name": "Models", "href": page_url(), "destination": "nav", "category": "browse"}
    ]
