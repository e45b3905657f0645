"""Configuration of the containers in which steps run."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from include.lifecycle.config.sections import Positive, Section

_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*[kmgKMG]$")]
"""A number of bytes with its unit, e.g. ``512m`` or ``4g``."""


class ContainerLimits(Section):
    """What the container of a step may use."""

    memory: Size = Field("4g", description="scratch space in use counts as memory")
    cpus: Positive = 2.0
    scratch: Size = Field("2g", description="of /tmp, the only place a step can write to")
    processes: Annotated[int, Field(gt=0)] = 512

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        return _bytes(self.memory)

    @property
    def scratch_bytes(self) -> int:
        """The scratch space in bytes."""
        return _bytes(self.scratch)


class TlsConfig(Section):
    """Files on the worker with which it reaches a Docker engine over TLS."""

    ca_cert: str
    client_cert: str
    client_key: str


class ContainerConfig(Section):
    """How steps run in containers, where ``runner`` is docker."""

    image: str = Field("retrain-trainer:latest", min_length=1, description="tag or digest of the trainer image")
    network: str | None = Field(None, description="Docker network from which MLflow and the data registry are reached")
    engine: str | None = Field(None, description="e.g. tcp://engine:2376; null: DOCKER_HOST, else the local socket")
    tls: TlsConfig | None = None
    limits: ContainerLimits = ContainerLimits()
    steps: dict[str, dict[str, str | float | int]] = Field(
        default_factory=dict, description="limits of single tasks, e.g. of validate"
    )

    @model_validator(mode="after")
    def _known_limits(self) -> Self:
        for task_id in self.steps:
            self.limits_of(task_id)
        return self

    def limits_of(self, task_id: str) -> ContainerLimits:
        """Return the limits of a task: those of all, but for what is set for it."""
        return ContainerLimits.model_validate(self.limits.model_dump() | self.steps.get(task_id, {}))


def _bytes(size: str) -> int:
    return int(size[:-1]) * _UNITS[size[-1].lower()]
