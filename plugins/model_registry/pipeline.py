"""Tasks of a pipeline as the configuration wants them: a step in a local process or in a container, its retries."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator

from include.lifecycle.config import CONFIG_TEXT_ENV, LifecycleConfig, config_text
from include.lifecycle.containers import ContainerConfig
from model_registry.steps import PipelineStepOperator


def task_defaults(config: LifecycleConfig, execution_timeout: timedelta) -> dict[str, Any]:
    """Return a DAG's ``default_args``: the model's owner, and its retries with their delays.

    :param config: the model's life cycle
    :param execution_timeout: of each task that names none
    """
    return {
        "owner": config.owner,
        "retries": config.tasks.retries,
        "retry_delay": timedelta(seconds=config.tasks.retry_delay_seconds),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(seconds=config.tasks.max_retry_delay_seconds),
        "execution_timeout": execution_timeout,
    }


def pipeline_step(
    config: LifecycleConfig, task_id: str, *arguments: str, env: Mapping[str, str], **kwargs: Any
) -> BaseOperator:
    """Return the task of one step, in the DAG around the call.

    :param config: the model's life cycle; ``runner`` chooses how the step runs, and nothing else differs
    :param task_id: the task, also the name of its limits under ``containers.steps``
    :param arguments: the step and its arguments, constants; by default the task's name
    :param env: environment variables of the step (templated); the only way for what a user typed
    :param kwargs: of the task, such as ``execution_timeout``
    """
    common: dict[str, Any] = {
        "task_id": task_id,
        "step": arguments or (task_id,),
        "mlflow_conn_id": config.connections.mlflow,
        "data_conn_id": config.connections.data,
        "notifications": config.notifications,
        **kwargs,
    }
    if config.runner == "local":
        return PipelineStepOperator(python=config.python, env=env, **common)
    from model_registry.containers import ContainerStepOperator

    containers = config.containers
    return ContainerStepOperator(
        image=containers.image,
        network=containers.network,
        limits=containers.limits_of(task_id),
        **engine(containers),
        # the container reads the configuration that this DAG was made from, not the one in its image
        environment={CONFIG_TEXT_ENV: config_text()[0]},
        env=env,
        **common,
    )


def engine(containers: ContainerConfig) -> dict[str, Any]:
    """Return how ``DockerOperator`` reaches the engine."""
    if containers.tls is None:
        return {"docker_url": containers.engine}
    tls = containers.tls
    files = {"tls_ca_cert": tls.ca_cert, "tls_client_cert": tls.client_cert, "tls_client_key": tls.client_key}
    return {"docker_url": containers.engine, **files}
