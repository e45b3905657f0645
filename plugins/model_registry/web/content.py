"""What a page shows and its JSON twin returns: one dictionary, made from an overview for one user."""

import dataclasses
from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi.encoders import jsonable_encoder

from include.lifecycle.ledger.events import Event
from model_registry.web import PREFIX, monitoring_page, review_page
from model_registry.web.waits import Wait

if TYPE_CHECKING:
    from include.lifecycle.ledger.reviewed import Reviewed
    from include.lifecycle.views.summary import Former, Live, Overview, Shown, Unreadable, Waiting

PER_PAGE = 25


class Content:
    """Makes the dictionaries for one user.

    :param base: path under which Airflow's UI is reached, without a slash at its end
    :param readable: the DAGs that the user may read; runs of others are not shown
    """

    def __init__(self, base: str, readable: set[str]) -> None:
        self.base = base
        self.readable = readable

    def summary(self, found: "Overview | Unreadable") -> dict[str, Any]:
        """Return what the list shows of a model."""
        from include.lifecycle.views.summary import Unreadable

        if isinstance(found, Unreadable):
            nothing: dict[str, Any] = {"live": None, "waiting": [], "warnings": [], "verified": False, "events": None}
            return {"model": found.model, "problem": found.problem, **nothing}
        return {
            "model": found.model,
            "problem": None,
            "live": self._live(found.live) if found.live else None,
            "waiting": [
                {"version": item.version, "since": item.since, "only_a_try": item.shown.info.quick}
                for item in found.waiting
            ],
            "warnings": list(found.warnings),
            "verified": not found.ledger.problems,
            "events": len(found.ledger.events),
        }

    def model(self, found: "Overview", waits: Mapping[tuple[str, str], Wait], page: int = 1) -> dict[str, Any]:
        """Return everything about a model.

        :param found: the model
        :param waits: the Airflow tasks in which versions wait
        :param page: of the ledger, newest first; one that is out of range is brought into it
        """
        return {
            "model": found.model,
            "registered": found.registered,
            "warnings": list(found.warnings),
            "live": self._live(found.live) if found.live else None,
            "waiting": [self._waiting(item, waits) for item in found.waiting],
            "policy": dataclasses.asdict(found.policy) if found.policy else None,
            # only the configured model has a policy, and only it is monitored
            "monitoring": f"{self.base}{PREFIX}{monitoring_page(found.model)}" if found.policy else None,
            "former": [self._former(item) for item in found.former],
            "ledger": self._ledger(found, page),
        }

    def _live(self, live: "Live") -> dict[str, Any]:
        term = self._event(live.term.event) if live.term else {}
        keys = ("event", "user", "user_source", "door", "reason", "run")
        return {
            "version": live.version,
            "since": live.term.since if live.term else None,
            **{key: term.get(key) for key in keys},
            **self._shown(live.shown),
        }

    def _waiting(self, item: "Waiting", waits: Mapping[tuple[str, str], Wait]) -> dict[str, Any]:
        run = self._run(*item.run) if item.run else None
        wait = waits.get(item.run) if item.run and run else None
        task = None
        if run and wait:
            url = f"{run['url']}/tasks/{quote(wait.task_id, safe='')}"
            task = {"task_id": wait.task_id, "state": wait.state, "url": url}
        return {
            "version": item.version,
            "since": item.since,
            "expires_at": wait.expires_at if wait else None,
            "run": run,
            "task": task,
            "approval": item.approval.to_dict() if item.approval else None,
            "evidence": [dataclasses.asdict(check) for check in item.evidence],
            "notes": list(item.notes),
            "review": self._review(item.review) if item.review is not None else None,
            **self._shown(item.shown),
        }

    def _review(self, review: "Reviewed") -> dict[str, Any]:
        from include.lifecycle.views.review import verdict_line

        return {
            "verdict": review.verdict,
            "line": verdict_line(review),
            "headline": review.headline,
            "at": review.at,
            "url": f"{self.base}{PREFIX}{review_page(review.model, review.version)}",
        }

    def _former(self, item: "Former") -> dict[str, Any]:
        return {
            "version": item.version,
            "url": item.url,
            "since": item.last.since,
            "until": item.last.until,
            "times": item.times,
            "available": item.available,
            "user": item.last.event.user,
            "evidence": dict(item.last.event.evidence),
        }

    def _ledger(self, found: "Overview", page: int) -> dict[str, Any]:
        ledger = found.ledger
        pages = max(1, ceil(len(ledger.events) / PER_PAGE))
        page = min(max(page, 1), pages)
        newest: Sequence[Event] = ledger.events[::-1]
        return {
            "verified": not ledger.problems,
            "problems": list(ledger.problems),
            "accepted": ledger.accepted,
            "entries": ledger.entries,
            "head": ledger.head,
            "locked_since": ledger.locked_since,
            "total": len(newest),
            "page": page,
            "pages": pages,
            "events": [self._event(event) for event in newest[(page - 1) * PER_PAGE : page * PER_PAGE]],
        }

    def _event(self, event: Event) -> dict[str, Any]:
        row = event.as_row()
        dag_id, run_id = row.pop("dag_id"), row.pop("run_id")
        run = self._run(dag_id, run_id) if dag_id and run_id else None
        return {**row, "time": event.time, "decided": event.decided, "event": event.what, "run": run}

    def _shown(self, shown: "Shown | None") -> dict[str, Any]:
        from include.lifecycle.views.review import QUICK_WORDS

        return {
            "only_a_try": QUICK_WORDS if shown and shown.info.quick else None,
            "url": shown.url if shown else None,
            "gate": shown.gate if shown else {},
            "metrics": dict(shown.metrics) if shown else {},
            "data_version": shown.data_version if shown else None,
        }

    def _run(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        if dag_id not in self.readable:
            return None
        url = f"{self.base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
        return {"dag_id": dag_id, "run_id": run_id, "url": url}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: times in ISO 8601, a number that is none as text."""
    finite = {float: lambda number: number if isfinite(number) else str(number)}
    return jsonable_encoder(value, custom_encoder=finite, sqlalchemy_safe=False)
