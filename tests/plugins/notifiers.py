"""Notifiers as a team writes them: one that records, one that raises, one that hangs."""

import threading
from typing import Any

from airflow.sdk import BaseNotifier

told: list[dict[str, Any]] = []
release = threading.Event()


class Recording(BaseNotifier):
    template_fields = ("message",)

    def __init__(self, message: str = "{{ notification.text }}") -> None:
        super().__init__()
        self.message = message

    def notify(self, context: Any) -> None:
        told.append({**context["notification"], "message": self.message})


class Raising(BaseNotifier):
    def notify(self, context: Any) -> None:
        raise ConnectionError("no mail server here")


class Telling(BaseNotifier):
    """Fails as a client of a web hook does: its error names the address."""

    def __init__(self, url: str, headers: Any = None) -> None:
        super().__init__()
        self.url = url
        self.headers = headers

    def notify(self, context: Any) -> None:
        raise ConnectionError(f"Max retries exceeded with url: {self.url} ({self.headers})")


class Hanging(BaseNotifier):
    def notify(self, context: Any) -> None:
        release.wait(60)
