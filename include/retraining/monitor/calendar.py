"""Days that are known to be odd: holidays and the days around them, which say little about a version."""

import pandas as pd

from include.retraining.config.monitor import HolidayConfig
from include.retraining.protocol import Columns


def odd_days(rows: pd.DataFrame, columns: Columns, rule: HolidayConfig | None) -> pd.DatetimeIndex:
    """Return known holidays with the days around them, in order: people buy otherwise.

    :param rows: delivered rows and, where it is known, the schedule of those to come: both have the rule's column
    :param rule: what a holiday is, None: nothing is
    """
    found = holidays(rows, columns, rule)
    if rule is None or not len(found):
        return found
    around = pd.to_timedelta(range(-rule.before_days, rule.after_days + 1), unit="D")
    return pd.DatetimeIndex(sorted({day + shift for day in found for shift in around}))


def holidays(rows: pd.DataFrame, columns: Columns, rule: HolidayConfig | None) -> pd.DatetimeIndex:
    """Return known holidays alone, in order: they fall on other days every year.

    :param rows: as in ``odd_days``
    :param rule: what a holiday is, None: nothing is
    """
    if rule is None or columns.time is None or rule.column not in rows:
        return pd.DatetimeIndex([])
    column = rows[rule.column]
    odd = column.notna() & ~column.astype(str).isin(rule.ordinary)
    by_day = odd.groupby(pd.to_datetime(rows[columns.time]).dt.normalize()).mean()
    return pd.DatetimeIndex(by_day.index[by_day >= rule.share])
