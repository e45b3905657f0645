"""The rows on which a candidate and Production are compared: the same ones, and neither was trained on any of them."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from include.retraining.protocol import LoadedVersion, Mask, Member, RetrainedModel

Members = Literal["served", "backtest"]
ENOUGH_DAYS = 7
"""Days after both trainings that are enough to compare what is really served."""


@dataclass(frozen=True)
class Unseen:
    """Rows that were not trained on.

    :param rows: with the actual, also those that are not scored: a forecast may need the whole schedule
    :param known: rows with it that were known before the first of them
    :param members: which members of the versions predict them
    :param compared: whether Production's member has not seen them either; else there is nothing to compare with
    :param sentence: which rows these are, and why
    """

    rows: pd.DataFrame
    known: pd.DataFrame
    members: Members
    compared: bool
    sentence: str

    def member(self, version: LoadedVersion) -> Member:
        """Return the member of a version that predicts these rows."""
        return version.served if self.members == "served" else version.backtest


def unseen_rows(
    model: RetrainedModel, frame: pd.DataFrame, candidate: LoadedVersion, live: LoadedVersion | None
) -> Unseen:
    """Return the newest rows that neither version was trained on.

    Rows after both trainings are the best there is: what is served is what is compared. On the night of a training
    there are none: then the holdout, predicted by the members that were trained without it. Where Production's was
    trained on a part of that, only the days are taken that neither has seen.

    :param frame: rows with the actual
    :raises ValueError: when the candidate's backtest member was trained on all of them
    """
    served = candidate.served.unseen(frame) & (live.served.unseen(frame) if live is not None else True)
    if live is not None and _days(model, frame[served & model.counts(frame)]) >= ENOUGH_DAYS:
        return _unseen(model, frame, served, "served", True, " after the training of both.")
    own = candidate.backtest.unseen(frame)
    if not own.any():
        raise ValueError("the candidate's backtest member was trained on every row there is: nothing can be compared")
    how = "predicted by members that were trained without them"
    if live is None:
        return _unseen(model, frame, own, "backtest", False, f", {how}. Nothing is in Production.")
    both = own & live.backtest.unseen(frame)
    if _days(model, frame[both & model.counts(frame)]) < 1:
        more = f", {how}. Production was trained on all of them: no comparison would be fair."
        return _unseen(model, frame, own, "backtest", False, more)
    left_out = int((own & ~both & model.counts(frame)).sum())
    more = f" {left_out:,} rows that Production's has seen are left out." if left_out else ""
    return _unseen(model, frame, both, "backtest", True, f", {how}: neither has seen one.{more}")


def _unseen(
    model: RetrainedModel, frame: pd.DataFrame, mask: Mask, members: Members, compared: bool, more: str
) -> Unseen:
    """Return the rows of a mask, at most one horizon from its first day on.

    :param more: what the sentence says behind the rows
    """
    rows, known, time = frame[mask], frame[~mask], model.columns.time
    if time is not None:
        first = rows[time].min()
        known = frame[frame[time] < first]
        if model.horizon_days is not None:
            rows = rows[rows[time] < first + pd.Timedelta(days=model.horizon_days)]
    scored = rows[model.counts(rows)]
    days = f" of {scored[time].min().date()} to {scored[time].max().date()}" if time is not None else ""
    return Unseen(rows, known, members, compared, f"{len(scored):,} rows{days}{more}")


def _days(model: RetrainedModel, rows: pd.DataFrame) -> int:
    """Return how many days rows have; without time every row counts as much as ``ENOUGH_DAYS``."""
    time = model.columns.time
    return len(rows) * ENOUGH_DAYS if time is None else int(rows[time].nunique())
