"""What the DAGs of a model and their forms share."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from include.lifecycle.config.models import LifecycleConfig

TEXT = ["null", "string"]
"""Type of a form's field that may stay empty: ``string`` alone is required by the form."""
RUN = {
    "RETRAIN_DAG_ID": "{{ dag.dag_id }}",
    "RETRAIN_DAG_RUN_ID": "{{ run_id }}",
    "RETRAIN_DATA_REVISION": "{{ params.data_revision or '' }}",
}
"""Environment of a step: the Airflow run, and the data revision of the form."""


def data_revision(more: str = "") -> Param:
    """Return the field that names a revision of the data.

    :param more: what the data is for
    """
    described = f"Branch, tag or commit of the data registry{more}; empty takes the configured one."
    return Param(None, type=TEXT, title="Data revision", maxLength=200, description=described)


def version(described: str) -> Param:
    """Return the field that names a version."""
    return Param(None, type=["null", "integer"], minimum=1, title="Version", description=described)


def model_dag(
    config: LifecycleConfig, what: str, doc: str, execution_timeout: timedelta, *, schedule: Any, **kwargs: Any
) -> DAG:
    """Return the DAG ``NAME_WHAT`` of a model: its owner, its tags, its retries with their delays.

    :param config: the model's life cycle
    :param doc: its documentation, with ``{title}`` and ``{name}``
    :param execution_timeout: of each task that names none
    :param kwargs: of the DAG; ``tags`` come behind the model's own
    """
    text = doc.format(title=config.title, name=config.name)
    defaults = {
        "owner": config.owner,
        "retries": config.tasks.retries,
        "retry_delay": timedelta(seconds=config.tasks.retry_delay_seconds),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(seconds=config.tasks.max_retry_delay_seconds),
        "execution_timeout": execution_timeout,
    }
    return DAG(
        dag_id=f"{config.name}_{what}",
        doc_md=text[:1].upper() + text[1:],
        schedule=schedule,
        catchup=False,
        max_active_runs=16,  # a run that waits for a person is a running run, and must not block the next one
        tags=[*config.tags, *kwargs.pop("tags", ())],
        default_args=defaults | kwargs.pop("default_args", {}),
        **kwargs,
    )
