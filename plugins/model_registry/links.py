"""Links from a task to MLflow."""

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator, BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class ModelVersionLink(BaseOperatorLink):
    """Link to the page of the model version that the task handled."""

    name = "Model version in MLflow"

    def get_link(self, operator: BaseOperator, *, ti_key: "TaskInstanceKey") -> str:  # noqa: ARG002
        """Return the address that the task found while it ran, empty when it did not come so far."""
        return str(getattr(operator, "version_url", ""))
