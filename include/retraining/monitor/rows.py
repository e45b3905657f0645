"""Stored predictions beside what came true: each forecast once, each row of the live figure once.

A row may be predicted by several nights and by several versions, and its actual may come late or be corrected. So
everything is derived from what is stored now; nothing is added up on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from include.retraining.protocol import Columns, Mask, RetrainedModel

PREDICTION = "Prediction"
VERSION = "ModelVersion"
ORIGIN = "ForecastOrigin"
"""Newest day whose actual the forecast knew."""
MADE = "MadeAt"
"""When a forecast was made, UTC without a timezone, optional. Only forecasts are compared by it, never with days."""
PUBLISHED = "Published"
"""Whether consumers got a forecast, optional: without it all are taken for published."""
PUBLISHED_ON = "PublishedOn"
"""Day on which consumers got a forecast, or it was made, optional; with time only where the clock tells something."""
DELIVERED = "DeliveredAt"
"""When an actual was delivered, optional; without it a later row of the frame is the newer one."""
NAIVE = "Naive"
"""The naive forecast of a row, optional."""
DAY = "Day"
"""Day of a row; of a model without time it is ``PublishedOn``."""


@dataclass(frozen=True)
class Publication:
    """Consumers got predictions of another version than before; the next publication ends it.

    :param since: first day that it answers for, never before that of the publication before; after a rollback a version
        has a second publication
    """

    version: int
    since: pd.Timestamp


def forecasts_once(predictions: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return each (row, version, origin) once: published, before its day had passed, and then the newest copy.

    So a repeated night changes nothing, and neither does who else predicts the same.

    :param predictions: keys, ``Prediction``, ``ModelVersion``; ``ForecastOrigin``, ``MadeAt``, ``Published``,
        ``PublishedOn``, ``Naive`` where known
    """
    wanted = [*columns.keys, PREDICTION, VERSION, PUBLISHED, NAIVE, ORIGIN, MADE, PUBLISHED_ON]
    found = predictions[[name for name in wanted if name in predictions]]
    for name in (ORIGIN, MADE, PUBLISHED_ON):
        known = pd.to_datetime(found[name]) if name in found else pd.Series(pd.NaT, found.index, "datetime64[ns]")
        found = found.assign(**{name: known.astype("datetime64[ns]")})
    published = found[PUBLISHED] if PUBLISHED in found else pd.Series(True, found.index)
    found = found.assign(**{ORIGIN: found[ORIGIN].dt.normalize(), PUBLISHED: published.astype(bool)})
    found = found.assign(_timely=~(_days(found, columns) < found[PUBLISHED_ON]))
    found = found.sort_values([PUBLISHED, "_timely", MADE], kind="stable", na_position="first").drop(columns="_timely")
    return found.drop_duplicates([*columns.keys, VERSION, ORIGIN], keep="last", ignore_index=True)


def actuals_once(actuals: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return each row that came true once, as it was delivered last; one that was withdrawn (no actual) is left out.

    :param actuals: rows as the data registry delivers them, one delivery below the other
    """
    if DELIVERED in actuals:
        actuals = actuals.sort_values(DELIVERED, kind="stable")
    newest = actuals.drop_duplicates(list(columns.keys), keep="last")
    return newest[newest[columns.actual].notna()].reset_index(drop=True)


def join_actuals(predictions: pd.DataFrame, actuals: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return each (row, version, origin) once, with what came true where that is known.

    Groups and other columns are those of the delivered row: what a row turned out to be.

    :return: one row a forecast, with ``Day``; the actual is NaN where it has not arrived
    """
    forecasts = forecasts_once(predictions, columns)
    truth = actuals_once(actuals, columns)
    truth = truth.drop(columns=[name for name in truth if name in forecasts and name not in columns.keys])
    joined = forecasts.merge(truth, on=list(columns.keys), how="left", validate="many_to_one")
    return joined.assign(**{DAY: _days(joined, columns)})


def live_rows(
    joined: pd.DataFrame, actuals: pd.DataFrame, columns: Columns, published: Sequence[Publication]
) -> pd.DataFrame:
    """Return each row once: with the forecast that consumers got last of those that did not know its day.

    It belongs to the version of that forecast. So a version that is published during a day, and predicts the same rows
    again, takes them over; what only the version before had predicted stays that one's, and so does a day that had
    passed by then. A day that had passed before any forecast of it was published has the first.

    With time, rows that came true without such a forecast are there too, without a prediction: they lower the coverage
    of the version that was published on their day. Days before the first published forecast are left out.

    :param joined: of ``join_actuals``
    :param published: in the order in which they were
    """
    if not published:
        return joined.iloc[:0].copy()
    chosen = joined[joined[PUBLISHED]]
    if columns.time is not None:
        chosen = chosen[chosen[ORIGIN] < chosen[DAY]]
    first = chosen[DAY].min()
    chosen = chosen.sort_values([MADE, ORIGIN], kind="stable", na_position="first").drop(columns=PUBLISHED)
    keys, passed = list(columns.keys), chosen[DAY] < chosen[PUBLISHED_ON]
    best = [chosen[~passed].drop_duplicates(keys, keep="last"), chosen[passed].drop_duplicates(keys, keep="first")]
    chosen = pd.concat(best).drop_duplicates(keys, keep="first")
    if columns.time is None:
        return chosen.reset_index(drop=True)
    truth = actuals_once(actuals, columns)
    truth = truth.assign(**{DAY: _days(truth, columns)})
    unpredicted = _unpredicted(chosen, truth[truth[DAY] >= first], columns, published)
    return pd.concat([chosen, unpredicted], ignore_index=True)


def scored(rows: pd.DataFrame, model: RetrainedModel) -> Mask:
    """Return which rows are scored: predicted, with an actual that counts.

    :param rows: of ``join_actuals`` or ``live_rows``
    """
    predicted = np.isfinite(rows[PREDICTION].to_numpy(dtype=np.float64))
    return np.asarray(predicted & counting(rows, model))


def counting(rows: pd.DataFrame, model: RetrainedModel) -> Mask:
    """Return which rows have an actual that counts."""
    mask = rows[model.columns.actual].notna().to_numpy(copy=True)
    mask[mask] = np.asarray(model.counts(rows[mask]), dtype=bool)
    return np.asarray(mask)


def _unpredicted(
    chosen: pd.DataFrame, truth: pd.DataFrame, columns: Columns, published: Sequence[Publication]
) -> pd.DataFrame:
    """Return the rows that came true since the first publication and have no live forecast."""
    since = np.array([publication.since.to_datetime64() for publication in published])
    position = np.searchsorted(since, truth[DAY].to_numpy(), side="right") - 1
    truth = truth[position >= 0]
    versions = np.array([publication.version for publication in published])[position[position >= 0]]
    keys = list(columns.keys)
    absent = ~pd.MultiIndex.from_frame(truth[keys]).isin(pd.MultiIndex.from_frame(chosen[keys]))
    found = truth[absent].assign(**{VERSION: versions[absent]}).assign(**{PREDICTION: np.nan})
    return found[[name for name in chosen if name in found]]


def _days(rows: pd.DataFrame, columns: Columns) -> pd.Series:
    """Return the day of each row, NaT where it is not known when a row without time was predicted."""
    name = PUBLISHED_ON if columns.time is None else columns.time
    return pd.to_datetime(rows[name]).astype("datetime64[ns]").dt.normalize()
