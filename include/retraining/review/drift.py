"""Inputs since Production's training against the same weeks a year before.

The measure is the population stability index (Siddiqi, 2006, "Credit Risk Scorecards"): 0.1 is a small change, 0.25 a
large one. It is an effect size: with many thousand rows a day every test is significant, and says nothing.
"""

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from include.retraining.protocol import LoadedVersion, RetrainedModel
from include.retraining.review.changes import YEAR_DAYS
from include.retraining.review.report import Finding, Table

AT_LEAST_DAYS = 28
BINS = 10
FLOOR = 1e-4
"""Share of an empty bin."""
FEW_VALUES = 20
"""A column of numbers with no more than this many is compared value by value."""


def drift(model: RetrainedModel, limit: float, frame: pd.DataFrame, live: LoadedVersion | None) -> Finding:
    """Compare each input of the rows since Production's training with the same weeks a year before.

    Where there are none, or the model has no time, with what Production was trained on.

    :param limit: index from which on an input is told
    :param frame: rows with the actual
    """
    if live is None:
        return Finding(None, "There is no version in Production whose training could be compared.")
    inputs = model.columns.inputs
    if not inputs:
        return Finding(None, "The model names no inputs.")
    recent, reference, against = windows(model, frame, live)
    if recent.empty or reference.empty:
        return Finding(None, "There are no rows to compare with.")
    found = {column: stability_index(reference[column], recent[column]) for column in inputs}
    order = sorted(found, key=lambda column: -found[column])
    high = [column for column in order if found[column] > limit]
    told = ", ".join(f"{inputs[column]} ({found[column]:.2f})" for column in high)
    largest = f"{inputs[order[0]]} ({found[order[0]]:.2f})"
    sentence = (
        f"Other than {against}: {told}."
        if high
        else f"{len(found)} inputs are as in {against}; the largest change is {largest}."
    )
    table = Table(
        ("Input", "Index", "Mean now", "Mean then"),
        tuple(
            (inputs[column], f"{found[column]:.3f}", _mean(recent[column]), _mean(reference[column]))
            for column in order
        ),
        frozenset(range(len(high))),
        note=f"Population stability index; above {limit:g} is told.",
    )
    return Finding(bool(high), sentence, (table,), figures=found)


def windows(model: RetrainedModel, frame: pd.DataFrame, live: LoadedVersion) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return the rows since Production's training, those that they are compared with, and what to call these."""
    unseen, time = live.served.unseen(frame), model.columns.time
    if time is None:
        return frame[unseen], frame[~unseen], "what Production was trained on"
    newest = frame[time].max()
    since = frame.loc[unseen, time].min() if unseen.any() else newest
    first = min(since, newest - pd.Timedelta(days=AT_LEAST_DAYS - 1))
    recent = frame[frame[time] >= first]
    year = pd.Timedelta(days=YEAR_DAYS)
    before = frame[(frame[time] >= first - year) & (frame[time] <= newest - year)]
    # the same things at both times: stores that had no data then say nothing of a change
    entity = model.columns.entity
    if entity is not None and len(before):
        both = np.intersect1d(before[entity].unique(), recent[entity].unique())
        recent, before = recent[recent[entity].isin(both)], before[before[entity].isin(both)]
    if len(before):
        return recent, before, "the same weeks a year before"
    return recent, frame[frame[time] < first], "the days before"


def stability_index(reference: pd.Series, recent: pd.Series) -> float:
    """Return the population stability index of two samples of a column; missing values are a bin of their own."""
    continuous = is_numeric_dtype(reference) and not is_bool_dtype(reference) and reference.nunique() > FEW_VALUES
    if continuous:
        edges = np.unique(np.nanquantile(reference.to_numpy(dtype=np.float64), np.linspace(0, 1, BINS + 1)[1:-1]))
        bins = [
            np.where(column.isna(), -1, np.searchsorted(edges, column.to_numpy(dtype=np.float64), side="right"))
            for column in (reference, recent)
        ]
    else:
        codes, _ = pd.factorize(pd.concat([reference, recent]).astype(str))
        bins = [codes[: len(reference)], codes[len(reference) :]]
    values = np.unique(np.concatenate(bins))
    shares = [np.maximum(np.array([(found == value).mean() for value in values]), FLOOR) for found in bins]
    then, now = shares
    return float(((now - then) * np.log(now / then)).sum())


def _mean(column: pd.Series) -> str:
    return f"{column.astype(float).mean():,.3g}" if is_numeric_dtype(column) else "–"
