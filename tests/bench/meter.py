"""What a running compose stack uses: memory and CPU of its services, connections of PostgreSQL and of Redis."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import docker
import psutil
from docker.errors import DockerException
from requests.exceptions import RequestException

CONNECTIONS = """
select coalesce(usename, '-'), coalesce(host(client_addr), 'local'), count(*) from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid() group by 1, 2
"""
ROOM = "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
PSQL = ["psql", "-U", "postgres", "-d", "postgres", "-At", "-F", "|", "-c"]
REDIS = ["sh", "-c", 'redis-cli -a "$REDIS_PASSWORD" --no-auth-warning info clients']
SAMPLE_SECONDS = 3.0
LOST = (DockerException, RequestException, ValueError, KeyError, IndexError)
"""What a sample raises when a container goes away meanwhile; the next sample is another try."""


def parse_connections(text: str, services: dict[str, str]) -> dict[tuple[str, str], int]:
    """Return the number of connections by user and service.

    :param text: lines ``user|address|count``
    :param services: service by address
    """
    found: Counter[tuple[str, str]] = Counter()
    for line in text.split():
        user, address, count = line.split("|")
        found[user, services.get(address, address)] += int(count)
    return dict(found)


def parse_info(text: str, name: str) -> int:
    """Return a number of the output of Redis' INFO."""
    return int(next(line for line in text.split() if line.startswith(f"{name}:")).partition(":")[2])


def memory_of(stats: dict[str, Any]) -> int:
    """Return the bytes that a container holds, as ``docker stats`` shows them: without what the kernel can drop."""
    memory = stats["memory_stats"]
    details = memory.get("stats") or {}
    return int(memory["usage"]) - int(details.get("total_inactive_file", details.get("inactive_file", 0)))


@dataclass
class Peak:
    """The most that was used while something was measured."""

    memory: dict[str, int] = field(default_factory=dict)
    """Bytes of the largest container of each service."""
    together: int = 0
    """Bytes of all containers of the stack."""
    available: int = 0
    """Bytes that the host had left at the least."""
    users: dict[str, int] = field(default_factory=dict)
    """Connections to PostgreSQL by user ..."""
    clients: dict[str, int] = field(default_factory=dict)
    """... and by service."""
    connections: int = 0
    redis: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    """Cores that each service used, on average."""
    busy: float = 0.0
    """Cores of the host that were busy with anything, on average."""
    samples: int = 0


class Stack:
    """The containers of a compose project.

    :param project: its name
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self.engine = docker.from_env(timeout=120)

    def containers(self, service: str | None = None) -> list[Any]:
        """Return the running containers, of all services or of one."""
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        return list(self.engine.containers.list(filters={"label": labels, "status": "running"}, sparse=True))

    def run(self, service: str, command: list[str]) -> str:
        """Run a command in the first container of a service and return its output."""
        found = self.containers(service)
        if not found:
            raise DockerException(f"no container of {service} runs in the project {self.project}")
        code, output = found[0].exec_run(command)
        text = output.decode(errors="replace")
        if code:
            raise DockerException(f"{service}: {command[0]} ended with {code}: {text[-300:]}")
        return str(text)

    def limits(self) -> dict[str, int]:
        """Return the bytes of memory that a container of each service may use, where that is limited."""
        inspect = self.engine.api.inspect_container
        found = {service_of(item): int(inspect(item.id)["HostConfig"]["Memory"]) for item in self.containers()}
        return {name: limit for name, limit in found.items() if limit}

    def room(self) -> int:
        """Return how many connections PostgreSQL leaves to all but superusers."""
        return int(self.run("postgres", [*PSQL, ROOM]))

    def redis_room(self) -> int:
        """Return how many clients Redis takes."""
        return parse_info(self.run("redis", REDIS), "maxclients")


def service_of(container: Any) -> str:
    return str(container.attrs["Labels"]["com.docker.compose.service"])


class Meter:
    """Sample a stack as long as the context lasts; ``peak`` is what was seen.

    :param stack: the stack
    """

    def __init__(self, stack: Stack) -> None:
        self.stack, self.peak = stack, Peak(available=psutil.virtual_memory().available)
        self._done, self._thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._cpu, self._busy, self._started = self._cpu_seconds(), busy_seconds(), time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        passed, busy, cpu = time.monotonic() - self._started, busy_seconds() - self._busy, self._cpu_seconds()
        self._done.set()
        self._thread.join()
        self._sample()
        self.peak.busy = busy / passed
        for (container, service), seconds in cpu.items():
            used = max(seconds - self._cpu.get((container, service), seconds), 0.0)
            self.peak.cpu[service] = self.peak.cpu.get(service, 0.0) + used / passed

    def _watch(self) -> None:
        while not self._done.is_set():
            self._sample()
            self._done.wait(SAMPLE_SECONDS)

    def _sample(self) -> None:
        try:
            self._memory()
            self._connections()
            self.peak.samples += 1
        except LOST:
            return

    def _memory(self) -> None:
        together, peak = 0, self.peak
        for container in self.stack.containers():
            service, held = service_of(container), memory_of(stats(container))
            peak.memory[service] = max(peak.memory.get(service, 0), held)
            together += held
        peak.together = max(peak.together, together)
        peak.available = min(peak.available, psutil.virtual_memory().available)

    def _connections(self) -> None:
        services = {
            network["IPAddress"]: service_of(container)
            for container in self.stack.containers()
            for network in container.attrs["NetworkSettings"]["Networks"].values()
        }
        found, peak = parse_connections(self.stack.run("postgres", [*PSQL, CONNECTIONS]), services), self.peak
        for position, most in enumerate((peak.users, peak.clients)):
            for name in {key[position] for key in found}:
                most[name] = max(most.get(name, 0), sum(n for key, n in found.items() if key[position] == name))
        peak.connections = max(peak.connections, sum(found.values()))
        peak.redis = max(peak.redis, parse_info(self.stack.run("redis", REDIS), "connected_clients"))

    def _cpu_seconds(self) -> dict[tuple[str, str], float]:
        found = {}
        for container in self.stack.containers():
            try:
                used = stats(container)["cpu_stats"]["cpu_usage"]["total_usage"]
            except LOST:
                continue
            found[str(container.id), service_of(container)] = used / 1e9
        return found


def stats(container: Any) -> dict[str, Any]:
    return dict(container.client.api.stats(container.id, stream=False, one_shot=True))


def busy_seconds() -> float:
    """Return the seconds for which the cores of this host have been busy since it started."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
