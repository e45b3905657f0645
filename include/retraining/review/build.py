"""Makes the review of a candidate: both versions are loaded and asked as consumers do, and compared."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from include.lifecycle.decisions import utc_now
from include.lifecycle.text import one_line
from include.retraining.protocol import LoadedVersion, RetrainedModel, Values
from include.retraining.review import checklist, inference
from include.retraining.review.changes import changes
from include.retraining.review.config import ItemKey, ReviewConfig
from include.retraining.review.cost import speed
from include.retraining.review.drift import drift
from include.retraining.review.inference import Finding
from include.retraining.review.probe import measure
from include.retraining.review.report import Item, Review, Rule
from include.retraining.review.scored import Scored
from include.retraining.review.unseen import Unseen, unseen_rows

log = logging.getLogger(__name__)

SOUND = "Predictions are sound"


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

    :param given: what it looks at
    :param config: rules and limits
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
        try:
            candidate = self.model.load(self.given.candidate.folder)
        except Exception as error:  # noqa: BLE001 -- whatever a model's own code raises is what the review finds
            return self._unusable(f"{type(error).__name__}: {one_line(str(error), 300)}")
        live = self._load_live()
        items: list[Item] = []
        predicted = self._inference(candidate, items)
        unseen, scored = self._scored(candidate, live)
        self.scored = scored
        steps: dict[ItemKey, Callable[[Rule], Item]] = {
            "gate": lambda rule: checklist.gate(scored, self.given.threshold, rule),
            "better": lambda rule: checklist.better(scored, rule),
            "slices": lambda rule: checklist.slices(scored, rule),
            "bias": lambda rule: checklist.bias(scored, rule),
            "recent": lambda rule: checklist.recent(scored, rule),
            "horizon": lambda rule: checklist.horizon(scored, rule),
        }
        if predicted is not None:
            steps["changes"] = lambda rule: self._changes(predicted, live, rule)
        steps |= {
            "drift": lambda rule: drift(self.model, self.config, self.given.frame, live, rule),
            "quality": self._quality,
            "speed": self._speed,
        }
        for key, step in steps.items():
            items += self._item(key, step)
        better = next((item for item in items if item.key == "better"), None)
        headline = checklist.headline(better) if better is not None else "It was not compared with Production."
        return self._made(headline, unseen.sentence, items)

    def _unusable(self, error: str) -> Review:
        """Return the review of a version that does not load: nothing else can be said of it."""
        finding = Finding(f"It does not load: {error}.", "")
        items: list[Item] = []
        self._test(items, "outputs", SOUND, lambda: finding)
        return self._made(finding.wrong, "Nothing was predicted.", items)

    def _load_live(self) -> LoadedVersion | None:
        if self.given.live is None:
            return None
        try:
            return self.model.load(self.given.live.folder)
        except Exception as error:  # noqa: BLE001 -- a champion that does not load here must not hold back its successor
            log.error("Version %d, in Production, does not load here: %s", self.given.live.version, error)
            return None

    def _made(self, headline: str, rows: str, items: list[Item]) -> Review:
        return Review(
            model=self.given.name,
            version=self.given.candidate.version,
            live=self.given.live.version if self.given.live is not None else None,
            headline=headline,
            rows=rows,
            items=items,
            made=utc_now(),
            facts=self.given.facts,
        )

    def _item(self, key: ItemKey, step: Callable[[Rule], Item]) -> list[Item]:
        """Return an item, none where it is switched off."""
        rule = self.config.rule(key)
        if rule == "off":
            return []
        started = time.monotonic()
        item = step(rule)
        log.info("%s: %s, %s (%.1f s)", item.title, item.verdict, item.sentence, time.monotonic() - started)
        return [item]

    def _inference(self, candidate: LoadedVersion, items: list[Item]) -> Values | None:
        """Add the inference tests; return what the candidate predicts for the next rows, None where it is no use."""
        model, asked, known = self.model, self.given.asked, self.given.frame
        predicted, error = inference.predict(candidate, asked, known)
        self._test(items, "outputs", SOUND, lambda: inference.check_outputs(model, asked, predicted, error))
        usable = predicted if predicted is not None and len(predicted) == len(asked) else None
        if usable is not None:
            factor, seed = self.config.limits.plausible_factor, self.config.seed
            self._test(
                items, "plausible", "Within what history makes plausible",
                lambda: inference.check_plausible(model, asked, usable, known, factor),
            )  # fmt: skip
            self._test(
                items, "consistent", "Same input, same output",
                lambda: inference.check_consistent(model, candidate, asked, known, usable, seed),
            )  # fmt: skip
        folder = self.given.candidate.folder
        self._test(items, "environment", "Library versions", lambda: inference.check_environment(folder))
        return usable

    def _test(self, items: list[Item], key: ItemKey, title: str, test: Callable[[], Finding]) -> None:
        """Add the item that a test makes."""
        items += self._item(key, lambda rule: checklist.item_of(key, title, rule, test()))

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

    def _changes(self, predicted: Values, live: LoadedVersion | None, rule: Rule) -> Item:
        theirs = None
        if live is not None:
            theirs, error = inference.predict(live, self.given.asked, self.given.frame)
            if error:
                log.warning("Production cannot predict the next rows: %s", error)
        given = self.given
        return changes(self.model, self.config.limits, given.asked, predicted, theirs, given.frame, rule)

    def _speed(self, rule: Rule) -> Item:
        rows, known = self.scratch / "rows.parquet", self.scratch / "known.parquet"
        self.given.asked.to_parquet(rows, index=False)
        self.given.frame.to_parquet(known, index=False)
        ours = measure(self.model, self.given.candidate.folder, rows, known)
        live = self.given.live
        theirs = measure(self.model, live.folder, rows, known) if live is not None else None
        return speed(self.config.limits, ours, theirs, rule)

    def _quality(self, rule: Rule) -> Item:
        new = [text for text in self.given.warnings if text not in self.given.known_warnings]
        told, all_told = ("; ".join(one_line(text, 200) for text in texts) for texts in (new, self.given.warnings))
        nothing = "The data checks of this retrain had nothing to warn of."
        well = f"Nothing that Production's data had not: {all_told}." if all_told else nothing
        finding = Finding(f"{told}." if told else "", well)
        return checklist.item_of("quality", "Data of this retrain", rule, finding)
