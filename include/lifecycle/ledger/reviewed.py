"""What the ledger keeps of a review: the verdicts that a person is shown, and the digest of the page with them."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from include.lifecycle.ledger.stored import Stored, Time
from include.lifecycle.rules.decisions import utc_now
from include.lifecycle.untrusted_text import one_line

REVIEWED = "reviewed"
REVIEW_SCHEMA = 5
MAX_ITEMS = 20
MAX_TITLE, MAX_SENTENCE, MAX_HEADLINE = 40, 150, 300
"""Characters that an entry keeps of each item's title and sentence, and of what stands above them."""
MAX_TEXTS = 4500
"""The same of all of them together, as JSON."""
Verdict = Literal["pass", "warn", "fail", "none"]


class ReviewedItem(NamedTuple):
    """One item of a review's checklist."""

    title: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Reviewed(Stored):
    """What a review said of a version.

    :param verdict: the worst of its items: ``fail`` holds the version back
    :param headline: how it compares with what is in Production
    :param rows: which rows were compared
    :param page: SHA-256 of the page, HTML
    :param artifact: where the page lies: MLflow run and path in its artifacts
    :param live: the version in Production that it was compared with, None where there was none
    :param digest: of the artifacts that were reviewed, empty where none is recorded
    :param dag_id: Airflow run that reviewed it, None at the command line
    """

    model: str
    version: int
    verdict: Verdict
    headline: str = ""
    rows: str = ""
    items: tuple[ReviewedItem, ...] = ()
    page: str = ""
    artifact: tuple[str, str] = ("", "")
    live: int | None = None
    digest: str = ""
    dag_id: str | None = None
    run_id: str | None = None
    at: Time = field(default_factory=utc_now)

    @property
    def failed(self) -> bool:
        """Whether it holds the version back."""
        return self.verdict == "fail"

    def titles(self, verdict: Verdict) -> list[str]:
        """Return the titles of its items with a verdict."""
        return [item.title for item in self.items if item.verdict == verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores, its texts cut to what an entry holds."""
        share = 1.0
        while len(json.dumps(texts := self._texts(share), ensure_ascii=False)) > MAX_TEXTS:
            share *= 0.8  # quotes count twice in an entry
        return {**super().to_dict(), **texts}

    def _texts(self, share: float) -> dict[str, Any]:
        """Return the texts, each cut to a share of what is kept at most."""
        sentence, headline = max(1, int(MAX_SENTENCE * share)), max(1, int(MAX_HEADLINE * share))
        return {
            "headline": one_line(self.headline, headline),
            "rows": one_line(self.rows, headline),
            "items": [
                [one_line(item.title, MAX_TITLE), item.verdict, one_line(item.sentence, sentence)]
                for item in self.items[:MAX_ITEMS]
            ],
        }
