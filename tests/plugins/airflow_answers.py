"""An Airflow API of a few answers, for what a task reads from it; the system tests ask a real one."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from model_registry import airflow_api

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


class AirflowAnswers:
    """What the API server answers about one approval task.

    :param monkeypatch: puts it in the place of the network
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance: dict[str, Any] = {"state": "success", "try_number": 1, "max_tries": 0, "note": None}
        self.run: dict[str, Any] = {"triggered_by": "ui"}
        self.responses: dict[int, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[str] = []
        client = httpx.Client
        transport = httpx.MockTransport(self)
        monkeypatch.setattr(airflow_api.httpx, "Client", lambda **options: client(transport=transport, **options))

    def respond(self, user: str | None, option: str = "Approve", reason: str = "fine", try_number: int = 1) -> None:
        """Let somebody answer under Required Actions."""
        self.responses[try_number] = {
            "response_received": True,
            "chosen_options": [option],
            "params_input": {"reason": reason},
            "responded_at": AT.isoformat(),
            "responded_by_user": {"id": "7", "name": user} if user is not None else None,
        }

    def log(self, event: str, owner: str, try_number: int = 1, **extra: Any) -> None:
        """Write a row into the audit log."""
        self.rows.append({
            "event_log_id": len(self.rows), "event": event, "owner": owner, "when": AT.isoformat(),
            "extra": json.dumps(extra), "try_number": try_number,
        })  # fmt: skip

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path)
        self.asked.append(path)
        if path.endswith("/auth/token"):
            return httpx.Response(201, json={"access_token": "t"})
        if self.status != 200:
            return httpx.Response(self.status)
        if path.endswith("/eventLogs"):
            asked = request.url.params
            rows = [row for row in self.rows if row["event"] in asked.get_list("included_events")
                    and str(row["try_number"]) == asked["try_number"]]  # fmt: skip
            return httpx.Response(200, json={"event_logs": rows[::-1], "total_entries": len(rows)})
        if "/hitlDetails/tries/" in path:
            found = self.responses.get(int(path.rpartition("/")[2]))
            return httpx.Response(200, json=found) if found else httpx.Response(404)
        return httpx.Response(200, json=self.instance if "/taskInstances/" in path else self.run)
