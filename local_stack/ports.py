"""Ports of the local stack on 127.0.0.1."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from local_stack.errors import PortTakenError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class NamedPort:
    """A port, who wants it, and the setting that chooses another."""

    server: str
    number: int
    option: str


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` of 127.0.0.1.

    Binding alone is not enough: where a server listens on all addresses, macOS still lets a second one bind
    to 127.0.0.1, and the two then share the port in surprising ways.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        if probe.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Name the process that listens on ``port`` as far as this user may know, else return an empty string."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    except (psutil.Error, OSError):
        return ""
    return ""


def require_free(ports: Iterable[NamedPort]) -> None:
    """Refuse to start when a port is in use.

    :raises PortTakenError: names each port that is taken, by what, and how to choose another
    """
    wanted = list(ports)
    numbers = [port.number for port in wanted]
    if len(set(numbers)) < len(numbers):
        raise PortTakenError(f"two servers cannot share port {numbers[0]}: choose another with {wanted[0].option}")
    problems = []
    for port in wanted:
        if not is_free(port.number):
            owner = holder(port.number)
            problems.append(
                f"port {port.number} on {HOST}, which {port.server} needs, is in use"
                f"{f' ({owner})' if owner else ''}: choose another with {port.option}"
            )
    if problems:
        raise PortTakenError("; ".join(problems))
