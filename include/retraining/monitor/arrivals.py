"""When the rows of a model without time came true: the night that saw them first, which each night hands on."""

import pandas as pd

from include.retraining.monitor.rows import DELIVERED
from include.retraining.protocol import Columns


def with_arrivals(
    actuals: pd.DataFrame, before: pd.DataFrame | None, columns: Columns, night: pd.Timestamp
) -> pd.DataFrame:
    """Return rows with ``DeliveredAt``.

    A row that is corrected keeps its night; one that was withdrawn and comes again has a new one.

    :param actuals: rows that came true
    :param before: of ``arrivals_of`` the night before; None: nothing tells when these rows came, so it is NaT
    :param night: when rows that ``before`` lacks were seen first
    """
    nobody = pd.Series(pd.NaT, actuals.index, dtype="datetime64[ns]")
    if before is None:
        return actuals.assign(**{DELIVERED: nobody})
    keys = list(columns.keys)
    seen = pd.MultiIndex.from_frame(before[keys]).get_indexer(pd.MultiIndex.from_frame(actuals[keys]))
    then = pd.to_datetime(before[DELIVERED]).astype("datetime64[ns]").to_numpy()
    found = nobody.fillna(night)
    found[seen >= 0] = then[seen[seen >= 0]]
    return actuals.assign(**{DELIVERED: found})


def arrivals_of(actuals: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return what the next night has to know: keys and ``DeliveredAt`` of each row that came true, once.

    :param actuals: of ``with_arrivals``
    """
    there = actuals.loc[actuals[columns.actual].notna(), [*columns.keys, DELIVERED]]
    return there.drop_duplicates(list(columns.keys), ignore_index=True)
