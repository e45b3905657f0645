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


class Hanging(BaseNotifier):
    def notify(self, context: Any) -> None:
        release.wait(60)
