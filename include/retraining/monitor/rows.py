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
"""When a forecast was made, optional."""
DELIVERED = "DeliveredAt"
"""When an actual was delivered, optional; without it a later row of the frame is the newer one."""
NAIVE = "Naive"
"""The naive forecast of a row, optional."""
DAY = "Day"
"""Day of a row; NaT for a model without time."""

_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Publication:
    """A version became the one in Production; the next publication ends it.

    :param since: UTC, without a time zone; after a rollback a version has a second publication
    """

    version: int
    since: pd.Timestamp


def forecasts_once(predictions: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return each (row, version, origin) once; the newest copy counts, so a repeated night changes nothing.

    :param predictions: keys, ``Prediction``, ``ModelVersion``; ``ForecastOrigin``, ``MadeAt``, ``Naive`` where known
    """
    wanted = [*columns.keys, PREDICTION, VERSION, ORIGIN, MADE, NAIVE]
    found = predictions[[name for name in wanted if name in predictions]]
    for name in (ORIGIN, MADE):
        dates = pd.to_datetime(found[name]) if name in found else pd.Series(pd.NaT, found.index, "datetime64[ns]")
        found = found.assign(**{name: dates.astype("datetime64[ns]")})
    found = found.assign(**{ORIGIN: found[ORIGIN].dt.normalize()})
    found = found.sort_values(MADE, kind="stable", na_position="first")
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
    """Return each row once: the newest forecast made before its day with the version that was published then.

    Rows that came true without such a forecast are there too, without a prediction: they lower the coverage of the
    version that was published on their day. Days before the first stored forecast are left out. Without ``MadeAt`` a
    forecast counts as made on the day after its origin.

    :param joined: of ``join_actuals``
    :param published: in any order
    """
    order = sorted(published, key=lambda publication: publication.since)
    if not order:
        return joined.iloc[:0].copy()
    rank = _publication(joined, order)
    chosen = joined.assign(_rank=rank)[rank >= 0]
    if columns.time is not None:
        chosen = chosen[chosen[ORIGIN] < chosen[DAY]]
    chosen = chosen.sort_values([ORIGIN, MADE, "_rank"], kind="stable", na_position="first")
    chosen = chosen.drop_duplicates(list(columns.keys), keep="last").drop(columns="_rank")
    truth = actuals_once(actuals, columns)
    truth = truth.assign(**{DAY: _days(truth, columns)})
    if columns.time is not None:
        truth = truth[truth[DAY] >= joined[DAY].min()]
    return pd.concat([chosen, _unpredicted(chosen, truth, columns, order)], ignore_index=True)


def known_by(live: pd.DataFrame, day: pd.Timestamp, columns: Columns) -> pd.DataFrame:
    """Return live rows as they were known when the actuals up to ``day`` had been delivered."""
    hidden = live[DAY] > day
    known = live[~(hidden & live[PREDICTION].isna())].copy()
    known.loc[known[DAY] > day, columns.actual] = np.nan
    return known


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


def _publication(joined: pd.DataFrame, order: Sequence[Publication]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the position of the publication under which each forecast was made, -1 where its version was not live."""
    first = joined[MADE].fillna(joined[ORIGIN] + _ONE_DAY)
    last = joined[MADE].fillna(joined[ORIGIN] + 2 * _ONE_DAY - pd.Timedelta(1, "ns"))
    undated = first.isna().to_numpy()
    found = np.full(len(joined), -1, dtype=np.intp)
    for position, publication in enumerate(order):
        until = order[position + 1].since if position + 1 < len(order) else pd.Timestamp.max
        then = undated | ((first < until) & (last >= publication.since)).to_numpy()
        found[then & (joined[VERSION] == publication.version).to_numpy()] = position
    return found


def _unpredicted(
    chosen: pd.DataFrame, truth: pd.DataFrame, columns: Columns, order: Sequence[Publication]
) -> pd.DataFrame:
    """Return the rows that came true since the first publication and have no live forecast."""
    since = np.array([publication.since.to_datetime64() for publication in order])
    if columns.time is None:
        position = np.full(len(truth), len(order) - 1)
    else:
        # a forecast of a day is made at its beginning at the latest
        position = np.searchsorted(since, truth[DAY].to_numpy(), side="right") - 1
    truth = truth[position >= 0]
    versions = np.array([publication.version for publication in order])[position[position >= 0]]
    keys = list(columns.keys)
    absent = ~pd.MultiIndex.from_frame(truth[keys]).isin(pd.MultiIndex.from_frame(chosen[keys]))
    found = truth[absent].assign(**{VERSION: versions[absent], PREDICTION: np.nan})
    return found[[name for name in chosen if name in found]]


def _days(rows: pd.DataFrame, columns: Columns) -> pd.Series:
    if columns.time is None:
        return pd.Series(pd.NaT, rows.index, dtype="datetime64[ns]")
    return pd.to_datetime(rows[columns.time]).astype("datetime64[ns]").dt.normalize()
