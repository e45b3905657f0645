"""German public holidays, school holidays and promotion weeks: the calendar that the sample data lives in."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from include.models.rossmann.forecaster.calendar import easter as easter_day
from include.models.rossmann.forecaster.calendar import weekdays

Flags = npt.NDArray[np.bool_]

EPOCH = date(1970, 1, 1)
REGIONS = 4
"""Groups of federal states with holidays of their own."""

CATHOLIC = (1, 3)
"""Regions that keep Corpus Christi, Epiphany and All Saints' Day."""


@dataclass(frozen=True)
class SampleCalendar:
    """What is known about days in advance; rows are days, columns regions where they differ."""

    days: npt.NDArray[np.datetime64]
    holiday: npt.NDArray[np.str_]
    """(days, regions) '0', or 'a' public holiday, 'b' Easter, 'c' Christmas."""
    school: Flags
    """(days, regions) school holiday."""
    promo: Flags
    """(days,) promotion of the chain."""

    @property
    def weekday(self) -> npt.NDArray[np.int64]:
        """(days,) 1 is Monday, 7 Sunday."""
        return weekdays(self.days) + 1

    @property
    def day_of_year(self) -> npt.NDArray[np.float64]:
        """(days,) days since 1 January."""
        return np.asarray(self.days - self.days.astype("datetime64[Y]"), dtype=np.float64)

    @property
    def day_of_month(self) -> npt.NDArray[np.float64]:
        """(days,) 1 is the first."""
        return np.asarray(self.days - self.days.astype("datetime64[M]"), dtype=np.float64) + 1


def make_calendar(first: date, last: date) -> SampleCalendar:
    """Return the calendar of the days ``first`` to ``last``; a day is the same in every calendar."""
    days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
    holiday = np.full((len(days), REGIONS), "0", dtype="<U1")
    school = np.zeros((len(days), REGIONS), dtype=bool)
    for year in range(first.year - 1, last.year + 1):
        for region in range(REGIONS):
            for day, code in public_holidays(year, region).items():
                holiday[days == np.datetime64(day), region] = code
            for start, end in school_holidays(year, region):
                school[(days >= np.datetime64(start)) & (days <= np.datetime64(end)), region] = True
    weekday = weekdays(days)
    school &= (weekday < 5)[:, None]  # the files have no school holiday on weekends
    week = (days.astype(np.int64) + 3) // 7
    return SampleCalendar(days, holiday, school, promo=(week % 2 == 0) & (weekday < 5))


def public_holidays(year: int, region: int) -> dict[date, str]:
    """Return the public holidays of a region with their code."""
    easter = EPOCH + timedelta(easter_day(year))
    holidays = {
        date(year, 1, 1): "a",
        date(year, 5, 1): "a",
        date(year, 10, 3): "a",
        date(year, 12, 25): "c",
        date(year, 12, 26): "c",
        easter - timedelta(2): "b",
        easter + timedelta(1): "b",
        easter + timedelta(39): "a",
        easter + timedelta(50): "a",
    }
    if region in CATHOLIC:
        holidays |= {date(year, 1, 6): "a", easter + timedelta(60): "a", date(year, 11, 1): "a"}
    return holidays


def school_holidays(year: int, region: int) -> list[tuple[date, date]]:
    """Return first and last day of a region's school holidays that begin in ``year``."""
    easter = EPOCH + timedelta(easter_day(year))
    summer = date(year, 6, 29) + timedelta(10 * region)
    autumn = date(year, 10, 6) + timedelta(5 * region)
    return [
        (easter - timedelta(9), easter + timedelta(6)),
        (summer, summer + timedelta(41)),
        (autumn, autumn + timedelta(13)),
        (date(year, 12, 22), date(year + 1, 1, 4)),
    ]
