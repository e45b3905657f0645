"""The task of a batch prediction, which unlike the other steps leaves files where people look for them."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator

from include.lifecycle.config import LifecycleConfig
from include.retraining.predict.config import MOUNTED, PLACE_ENV, PredictionConfig
from include.retraining.predict.names import is_url
from model_registry.pipeline import pipeline_step


def prediction_step(
    config: LifecycleConfig,
    prediction: PredictionConfig,
    task_id: str,
    *arguments: str,
    env: Mapping[str, str],
    **kwargs: Any,
) -> BaseOperator:
    """Return the task that predicts, in the DAG around the call; see ``pipeline_step``.

    A local process writes to the configured place itself. A container is told the place, which where it is a folder is
    the volume mounted into it.

    :param config: the model's life cycle; ``runner`` chooses how the step runs
    :param prediction: where the outputs go
    :raises ValueError: when a container could write only to a folder that goes with it
    """
    if config.runner == "local":
        return pipeline_step(config, task_id, *arguments, env=env, **kwargs)
    if is_url(prediction.where):
        return pipeline_step(config, task_id, *arguments, env={**env, PLACE_ENV: prediction.where}, **kwargs)
    if prediction.docker_volume is None:
        raise ValueError(
            f"{task_id}: with runner docker, what is written to the folder {prediction.where} goes with the container:"
            " name a volume in prediction.volume, or a URL in prediction.place"
        )
    from docker.types import Mount

    volume = prediction.docker_volume
    mount = Mount(target=MOUNTED, source=volume, type="bind" if volume.startswith("/") else "volume")
    return pipeline_step(config, task_id, *arguments, env={**env, PLACE_ENV: MOUNTED}, mounts=[mount], **kwargs)
