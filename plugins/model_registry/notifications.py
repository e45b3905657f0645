"""Tell people what happens to a candidate, through whatever Airflow notifiers the configuration names.

A notification is a courtesy: one that fails or hangs is logged, and neither fails nor holds up the task for longer
than the time limit.
"""

import html
import importlib
import importlib.util
import logging
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Context
from airflow.sdk.log import mask_secret

from include.lifecycle.config.models import NotificationConfig, Occasion
from include.lifecycle.rules.decisions import UNKNOWN
from include.lifecycle.untrusted_text import one_line

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
SENTENCES: dict[Occasion, str] = {
    "gate_failed": "Version {version} of {model} failed its gate",
    "held_back": "Version {version} of {model} was held back by its review",
    "waiting": "Version {version} of {model} waits for a decision",
    "promoted": "Version {version} of {model} is in Production",
    "rejected": "Version {version} of {model} was rejected",
    "superseded": "Version {version} of {model} was superseded",
    "expiring": "Version {version} of {model} still waits for a decision, and soon expires",
    "expired": "Version {version} of {model} expired: nobody decided in time",
    "refused": "Version {version} of {model} was not promoted",
    "rolled_back": "Version {version} of {model} is back in Production",
    "live_error": "The live error of version {version} of {model} is too high",
    "drift": "The inputs or predictions of version {version} of {model} have changed",
    "data_missing": "Data of {model} is missing or late",
    "retrain_asked": "The monitoring asks for a retrain of {model}",
    "rollback_proposed": "The monitoring proposes to roll back version {version} of {model}",
}


@dataclass(frozen=True)
class Notification:
    """What a notifier's templated fields see as ``notification``.

    Every text is one line without control characters, so that it fits a subject; ``html`` alone is markup, with the
    untrusted texts in it escaped.

    :param user: who, ``unknown`` where nothing tells
    :param reason: why, as somebody typed it
    :param url: the version's page in MLflow
    :param subject: one sentence
    :param text: the sentence with user, reason and link
    :param html: the same as HTML
    """

    event: Occasion
    model: str
    version: str
    user: str
    reason: str
    url: str
    subject: str
    text: str
    html: str

    @classmethod
    def of(cls, event: Occasion, model: str, version: int | str, *, user: str, reason: str, url: str) -> "Notification":
        """Return the notification of an event."""
        model, user, reason, url = one_line(model), one_line(user, 80), one_line(reason, 2000), one_line(url, 1000)
        version = one_line(str(version), 20)
        subject = SENTENCES[event].format(version=version, model=model)
        who = f" Who: {user}." if user != UNKNOWN else ""
        why = f" Why: {reason}" if reason else ""
        link = f'<p><a href="{html.escape(url)}">Version {version} in MLflow</a></p>' if url.startswith("http") else ""
        text = f"{subject}.{who}{why}"
        return cls(event, model, version, user, reason, url, subject, f"{text} {url}".strip(),
                   f"<p>{html.escape(text)}</p>{link}")  # fmt: skip


class Notifications:
    """The notifiers of a model.

    :param configured: the section ``notifications`` of the configuration
    :param owner: who asks, named in the error
    :raises ValueError: names the field and the path of a notifier that does not exist
    """

    def __init__(self, configured: Sequence[NotificationConfig] = (), owner: str = "notifications") -> None:
        for number, item in enumerate(configured):
            if problem := _problem(item.notifier):
                raise ValueError(f"{owner}: lifecycle.notifications.{number}.notifier: {item.notifier!r} {problem}")
        self.configured = tuple(configured)

    def send(
        self,
        context: Context,
        event: Occasion,
        model: str,
        version: int | str,
        *,
        user: str = UNKNOWN,
        reason: str = "",
        url: str = "",
    ) -> None:
        """Run the notifiers that want to know, side by side; returns at the latest after the time limit.

        :param context: the task's context, which templated fields see too
        :param event: what happened
        :param model: registered model
        :param version: its version
        :param user: who decided
        :param reason: why: untrusted text
        :param url: the version's page
        """
        wanted = [item for item in self.configured if event in item.events]
        if not wanted:
            return
        try:
            notification = asdict(Notification.of(event, model, version, user=user, reason=reason, url=url))
            seen = [(item, {**context, "notification": notification}) for item in wanted]  # rendering adds to it
            threads = [threading.Thread(target=_run, args=each, daemon=True) for each in seen]
            for thread in threads:
                thread.start()
        except Exception:
            log.exception("The notification %s of version %s of %s was not sent", event, version, model)
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        for item, thread in zip(wanted, threads, strict=True):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("%s did not end within %.0f s: the task goes on", item.notifier, PATIENCE_SECONDS)


def _run(item: NotificationConfig, context: dict[str, Any]) -> None:
    """Make the notifier and call it; a new one each time, since rendering changes its fields."""
    try:
        mask_secret(item.arguments)  # those whose names say that they are secret ...
        for text in _texts(item.arguments):
            if "://" in text:  # ... and web hooks: Airflow logs what a notifier raises
                mask_secret(text)
                # by itself as well: of two secrets that begin alike Airflow may hide the shorter and leave the rest
                mask_secret(text.partition("://")[2].partition("/")[2])
        module, _, name = item.notifier.rpartition(".")
        notifier: BaseNotifier = getattr(importlib.import_module(module), name)(**item.arguments)
        notifier(cast("Context", context))
    except Exception as error:  # noqa: BLE001 -- whatever a notifier does wrong, the decision holds
        said = one_line(_without(item.arguments, str(error)))
        log.warning("%s failed: %s: %s", item.notifier, type(error).__name__, said)
    else:
        log.info("%s was told: %s", item.notifier, context["notification"]["subject"])


def _texts(arguments: object) -> list[str]:
    """Return every text in what a notifier is given."""
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if isinstance(arguments, list | tuple):
        return [text for value in arguments for text in _texts(value)]
    return [arguments] if isinstance(arguments, str) else []


def _without(arguments: object, text: str) -> str:
    """Return a text without what a notifier was given: the URL of a web hook is a secret, and stands in its errors."""
    for given in sorted(_texts(arguments), key=len, reverse=True):
        text = text.replace(given, "***") if len(given) > 3 else text
    return text


def _problem(path: str) -> str:
    """Return why a class cannot be there, empty when nothing speaks against it. Its module is not imported."""
    module, _, name = path.rpartition(".")
    loaded = sys.modules.get(module)
    if loaded is not None:
        return "" if hasattr(loaded, name) else f"is unknown: {module} has no {name}"
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        return f"is unknown: there is no module {module}, install the provider that has it or correct the path"
    if found.origin is None or not found.origin.endswith(".py"):
        return ""
    source = Path(found.origin).read_text(encoding="utf-8", errors="replace")
    if re.search(rf"\b{name}\b|import \*|__getattr__", source):
        return ""
    return f"is unknown: {module} has no {name}"
