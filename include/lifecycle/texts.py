"""Reasons that are longer than an entry of the ledger: artifacts of the ledger's first run, named by their digest.

MLflow cuts a parameter over 6,000 characters and reports success. So the entry holds the beginning of such a
reason and the SHA-256 of the whole, the artifact ``reasons/SHA256.txt`` the whole. The artifact is written before
the entry: an entry never names a text that was not kept. A text that is read back is checked against the entry.
"""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import LedgerDamagedError, RetrainError
from include.lifecycle.events import Event
from include.lifecycle.text import one_line, text_digest

FOLDER = "reasons"


class LongTexts:
    """The long texts of one ledger.

    :param client: MLflow client
    :param run_id: the ledger's first run
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    def keep(self, text: str) -> None:
        """Store a text; the same text again is no second one.

        :raises RetrainError: when the artifact store did not take it
        """
        try:
            self.client.log_text(self.run_id, text, _path(text_digest(text)))
        except (MlflowException, OSError) as error:
            raise RetrainError(
                f"The artifact store did not take a reason of {len(text)} characters: {error}"
            ) from error

    def read(self, digest: str) -> str:
        """Return a text.

        :raises LedgerDamagedError: when it is gone or was changed
        """
        name = f"the text {_path(digest)} of run {self.run_id}"
        try:
            with tempfile.TemporaryDirectory() as folder:
                stored = Path(self.client.download_artifacts(self.run_id, _path(digest), folder)).read_bytes()
        except (MlflowException, OSError) as error:
            raise LedgerDamagedError(f"{name} cannot be read: {one_line(str(error), 200)}") from error
        if hashlib.sha256(stored).hexdigest() != digest:
            raise LedgerDamagedError(f"{name} was changed")
        return stored.decode()

    def complete(self, event: Event) -> Event:
        """Return an event with its whole reason.

        :raises LedgerDamagedError: when the reason is gone or was changed
        """
        return event if event.reason_digest is None else replace(event, reason=self.read(event.reason_digest))


def _path(digest: str) -> str:
    return f"{FOLDER}/{digest}.txt"
