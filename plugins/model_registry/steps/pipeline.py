"""The task of a step as the configuration wants it: in a local process or in a container."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator

from include.lifecycle.config.files import config_text, text_variable
from include.lifecycle.config.models import LifecycleConfig
from model_registry.steps.local import PipelineStepOperator


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
        "module": f"include.models.{config.name}",
        "model_name": config.model,
        "mlflow_conn_id": config.connections.mlflow,
        "data_conn_id": config.connections.data,
        "notifications": config.notifications,
        "env": env,
        **kwargs,
    }
    if config.runner == "local":
        return PipelineStepOperator(python=config.python, **common)
    from model_registry.steps.containers import ContainerStepOperator

    containers, tls = config.containers, config.containers.tls
    if tls is not None:
        common |= {"tls_ca_cert": tls.ca_cert, "tls_client_cert": tls.client_cert, "tls_client_key": tls.client_key}
    return ContainerStepOperator(
        image=containers.image,
        docker_url=containers.engine,
        network=containers.network,
        limits=containers.limits_of(task_id),
        # the container reads the configuration that this DAG was made from, not the one in its image
        environment={text_variable(config.name): config_text(config.name)[0]},
        **common,
    )
