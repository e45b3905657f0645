"""The operator that runs one step of a model's pipeline in a container."""

import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig
from requests.exceptions import RequestException

from include.lifecycle.config.containers import ContainerLimits
from include.lifecycle.untrusted_text import one_line
from model_registry.exceptions import StepRefusedError
from model_registry.steps.contract import StepOutput, StepTask, step_failure
from model_registry.steps.processes import Lines

if TYPE_CHECKING:
    from docker import APIClient

LABEL = "model-registry"
"""Prefix of the labels that tell which task instance a container belongs to."""
KILLED = 137
STOP_SECONDS = 3
"""Between SIGTERM and SIGKILL; Airflow itself gives a task five seconds before it kills it."""
_LOG = LogConfig(type="json-file", config={"max-size": "10m", "max-file": "1"})


class ContainerStepOperator(StepTask, DockerOperator):
    """Run ``python -m MODULE STEP...`` in a container, with the contract of ``PipelineStepOperator``.

    The container is given the environment of the connections and ``env``, nothing of the worker's, and a bounded
    scratch space at ``/tmp``; its root is read only, it has no capabilities and cannot gain any. It never sees the
    Docker socket. It carries labels of its task instance; a try first removes what an earlier one left running, such
    as when its worker was killed. It is stopped and removed however the task ends.

    :param image: by tag or digest; pulled when the engine has none
    :param limits: memory, CPUs, scratch space and processes
    :param network: Docker network from which MLflow and the data registry are reached
    :param kwargs: of ``StepTask``, and of ``DockerOperator``: ``docker_url``, the ``tls_*`` of the engine,
        ``docker_conn_id`` of a container registry, ``user`` and more
    """

    template_ext: Sequence[str] = ()

    def __init__(
        self, *, image: str, limits: ContainerLimits | None = None, network: str | None = None, **kwargs: Any
    ) -> None:
        kwargs = {"mount_tmp_dir": False, "auto_remove": "force", "network_mode": network, **kwargs}
        super().__init__(image=image, **kwargs)
        if not image.strip():
            raise ValueError(f"{self.task_id}: image must name a container image")
        self.command = ["python", "-m", self.module, *self.step]
        self.limits = limits or ContainerLimits()

    def execute(self, context: Context) -> Any:
        """Run the step and return its result."""
        step = self.step[0]
        self._reach_engine()
        try:
            self._remove_leftovers(context)
            self._require_image()
            return self._run(context)
        except ImageNotFound as error:
            raise StepRefusedError(
                f"Step {step}: the image {self.image} is not there: build or push it, or correct the configured name."
            ) from error
        except APIError as error:
            said = one_line(str(error.explanation or error))
            full = " Free disk space on the engine's host." if "no space left" in said else ""
            raise step_failure(step, f"the Docker engine at {self.docker_url} refused: {said}.{full}") from error
        except (DockerException, RequestException) as error:
            raise self._no_answer(error) from error

    def on_kill(self) -> None:
        """Stop the container and remove it."""
        if self.container is not None:
            self.log.warning("Stopping the container of step %s", self.step[0])
            self._remove(self.cli, self.container["Id"])

    def _no_answer(self, error: Exception) -> Exception:
        said = f"the Docker engine at {self.docker_url} does not answer: {one_line(str(error))}"
        return step_failure(self.step[0], said)

    def _reach_engine(self) -> None:
        try:
            self.cli.ping()
        except (AirflowException, DockerException, RequestException) as error:
            raise self._no_answer(error) from error

    def _labels(self, context: Context) -> dict[str, str]:
        ti = context["ti"]
        names = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map_index": getattr(ti, "map_index", -1)}
        # another Airflow on this engine has nightly runs of the same names
        names["deployment"] = conf.get("api", "base_url", fallback="")
        return {f"{LABEL}.{name}": str(value) for name, value in names.items()}

    def _remove_leftovers(self, context: Context) -> None:
        """Remove containers that earlier tries of this task instance left."""
        labels = [f"{name}={value}" for name, value in self._labels(context).items()]
        for found in self.cli.containers(all=True, filters={"label": labels}):
            self.log.warning("An earlier try left the container %s (%s): removing it", found["Id"][:12], found["State"])
            self._remove(self.cli, found["Id"])

    def _require_image(self) -> None:
        """Pull the image unless the engine has it.

        :raises ImageNotFound: when it is nowhere
        :raises StepFailedError: when it cannot be asked for
        """
        if not self.force_pull:
            with contextlib.suppress(ImageNotFound):
                self.cli.inspect_image(self.image)
                return
        self.log.info("Pulling %s", self.image)
        try:
            for told in self.cli.pull(self.image, stream=True, decode=True):
                if "error" in told:
                    raise ImageNotFound(str(told["error"]))
        except ImageNotFound:
            raise
        except APIError as error:
            said = f"the engine has no image {self.image} and cannot pull it: {one_line(str(error.explanation))}"
            raise step_failure(self.step[0], said) from error

    def _run(self, context: Context) -> dict[str, Any]:
        cli, output = self.cli, StepOutput(self.log, self.step[0])
        self.container = self._create(cli, context)
        container = self.container["Id"]
        try:
            stream = cli.attach(container, stdout=True, stderr=True, stream=True, demux=True)
            cli.start(container)
            self.log.info("Container %s of %s runs %s", container[:12], self.image, " ".join(self.step))
            lines = Lines(output.stdout), Lines(output.stderr)
            for parts in stream:
                for part, receive in zip(parts, lines, strict=True):
                    if part:
                        receive.feed(part)
            for receive in lines:
                receive.finish()
            return self.result(context, output, int(cli.wait(container)["StatusCode"]))
        finally:
            self._remove(cli, container)

    def _create(self, cli: "APIClient", context: Context) -> dict[str, Any]:
        limits = self.limits
        created: dict[str, Any] = cli.create_container(
            image=self.image,
            command=self.command,
            environment={**self.environment, **self.own_environment()},
            user=self.user,
            labels={**self._labels(context), f"{LABEL}.try": str(context["ti"].try_number)},
            host_config=cli.create_host_config(
                network_mode=self.network_mode,
                mounts=self.mounts,
                extra_hosts=self.extra_hosts,
                device_requests=self.device_requests,
                mem_limit=limits.memory_bytes,
                memswap_limit=limits.memory_bytes,
                nano_cpus=int(limits.cpus * 1e9),
                pids_limit=limits.processes,
                read_only=True,
                tmpfs={"/tmp": f"rw,nosuid,nodev,size={limits.scratch_bytes}"},  # noqa: S108 -- in the container
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                init=True,
                log_config=_LOG,
            ),
        )
        for warning in created.get("Warnings") or ():
            self.log.warning("%s", warning)
        return created

    def why(self, code: int, sentence: str) -> str:
        """Return why the step failed: what the engine knows of its end, or what it said."""
        if self.cli.inspect_container(self.container["Id"])["State"].get("OOMKilled"):
            return f"it needed more than its {self.limits.memory} of memory: raise containers.limits.memory"
        return "its container was killed from outside" if code == KILLED else super().why(code, sentence)

    def _remove(self, cli: "APIClient", container: str) -> None:
        """Stop a container and remove it; one that is gone already, or that another removes, is no error."""
        try:
            with contextlib.suppress(NotFound):
                cli.stop(container, timeout=STOP_SECONDS)
                try:
                    cli.remove_container(container, force=True, v=True)
                except APIError as error:
                    if error.status_code != HTTPStatus.CONFLICT:
                        raise
        except (DockerException, RequestException) as error:
            self.log.warning("The container %s stays: %s", container[:12], one_line(str(error)))
