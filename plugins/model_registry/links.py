"""Links from a task: to a version in MLflow, to its review."""

from typing import TYPE_CHECKING
from urllib.parse import urljoin

from airflow.sdk import BaseOperator, BaseOperatorLink

from model_registry.web import page_url, review_page

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class ModelVersionLink(BaseOperatorLink):
    """Link to the page of the model version that the task handled."""

    name = "Model version in MLflow"

    def get_link(self, operator: BaseOperator, *, ti_key: "TaskInstanceKey") -> str:  # noqa: ARG002
        """Return the address that the task found while it ran, empty when it did not come so far."""
        return str(getattr(operator, "version_url", ""))


class ReviewLink(BaseOperatorLink):
    """Link to the review of the model version that the task asks about."""

    name = "Review"

    def get_link(self, operator: BaseOperator, *, ti_key: "TaskInstanceKey") -> str:  # noqa: ARG002
        """Return the address of the page, empty where the version was not reviewed."""
        return str(getattr(operator, "review_url", ""))


def review_url(model: str, version: int) -> str:
    """Return the address of a version's review, which Airflow's API server shows."""
    from airflow.configuration import conf

    return urljoin(conf.get("api", "base_url", fallback=""), page_url(review_page(model, version)))
