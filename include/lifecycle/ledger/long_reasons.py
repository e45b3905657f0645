"""Reasons that are longer than an entry of the ledger: artifacts of the ledger's first run, named by their digest.

MLflow cuts a parameter over 6,000 characters and reports success. So the entry holds the beginning of such a
reason and the SHA-256 of the whole, the artifact ``reasons/SHA256.txt`` the whole. The artifact is written before
the entry: an entry never names a text that was not kept. A text that is read back is checked against the entry.
"""

from dataclasses import replace

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import ReportedError
from include.lifecycle.ledger.events import Event
from include.lifecycle.registry.stored_file import read_stored
from include.lifecycle.untrusted_text import text_digest

FOLDER = "reasons"


class LongTexts:
    """The long texts of the ledger whose first run has an id."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    def keep(self, text: str) -> None:
        """Store a text; the same text again is no second one.

        :raises ReportedError: when the artifact store did not take it
        """
        try:
            self.client.log_text(self.run_id, text, _path(text_digest(text)))
        except (MlflowException, OSError) as error:
            raise ReportedError(
                f"The artifact store did not take a reason of {len(text)} characters: {error}"
            ) from error

    def read(self, digest: str) -> str:
        """Return a text.

        :raises LedgerDamagedError: when it is gone or was changed
        """
        return read_stored(self.client, self.run_id, _path(digest), digest).decode()

    def complete(self, event: Event) -> Event:
        """Return an event with its whole reason.

        :raises LedgerDamagedError: when the reason is gone or was changed
        """
        return event if event.reason_digest is None else replace(event, reason=self.read(event.reason_digest))


def _path(digest: str) -> str:
    return f"{FOLDER}/{digest}.txt"
