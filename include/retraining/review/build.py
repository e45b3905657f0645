"""Makes the review of a candidate: both versions are loaded and asked as consumers do, and compared."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from include.lifecycle.rules.decisions import utc_now
from include.lifecycle.untrusted_text import one_line
from include.retraining.config.review import ItemKey, ReviewConfig
from include.retraining.protocol import LoadedVersion, RetrainedModel, Values
from include.retraining.review import checklist, inference
from include.retraining.review.changes import changes
from include.retraining.review.cost import objections, speed
from include.retraining.review.drift import drift
from include.retraining.review.probe import Cost, measure
from include.retraining.review.report import Finding, Item, Review, Verdict
from include.retraining.review.scored import Scored
from include.retraining.review.unseen import Unseen, unseen_rows

log = logging.getLogger(__name__)

Check = Callable[[], Finding]

TITLES: Mapping[ItemKey, str] = {
    "outputs": "Predictions are sound",
    "plausible": "Within what history makes plausible",
    "consistent": "Same input, same output",
    "environment": "Library versions",
    "gate": "Absolute gate",
    "better": "Better than Production",
    "slices": "Every group of rows",
    "bias": "Bias overall",
    "recent": "The last days",
    "horizon": "Weeks of the forecast",
    "changes": "Largest changes against Production",
    "drift": "Inputs since Production's training",
    "quality": "Data of this retrain",
    "speed": "Time and memory",
}


@dataclass(frozen=True)
class VersionFolder:
    """A version and its artifacts as the registry keeps them."""

    version: int
    folder: Path


@dataclass(frozen=True)
class ReviewInput:
    """What a review looks at.

    :param frame: rows with the actual: the retrain's data
    :param asked: rows that consumers ask for next, without the actual
    :param threshold: of the gate
    :param warnings: what the checks of the retrain's data found odd, a sentence each
    :param known_warnings: what those of Production's data did: nothing new is nothing to warn of
    :param facts: what else is known of the candidate: label and text
    """

    model: RetrainedModel
    name: str
    candidate: VersionFolder
    live: VersionFolder | None
    frame: pd.DataFrame
    asked: pd.DataFrame
    threshold: float
    warnings: Sequence[str] = ()
    known_warnings: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


class Reviewer:
    """Reviews one candidate.

    :param scratch: an empty folder
    """

    def __init__(self, given: ReviewInput, config: ReviewConfig, scratch: Path) -> None:
        self.given = given
        self.config = config
        self.scratch = scratch
        self.model = given.model
        self.scored: Scored | None = None
        """The rows that were compared, once ``review`` ran."""

    def review(self) -> Review:
        """Return the review."""
        given, model, limits = self.given, self.model, self.config.limits
        try:
            candidate = model.load(given.candidate.folder)
        except Exception as error:  # noqa: BLE001 -- whatever a model's own code raises is what the review finds
            # nothing else can be said of a version that does not load
            found = Finding(True, f"It does not load: {type(error).__name__}: {one_line(str(error), 300)}.")
            return self._made(found.sentence, "Nothing was predicted.", {"outputs": lambda: found})
        live = self._load_live()
        predicted, error_of = inference.predict(candidate, given.asked, given.frame)
        usable = predicted if predicted is not None and len(predicted) == len(given.asked) else None
        unseen, scored = self._scored(candidate, live)
        self.scored = scored
        checks: dict[ItemKey, Check] = {
            "outputs": partial(inference.check_outputs, model, given.asked, predicted, error_of)
        }
        if usable is not None:
            rows = model, given.asked, usable, given.frame
            checks["plausible"] = partial(inference.check_plausible, *rows, limits.plausible_factor)
            checks["consistent"] = partial(inference.check_consistent, *rows, candidate, self.config.seed)
        checks |= {
            "environment": partial(inference.check_environment, given.candidate.folder),
            "gate": partial(checklist.gate, scored, given.threshold),
            "better": partial(checklist.better, scored),
            "slices": partial(checklist.slices, scored),
            "bias": partial(checklist.bias, scored),
            "recent": partial(checklist.recent, scored),
            "horizon": partial(checklist.horizon, scored),
        }
        if usable is not None:
            checks["changes"] = partial(self._changes, usable, live)
        checks |= {
            "drift": partial(drift, model, limits.drift, given.frame, live),
            "quality": self._quality,
            "speed": self._speed,
        }
        return self._made(None, unseen.sentence, checks)

    def _load_live(self) -> LoadedVersion | None:
        if self.given.live is None:
            return None
        try:
            return self.model.load(self.given.live.folder)
        except Exception as error:  # noqa: BLE001 -- a champion that does not load here must not hold back its successor
            log.error("Version %d, in Production, does not load here: %s", self.given.live.version, error)
            return None

    def _made(self, headline: str | None, rows: str, checks: Mapping[ItemKey, Check]) -> Review:
        """Return the review that checks make.

        :param headline: None: what the comparison with Production says
        """
        items = [item for key, check in checks.items() for item in self._item(key, check)]
        return Review(
            model=self.given.name,
            version=self.given.candidate.version,
            live=self.given.live.version if self.given.live is not None else None,
            headline=_compared(items) if headline is None else headline,
            rows=rows,
            items=items,
            made=utc_now(),
            facts=self.given.facts,
        )

    def _item(self, key: ItemKey, check: Check) -> list[Item]:
        """Return an item, none where it is switched off."""
        rule = self.config.rule(key)
        if rule == "off":
            return []
        started = time.monotonic()
        item = Item.of(key, TITLES[key], check(), rule)
        log.info("%s: %s, %s (%.1f s)", item.title, item.verdict, item.sentence, time.monotonic() - started)
        return [item]

    def _scored(self, candidate: LoadedVersion, live: LoadedVersion | None) -> tuple[Unseen, Scored]:
        """Return the rows that both are scored on, and what they predict for them."""
        model, columns = self.model, self.model.columns
        unseen = unseen_rows(model, self.given.frame, candidate, live)
        rows = unseen.rows.drop(columns=columns.actual)
        mask = model.counts(unseen.rows)

        def predicted(version: LoadedVersion) -> Values:
            found = np.asarray(unseen.member(version).predict(rows, unseen.known), dtype=np.float64)
            return found[mask]

        counted = unseen.rows[mask]
        theirs = predicted(live) if unseen.compared and live is not None else None
        actual = counted[columns.actual].to_numpy(dtype=np.float64)
        return unseen, Scored(model, self.config, counted, actual, predicted(candidate), theirs)

    def _changes(self, predicted: Values, live: LoadedVersion | None) -> Finding:
        theirs = None
        if live is not None:
            theirs, error = inference.predict(live, self.given.asked, self.given.frame)
            if error:
                log.warning("Production cannot predict the next rows: %s", error)
        return changes(self.model, self.config.limits, self.given.asked, predicted, theirs, self.given.frame)

    def _speed(self) -> Finding:
        rows, known = self.scratch / "rows.parquet", self.scratch / "known.parquet"
        self.given.asked.to_parquet(rows, index=False)
        self.given.frame.to_parquet(known, index=False)
        limits, live = self.config.limits, self.given.live

        def measured(version: VersionFolder) -> Cost | str:
            return measure(self.model, version.folder, rows, known)

        ours = measured(self.given.candidate)
        theirs = measured(live) if live is not None else None
        # a machine that did something else meanwhile made one of them slow: whatever is slow is slow again
        if isinstance(ours, Cost) and objections(limits, ours, theirs):
            again = measured(self.given.candidate)
            ours = ours.best(again) if isinstance(again, Cost) else again
        return speed(limits, ours, theirs)

    def _quality(self) -> Finding:
        new = [text for text in self.given.warnings if text not in self.given.known_warnings]
        told, all_told = ("; ".join(one_line(text, 200) for text in texts) for texts in (new, self.given.warnings))
        nothing = "The data checks of this retrain had nothing to warn of."
        well = f"Nothing that Production's data had not: {all_told}." if all_told else nothing
        return Finding(bool(told), f"{told}." if told else well)


def _compared(items: Sequence[Item]) -> str:
    """Return the first sentence of a review: what the comparison with Production said."""
    better = next((item for item in items if item.key == "better"), None)
    if better is None:
        return "It was not compared with Production."
    return better.sentence if better.verdict is not Verdict.NONE else "Nothing in Production to compare with."
