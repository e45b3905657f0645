"""Clients that ask a server for one thing, each as fast as it is answered."""

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import requests

REQUEST_SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """What the clients ask for."""

    name: str
    service: str
    url: str
    auth: tuple[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Load:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    took: float = 0.0
    own_cpu: float = 0.0
    """Cores that the clients themselves used."""

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.took if self.took else 0.0


def put_load(target: Target, clients: int, seconds: float) -> Load:
    """Ask for ``target`` from ``clients`` threads, each as fast as it is answered."""
    seen, ready = Load(), threading.Barrier(clients + 1)

    def client() -> None:
        with requests.Session() as session:
            session.trust_env, session.auth = False, target.auth
            session.headers.update(target.headers)
            ready.wait()
            deadline = time.monotonic() + seconds
            while (started := time.monotonic()) < deadline:
                try:
                    answer = session.get(target.url, timeout=REQUEST_SECONDS)
                except requests.RequestException as error:
                    seen.errors.append(type(error).__name__)
                    time.sleep(0.1)  # a server that is away is not asked a thousand times a second
                    continue
                if answer.ok:
                    seen.seconds.append(time.monotonic() - started)
                else:
                    seen.errors.append(str(answer.status_code))

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    started, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.join()
    seen.took = time.monotonic() - started
    seen.own_cpu = (time.process_time() - cpu) / seen.took
    return seen


def latencies(seconds: Sequence[float]) -> tuple[str, str]:
    """Return median and 95th percentile in milliseconds."""
    if not seconds:
        return "-", "-"
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{statistics.median(ordered) * 1000:.0f}", f"{high * 1000:.0f}"
